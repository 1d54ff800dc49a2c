"""Messages as tests need them in the database."""

from django.utils import timezone

from messaging.models import Conversation, Message


def queued(conversation: Conversation, **changes: object) -> Message:
    values = {
        "direction": "outbound",
        "author": "agent",
        "status": "sending",
        "text": "Hi",
        "sending_at": timezone.now(),
    }
    return Message.objects.create(session=conversation.session, conversation=conversation, **values | changes)
