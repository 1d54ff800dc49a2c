"""The outbox: claim queued messages in order, at most once each, and record what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_noop

from messaging.attention import withdraw_attention
from messaging.models import Conversation, Media, Message
from messaging.receipts import MOVES_FROM, PAYMENT_CODE, PAYMENT_NOTE, record_sent
from sessions_app.services import KEY_REFUSED
from whatsapp_agent.backoff import backoff_s
from whatsapp_agent.periodic import periodic
from whatsapp_agent.postgres.batches import BUSY, Batched, Busy
from whatsapp_agent.postgres.prepared import Statement

AGENT_MESSAGE_TTL = timedelta(hours=1)  # a later answer would answer the past
STAFF_MESSAGE_TTL = timedelta(hours=24)
MAX_PAUSE_S = 300.0
MAX_UNAUTHORIZED_PAUSE_S = 60.0  # soon after the key is right everything leaves
UNAUTHORIZED = "unauthorized"
KEY_REFUSED_NOTE = gettext_noop("The bridge refuses our API key: messages wait until it is right.")
UNCONFIRMED_NOTE = gettext_noop("A message may not have been sent: look on the phone.")
Attention = Conversation.Attention


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message claimed for sending, with everything the bridge needs."""

    message_id: UUID
    sending_at: datetime  # distinguishes this claim from a later one of the same message
    text: str
    quoted_id: str
    tries: int
    created_at: datetime
    turn_id: UUID | None
    author: str
    kind: str
    details_json: str
    address: str
    is_group: bool
    session_id: UUID
    session_name: str
    bridge_id: UUID
    bridge_version: str


@dataclass(frozen=True, slots=True)
class Paced:
    """Nothing was claimed: the session sends its next message at `until`, this one or another."""

    until: datetime


UNPACED_KINDS = ["cloud", "simulator"]  # SEND_RATE_PER_MINUTE is for linked numbers, which may be banned
# Committed before the bridge is asked: a crash leaves `sending` behind, which is never blindly sent again.
CLAIM_NEXT_MESSAGES = """
WITH first AS (
    SELECT item.number, message.id
      FROM unnest(%(conversations)s::uuid[]) WITH ORDINALITY AS item(conversation_id, number)
     CROSS JOIN LATERAL (SELECT id FROM messaging_message message
                          WHERE message.conversation_id = item.conversation_id AND status IN ('queued', 'sending')
                          ORDER BY created_at, id LIMIT 1) message
), ready AS (
    SELECT first.number, message.id, conversation.address, contact.is_group, session.id AS session_id,
           session.name AS session_name, bridge.id AS bridge_id, ROW(bridge.xmin, bridge.ctid)::text AS bridge_version,
           message.created_at, session.next_send_at,
           COALESCE(session.send_rate_per_minute,
                    CASE WHEN bridge.kind = ANY(%(unpaced_kinds)s) THEN 0 ELSE %(send_rate)s::int END) AS rate
      FROM first
      JOIN messaging_message message ON message.id = first.id
      JOIN messaging_conversation conversation ON conversation.id = message.conversation_id
      JOIN messaging_contact contact ON contact.id = conversation.contact_id
      JOIN sessions_app_whatsappsession session ON session.id = message.session_id
      JOIN sessions_app_bridge bridge ON bridge.id = session.bridge_id
     WHERE message.status = 'queued' AND (message.next_try_at IS NULL OR message.next_try_at <= statement_timestamp())
       AND session.status = 'connected' AND session.ended_at IS NULL
       AND (message.control_epoch IS NULL OR message.control_epoch = conversation.control_epoch)
       AND NOT EXISTS (SELECT 1 FROM messaging_heldmessage held  -- perhaps a person has just typed on the phone
                        WHERE held.conversation_id = conversation.id)
), free AS (
    SELECT ready.number FROM ready JOIN messaging_message message ON message.id = ready.id
     ORDER BY message.id FOR NO KEY UPDATE OF message {skip_locked}
), turn AS (  -- of each session with a rate one message at a time: the one that waits longest
    SELECT DISTINCT ON (session_id) number, session_id, rate FROM ready JOIN free USING (number)
     WHERE rate > 0 AND (next_send_at IS NULL OR next_send_at <= statement_timestamp())
     ORDER BY session_id, created_at, id
), open AS (
    SELECT turn.* FROM turn JOIN sessions_app_whatsappsession session ON session.id = turn.session_id
     ORDER BY session.id FOR NO KEY UPDATE OF session {skip_locked}
), paced AS (  -- the average interval follows from the rate; a person's intervals differ
    UPDATE sessions_app_whatsappsession session
       SET next_send_at = statement_timestamp() + make_interval(secs => 60.0 / open.rate * (0.5 + random()))
      FROM open
     WHERE session.id = open.session_id AND (next_send_at IS NULL OR next_send_at <= statement_timestamp())
    RETURNING open.number, session.id AS session_id, session.next_send_at
), claimed AS (
    UPDATE messaging_message message
       SET status = 'sending', sending_at = statement_timestamp(), tries = message.tries + 1
      FROM ready JOIN free USING (number)
     WHERE message.id = ready.id AND message.status = 'queued'
       AND (ready.rate = 0 OR ready.number IN (SELECT number FROM paced))
    RETURNING ready.number, message.id, message.sending_at, message.text, message.quoted_provider_id, message.tries,
              message.created_at, message.turn_id, message.author, message.kind, message.details::text, ready.address,
              ready.is_group, ready.session_id, ready.session_name, ready.bridge_id, ready.bridge_version
)
SELECT ready.number, free.number IS NULL,
       CASE WHEN ready.rate > 0 THEN
           GREATEST(statement_timestamp() + make_interval(secs => 0.05), ready.next_send_at, paced.next_send_at) END,
       claimed.*
  FROM ready
  LEFT JOIN free USING (number) LEFT JOIN claimed USING (number)
  LEFT JOIN paced ON paced.session_id = ready.session_id
"""
CLAIM_WAITING = Statement(CLAIM_NEXT_MESSAGES.format(skip_locked=""))
CLAIM_SKIPPING = Statement(CLAIM_NEXT_MESSAGES.format(skip_locked="SKIP LOCKED"))


