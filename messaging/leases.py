"""The right to work on a conversation until a time, and what a turn leaves behind when it still holds that right."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from messaging.models import Conversation, Message, ToolCall, Turn
from whatsapp_agent import doorbell
from whatsapp_agent.errors import Conflict

TAKE = """
UPDATE messaging_conversation
   SET lease_token = %(token)s, lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s),
       tries = tries + 1
 WHERE id = %(id)s AND due_at <= statement_timestamp() AND control = 'agent'
   AND (lease_expires_at IS NULL OR lease_expires_at < statement_timestamp())
RETURNING control_epoch, tries
"""
RENEW = """
UPDATE messaging_conversation SET lease_expires_at = statement_timestamp() + make_interval(secs => %(lease_s)s)
 WHERE lease_token = ANY(%(tokens)s) RETURNING lease_token
"""
# The turn is over when nothing came meanwhile, or when it may not start again: then what came stays due.
SETTLE = """
UPDATE messaging_conversation
   SET lease_token = NULL, lease_expires_at = NULL, tries = 0, retry_at = NULL,
       due_at = CASE WHEN inbound_count = %(seen)s THEN NULL ELSE GREATEST(due_at, statement_timestamp()) END,
       burst_started_at = CASE WHEN inbound_count = %(seen)s THEN NULL ELSE burst_started_at END,
       answered_count = %(seen)s,
       needs_attention = needs_attention OR %(needs_attention)s,
       last_message_at = CASE WHEN %(speaks)s THEN statement_timestamp() ELSE last_message_at END
 WHERE id = %(id)s AND lease_token = %(token)s AND control_epoch = %(epoch)s AND control = 'agent'
   AND (inbound_count = %(seen)s OR %(even_if_stale)s)
"""
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


def take(conversation_id: UUID) -> Lease | None:
    """Take a conversation that is due; None when it is not, or someone else is at it."""
    token = uuid4()
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"id": conversation_id, "token": token, "lease_s": settings.AGENT_LEASE_S})
        row = cursor.fetchone()
    return Lease(conversation_id=conversation_id, token=token, epoch=row[0], tries=row[1]) if row else None


def renew(tokens: Iterable[UUID]) -> set[UUID]:
    """Prolong leases; returns those still held."""
    with connection.cursor() as cursor:
        cursor.execute(RENEW, {"tokens": list(tokens), "lease_s": settings.AGENT_LEASE_S})
        return {row[0] for row in cursor.fetchall()}


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

    `perform` does in the same transaction what the turn brings about beside words; what it returns is said too.
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
    perform: Callable[[Turn], Sequence[str]] | None = None


def settle(lease: Lease, settlement: Settlement, *, session_id: UUID, even_if_stale: bool) -> Turn | None:
    """In one transaction: the replies queued, the turn with what it used, the burst handled, the lease given back.

    None, and nothing is left behind, when the lease or the control was lost, or when more was said meanwhile and
    `even_if_stale` is false.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                SETTLE,
                {
                    "id": lease.conversation_id,
                    "token": lease.token,
                    "epoch": lease.epoch,
                    "seen": settlement.seen,
                    "even_if_stale": even_if_stale,
                    "needs_attention": settlement.needs_attention,
                    "speaks": bool(settlement.replies) or settlement.perform is not None,
                },
            )
            if not cursor.rowcount:
                return None
        turn = Turn.objects.create(
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
        Message.objects.filter(pk__in=settlement.burst).update(status=Message.Status.HANDLED, turn=turn)
        for tool_call in settlement.tool_calls:
            tool_call.turn = turn
        ToolCall.objects.bulk_create(settlement.tool_calls)
        replies, epoch = settlement.replies, lease.epoch
        if settlement.perform is not None:
            replies = [*replies, *settlement.perform(turn)]
            # Whoever gives the conversation away says so under the new epoch; what else is queued there is cancelled.
            epoch = Conversation.objects.values_list("control_epoch", flat=True).get(pk=lease.conversation_id)
        if replies:
            Message.objects.bulk_create(
                Message(
                    session_id=session_id,
                    conversation_id=lease.conversation_id,
                    turn=turn,
                    direction=Message.Direction.OUTBOUND,
                    author=Message.Author.AGENT,
                    status=Message.Status.QUEUED,
                    control_epoch=epoch,
                    text=reply,
                )
                for reply in replies
            )
    return turn


@transaction.atomic
def answer_again(*, turn: Turn) -> None:
    """Make the burst of a failed turn due once more. Raises Conflict when nothing is left, or no agent speaks here."""
    conversation = Conversation.objects.select_for_update().get(pk=turn.conversation_id)
    if conversation.control != Conversation.Control.AGENT:
        raise Conflict("A person speaks in this conversation; release it first.")
    again = Message.objects.filter(turn=turn, direction=Message.Direction.INBOUND).update(
        status=Message.Status.RECEIVED, turn=None
    )
    if turn.outcome != Turn.Outcome.FAILED or not again:
        raise Conflict("Only a failed turn that has not been run again can be run again.")
    now = timezone.now()
    Conversation.objects.filter(pk=conversation.pk).update(
        due_at=now,
        burst_started_at=now,
        retry_at=None,
        tries=0,
        inbound_count=F("inbound_count") + 1,
        needs_attention=False,
    )
    doorbell.ring(conversation.pk)
