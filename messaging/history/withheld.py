"""Messages that no model is shown any more, because its provider filters them."""

from collections.abc import Sequence
from uuid import UUID

from messaging.models import Message


def withhold(message_ids: Sequence[UUID]) -> None:
    """Show these messages to no model any more; people still see them."""
    for message in Message.objects.filter(pk__in=message_ids):
        message.details = {**(message.details or {}), "withheld": True}
        message.save(update_fields=["details"])
