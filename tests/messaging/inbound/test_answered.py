"""Who is answered is decided in SQL when a message comes (messaging/inbound.py), and in Python by
`Conversation.is_answered` when its turn begins: both follow this one table.
"""

from typing import Any

import pytest
from django.utils import timezone

from messaging.models import Contact, Conversation, Message
from sessions_app.models import WhatsAppSession

CASES = [
    (policy, is_allowed, is_blocked, has_ended)
    for policy in WhatsAppSession.AccessPolicy.values
    for is_allowed in (False, True)
    for is_blocked in (False, True)
    for has_ended in (False, True)
]


def _should_be_answered(policy: str, is_allowed: bool, is_blocked: bool, has_ended: bool) -> bool:
    if is_blocked or has_ended:
        return False
    return {"everyone": True, "listed": is_allowed, "nobody": False}[policy]


@pytest.mark.django_db
@pytest.mark.parametrize(("policy", "is_allowed", "is_blocked", "has_ended"), CASES)
def test_a_contact_is_answered_by_the_same_rule_when_a_message_comes_and_when_its_turn_begins(
    says: Any, conversation: Conversation, policy: str, is_allowed: bool, is_blocked: bool, has_ended: bool
) -> None:
    WhatsAppSession.objects.update(access_policy=policy, ended_at=timezone.now() if has_ended else None)
    Contact.objects.update(is_allowed=is_allowed, is_blocked=is_blocked)
    says("Hello")
    answered_when_it_came = Message.objects.get().unanswered == ""
    answered_when_its_turn_begins = Conversation.objects.get(pk=conversation.pk).is_answered
    expected = _should_be_answered(policy, is_allowed, is_blocked, has_ended)
    assert (answered_when_it_came, answered_when_its_turn_begins) == (expected, expected)