def _claim(conversation_ids: Sequence[UUID], wait: bool) -> list[Claimed | Paced | Busy | None]:
    results: list[Claimed | Paced | Busy | None] = [None] * len(conversation_ids)
    rows = (CLAIM_WAITING if wait else CLAIM_SKIPPING).rows(
        conversations=list(conversation_ids), send_rate=settings.SEND_RATE_PER_MINUTE, unpaced_kinds=UNPACED_KINDS
    )
    for number, is_busy, paced_until, claimed_number, *claimed in rows:
        if is_busy and not wait:
            results[number - 1] = BUSY
        elif claimed_number is not None:
            results[number - 1] = Claimed(*claimed)
        elif paced_until is not None:
            results[number - 1] = Paced(paced_until)
    return results


_claim_batched = Batched(_claim)


def claim_next_message(conversation_id: UUID) -> Claimed | Paced | None:
    """Claim the conversation's first unsent message. Return None if it may not be sent now, or until when it waits.

    Of a session with a send rate one message is claimed at a time, over all processes.
    """
    return _claim_batched(conversation_id)


_SENT_FROM = ", ".join(f"'{status}'" for status in MOVES_FROM[Message.Status.SENT])
# What `messaging.receipts.record_sent` does, in one round trip; a test runs both with every status.
MARK_SENT = f"""
WITH item AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(provider_message_ids)s::text[], %(at)s::timestamptz[])
             WITH ORDINALITY AS item(id, provider_message_id, at, number)
), free AS (
    SELECT item.number FROM item JOIN messaging_message message ON message.id = item.id
     ORDER BY message.id FOR NO KEY UPDATE OF message {{skip_locked}}
), sent AS (
    UPDATE messaging_message message
       SET provider_message_id = COALESCE(item.provider_message_id, message.provider_message_id),
           error_code = CASE WHEN status IN ({_SENT_FROM}) THEN '' ELSE error_code END,
           error = CASE WHEN status IN ({_SENT_FROM}) THEN '' ELSE error END,
           status = CASE WHEN status IN ({_SENT_FROM}) THEN 'sent' ELSE status END,
           sent_at = COALESCE(sent_at, LEAST(item.at, statement_timestamp()), statement_timestamp())
      FROM item JOIN free USING (number)
     WHERE message.id = item.id
       AND NOT EXISTS (SELECT 1 FROM messaging_message echo  -- stored before its id was known
                        WHERE echo.session_id = message.session_id AND echo.id <> message.id
                          AND echo.direction = 'outbound'
                          AND echo.provider_message_id = item.provider_message_id)
    RETURNING item.number, message.session_id, message.conversation_id, message.provider_message_id
)
SELECT item.number, free.number IS NULL, sent.number IS NOT NULL,
       EXISTS (SELECT 1 FROM messaging_earlyreceipt early
                WHERE early.session_id = sent.session_id AND early.provider_message_id = sent.provider_message_id),
       EXISTS (SELECT 1 FROM messaging_message later
                WHERE later.conversation_id = sent.conversation_id AND later.status = 'queued')
  FROM item LEFT JOIN free USING (number) LEFT JOIN sent USING (number)
"""  # noqa: S608  nothing in it is input
MARK_SENT_WAITING = Statement(MARK_SENT.format(skip_locked=""))
MARK_SENT_SKIPPING = Statement(MARK_SENT.format(skip_locked="SKIP LOCKED"))


