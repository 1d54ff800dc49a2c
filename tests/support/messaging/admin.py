"""The admin pages of messaging, as tests open them."""

from collections.abc import Callable
from typing import Any

from django.test import Client
from django.urls import reverse

from accounts.models import User
from messaging.models import (
    Conversation,
    Message,
)

LogIn = Callable[[User], Client]


MODELS = ["contact", "conversation", "message", "media", "turn", "fact"]


def create_outbound(conversation: Conversation, **values: Any) -> Message:
    defaults = {"direction": "outbound", "author": "agent", "status": "failed", "text": "Hello."}
    return Message.objects.create(session=conversation.session, conversation=conversation, **(defaults | values))


def list_url(model: str) -> str:
    return reverse(f"admin:messaging_{model}_changelist")


def page_url(row: Any) -> str:
    return reverse(f"admin:messaging_{row._meta.model_name}_change", args=[row.pk])


def empty_inline(prefix: str) -> dict[str, str]:
    return {f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}
