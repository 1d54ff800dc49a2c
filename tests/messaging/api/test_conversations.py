"""`conversations/` of the API, and searching in one."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging.models import Contact, Conversation
from tests.conftest import as_user
from tests.support.messaging.api import V1, get, post


def test_one_call_makes_a_list_of_conversations(client, says):
    says("Good morning")
    says("Are you open?")
    (row,) = get(client, "conversations/")["results"]
    assert row["contact"]["phone"] == "+5511988887777"
    assert row["session"]["name"] == "sales"
    assert (row["unread_count"], row["control"]) == (2, "agent")
    assert (row["last_message"]["text"], row["last_message"]["author"]) == ("Are you open?", "contact")


def test_a_conversation_without_a_message_is_shown_too(client, conversation):
    (row,) = get(client, "conversations/")["results"]
    assert (row["id"], row["last_message"]) == (str(conversation.pk), None)


def test_conversations_come_latest_first_and_page_by_page(client, session):
    now = timezone.now()
    for number in range(7):
        contact = Contact.objects.create(session=session, name=f"c{number}")
        at = None if number == 3 else now - timedelta(hours=number)
        Conversation.objects.create(session=session, contact=contact, address=f"{number}", last_message_at=at)
    Conversation.objects.filter(contact__name="c3").update(created_at=now - timedelta(hours=3))
    assert names_of_pages(client, "conversations/?page_size=3") == [
        ["c0", "c1", "c2"],
        ["c3", "c4", "c5"],
        ["c6"],
    ]


def names_of_pages(client, path):
    pages, link = [], V1 + path
    while link:
        answer = client.get(link).json()
        pages.append([row["contact"]["name"] for row in answer["results"]])
        link = answer["next"]
    return pages


def test_a_takeover_silences_the_agent_and_a_release_gives_it_back(client, member, conversation):
    answer = post(client, f"conversations/{conversation.pk}/takeover/", minutes=30, reason="a complaint")
    assert answer.status_code == 200
    assert answer.json()["control"] == "human"
    assert answer.json()["control_reason"] == "a complaint"
    assert answer.json()["controlled_by"]["username"] == "member"
    assert timezone.now() < Conversation.objects.get().control_until <= timezone.now() + timedelta(minutes=30)
    answer = post(client, f"conversations/{conversation.pk}/release/")
    assert (answer.status_code, answer.json()["control"]) == (200, "agent")


def test_a_takeover_without_an_end_lasts_until_released(client, conversation):
    answer = post(client, f"conversations/{conversation.pk}/takeover/")
    assert (answer.json()["control"], answer.json()["control_until"]) == ("human", None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": 10**30}, "minutes"),
        ({"minutes": "30"}, "minutes"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "99999-01-01T00:00:00Z"}, "until"),
        ({"until": "2099-01-01T00:00:00Z", "minutes": 5}, "minutes"),
        ({"reason": "x" * 201}, "reason"),
        ({"untill": "2099-01-01T00:00:00Z"}, "untill"),
    ],
)
def test_an_invalid_takeover_is_refused_by_the_name_of_the_field(client, conversation, body, field):
    answer = post(client, f"conversations/{conversation.pk}/takeover/", **body)
    assert answer.status_code == 400
    assert list(answer.json().get("fields", {field: 0})) == [field]
    assert Conversation.objects.get().control == "agent"


def test_marking_read_leaves_nothing_unread(client, says):
    received = says("Hello")
    assert post(client, f"conversations/{received.conversation_id}/read/").json()["unread_count"] == 0


def test_a_search_gives_messages_with_their_neighbours_and_reasons(client, conversation, says):
    for text in ("Hello", "Where is the kayak?", "In the garage"):
        says(text)
    results = get(client, f"conversations/{conversation.pk}/search/", q="kayaks", limit=1)["results"]
    (hit,) = results
    assert hit["message"] == next(
        row
        for row in get(client, f"conversations/{conversation.pk}/messages/")["results"]
        if row["text"] == "Where is the kayak?"
    )
    assert hit["message"]["provider_message_id"]
    assert [near["text"] for near in hit["neighbours"]] == ["Hello", "In the garage"]
    assert hit["why"] == ["says kayaks"]


def test_a_stranger_finds_nothing_in_anybodys_conversation(stranger, conversation, says):
    says("kayak")
    assert as_user(stranger).get(f"{V1}conversations/{conversation.pk}/search/", {"q": "kayak"}).status_code == 404


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "q"),
        ({"q": "x", "limit": "0"}, "limit"),
        ({"q": "x", "limit": "51"}, "limit"),
        ({"q": "x", "limit": "many"}, "limit"),
        ({"q": "x", "offset": "1"}, "offset"),
        ({"q": "\x00"}, "q"),
        ({"q": "x" * 501}, "q"),
        ({"q": "x", "limit": ""}, "limit"),
    ],
)
def test_a_search_that_cannot_be_understood_is_refused_by_name(client, conversation, params, field):
    answer = client.get(f"{V1}conversations/{conversation.pk}/search/", params)
    assert answer.status_code == 400
    assert field in answer.json()["fields"]


@pytest.mark.parametrize("query", ["", "?!", "'; --", "kayak " * 80])
def test_a_search_for_nothing_finds_nothing(client, conversation, says, query):
    says("Hello")
    assert get(client, f"conversations/{conversation.pk}/search/", q=query) == {"results": []}


def test_a_search_takes_a_constant_number_of_queries(client, conversation, says):
    says("kayak")
    get(client, f"conversations/{conversation.pk}/search/", q="kayak")
    with CaptureQueriesContext(connection) as few:
        get(client, f"conversations/{conversation.pk}/search/", q="kayak")
    for number in range(20):
        says(f"kayak {number}")
    get(client, f"conversations/{conversation.pk}/search/", q="kayak")
    with CaptureQueriesContext(connection) as many:
        get(client, f"conversations/{conversation.pk}/search/", q="kayak", limit=20)
    assert len(many) == len(few)