class SentMessage(NamedTuple):
    message_id: UUID
    provider_message_id: str | None
    at: datetime | None


class MarkedSent(NamedTuple):
    is_marked: bool  # not if its echo is stored as a message already
    has_early_receipt: bool
    has_more: bool  # queued behind it


def _mark_sent(items: Sequence[SentMessage], wait: bool) -> list[MarkedSent | Busy]:
    ids, provider_message_ids, at = (list(values) for values in zip(*items, strict=True))
    statement = MARK_SENT_WAITING if wait else MARK_SENT_SKIPPING
    rows = statement.rows(ids=ids, provider_message_ids=provider_message_ids, at=at)
    return [
        BUSY if is_busy and not wait else MarkedSent(*marked) for _, is_busy, *marked in sorted(rows, key=itemgetter(0))
    ]


_mark_sent_batched = Batched(_mark_sent)


def mark_sent(claimed: Claimed, *, provider_message_id: str | None, at: datetime | None) -> bool:
    """Record that the bridge accepted the message; return whether more is queued behind it.

    `provider_message_id` is None where the bridge does not name it.
    """
    try:
        marked = _mark_sent_batched(SentMessage(claimed.message_id, provider_message_id, at))
    except IntegrityError:  # the echo came at the same moment
        marked = MarkedSent(is_marked=False, has_early_receipt=True, has_more=True)
    if provider_message_id and (not marked.is_marked or marked.has_early_receipt):
        record_sent(message_id=claimed.message_id, provider_message_id=provider_message_id, at=at)
    return marked.has_more or not marked.is_marked


def mark_not_sent(claimed: Claimed, *, code: str, error: str, retry_after_s: float | None = None) -> None:
    """Keep a message that was definitely not sent first in the queue; retry with backoff until its TTL is over.

    While the bridge refuses our key the TTL does not count, nor after that for a message that waited for it.
    """
    if code == UNAUTHORIZED or _claimed_rows(claimed).filter(error_code=UNAUTHORIZED).exists():
        _retry_until_authorized(claimed, error=error, retry_after_s=retry_after_s)
        return
    ttl = AGENT_MESSAGE_TTL if claimed.author == Message.Author.AGENT else STAFF_MESSAGE_TTL
    if timezone.now() - claimed.created_at > ttl:
        mark_failed(claimed, code="expired", error=error)
        return
    pause_s = backoff_s(claimed.tries, base_s=settings.AGENT_RETRY_BASE_S, max_s=MAX_PAUSE_S)
    _requeue(claimed, pause_s=max(pause_s, retry_after_s or 0.0), code=code, error=error)


@transaction.atomic
def _retry_until_authorized(claimed: Claimed, *, error: str, retry_after_s: float | None) -> None:
    """Keep a message queued until the bridge accepts our key; ask for attention at the first try."""
    _lock_conversations(_claimed_rows(claimed))
    if not _claimed_rows(claimed).filter(error_code=UNAUTHORIZED).exists():
        _ask_for_attention(_claimed_rows(claimed), Attention.BRIDGE_KEY, note=KEY_REFUSED_NOTE)
    pause_s = backoff_s(claimed.tries, base_s=settings.AGENT_RETRY_BASE_S, max_s=MAX_UNAUTHORIZED_PAUSE_S)
    _requeue(claimed, pause_s=max(pause_s, retry_after_s or 0.0), code=UNAUTHORIZED, error=error)


def _requeue(claimed: Claimed, *, pause_s: float, code: str, error: str) -> None:
    _claimed_rows(claimed).update(
        status=Message.Status.QUEUED,
        next_try_at=Now() + timedelta(seconds=pause_s),
        error_code=code[:50],
        error=error[:300],
    )


