"""The admin shows times in TIME_ZONE, and does not call them UTC."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import reverse

from messaging import control
from messaging.models import Conversation, Message

AT = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)


@pytest.mark.parametrize("change", [control.take_over, control.mute])
def test_the_page_of_a_conversation_shows_times_in_the_zone_of_the_settings(
    conversation: Conversation, admin: Any, log_in: Any, settings: Any, change: Any
) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    Message.objects.create(
        session=conversation.session, conversation=conversation, direction="inbound", author="contact", text="Hello",
        status="handled", said_at=AT,
    )  # fmt: skip
    change(conversation=conversation, until=AT)
    page = log_in(admin).get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert "until 21 Nov 01:30" in page
    assert '<time datetime="2026-11-21T01:30:00+05:30"' in page
