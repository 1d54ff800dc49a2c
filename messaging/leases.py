"""Leases on conversations: take, renew, postpone; complete a turn while its lease is held."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from uuid_utils.compat import uuid7

from agent.bridges.base import Menu
from messaging import control, loops
from messaging.history.conversation import build_conversation, columns_of, joins_of
from messaging.history.transcript import HISTORY_COLUMNS, MAX_MESSAGES, HistoryMessage, history_sql, parse_history
from messaging.media.files import save_file
from messaging.menus.service import as_text, details_of
from messaging.models import Conversation, Media, Message, ToolCall, Turn
from messaging.models.conversations import NO_ATTENTION
from whatsapp_agent import wakeups
from whatsapp_agent.errors import Conflict
from whatsapp_agent.postgres.batches import BUSY, Batched, Busy
from whatsapp_agent.postgres.prepared import Statement

log = structlog.get_logger(__name__)

# Takes the conversations and returns what a turn begins with, in one round trip.
# Its commit does not wait for the disk: only if the database itself crashes within three times its `wal_writer_delay`
# (0.6 s by default) may the lease be lost, as if it had not been taken. Then the turn that held it cannot complete, and
# another answers the burst. What a turn leaves (tool calls, its result, what is sent) waits for the disk, and with it
# for everything before it. The setting ends with the transaction, so call it outside of one.
TAKE = f"""
WITH item AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::uuid[]) AS item(id, token)
), due AS (
    SELECT conversation.id FROM item JOIN messaging_conversation conversation ON conversation.id = item.id
     WHERE due_at <= statement_timestamp() AND control = 'agent'
       AND (lease_expires_at IS NULL OR lease_expires_at < statement_timestamp())
), free AS (
    SELECT conversation.id FROM due JOIN messaging_conversation conversation ON conversation.id = due.id
     ORDER BY conversation.id FOR NO KEY UPDATE OF conversation {{skip_locked}}
), taken AS (
    UPDATE messaging_conversation conversation
       SET lease_token = item.token, tries = tries + 1,
           lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
      FROM item JOIN free ON free.id = item.id
     WHERE conversation.id = item.id AND due_at <= statement_timestamp() AND control = 'agent'
       AND (lease_expires_at IS NULL OR lease_expires_at < statement_timestamp())
    RETURNING conversation.*
)
SELECT item.token, set_config('synchronous_commit', 'off', true),
       due.id IS NOT NULL AND free.id IS NULL, taken.id IS NOT NULL,
       CASE WHEN taken.id IS NOT NULL THEN
           (SELECT count(*)
              FROM (SELECT FROM messaging_turn turn
                     WHERE turn.conversation_id = item.id AND turn.created_at > %(since)s LIMIT 3) turn) END,
       CASE WHEN taken.id IS NOT NULL THEN
           (SELECT json_agg(json_build_array({", ".join(f"message.{name}" for name in HISTORY_COLUMNS)})
                            ORDER BY message.said_at, message.id)
              FROM ({
    history_sql("taken.id", since="taken.context_from", after="taken.summary_until", limit="%(max_messages)s::int")
}) message)::text END,
       {columns_of("taken")}
  FROM item
  LEFT JOIN due USING (id) LEFT JOIN free USING (id)
  LEFT JOIN taken ON taken.id = item.id AND taken.lease_token = item.token  -- one of two that ask at once
  {joins_of("taken")}
