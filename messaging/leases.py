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
from psycopg2.extras import Json
from uuid_utils.compat import uuid7

from messaging import control, loops
from messaging.models import Conversation, Message, ToolCall, Turn
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
# What a turn leaves behind, in one round trip: all of it, or nothing when the conversation was not ours any more. The
# turn is over when nothing came meanwhile, or when it may not start again: then what came stays due.
SETTLE = Statement("""
WITH settled AS (
    UPDATE messaging_conversation
       SET lease_token = NULL, lease_expires_at = NULL, tries = 0, retry_at = NULL,
           due_at = CASE WHEN inbound_count = %(seen)s THEN NULL ELSE GREATEST(due_at, statement_timestamp()) END,
           burst_started_at = CASE WHEN inbound_count = %(seen)s THEN NULL ELSE burst_started_at END,
           answered_count = %(seen)s,
           needs_attention = needs_attention OR %(needs_attention)s,
           attention_reason = CASE WHEN %(needs_attention)s THEN 'turn_failed' ELSE attention_reason END,
           last_message_at = CASE WHEN %(speaks)s THEN statement_timestamp() ELSE last_message_at END
     WHERE id = %(conversation_id)s AND lease_token = %(token)s AND control_epoch = %(epoch)s AND control = 'agent'
       AND (inbound_count = %(seen)s OR %(even_if_stale)s)
    RETURNING id, session_id
), turn AS (
    INSERT INTO messaging_turn (
        id, conversation_id, agent_profile_id, profile_version, model, outcome, reason, tries, steps, used,
        prompt_tokens, completion_tokens, cached_tokens, model_ms, started_at, created_at)
    SELECT %(turn_id)s::uuid, id, %(agent_profile_id)s::uuid, %(profile_version)s::int, %(model)s::text,
           %(outcome)s::text, %(reason)s::text, %(tries)s::int, %(steps)s::int, %(used)s::jsonb,
           %(prompt_tokens)s::int, %(completion_tokens)s::int, %(cached_tokens)s::int, %(model_ms)s::int,
           %(started_at)s::timestamptz, %(created_at)s::timestamptz
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
           '{}', '', %(epoch)s, 0, '', '', %(created_at)s, %(created_at)s
      FROM settled, turn, unnest(%(reply_ids)s::uuid[], %(replies)s::text[]) AS reply(id, text)
)
SELECT session_id FROM settled, turn
""")
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
    """Take a conversation that is due; None when it is not, or someone else is at it."""
    token = uuid4()
    since = timezone.now() - loops.WINDOW
    rows = TAKE.rows(id=conversation_id, token=token, lease_s=settings.AGENT_LEASE_S, since=since)
    for epoch, tries, recent_turns in rows:
        return Lease(conversation_id=conversation_id, token=token, epoch=epoch, tries=tries, recent_turns=recent_turns)
    return None


def renew(*held: Lease) -> set[UUID]:
    """Prolong leases; returns the tokens of those still held."""
    ids, tokens = [lease.conversation_id for lease in held], [lease.token for lease in held]
    with connection.cursor() as cursor:
        cursor.execute(RENEW, {"ids": ids, "tokens": tokens, "lease_s": settings.AGENT_LEASE_S})
        return {row[0] for row in cursor.fetchall()}


class LeaseLost(Exception):
    """A person took over, or another worker did after we were thought dead: nothing more may be done here."""


def ensure_held(lease: Lease) -> None:
    """Hold the conversation still until the end of the transaction. Raises LeaseLost when it is no longer ours."""
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
    """Give the lease back; the conversation is due again after `delay_s`. `forgive`: this try does not count."""
    with connection.cursor() as cursor:
        cursor.execute(
            POSTPONE,
            {"id": lease.conversation_id, "token": lease.token, "delay_s": delay_s, "forgive": int(forgive)},
        )
        row = cursor.fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a turn comes to. `replies` are the parts to send, in order; `burst` the inbound messages it dealt with.

    `apply_effects` does in the same transaction what the turn brings about beside words; what it returns is said too.
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
    """In one transaction: the replies queued, the turn with what it used, the burst handled, the lease given back.

    None, and nothing is left behind, when the lease or the control was lost, or when more was said meanwhile and
    `even_if_stale` is false.
    """
    turn = Turn(
        conversation_id=lease.conversation_id,
        agent_profile_id=settlement.agent_profile_id,
        profile_version=settlement.profile_version,
        model=settlement.model[:100],
        outcome=settlement.outcome,
        reason=settlement.reason[:300],
        tries=lease.tries,
        steps=settlement.steps,
        used=settlement.used,
        prompt_tokens=settlement.prompt_tokens,
        completion_tokens=settlement.completion_tokens,
        cached_tokens=settlement.cached_tokens,
        model_ms=settlement.model_ms,
        started_at=settlement.started_at,
    )
    more = bool(settlement.tool_calls) or settlement.apply_effects is not None
    replies = settlement.replies if settlement.apply_effects is None else ()
    with transaction.atomic() if more else nullcontext():  # one statement is a transaction of its own
        settled = SETTLE.rows(
            conversation_id=lease.conversation_id,
            token=lease.token,
            epoch=lease.epoch,
            seen=settlement.seen,
            even_if_stale=even_if_stale,
            needs_attention=settlement.needs_attention,
            speaks=bool(settlement.replies) or settlement.apply_effects is not None,
            turn_id=turn.pk,
            agent_profile_id=turn.agent_profile_id,
            profile_version=turn.profile_version,
            model=turn.model,
            outcome=str(turn.outcome),
            reason=turn.reason,
            tries=turn.tries,
            steps=turn.steps,
            used=Json(turn.used),
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            cached_tokens=turn.cached_tokens,
            model_ms=turn.model_ms,
            started_at=turn.started_at,
            created_at=turn.created_at,
            burst=list(settlement.burst),
            reply_ids=[uuid7() for _ in replies],
            replies=list(replies),
        )
        if settled and more:
            _settle_more(settlement, turn=turn, session_id=settled[0][0])
    return turn if settled else None


def _settle_more(settlement: Settlement, *, turn: Turn, session_id: UUID) -> None:
    """What few turns bring about: calls of tools, and a command with what it says."""
    turn._state.adding = False
    for tool_call in settlement.tool_calls:
        tool_call.turn = turn
    ToolCall.objects.bulk_create(settlement.tool_calls)
    if settlement.apply_effects is None:
        return
    replies = [*settlement.replies, *settlement.apply_effects(turn)]
    # Whoever gives the conversation away says so under the new epoch; what else is queued there is cancelled.
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
        needs_attention=False,
    )
    wakeups.notify(conversation.pk)