@transaction.atomic
def mark_failed(claimed: Claimed, *, code: str, error: str) -> None:
    """Fail a message the bridge refused for good, and cancel the later parts of the same answer."""
    _lock_conversations(_claimed_rows(claimed))
    note = PAYMENT_NOTE if code == PAYMENT_CODE else f"A message was not sent: {code[:50]}."
    _ask_for_attention(_claimed_rows(claimed), Attention.NOT_SENT, note=note)
    _claimed_rows(claimed).update(status=Message.Status.FAILED, error_code=code[:50], error=error[:300])
    if claimed.turn_id:
        Message.objects.filter(turn_id=claimed.turn_id, status=Message.Status.QUEUED).update(
            status=Message.Status.CANCELLED,
            error_code="earlier_part_failed",
            error=gettext_noop("An earlier part was not sent."),
        )


@transaction.atomic
def write_instead(claimed: Claimed) -> bool:
    """Turn a spoken answer of the agent, or one with buttons, that was not sent into a text, queued; return False if
    there is none."""
    _lock_conversations(_claimed_rows(claimed))
    if claimed.kind == Message.Kind.INTERACTIVE:
        menus = _claimed_rows(claimed).filter(author=Message.Author.AGENT)
        return bool(menus.update(kind=Message.Kind.TEXT, details={}, status=Message.Status.QUEUED))
    media = Media.objects.filter(message__in=_claimed_rows(claimed).filter(author=Message.Author.AGENT)).first()
    if media is None or not media.transcript:
        return False
    _claimed_rows(claimed).update(kind=Message.Kind.TEXT, text=media.transcript, status=Message.Status.QUEUED)
    media.delete()
    transaction.on_commit(partial(media.file.storage.delete, str(media.file.name)))
    return True


@transaction.atomic
def send_without_quote(claimed: Claimed) -> bool:
    """Queue a message again that was not sent, without what it quotes; return False if it quotes nothing any more."""
    _lock_conversations(_claimed_rows(claimed))
    quoting = _claimed_rows(claimed).exclude(quoted_provider_id="")
    return bool(quoting.update(status=Message.Status.QUEUED, quoted=None, quoted_provider_id=""))


@transaction.atomic
def mark_unconfirmed(claimed: Claimed, *, code: str, error: str) -> None:
    """Record that the message may have been sent; its echo or a person settles it."""
    _lock_conversations(_claimed_rows(claimed))
    _ask_for_attention(_claimed_rows(claimed), Attention.UNCONFIRMED, note=UNCONFIRMED_NOTE)
    _claimed_rows(claimed).update(status=Message.Status.UNCONFIRMED, error_code=code[:50], error=error[:300])


def _claimed_rows(claimed: Claimed) -> Any:
    return Message.objects.filter(pk=claimed.message_id, status=Message.Status.SENDING, sending_at=claimed.sending_at)


def _lock_conversations(messages: Any) -> None:
    """Lock order: conversations, then messages, as in a takeover or an echo; the reverse order deadlocks."""
    conversations = Conversation.objects.filter(pk__in=messages.values("conversation_id"))
    list(conversations.select_for_update().order_by("pk").values_list("pk"))


def _ask_for_attention(messages: Any, reason: Attention, *, note: str) -> None:
    Conversation.objects.filter(pk__in=messages.values("conversation_id")).ask_for_attention(reason, note=note)


def pause_after_send(conversation_id: UUID) -> datetime | None:
    """Delay the next message of the conversation by SEND_GAP_S; return when it may leave, None if at once."""
    if not settings.SEND_GAP_S:
        return None
    gap = timedelta(seconds=settings.SEND_GAP_S)
    queued = Message.objects.filter(conversation_id=conversation_id, status=Message.Status.QUEUED)
    paused = queued.filter(Q(next_try_at=None) | Q(next_try_at__lt=Now() + gap)).update(next_try_at=Now() + gap)
    return timezone.now() + gap if paused else None


# --- periodic work ------------------------------------------------------------------------------------------------


