"""What staff does on the admin pages: write, take over, retry, forget, block."""

from typing import Any

import pytest

from accounts.models import User
from messaging.models import (
    Conversation,
    Message,
)
from tests.support.messaging.admin import LogIn, create_outbound, empty_inline, list_url, page_url


@pytest.mark.parametrize(("action", "control_after"), [("take_over", "human"), ("mute", "muted"), ("release", "agent")])
def test_the_actions_of_the_list_change_control(
    conversation: Conversation, staff_member: User, log_in: LogIn, action: str, control_after: str
) -> None:
    before = {"take_over": "agent", "mute": "agent", "release": "human"}[action]
    Conversation.objects.update(control=before)
    log_in(staff_member).post(list_url("conversation"), {"action": action, "_selected_action": [str(conversation.pk)]})
    conversation.refresh_from_db()
    assert conversation.control == control_after


def test_failed_messages_are_sent_again(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    failed, arrived = create_outbound(conversation), create_outbound(conversation, status="delivered")
    chosen = [str(failed.pk), str(arrived.pk)]
    log_in(staff_member).post(list_url("message"), {"action": "send_again", "_selected_action": chosen})
    assert [Message.objects.get(pk=row.pk).status for row in (failed, arrived)] == ["queued", "delivered"]


def test_a_failed_turn_is_run_again_once(example: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    client, form = log_in(staff_member), {"action": "answer_again", "_selected_action": [str(example["turn"].pk)]}
    client.post(list_url("turn"), form)
    again = client.post(list_url("turn"), form, follow=True)
    example["question"].refresh_from_db()
    assert example["question"].status == "received"
    assert "not been run again" in again.content.decode()


def test_a_fact_is_forgotten(example: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member).post(
        list_url("fact"), {"action": "forget", "_selected_action": [str(example["fact"].pk)], "confirmed": "1"}
    )
    example["fact"].refresh_from_db()
    assert example["fact"].forgotten_at is not None


def test_blocking_a_contact_is_done_on_its_page(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    contact = conversation.contact
    form = {"is_blocked": "on", "name": "Forged", "phone": "+1"} | empty_inline("aliases") | empty_inline("facts")
    log_in(staff_member).post(page_url(contact), form)
    contact.refresh_from_db()
    assert (contact.is_blocked, contact.name) == (True, "Ana")
