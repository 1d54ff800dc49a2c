"""Wake-ups: hints that a conversation has something to do, such as a message to send or a turn to take.

The database holds what is to be done; a wake-up only saves waiting for the next sweep, and losing one loses nothing.
Services call `notify` here so that no app has to import the engine, which stands to the right of them all.
"""

from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

from whatsapp_agent.callback import Callback

# The engine, in this process or behind a channel to its own: the conversation, its session, and when it is due.
subscriber = Callback[[UUID, UUID, datetime | None], None](default=lambda _conversation_id, _session_id, _due_at: None)


def notify(conversation_id: UUID, *, session_id: UUID, due_at: datetime | None = None) -> None:
    """Wake the engine once the current transaction is committed: now, or for a turn at `due_at`. Never waits."""
    transaction.on_commit(partial(subscriber, conversation_id, session_id, due_at))