"""  # noqa: S608  our own queries and columns
TAKE_WAITING = Statement(TAKE.format(skip_locked=""))
TAKE_SKIPPING = Statement(TAKE.format(skip_locked="SKIP LOCKED"))
RENEW = """
UPDATE messaging_conversation SET lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE id = ANY(%(ids)s) AND lease_token = ANY(%(tokens)s) RETURNING lease_token
"""
# In one round trip: everything, or nothing if the lease or the control is lost. The burst is over if no message came
# meanwhile, or if the turn may not start again: then what came stays due.
# The one way in which replies are queued: FROM `of` (whose they are), `reply` (id, text, number) and QUOTED.
INSERT_REPLIES = """INSERT INTO messaging_message (
        id, session_id, conversation_id, turn_id, direction, author, kind, status, unanswered, text, details,
        quoted_id, quoted_provider_id, control_epoch, tries, error_code, error, said_at, created_at)
    SELECT reply.id, of.session_id, of.conversation_id, of.turn_id, 'outbound', 'agent', 'text', 'queued', '',
           reply.text, jsonb_build_object(), quoted.id, COALESCE(quoted.provider_message_id, ''), of.epoch, 0, '', '',
           of.at, of.at"""
QUOTED = """LEFT JOIN messaging_message quoted  -- by the first part alone, and not what its writer deleted
         ON reply.number = 1 AND quoted.id = of.quoted_id AND quoted.conversation_id = of.conversation_id
        AND quoted.revoked_at IS NULL AND quoted.provider_message_id IS NOT NULL"""
QUEUE_REPLIES = Statement(f"""
{INSERT_REPLIES}
  FROM (SELECT %(session_id)s::uuid AS session_id, %(conversation_id)s::uuid AS conversation_id,
               %(turn_id)s::uuid AS turn_id, %(epoch)s::int AS epoch, %(at)s::timestamptz AS at,
               %(quoted_id)s::uuid AS quoted_id) AS of
 CROSS JOIN unnest(%(ids)s::uuid[], %(texts)s::text[]) WITH ORDINALITY AS reply(id, text, number)
  {QUOTED}
""")
COMPLETE_TURNS = f"""
WITH item AS (
    SELECT * FROM json_to_recordset(%(items)s::json) AS item(
        number int, conversation_id uuid, token uuid, epoch int, seen int, even_if_stale bool, needs_attention bool,
        speaks bool, turn json, burst uuid[], reply_ids uuid[], replies text[], quotable_id uuid, quotes bool)
), held AS (
    SELECT item.number, item.conversation_id
      FROM item JOIN messaging_conversation conversation ON conversation.id = item.conversation_id
     WHERE conversation.id = ANY(%(ids)s::uuid[])  -- for the planner, which takes `item` to have 100 rows
       AND lease_token = item.token AND control_epoch = item.epoch AND control = 'agent'
       AND (inbound_count = item.seen OR item.even_if_stale)
), free AS (
    SELECT held.number FROM held JOIN messaging_conversation conversation ON conversation.id = held.conversation_id
     ORDER BY conversation.id FOR NO KEY UPDATE OF conversation {{skip_locked}}
), completed AS (
    UPDATE messaging_conversation conversation
       SET lease_token = NULL, lease_expires_at = NULL, tries = 0, retry_at = NULL,
           due_at = CASE WHEN inbound_count = item.seen THEN NULL ELSE GREATEST(due_at, statement_timestamp()) END,
           burst_started_at = CASE WHEN inbound_count = item.seen THEN NULL ELSE burst_started_at END,
           answered_count = item.seen,
           unread_count = CASE WHEN item.speaks AND NOT item.needs_attention AND inbound_count = item.seen THEN 0
                               ELSE unread_count END,  -- what the agent has answered nobody has to read
           needs_attention = conversation.needs_attention OR item.needs_attention,
           attention_reason = CASE WHEN item.needs_attention THEN 'turn_failed' ELSE attention_reason END,
           last_message_at = CASE WHEN item.speaks THEN statement_timestamp() ELSE last_message_at END
      FROM item JOIN free USING (number)
     WHERE conversation.id = item.conversation_id AND lease_token = item.token AND control_epoch = item.epoch
       AND control = 'agent' AND (inbound_count = item.seen OR item.even_if_stale)
    RETURNING item.number, conversation.id AS conversation_id, conversation.session_id,
              CASE WHEN item.quotes OR inbound_count <> item.seen THEN item.quotable_id END AS quoted_id
), turn AS (
    INSERT INTO messaging_turn
    SELECT new.* FROM completed JOIN item USING (number), json_populate_record(NULL::messaging_turn, item.turn) AS new
    RETURNING id, conversation_id
), handled AS (
    UPDATE messaging_message message SET status = 'handled', turn_id = turn.id
      FROM turn JOIN item USING (conversation_id), unnest(item.burst) AS burst(id)
     WHERE message.id = burst.id
), replies AS (
    {INSERT_REPLIES}
      FROM completed JOIN item USING (number) JOIN turn ON turn.conversation_id = completed.conversation_id
     CROSS JOIN LATERAL (SELECT completed.session_id, completed.conversation_id, turn.id AS turn_id, item.epoch,
                                (item.turn->>'created_at')::timestamptz AS at, completed.quoted_id) AS of
     CROSS JOIN LATERAL unnest(item.reply_ids, item.replies) WITH ORDINALITY AS reply(id, text, number)
      {QUOTED}
)
SELECT item.number, held.number IS NOT NULL AND free.number IS NULL, completed.session_id
  FROM item LEFT JOIN held USING (number) LEFT JOIN free USING (number) LEFT JOIN completed USING (number)
