"""Locations and contact cards as text, for the model, for staff and for the search."""

from typing import Any

import pytest

from messaging.history.timeline import describe_content
from messaging.history.transcript import describe, latest
from messaging.models import Conversation, Message
from messaging.search.index import searchable_text

CAFE = {"location": {"name": "Cafe", "address": "Rua A", "latitude": 1.5, "longitude": 2.5}}
BEA = {"contacts": [{"name": "Bea", "phone": "+5511"}, {"name": "Carl", "phone": None}]}


def _message(conversation: Conversation, kind: str, details: Any) -> Message:
    return Message.objects.create(
        session=conversation.session, conversation=conversation, direction="inbound", author="contact",
        status="handled", kind=kind, text="", details=details,
    )  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "details", "for_staff", "for_model", "for_search"),
    [
        ("location", CAFE, "Location, Cafe, Rua A, 1.5, 2.5", "[location: Cafe, Rua A, 1.5, 2.5]", "Cafe Rua A"),
        ("contact", BEA, "Contact: Bea +5511; Carl", "[contact: Bea +5511; Carl]", "Bea +5511 Carl"),
        ("location", {"location": None}, "Location", "[location: ]", ""),
        ("location", {"location": "nowhere"}, "Location", "[location: ]", ""),
        ("contact", {"contacts": "Bea"}, "Contact: ", "[contact: ]", ""),
        ("contact", {"contacts": [None, "Bea"]}, "Contact: ", "[contact: ]", ""),
        ("contact", {}, "Contact: ", "[contact: ]", ""),
    ],
)
def test_a_location_or_a_contact_card_reads_the_same_for_staff_model_and_search(
    conversation: Conversation, kind: str, details: Any, for_staff: str, for_model: str, for_search: str
) -> None:
    message = _message(conversation, kind, details)
    (history_message,) = latest(Message.objects.all(), limit=1)
    assert describe_content(message) == for_staff
    assert describe(history_message) == for_model
    assert " ".join(searchable_text("", details, None).split()) == for_search


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("details", "words"),
    [({"emoji": "👍"}, "[reaction: 👍]"), ({"emoji": ""}, "[reaction: taken back]"), ({}, "[reaction: taken back]")],
)
def test_a_reaction_of_the_contact_reads_as_words_for_the_model(
    conversation: Conversation, details: Any, words: str
) -> None:
    _message(conversation, "reaction", details)
    (history_message,) = latest(Message.objects.all(), limit=1)
    assert describe(history_message) == words


@pytest.mark.django_db
def test_a_reaction_reads_with_the_message_that_it_is_on(conversation: Conversation) -> None:
    ours = _message(conversation, "text", {})
    Message.objects.filter(pk=ours.pk).update(text="We open at nine.", direction="outbound", author="agent")
    reaction = _message(conversation, "reaction", {"emoji": "👍"})
    Message.objects.filter(pk=reaction.pk).update(quoted=ours)
    (history_message,) = latest(Message.objects.filter(pk=reaction.pk), limit=1)
    assert describe(history_message) == "(in reply to “We open at nine.”) [reaction: 👍]"
