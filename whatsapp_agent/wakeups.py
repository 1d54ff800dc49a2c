"""Wake-ups: hints that a conversation has something to do, such as a message to send or a turn to take.

The database holds what is to be done; a wake-up only saves waiting for the next sweep, and losing one loses nothing.
Services call `notify` here so that no app has to import the engine, which stands to the right of them all.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.db import transaction

_subscriber: Callable[[UUID], None] | None = None


def subscribe(subscriber: Callable[[UUID], None] | None) -> None:
    """Call `subscriber`, in this process, for each wake-up from now on. `None` ends the subscription."""
    global _subscriber
    _subscriber = subscriber


def notify(conversation_id: UUID) -> None:
    """Wake the engine once the current transaction is committed; does nothing without one in this process."""
    transaction.on_commit(partial(_notify_now, conversation_id))


def _notify_now(conversation_id: UUID) -> None:
    if _subscriber is not None:
        _subscriber(conversation_id)