"""  # noqa: S608  nothing in it is input
COMPLETE_WAITING = Statement(COMPLETE_TURNS.format(skip_locked=""))
COMPLETE_SKIPPING = Statement(COMPLETE_TURNS.format(skip_locked="SKIP LOCKED"))
_TURN_FIELDS = Turn._meta.concrete_fields
POSTPONE = """
UPDATE messaging_conversation
   SET lease_token = NULL, lease_expires_at = NULL, tries = tries - %(forgive)s,
       retry_at = CASE WHEN %(delay_s)s > 0 THEN statement_timestamp() + make_interval(secs => %(delay_s)s) END,
       due_at = GREATEST(due_at, statement_timestamp() + make_interval(secs => %(delay_s)s))
 WHERE id = %(id)s AND lease_token = %(token)s
RETURNING due_at
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """Held on one conversation. `tries` counts how often this burst was begun, crashes included; the first is 1."""

    conversation_id: UUID
    token: UUID
    epoch: int
    tries: int
    recent_turns: int = 0  # within `loops.WINDOW`; counted up to 3
    conversation: Conversation | None = field(default=None, compare=False, repr=False)  # as it was taken
    history: Sequence[HistoryMessage] = field(default=(), compare=False, repr=False)


def _take(conversation_ids: Sequence[UUID], wait: bool) -> Sequence[Lease | Busy | None]:
    statement = TAKE_WAITING if wait else TAKE_SKIPPING
    tokens = [uuid4() for _ in conversation_ids]
    rows = statement.rows(
        ids=list(conversation_ids),
        tokens=tokens,
        lease_s=settings.AGENT_LEASE_S,
        since=timezone.now() - loops.WINDOW,
        max_messages=MAX_MESSAGES,
    )
    found = {token: rest for token, _, *rest in rows}
    results: list[Lease | Busy | None] = []
    for conversation_id, token in zip(conversation_ids, tokens, strict=True):
        is_busy, is_taken, recent_turns, history, *row = found[token]
        if not is_taken:
            results.append(BUSY if is_busy and not wait else None)
            continue
        conversation = build_conversation(row)
        results.append(
            Lease(
                conversation_id=conversation_id,
                token=token,
                epoch=conversation.control_epoch,
                tries=conversation.tries,
                recent_turns=recent_turns,
                conversation=conversation,
                history=parse_history(orjson.loads(history) if history else ()),
            )
        )
    return results


_take_batched = Batched(_take)


def take(conversation_id: UUID) -> Lease | None:
    """Take a conversation that is due; return None if it is not, or if another worker holds its lease."""
    return _take_batched(conversation_id)


def renew(*held: Lease) -> set[UUID]:
    """Renew leases; return the tokens of those still held."""
    ids, tokens = [lease.conversation_id for lease in held], [lease.token for lease in held]
    with connection.cursor() as cursor:
        cursor.execute(RENEW, {"ids": ids, "tokens": tokens, "lease_s": settings.AGENT_LEASE_S})
        return {row[0] for row in cursor.fetchall()}


class LeaseLost(Exception):
    """A person took over, or the lease expired and another worker took it: the turn must stop."""


def ensure_held(lease: Lease) -> None:
    """Lock the conversation until the end of the transaction. Raises LeaseLost if the lease is not held any more."""
    held = Conversation.objects.select_for_update().filter(
        pk=lease.conversation_id,
        lease_token=lease.token,
        control_epoch=lease.epoch,
        control=Conversation.Control.AGENT,
    )
    if not held.values_list("pk"):
        raise LeaseLost()


