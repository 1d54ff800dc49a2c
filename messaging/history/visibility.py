"""Which messages of a conversation its history shows: to the model, to searches, to commands.

Not shown are messages that were never sent, that their author deleted, and commands with their results: a search would
find the results of earlier searches. Both forms below are built from the same constants.
"""

from django.db.models import QuerySet

from messaging.models import Message, Turn

HIDDEN_STATUSES = (Message.Status.FAILED, Message.Status.CANCELLED)
HIDDEN_OUTCOME = Turn.Outcome.COMMAND

# A condition on `message`, a row of messaging_message.
_STATUSES = ", ".join(f"'{status}'" for status in HIDDEN_STATUSES)
VISIBLE_MESSAGE = f"""message.revoked_at IS NULL AND message.status NOT IN ({_STATUSES})
   AND (message.turn_id IS NULL
        OR '{HIDDEN_OUTCOME}' <> (SELECT outcome FROM messaging_turn WHERE id = message.turn_id))"""  # noqa: S608


def visible(messages: QuerySet[Message]) -> QuerySet[Message]:
    """Return those of the messages that the history of their conversation shows."""
    return messages.filter(revoked_at=None).exclude(status__in=HIDDEN_STATUSES).exclude(turn__outcome=HIDDEN_OUTCOME)
