"""What staff does on the admin pages: write, take over, retry, forget, block."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging import control
from messaging.models import (
    Contact,
    Conversation,
    Message,
)
from sessions_app.models import WhatsAppSession
from tests.support.messaging.admin import LogIn, create_outbound, empty_inline, list_url, page_url


def test_writing_as_staff_queues_it_and_takes_over(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    log_in(staff_member).post(
        reverse("admin:conversation-write", args=[conversation.pk]), {"text": "Hi, Mia here.\r\nBye"}
    )
    conversation.refresh_from_db()
    message = Message.objects.get()
    assert (message.text, message.status, message.author) == ("Hi, Mia here.\nBye", "queued", "staff")
    assert (message.sent_by, conversation.control, conversation.controlled_by) == (staff_member, "human", staff_member)


def test_a_text_that_cannot_be_sent_stays_in_the_form_beside_the_reason(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.update(status="disconnected")
    answer = log_in(staff_member).post(
        reverse("admin:conversation-write", args=[conversation.pk]),
        {"text": "A long one"},
        headers={"HX-Request": "true"},
    )
    page = answer.content.decode()
    assert ("not connected" in page, "A long one" in page, Message.objects.count()) == (True, True, 0)


def test_a_page_without_scripts_shows_the_error_too(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.update(status="disconnected")
    address = reverse("admin:conversation-write", args=[conversation.pk])
    answer = log_in(staff_member).post(address, {"text": "Hello"}, follow=True)
    assert "not connected" in answer.content.decode()


def test_writing_needs_the_csrf_token(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member)
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff_member)
    answer = client.post(reverse("admin:conversation-write", args=[conversation.pk]), {"text": "Hello"})
    assert (answer.status_code, Message.objects.count()) == (403, 0)


@pytest.mark.parametrize("view", ["write", "control"])
def test_a_link_alone_changes_nothing(conversation: Conversation, staff_member: User, log_in: LogIn, view: str) -> None:
    answer = log_in(staff_member).get(
        reverse(f"admin:conversation-{view}", args=[conversation.pk]) + "?to=human&text=x"
    )
    conversation.refresh_from_db()
    assert (answer.status_code, conversation.control, Message.objects.count()) == (405, "agent", 0)


def test_taking_over_for_an_hour_ends_by_itself(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    address = reverse("admin:conversation-control", args=[conversation.pk])
    log_in(staff_member).post(address, {"to": "human", "hours": "1"})
    conversation.refresh_from_db()
    assert (conversation.control, conversation.controlled_by) == ("human", staff_member)
    assert timedelta(minutes=59) < conversation.control_until - timezone.now() < timedelta(minutes=61)


def test_a_release_gives_control_back_to_the_agent(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    control.take_over(conversation=conversation, by=staff_member)
    log_in(staff_member).post(reverse("admin:conversation-control", args=[conversation.pk]), {"to": "agent"})
    conversation.refresh_from_db()
    assert conversation.control == "agent"


@pytest.mark.parametrize(
    "form", [{"to": "nobody"}, {"to": "human", "hours": "1e9"}, {"to": "human", "hours": "-1"}, {}]
)
def test_an_invalid_control_is_refused(
    conversation: Conversation, staff_member: User, log_in: LogIn, form: dict[str, str]
) -> None:
    answer = log_in(staff_member).post(reverse("admin:conversation-control", args=[conversation.pk]), form)
    conversation.refresh_from_db()
    assert (answer.status_code, conversation.control_epoch) == (404, 0)


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


def _again(conversation: Conversation, what: str, row: Any) -> str:
    return reverse("admin:conversation-retry", args=[conversation.pk, what, row.pk])


def test_failed_turns_and_messages_are_retried_from_the_transcript(
    example: dict[str, Any], staff_member: User, log_in: LogIn
) -> None:
    conversation, client = example["conversation"], log_in(staff_member)
    failed = create_outbound(conversation)
    urls = [_again(conversation, "turn", example["turn"]), _again(conversation, "message", failed)]
    page = client.get(page_url(conversation)).content.decode()
    for url in urls:
        client.post(url)
    example["question"].refresh_from_db()
    failed.refresh_from_db()
    assert [url in page for url in urls] == [True, True]
    assert (example["question"].status, failed.status) == ("received", "queued")


@pytest.mark.parametrize(("user", "status"), [("staff_stranger", 404), ("viewer", 403)])
def test_strangers_and_viewers_retry_nothing(
    example: dict[str, Any], request: pytest.FixtureRequest, log_in: LogIn, user: str, status: int
) -> None:
    conversation, client = example["conversation"], log_in(request.getfixturevalue(user))
    failed = create_outbound(conversation)
    urls = [_again(conversation, "turn", example["turn"]), _again(conversation, "message", failed)]
    assert [client.post(url).status_code for url in urls] == [status, status]
    assert not Message.objects.filter(status__in=["queued", "received"]).exists()


def test_another_conversation_s_message_is_not_sent_by_this_one(
    example: dict[str, Any], staff_member: User, log_in: LogIn
) -> None:
    other_session = WhatsAppSession.objects.create(
        bridge=example["conversation"].session.bridge,
        name="other",
        agent_profile=example["conversation"].session.agent_profile,
    )
    contact = Contact.objects.create(session=other_session, phone="+5511900000000")
    other = Conversation.objects.create(session=other_session, contact=contact, address="5511900000000@s.whatsapp.net")
    failed = create_outbound(other)
    answer = log_in(staff_member).post(_again(example["conversation"], "message", failed))
    failed.refresh_from_db()
    assert (answer.status_code, failed.status) == (404, "failed")


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