MIN_LOOP_TURNS = 2  # no limit of a profile is lower; with fewer turns nothing is read


def pause_if_looping(lease: Lease) -> bool:
    """Give the conversation to people if the other side seems to be a machine; return whether the turn is over.

    The burst stays unanswered. One turn at a time holds the lease, so that no two count at once.
    """
    if lease.recent_turns < MIN_LOOP_TURNS:
        return False
    loop = loops.find_loop(conversation_id=lease.conversation_id, epoch=lease.epoch)
    if loop is None:
        return False
    with suppress(LeaseLost), transaction.atomic():
        ensure_held(lease)
        control.take_over(
            conversation=Conversation(pk=lease.conversation_id),
            until=timezone.now() + loop.pause if loop.pause else None,
            reason=f"loop: {loop.note}",
        )
        Conversation.objects.filter(pk=lease.conversation_id).ask_for_attention(
            Conversation.Attention.LOOP,
            note=f"The agent was paused: the other side seems to be a machine ({loop.note}).",
        )
        log.warning("loop_stopped", conversation=str(lease.conversation_id), why=loop.note)
    return True


def postpone(lease: Lease, *, delay_s: float, forgive: bool = False) -> datetime | None:
    """Give the lease back; the conversation is due again after `delay_s`. `forgive`: do not count this try."""
    with connection.cursor() as cursor:
        cursor.execute(
            POSTPONE,
            {"id": lease.conversation_id, "token": lease.token, "delay_s": delay_s, "forgive": int(forgive)},
        )
        row = cursor.fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True)
class Voice:
    """An answer that is spoken: the sound, and its words."""

    content: bytes = field(repr=False)
    text: str
    mime_type: str
    filename: str


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The result of a turn: the Turn to be stored, and what follows from it.

    `replies` are the parts to send, in order; `burst` the inbound messages that are handled; `seen` the conversation's
    `inbound_count` when they were read. `apply_effects` runs in the same transaction and returns more replies.
    `quotable` is the message of the burst that the first reply may quote, if the bridge can; it does if `quotes`, or if
    the contact has written more meanwhile.
    """

    turn: Turn
    burst: Sequence[UUID]
    seen: int
    replies: Sequence[str] = ()
    quotable: UUID | None = None
    quotes: bool = False
    voice: Voice | None = None  # sent in place of written replies
    menu: Menu | None = None  # what the last reply is sent as; only beside `apply_effects`
    needs_attention: bool = False
    tool_calls: Sequence[ToolCall] = ()
    apply_effects: Callable[[Turn], Sequence[str]] | None = None


def complete_turn(lease: Lease, result: TurnResult, *, even_if_stale: bool) -> Turn | None:
    """Complete a turn in one transaction: store it, queue the replies, mark the burst handled, give the lease back.

    Returns None and stores nothing if the lease or the control is lost, or if messages came meanwhile and
    `even_if_stale` is false.
    """
    turn = result.turn
    turn.conversation_id, turn.tries = lease.conversation_id, lease.tries
    more = bool(result.tool_calls or result.voice) or result.apply_effects is not None
    replies = result.replies if result.apply_effects is None else ()
    item = {
        "conversation_id": lease.conversation_id,
        "token": lease.token,
        "epoch": lease.epoch,
        "seen": result.seen,
        "even_if_stale": even_if_stale,
        "needs_attention": result.needs_attention,
        "speaks": bool(result.replies or result.voice) or result.apply_effects is not None,
        "turn": {field.column: _cut(getattr(turn, field.attname), field.max_length) for field in _TURN_FIELDS},
        "burst": result.burst,
        "reply_ids": [uuid7() for _ in replies],
        "replies": replies,
        "quotable_id": result.quotable,
        "quotes": result.quotes,
    }
    with transaction.atomic() if more else nullcontext():  # one statement is a transaction of its own
        session_id = _complete_batched(item)
        if session_id is not None and more:
            _store_effects(result, turn=turn, session_id=session_id)
    return turn if session_id is not None else None


def _cut(value: Any, max_length: int | None) -> Any:
    return value[:max_length] if max_length is not None and isinstance(value, str) else value


def _complete(items: Sequence[dict[str, Any]], wait: bool) -> list[UUID | Busy | None]:
    """Return the session's id for each turn that is completed."""
    numbered = [item | {"number": number} for number, item in enumerate(items)]
    statement = COMPLETE_WAITING if wait else COMPLETE_SKIPPING
    rows = statement.rows(items=orjson.dumps(numbered).decode(), ids=[item["conversation_id"] for item in items])
    return [BUSY if is_busy and not wait else session_id for _, is_busy, session_id in sorted(rows, key=itemgetter(0))]