CONVERSATIONS_TO_SEND = """
SELECT first.conversation_id, first.session_id
  FROM (SELECT DISTINCT ON (conversation_id) conversation_id, session_id, status, created_at, next_try_at
          FROM messaging_message WHERE status IN ('queued', 'sending')
         ORDER BY conversation_id, created_at, id) first
  JOIN sessions_app_whatsappsession session ON session.id = first.session_id
 WHERE first.status = 'queued' AND (first.next_try_at IS NULL OR first.next_try_at <= statement_timestamp())
   AND session.status = 'connected' AND session.ended_at IS NULL
   AND (session.next_send_at IS NULL OR session.next_send_at <= statement_timestamp())
 ORDER BY row_number() OVER (PARTITION BY first.session_id ORDER BY first.created_at), first.created_at
 LIMIT %(limit)s
"""


def conversations_to_deliver(*, limit: int) -> list[tuple[UUID, UUID]]:
    """Return conversations whose next message may be sent now, with their sessions.

    Sessions take turns, so that one with many does not hide the others; of each the longest waiting comes first.
    """
    with connection.cursor() as cursor:
        cursor.execute(CONVERSATIONS_TO_SEND, {"limit": limit})
        return [(row[0], row[1]) for row in cursor.fetchall()]


@periodic(every_s=5)
@transaction.atomic
def mark_stuck_unconfirmed() -> int:
    """Mark messages `unconfirmed` whose sender died during the bridge call; return how many."""
    before = Now() - timedelta(
        seconds=settings.BRIDGE_TIMEOUT_S + settings.AGENT_SWEEP_S + 5
    )  # the database's clock, as in the claim
    stuck = Message.objects.filter(status=Message.Status.SENDING, sending_at__lt=before)
    stuck = stuck.filter(pk__in=list(stuck.values_list("pk", flat=True)[:500]))
    _lock_conversations(stuck)
    _ask_for_attention(stuck, Attention.UNCONFIRMED, note=UNCONFIRMED_NOTE)
    return stuck.update(
        status=Message.Status.UNCONFIRMED,
        error_code="interrupted",
        error=gettext_noop("The process stopped during the bridge call."),
    )


def _keep_unauthorized(late: Any) -> None:
    """Keep what became late because the bridge refuses our key: at its session, or behind such a message.

    Its conversations are locked.
    """
    waits_before = Message.objects.filter(
        conversation=OuterRef("conversation"), status=Message.Status.QUEUED, error_code=UNAUTHORIZED
    )
    waiting = late.filter(Q(session__status_reason=KEY_REFUSED) | Exists(waits_before))
    waiting = Message.objects.filter(pk__in=list(waiting.values_list("pk", flat=True)), status=Message.Status.QUEUED)
    _ask_for_attention(waiting, Attention.BRIDGE_KEY, note=KEY_REFUSED_NOTE)
    waiting.update(error_code=UNAUTHORIZED, error=KEY_REFUSED_NOTE)


@periodic(every_s=5)
def withdraw_key_attention() -> None:
    """Take requests for attention back where no message waits any more for the bridge to accept our key."""
    waiting = Message.objects.filter(conversation=OuterRef("pk"), status=Message.Status.QUEUED, error_code=UNAUTHORIZED)
    sending = Message.objects.filter(conversation=OuterRef("pk"), status=Message.Status.SENDING)
    asking = Conversation.objects.filter(needs_attention=True, attention_note__contains=KEY_REFUSED_NOTE)
    for conversation in asking.exclude(Exists(waiting)).exclude(Exists(sending))[:500]:
        withdraw_attention(conversation, reason=Attention.BRIDGE_KEY, note=KEY_REFUSED_NOTE)


@periodic(every_s=5)
@transaction.atomic
def drop_outdated() -> int:
    """Fail queued messages whose TTL is over, cancel replies from before a takeover; return how many."""
    now = timezone.now()
    queued = Message.objects.filter(status=Message.Status.QUEUED)
    late = ~Q(error_code=UNAUTHORIZED) & (
        Q(author=Message.Author.AGENT, created_at__lt=now - AGENT_MESSAGE_TTL)
        | Q(created_at__lt=now - STAFF_MESSAGE_TTL)
    )
    _lock_conversations(queued.filter(late))
    _keep_unauthorized(queued.filter(late))
    _ask_for_attention(
        queued.filter(late), Attention.NOT_SENT, note=gettext_noop("A message could not be sent in time.")
    )
    dropped = queued.filter(late).update(
        status=Message.Status.FAILED, error_code="expired", error=gettext_noop("It could not be sent in time.")
    )
    older = queued.exclude(control_epoch=F("conversation__control_epoch"))
    return dropped + Message.objects.filter(pk__in=older.values("pk")).cancel_queued_replies()
