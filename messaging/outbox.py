"""The outbox: what is queued leaves in order, at most once, and only if the one who said it may still speak."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from messaging.inbound import record_sent
from messaging.models import Conversation, Message
from whatsapp_agent.periodic import periodic
from whatsapp_agent.postgres.prepared import Statement

# The first message that has not left, claimed in one statement: committed before the bridge is asked, so that a crash
# leaves `sending` behind, which is never blindly sent again.
CLAIM = Statement("""
WITH first AS (
    SELECT id FROM messaging_message
     WHERE conversation_id = %(conversation_id)s AND status IN ('queued', 'sending')
     ORDER BY created_at, id LIMIT 1
)
UPDATE messaging_message message
   SET status = 'sending', sending_at = statement_timestamp(), tries = message.tries + 1
  FROM first, messaging_conversation conversation, messaging_contact contact, sessions_app_whatsappsession session,
       sessions_app_bridge bridge
 WHERE message.id = first.id AND message.status = 'queued'
   AND (message.next_try_at IS NULL OR message.next_try_at <= statement_timestamp())
   AND conversation.id = message.conversation_id AND contact.id = conversation.contact_id
   AND session.id = message.session_id AND session.status = 'connected' AND session.ended_at IS NULL
   AND bridge.id = session.bridge_id
   AND (message.control_epoch IS NULL OR message.control_epoch = conversation.control_epoch)
RETURNING message.id, message.sending_at, message.text, message.quoted_provider_id, message.tries, message.created_at,
          message.turn_id, message.author, message.kind, message.details::text, conversation.address, contact.is_group,
          session.id, session.name, bridge.id,
          ROW(bridge.xmin, bridge.ctid)::text
""")
SENT = Statement("""
UPDATE messaging_message message
   SET provider_message_id = %(provider_message_id)s, error_code = '', error = '',
       status = CASE WHEN status IN ('sending', 'unconfirmed') THEN 'sent' ELSE status END,
       sent_at = COALESCE(sent_at, LEAST(%(at)s, statement_timestamp()), statement_timestamp())
 WHERE id = %(id)s
   AND NOT EXISTS (SELECT 1 FROM messaging_message echo  -- of this very message, kept before we knew its id
                    WHERE echo.session_id = message.session_id AND echo.id <> message.id
                      AND echo.provider_message_id = %(provider_message_id)s)
RETURNING EXISTS (SELECT 1 FROM messaging_earlyreceipt early
                   WHERE early.session_id = message.session_id
                     AND early.provider_message_id = %(provider_message_id)s),
          EXISTS (SELECT 1 FROM messaging_message later
                   WHERE later.conversation_id = message.conversation_id AND later.status = 'queued')
""")

AGENT_MESSAGE_TTL = timedelta(hours=1)  # an answer later than this is an answer to the past
STAFF_MESSAGE_TTL = timedelta(hours=24)
MAX_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is ours to send now, with all the bridge has to be told."""

    message_id: UUID
    sending_at: datetime  # tells this claim from a later one of the same message
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


def claim_next_message(conversation_id: UUID) -> Claimed | None:
    """Take the next message of a conversation for sending; None when there is none that may leave now."""
    for row in CLAIM.rows(conversation_id=conversation_id):
        return Claimed(*row)
    return None


def mark_sent(claimed: Claimed, *, provider_message_id: str, at: datetime | None) -> bool:
    """The bridge took it. Returns whether more is queued behind it."""
    try:
        rows = SENT.rows(id=claimed.message_id, provider_message_id=provider_message_id, at=at)
    except IntegrityError:  # the echo came at the same moment
        rows = []
    needs_more_care, more = rows[0] if rows else (True, True)
    if needs_more_care:
        record_sent(message_id=claimed.message_id, provider_message_id=provider_message_id, at=at)
    return more


def mark_not_sent(claimed: Claimed, *, code: str, error: str, retry_after_s: float | None = None) -> None:
    """Surely not sent: it stays first in the queue, and is tried again after a growing pause until it is too late."""
    keeps = AGENT_MESSAGE_TTL if claimed.author == Message.Author.AGENT else STAFF_MESSAGE_TTL
    if timezone.now() - claimed.created_at > keeps:
        mark_failed(claimed, code="expired", error=error)
        return
    pause_s = min(settings.AGENT_RETRY_BASE_S * 2 ** min(claimed.tries - 1, 20), MAX_PAUSE_S)
    _ours(claimed).update(
        status=Message.Status.QUEUED,
        next_try_at=Now() + timedelta(seconds=max(pause_s, retry_after_s or 0.0)),
        error_code=code[:50],
        error=error[:300],
    )


