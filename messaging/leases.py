"""Leases on conversations: take, renew, postpone; complete a turn while its lease is held."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from messaging import control, loops
from messaging.models import Conversation, Message, ToolCall, Turn
from messaging.models.conversations import NO_ATTENTION
from whatsapp_agent import wakeups
from whatsapp_agent.errors import Conflict
from whatsapp_agent.postgres.prepared import Statement

log = structlog.get_logger(__name__)

TAKE = Statement("""
UPDATE messaging_conversation
   SET lease_token = %(token)s, lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s),
       tries = tries + 1
 WHERE id = %(id)s AND due_at <= statement_timestamp() AND control = 'agent'
   AND (lease_expires_at IS NULL OR lease_expires_at < statement_timestamp())
RETURNING control_epoch, tries,
          (SELECT count(*) FROM (SELECT FROM messaging_turn turn
                                  WHERE turn.conversation_id = %(id)s AND turn.created_at > %(since)s LIMIT 3) turn)
""")
RENEW = """
UPDATE messaging_conversation SET lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE id = ANY(%(ids)s) AND lease_token = ANY(%(tokens)s) RETURNING lease_token
"""
# Columns of a turn are `turn_<column>` here; a cast to varchar(n) cuts what is longer.
_TURN_FIELDS = Turn._meta.concrete_fields
_TURN_COLUMNS = ", ".join(str(field.column) for field in _TURN_FIELDS)
_TURN_VALUES = ", ".join(f"%(turn_{field.column})s::{field.db_type(connection) or ''}" for field in _TURN_FIELDS)
# In one round trip: everything, or nothing if the lease or the control is lost. The burst is over if no message came
# meanwhile, or if the turn may not start again: then what came stays due.
COMPLETE_TURN = Statement(f"""
WITH settled AS (
    UPDATE messaging_conversation
       SET lease_token = NULL, lease_expires_at = NULL, tries = 0, retry_at = NULL,
           due_at = CASE WHEN inbound_count = %(seen)s THEN NULL ELSE GREATEST(due_at, statement_timestamp()) END,
           burst_started_at = CASE WHEN inbound_count = %(seen)s THEN NULL ELSE burst_started_at END,
           answered_count = %(seen)s,
           needs_attention = needs_attention OR %(needs_attention)s,
           attention_reason = CASE WHEN %(needs_attention)s THEN 'turn_failed' ELSE attention_reason END,
           last_message_at = CASE WHEN %(speaks)s THEN statement_timestamp() ELSE last_message_at END
     WHERE id = %(turn_conversation_id)s AND lease_token = %(token)s AND control_epoch = %(epoch)s AND control = 'agent'
       AND (inbound_count = %(seen)s OR %(even_if_stale)s)
    RETURNING id, session_id
), turn AS (
    INSERT INTO messaging_turn ({_TURN_COLUMNS})
    SELECT {_TURN_VALUES}
      FROM settled
    RETURNING id
), handled AS (
    UPDATE messaging_message SET status = 'handled', turn_id = turn.id
      FROM turn WHERE messaging_message.id = ANY(%(burst)s::uuid[])
), replies AS (
    INSERT INTO messaging_message (
        id, session_id, conversation_id, turn_id, direction, author, kind, status, unanswered, text, details,
        quoted_provider_id, control_epoch, tries, error_code, error, said_at, created_at)
    SELECT reply.id, settled.session_id, settled.id, turn.id, 'outbound', 'agent', 'text', 'queued', '', reply.text,
           '{{}}', '', %(epoch)s, 0, '', '', %(turn_created_at)s, %(turn_created_at)s
      FROM settled, turn, unnest(%(reply_ids)s::uuid[], %(replies)s::text[]) AS reply(id, text)
)
SELECT session_id FROM settled, turn
""")  # noqa: S608  nothing in it is input
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


def take(conversation_id: UUID) -> Lease | None:
    """Take a conversation that is due; return None if it is not, or if another worker holds its lease."""
    token = uuid4()
    since = timezone.now() - loops.WINDOW
    rows = TAKE.rows(id=conversation_id, token=token, lease_s=settings.AGENT_LEASE_S, since=since)
    for epoch, tries, recent_turns in rows:
        return Lease(conversation_id=conversation_id, token=token, epoch=epoch, tries=tries, recent_turns=recent_turns)
    return None


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
class Settlement:
    """The result of a turn. Fields named like columns of Turn become them.

    `replies` are the parts to send, in order; `burst` the inbound messages that are handled; `seen` the conversation's
    `inbound_count` when they were read. `apply_effects` runs in the same transaction and returns more replies.
    """

    outcome: Turn.Outcome
    burst: Sequence[UUID]
    seen: int
    started_at: datetime
    replies: Sequence[str] = ()
    reason: str = ""
    agent_profile_id: UUID | None = None
    profile_version: int = 1
    model: str = ""
    steps: int = 0
    used: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    model_ms: int = 0
    needs_attention: bool = False
    tool_calls: Sequence[ToolCall] = ()
    apply_effects: Callable[[Turn], Sequence[str]] | None = None


def settle(lease: Lease, settlement: Settlement, *, even_if_stale: bool) -> Turn | None:
    """Complete a turn in one transaction: store it, queue the replies, mark the burst handled, give the lease back.

    Returns None and stores nothing if the lease or the control is lost, or if messages came meanwhile and
    `even_if_stale` is false.
    """
    values = {column.attname: getattr(settlement, column.attname, None) for column in _TURN_FIELDS}
    values |= {"conversation_id": lease.conversation_id, "tries": lease.tries}
    turn = Turn(**{name: value for name, value in values.items() if value is not None})
    more = bool(settlement.tool_calls) or settlement.apply_effects is not None
    replies = settlement.replies if settlement.apply_effects is None else ()
    with transaction.atomic() if more else nullcontext():  # one statement is a transaction of its own
        settled = COMPLETE_TURN.rows(
            token=lease.token,
            epoch=lease.epoch,
            seen=settlement.seen,
            even_if_stale=even_if_stale,
            needs_attention=settlement.needs_attention,
            speaks=bool(settlement.replies) or settlement.apply_effects is not None,
            **{
                f"turn_{column.column}": column.get_db_prep_save(getattr(turn, column.attname), connection)
                for column in _TURN_FIELDS
            },
            burst=list(settlement.burst),
            reply_ids=[uuid7() for _ in replies],
            replies=list(replies),
        )
        if settled and more:
            _store_effects(settlement, turn=turn, session_id=settled[0][0])
    return turn if settled else None


def _store_effects(settlement: Settlement, *, turn: Turn, session_id: UUID) -> None:
    """Store what few turns have: tool calls, and the effects and replies of a command."""
    turn._state.adding = False
    for tool_call in settlement.tool_calls:
        tool_call.turn = turn
    ToolCall.objects.bulk_create(settlement.tool_calls)
    if settlement.apply_effects is None:
        return
    replies = [*settlement.replies, *settlement.apply_effects(turn)]
    # A hand-off has raised the epoch: its own reply leaves under the new one, everything older is cancelled.
    epoch = Conversation.objects.values_list("control_epoch", flat=True).get(pk=turn.conversation_id)
    Message.objects.bulk_create(
        Message(
            session_id=session_id,
            conversation_id=turn.conversation_id,
            turn=turn,
            direction=Message.Direction.OUTBOUND,
            author=Message.Author.AGENT,
            status=Message.Status.QUEUED,
            control_epoch=epoch,
            text=reply,
        )
        for reply in replies
    )


@transaction.atomic
def answer_again(*, turn: Turn) -> None:
    """Make the burst of a failed turn due once more.

    Raises Conflict when nothing is left, or no agent speaks here, and ConversationGone.
    """
    conversation = control.hold(turn.conversation_id)
    if conversation.control != Conversation.Control.AGENT:
        raise Conflict("A person speaks in this conversation; release it first.")
    again = Message.objects.filter(turn=turn, direction=Message.Direction.INBOUND).update(
        status=Message.Status.RECEIVED, turn=None
    )
    if turn.outcome != Turn.Outcome.FAILED or not again:
        raise Conflict("Only a failed turn that has not been run again can be run again.")
    Conversation.objects.filter(pk=conversation.pk).update(
        due_at=Now(),
        burst_started_at=Now(),
        retry_at=None,
        tries=0,
        inbound_count=F("inbound_count") + 1,
        **NO_ATTENTION,
    )
    wakeups.notify(conversation.pk)
