"""The admin pages of this app: importing this package registers them."""

from messaging.admin import (
    contacts,
    conversations,
    events,
    knowledge,
    library,
    message_templates,
    messages,
    teamwork,
    turns,
    webhooks,
)

__all__ = [
    "contacts",
    "conversations",
    "events",
    "knowledge",
    "library",
    "message_templates",
    "messages",
    "teamwork",
    "turns",
    "webhooks",
]
