"""Who is answered is decided in SQL when a message comes (messaging/inbound.py), and in Python by
`Conversation.is_answered` when its turn begins: both follow this one table.
"""

from typing import Any

import pytest
from django.utils import timezone

from messaging.models import Contact, Conversation, Message
from sessions_app.models import WhatsAppSession
from tests.conftest import CUSTOMER

GROUP = "120363041234567890@g.us"
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


@pytest.mark.django_db
@pytest.mark.parametrize("policy", WhatsAppSession.AccessPolicy.values)
@pytest.mark.parametrize("group_policy", WhatsAppSession.GroupPolicy.values)
@pytest.mark.parametrize("is_blocked", [False, True])
def test_a_group_that_calls_the_session_is_answered_by_the_same_rule_at_both_times(
    says: Any, session: WhatsAppSession, policy: str, group_policy: str, is_blocked: bool
) -> None:
    WhatsAppSession.objects.update(group_policy=group_policy)
    says("Hello", chat=GROUP, sender=CUSTOMER, called=(session.phone,))
    WhatsAppSession.objects.update(access_policy=policy)
    Contact.objects.filter(is_group=True).update(is_blocked=is_blocked)
    message = says("Hello?", chat=GROUP, sender=CUSTOMER, called=(session.phone,))
    answered_when_it_came = Message.objects.get(pk=message.message_id).unanswered == ""
    answered_when_its_turn_begins = Conversation.objects.get(pk=message.conversation_id).is_answered
    expected = policy == "everyone" and group_policy != "off" and not is_blocked
    assert (answered_when_it_came, answered_when_its_turn_begins) == (expected, expected)
