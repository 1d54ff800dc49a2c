"""What the search of the admin finds, and how many queries its pages take."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from messaging.models import (
    Contact,
    Conversation,
    Fact,
    Media,
    Turn,
)
from messaging.search.index import index_waiting
from sessions_app.models import WhatsAppSession
from tests.support.messaging.admin import MODELS, LogIn, create_outbound, list_url, page_url


@pytest.mark.parametrize("words", ["delivers", "DELIVERED on saturday", "Ana", "+55 11 98888-7777", "wamid.7"])
def test_messages_are_found_by_words_contact_and_id(
    conversation: Conversation, staff_member: User, log_in: LogIn, words: str
) -> None:
    message = create_outbound(
        conversation, text="We deliver on Saturdays.", provider_message_id="wamid.7", status="sent"
    )
    index_waiting()
    assert str(message.pk) in log_in(staff_member).get(list_url("message"), {"q": words}).content.decode()


@pytest.mark.parametrize("words", ["tuesday", "delivers tuesday", "12", "'", "' | 'saturn", "(", "%", "& |", "\ud83d"])
def test_a_search_that_matches_nothing_finds_nothing(
    conversation: Conversation, staff_member: User, log_in: LogIn, words: str
) -> None:
    message = create_outbound(conversation, text="We deliver on Saturdays.", status="sent")
    index_waiting()
    answer = log_in(staff_member).get(
        list_url("message"), {"q": words.encode("utf-8", "surrogatepass").decode("latin-1")}
    )
    assert (answer.status_code, str(message.pk) in answer.content.decode()) == (200, False)


@pytest.mark.parametrize("words", ["delivers", "Ana", "wamid.7", "+5511988887777"])
def test_a_stranger_finds_nothing(conversation: Conversation, staff_stranger: User, log_in: LogIn, words: str) -> None:
    message = create_outbound(
        conversation, text="We deliver on Saturdays.", provider_message_id="wamid.7", status="sent"
    )
    index_waiting()
    assert str(message.pk) not in log_in(staff_stranger).get(list_url("message"), {"q": words}).content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_a_list_asks_the_same_queries_however_many_rows_it_shows(
    example: dict[str, Any], session: WhatsAppSession, staff_member: User, log_in: LogIn, model: str
) -> None:
    client = log_in(staff_member)
    few = _count_queries(client, list_url(model))
    for number in range(5):
        _another_of_each(session, number)
    assert _count_queries(client, list_url(model)) == few


def _another_of_each(session: WhatsAppSession, number: int) -> None:
    contact = Contact.objects.create(session=session, phone=f"+551198888000{number}")
    conversation = Conversation.objects.create(session=session, contact=contact, address=f"{number}@s.whatsapp.net")
    turn = Turn.objects.create(conversation=conversation, outcome="answered", started_at=timezone.now())
    message = create_outbound(conversation, turn=turn, sender=contact)
    Media.objects.create(message=message, filename="a.pdf")
    Fact.objects.create(contact=contact, text=f"Fact {number}", proposed_by="model")


def _count_queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_a_conversation_page_takes_the_same_queries_for_any_number_of_messages(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    few = _count_queries(client, page_url(conversation))
    for _ in range(10):
        turn = Turn.objects.create(conversation=conversation, outcome="failed", started_at=timezone.now())
        message = create_outbound(conversation, turn=turn, sender=conversation.contact, sent_by=staff_member)
        Media.objects.create(message=create_outbound(conversation, quoted=message), filename="a.pdf")
    assert _count_queries(client, page_url(conversation)) == few


@pytest.mark.parametrize(("values", "words"), [
    ({}, ""), ({"is_group": True}, "group"), ({"is_blocked": True, "is_allowed": True}, "blocked, listed"),
])  # fmt: skip
def test_the_list_of_contacts_names_only_what_is_special_about_one(
    conversation: Conversation, staff_member: User, log_in: LogIn, values: dict[str, bool], words: str
) -> None:
    Contact.objects.update(**values)
    page = log_in(staff_member).get(list_url("contact")).content.decode()
    cell = page.partition('data-label="special"')[2].partition("</td>")[0]
    assert " ".join(re.sub(r"<[^>]*>", "", cell.partition(">")[2]).split()) == (words or "-")
    assert ("bg-orange-100" in cell) == bool(words)
