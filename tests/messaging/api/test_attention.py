"""Why staff is asked to look at a conversation, in the API and in the admin."""

from typing import Any

import pytest
from django.urls import reverse

from messaging.contacts.merging import merge_contacts
from messaging.models import Contact, Conversation, Event
from messaging.outbound import send_text
from tests.conftest import as_user

pytestmark = pytest.mark.django_db
LIST = "/api/v1/conversations/"


@pytest.fixture
def noticed(conversation: Conversation) -> Conversation:
    """A conversation that staff is asked to look at."""
    rows = Conversation.objects.filter(pk=conversation.pk)
    rows.ask_for_attention(Conversation.Attention.NOT_SENT, note="A message was not sent: refused.")
    conversation.refresh_from_db()
    return conversation


def attention_of(shown: dict[str, Any]) -> tuple[bool, str, str]:
    return shown["needs_attention"], shown["attention_reason"], shown["attention_note"]


def test_the_api_shows_why_a_conversation_needs_attention(noticed, member):
    client = as_user(member)
    expected = (True, "not_sent", "A message was not sent: refused.")
    (listed,) = client.get(LIST).json()["results"]
    assert attention_of(listed) == expected
    assert attention_of(client.get(f"{LIST}{noticed.pk}/").json()) == expected


def test_the_admin_explains_why_a_conversation_needs_attention(noticed, admin, log_in):
    client = log_in(admin)
    assert "a message was not sent" in client.get(reverse("admin:messaging_conversation_changelist")).content.decode()
    page = client.get(reverse("admin:messaging_conversation_change", args=[noticed.pk])).content.decode()
    assert "A message was not sent: refused." in page


@pytest.mark.parametrize("reason", ["", "sleepy", "handoff,loop"])
def test_a_reason_that_does_not_exist_is_refused_by_name(reason, conversation, member):
    response = as_user(member).get(LIST, {"attention_reason": reason})
    assert (response.status_code, list(response.json()["fields"])) == (400, ["attention_reason"])


def test_a_stranger_finds_no_conversation_by_its_reason(noticed, stranger):
    assert as_user(stranger).get(LIST, {"attention_reason": "not_sent"}).json()["results"] == []


def test_nothing_is_left_of_the_reason_once_staff_has_answered(noticed, member):
    send_text(conversation=noticed, text="Bia here.", by=member)
    shown = as_user(member).get(f"{LIST}{noticed.pk}/").json()
    assert attention_of(shown) == (False, "", "")


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "merged"])
def test_two_contacts_that_are_merged_keep_the_reason_of_the_one_that_needed_attention(noticed, session, is_kept):
    other = Contact.objects.create(session=session, name="Ana too")
    Conversation.objects.create(session=session, contact=other, address="5511988887778@s.whatsapp.net")
    keep, lose = (noticed.contact, other) if is_kept else (other, noticed.contact)
    merge_contacts(keep=keep, lose=lose)
    conversation = Conversation.objects.get()
    assert (conversation.needs_attention, conversation.attention_reason) == (True, "not_sent")


def test_a_wrong_clock_is_an_event_because_no_other_event_reports_it(conversation):
    Conversation.objects.all().ask_for_attention(Conversation.Attention.CLOCK, note="A message was taken for old.")
    assert Event.objects.get(type="conversation.needs_attention").data["reason"] == "clock"
