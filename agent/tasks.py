"""Celery tasks: wake-ups from other processes and machines. They are hints; whether anything is due the database says.

Inside a worker runs the same engine as beside the web processes. A task only submits a conversation to it, so that
sessions take turns in its pools, and no thread of Celery's waits for a model or a bridge.
"""

from typing import Any
from uuid import UUID

from celery import shared_task
from celery.signals import worker_init, worker_shutdown
from django.utils import timezone

from agent import engine, heartbeats
from agent.backups import key_holders
from agent.models import EngineProcess
from agent.monitoring.counts import store_counts
from messaging.models import Conversation
from whatsapp_agent.telemetry import tracing

STOP_S = 10.0


@shared_task(queue="turns")
def take_turn(conversation_id: str, session_id: str | None = None) -> None:
    """Answer a conversation if it is due. Does nothing if it is not due or another worker holds the lease."""
    _wake(conversation_id, session_id, has_turn=True)


@shared_task(queue="sends")
def deliver(conversation_id: str, session_id: str | None = None) -> None:
    """Send what is queued in a conversation, then answer it if it is due."""
    _wake(conversation_id, session_id, has_turn=False)


@shared_task(queue="housekeeping")
def sweep() -> None:
    """Look at once for what no wake-up reached, for instance while Redis was away."""
    engine.current().sweep()


def _wake(conversation_id: str, session_id: str | None, *, has_turn: bool) -> None:
    heartbeats.note_wake_up()
    key = UUID(conversation_id)
    group = UUID(session_id) if session_id else _session_of(key)
    if group is not None:
        engine.current().notify(key, group, timezone.now() if has_turn else None)


def _session_of(conversation_id: UUID) -> UUID | None:
    return Conversation.objects.filter(pk=conversation_id).values_list("session_id", flat=True).first()


@worker_init.connect
def start_engine(**_: Any) -> None:
    """Start before Redis is reached: the sweep answers without it."""
    engine.start()
    heartbeats.start(EngineProcess.Kind.WORKER)
    key_holders.start(EngineProcess.Kind.WORKER)


@worker_shutdown.connect
def stop_engine(**_: Any) -> None:
    heartbeats.stop()
    key_holders.stop()
    engine.stop(timeout_s=STOP_S)
    engine.attempt(store_counts)
    tracing.stop()