_complete_batched = Batched(_complete)


def _store_effects(result: TurnResult, *, turn: Turn, session_id: UUID) -> None:
    """Store what few turns have: tool calls, and the effects and replies of a command."""
    turn._state.adding = False
    for tool_call in result.tool_calls:
        tool_call.turn = turn
    ToolCall.objects.bulk_create(result.tool_calls)
    if result.apply_effects is None and result.voice is None:
        return
    effects = result.apply_effects(turn) if result.apply_effects is not None else ()
    replies = [*result.replies, *effects]
    # A hand-off has raised the epoch: its own reply leaves under the new one, everything older is cancelled.
    epoch = Conversation.objects.values_list("control_epoch", flat=True).get(pk=turn.conversation_id)
    ids = [uuid7() for _ in replies]
    if replies:
        QUEUE_REPLIES.rows(
            session_id=session_id,
            conversation_id=turn.conversation_id,
            turn_id=turn.pk,
            epoch=epoch,
            at=turn.created_at,
            ids=ids,
            texts=replies,
            quoted_id=result.quotable if result.quotes else None,
        )
    if result.menu is not None:
        Message.objects.filter(pk=ids[len(result.replies) - 1]).update(
            kind=Message.Kind.INTERACTIVE, text=as_text(result.menu), details=details_of(result.menu)
        )
    if result.voice is not None:
        _queue_voice(result, turn=turn, session_id=session_id, epoch=epoch)


def _queue_voice(result: TurnResult, *, turn: Turn, session_id: UUID, epoch: int) -> None:
    """Queue the spoken answer. Its words are the transcript: what staff read, and what is sent if no voice can be."""
    voice = result.voice
    assert voice is not None
    quoted = None
    if result.quotes and result.quotable:
        quoted = Message.objects.filter(pk=result.quotable, revoked_at=None).first()
    message = Message.objects.create(
        session_id=session_id,
        conversation_id=turn.conversation_id,
        turn=turn,
        direction=Message.Direction.OUTBOUND,
        author=Message.Author.AGENT,
        kind=Message.Kind.VOICE,
        status=Message.Status.QUEUED,
        quoted=quoted,
        quoted_provider_id=(quoted.provider_message_id or "") if quoted else "",
        control_epoch=epoch,
        said_at=turn.created_at,
        created_at=turn.created_at,
    )
    media = Media(
        message=message,
        mime_type=voice.mime_type,
        filename=voice.filename,
        size_bytes=len(voice.content),
        downloadable=True,
        transcript=voice.text,
    )
    save_file(media, name=voice.filename, content=ContentFile(voice.content))


@transaction.atomic
def answer_again(*, turn: Turn) -> None:
    """Make the burst of a failed turn due again.

    Raises Conflict if nothing is left to answer or the agent does not have control, and ConversationGone.
    """
    conversation = control.lock_conversation(turn.conversation_id)
    if conversation.control != Conversation.Control.AGENT:
        raise Conflict(_("A person has control of this conversation. Release it first."))
    again = Message.objects.filter(turn=turn, direction=Message.Direction.INBOUND).update(
        status=Message.Status.RECEIVED, turn=None
    )
    if turn.outcome != Turn.Outcome.FAILED or not again:
        raise Conflict(_("Only a failed turn that has not been run again can be run again."))
    Conversation.objects.filter(pk=conversation.pk).update(
        due_at=Now(),
        burst_started_at=Now(),
        retry_at=None,
        tries=0,
        inbound_count=F("inbound_count") + 1,
        **NO_ATTENTION,
    )
    wakeups.notify(conversation.pk, session_id=conversation.session_id)
