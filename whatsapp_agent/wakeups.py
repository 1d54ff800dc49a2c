"""Wake-ups: hints that a conversation has something to do, such as a message to send or a turn to take.

The database holds what is to be done; a wake-up only saves waiting for the next sweep, and losing one loses nothing.
Services call `notify` here so that no app has to import the engine, which stands to the right of them all.
"""

from functools import partial
from uuid import UUID

from django.db import transaction

from whatsapp_agent.callback import Callback

subscriber = Callback[[UUID], None](default=lambda _: None)  # the engine of this process, if it has one


def notify(conversation_id: UUID) -> None:
    """Wake the engine once the current transaction is committed; does nothing without one in this process."""
    transaction.on_commit(partial(subscriber, conversation_id))