@transaction.atomic
def mark_failed(claimed: Claimed, *, code: str, error: str) -> None:
    """The bridge refused it for good. What was to follow it in the same answer makes no sense alone."""
    _lock_conversations(_ours(claimed))
    _ask_for_attention(_ours(claimed))
    _ours(claimed).update(status=Message.Status.FAILED, error_code=code[:50], error=error[:300])
    if claimed.turn_id:
        Message.objects.filter(turn_id=claimed.turn_id, status=Message.Status.QUEUED).update(
            status=Message.Status.CANCELLED, error_code="earlier_part_failed", error="An earlier part was not sent."
        )


@transaction.atomic
def mark_unconfirmed(claimed: Claimed, *, code: str, error: str) -> None:
    """It may have been sent: an echo, a receipt or a person settles it."""
    _lock_conversations(_ours(claimed))
    _ask_for_attention(_ours(claimed))
    _ours(claimed).update(status=Message.Status.UNCONFIRMED, error_code=code[:50], error=error[:300])


def _ours(claimed: Claimed) -> Any:
    return Message.objects.filter(pk=claimed.message_id, status=Message.Status.SENDING, sending_at=claimed.sending_at)


def _lock_conversations(messages: Any) -> None:
    """Before the messages' own rows, as a takeover and an echo do: who takes them the other way round meets them."""
    conversations = Conversation.objects.filter(pk__in=messages.values("conversation_id"))
    list(conversations.select_for_update().order_by("pk").values_list("pk"))


def _ask_for_attention(messages: Any) -> None:
    Conversation.objects.filter(pk__in=messages.values("conversation_id")).update(needs_attention=True)


def pause_after_send(conversation_id: UUID) -> datetime | None:
    """Leave a gap before the next message to the same person; returns when it may go, None if at once."""
    if not settings.SEND_GAP_S:
        return None
    gap = timedelta(seconds=settings.SEND_GAP_S)
    queued = Message.objects.filter(conversation_id=conversation_id, status=Message.Status.QUEUED)
    paused = queued.filter(Q(next_try_at=None) | Q(next_try_at__lt=Now() + gap)).update(next_try_at=Now() + gap)
    return timezone.now() + gap if paused else None


# --- what the sweep mends -----------------------------------------------------------------------------------------


TO_DELIVER = """
SELECT first.conversation_id
  FROM (SELECT DISTINCT ON (conversation_id) conversation_id, session_id, status, created_at, next_try_at
          FROM messaging_message WHERE status IN ('queued', 'sending')
         ORDER BY conversation_id, created_at, id) first
  JOIN sessions_app_whatsappsession session ON session.id = first.session_id
 WHERE first.status = 'queued' AND (first.next_try_at IS NULL OR first.next_try_at <= statement_timestamp())
   AND session.status = 'connected' AND session.ended_at IS NULL
 ORDER BY first.created_at LIMIT %(limit)s
"""


def conversations_to_deliver(*, limit: int) -> list[UUID]:
    """Conversations whose next message may leave now, the longest waiting first."""
    with connection.cursor() as cursor:
        cursor.execute(TO_DELIVER, {"limit": limit})
        return [row[0] for row in cursor.fetchall()]


@periodic(every_s=5)
@transaction.atomic
def give_up_stuck() -> int:
    """Messages whose sender died while the bridge was being asked are `unconfirmed`; returns how many."""
    before = Now() - timedelta(seconds=settings.BRIDGE_TIMEOUT_S + settings.AGENT_SWEEP_S + 5)  # the claim's own clock
    stuck = Message.objects.filter(status=Message.Status.SENDING, sending_at__lt=before)
    stuck = stuck.filter(pk__in=list(stuck.values_list("pk", flat=True)[:500]))
    _lock_conversations(stuck)
    _ask_for_attention(stuck)
    return stuck.update(
        status=Message.Status.UNCONFIRMED,
        error_code="interrupted",
        error="We stopped while the bridge was being asked.",
    )


@periodic(every_s=5)
@transaction.atomic
def drop_outdated() -> int:
    """Queued words that may no longer be said: too late, or the agent's from before someone took over."""
    now = timezone.now()
    queued = Message.objects.filter(status=Message.Status.QUEUED)
    late = Q(author=Message.Author.AGENT, created_at__lt=now - AGENT_MESSAGE_TTL) | Q(
        created_at__lt=now - STAFF_MESSAGE_TTL
    )
    _lock_conversations(queued.filter(late))
    _ask_for_attention(queued.filter(late))
    dropped = queued.filter(late).update(
        status=Message.Status.FAILED, error_code="expired", error="It could not be sent in time."
    )
    older = queued.exclude(control_epoch=F("conversation__control_epoch"))
    return dropped + Message.objects.filter(pk__in=older.values("pk")).silence()
