"""An outage of the model: the contact reads the fallback text once, staff is asked to look, and the turn waits.

The model may refuse its key, its name or the account. That passes, but not by itself: it is asked again for an hour.
"""

import random
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone

from agent.llm.base import ModelError
from messaging import leases
from messaging.leases import Lease
from messaging.models import Conversation, Message, Turn
from messaging.outbound import split_for
from whatsapp_agent import wakeups

log = structlog.get_logger(__name__)

MAX_WAIT_S = 3600.0  # for an operator to correct the model's key, name or account
MAX_PAUSE_S = 600.0
MIN_PAUSE_S = 0.001  # above 0, so that the conversation is known to be retried
FALLBACK_REPEATED_AFTER = timedelta(days=1)  # in an outage that lasts so long
ATTENTION_NOTE = "The model refuses its key, its name or the account"


def pause_s(conversation: Conversation, exc: ModelError) -> float | None:
    """Return the pause until the model is asked again, None when it has been tried for MAX_WAIT_S.

    As long as the burst has waited already, so that the pauses double.
    """
    waited_s = 0.0
    if conversation.retry_at is not None and conversation.burst_started_at is not None:
        waited_s = (timezone.now() - conversation.burst_started_at).total_seconds()
    if waited_s >= MAX_WAIT_S:
        return None
    pause_s = max(settings.AGENT_RETRY_BASE_S, min(waited_s, MAX_PAUSE_S), exc.retry_after_s or 0.0)
    pause_s = min(pause_s, MAX_WAIT_S - waited_s)
    return max(pause_s * random.uniform(0.8, 1.2), MIN_PAUSE_S)  # noqa: S311


@transaction.atomic
def wait(lease: Lease, *, conversation: Conversation, exc: ModelError, delay_s: float) -> datetime | None:
    """Queue the fallback text, ask for attention and give the lease back; return when to try again.

    The burst stays unanswered: the answer follows once the model is right again. Raises LeaseLost.
    """
    leases.ensure_held(lease)
    log.warning("model_needs_operator", conversation=str(conversation.pk), code=exc.code)
    row = Conversation.objects.filter(pk=conversation.pk)
    row.ask_for_attention(
        Conversation.Attention.MODEL_REFUSES, note=f"{ATTENTION_NOTE} ({exc.code}); it is asked again for an hour."
    )
    if parts := new_fallback(conversation):
        Message.objects.bulk_create(
            Message(
                session_id=conversation.session_id,
                conversation_id=conversation.pk,
                direction=Message.Direction.OUTBOUND,
                author=Message.Author.AGENT,
                status=Message.Status.QUEUED,
                control_epoch=lease.epoch,
                text=part,
                details={"fallback": True},
            )
            for part in parts
        )
        row.update(last_message_at=timezone.now())
        wakeups.notify(conversation.pk, session_id=conversation.session_id)
    return leases.postpone(lease, delay_s=delay_s, forgive=True)


def new_fallback(conversation: Conversation) -> list[str]:
    """Return the parts of the fallback text; none if it was sent since the agent's last answer."""
    parts = split_for(conversation, conversation.session.agent_profile.fallback_text)
    if not parts:
        return []
    answers = Turn.objects.filter(conversation=conversation, outcome=Turn.Outcome.ANSWERED)
    answered_at = answers.aggregate(at=Max("created_at"))["at"]
    since = timezone.now() - FALLBACK_REPEATED_AFTER
    sent = Message.objects.filter(
        Q(details__fallback=True) | Q(text=parts[-1]),
        conversation=conversation,
        author=Message.Author.AGENT,
        created_at__gt=max(since, answered_at) if answered_at else since,
    ).exclude(status__in=[Message.Status.FAILED, Message.Status.CANCELLED])
    return [] if sent.exists() else parts
