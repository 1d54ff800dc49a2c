"""A notify for a conversation that has something to do: a message to deliver, a turn to take.

The database holds what is to be done; a notify only saves waiting for the next sweep, and losing one loses nothing.
Services notify from here so that no app has to import the engine, which stands to the right of them all.
"""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.db import transaction

_answer: Callable[[UUID], None] | None = None


def subscribe(answer: Callable[[UUID], None] | None) -> None:
    """From now on `answer` is called, in this process, for each notify. `None` takes the bell down."""
    global _answer
    _answer = answer


def notify(conversation_id: UUID) -> None:
    """Ring once the present transaction is committed; without an engine in this process, do nothing."""
    transaction.on_commit(partial(_notify_now, conversation_id))


def _notify_now(conversation_id: UUID) -> None:
    if _answer is not None:
        _answer(conversation_id)
