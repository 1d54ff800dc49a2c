"""Pages of lists: complete, in order, and with the same number of queries."""

import base64
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging import views
from messaging.models import Contact, ContactAlias, Conversation, Message, Turn
from messaging.search.ranking import search
from tests.support.messaging.api import V1, get, outbound


def test_pages_of_messages_lose_and_repeat_nothing_while_more_come_in(client, conversation):
    at = timezone.now()
    for number in range(10):  # several at the very same time
        outbound(conversation, status="sent", said_at=at - timedelta(seconds=number // 4))
    first = get(client, "messages/", page_size=4)
    outbound(conversation, status="sent")
    second = client.get(first["next"]).json()
    third = client.get(second["next"]).json()
    ids = [row["id"] for page in (first, second, third) for row in page["results"]]
    assert (len(ids), len(set(ids)), third["next"]) == (10, 10, None)
    back = client.get(third["previous"]).json()
    assert back["results"] == second["results"]
    newest = client.get(client.get(back["previous"]).json()["previous"]).json()
    assert len(newest["results"]) == 1
    assert newest["previous"] is None


def cursor(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "nonsense"},
        {"cursor": "%%%"},
        {"cursor": "\x00"},
        {"cursor": "é"},
        {"cursor": cursor("n|2026-01-01T00:00:00+00:00")},
        {"cursor": cursor("n|2026-01-01T00:00:00+00:00|nonsense")},
        {"cursor": cursor("n|2026-01-01T00:00:00|{NOBODYS_ID}")},
        {"cursor": cursor("n|0001-01-01T00:00:00+23:59|{NOBODYS_ID}")},
        {"cursor": cursor("x|2026-01-01T00:00:00+00:00|{NOBODYS_ID}")},
        {"cursor": cursor("x" * 10000)},
        {"page_size": "0"},
        {"page_size": "-1"},
        {"page_size": "201"},
        {"page_size": "9" * 5000},
        {"page_size": "²"},
        {"page_size": "ten"},
    ],
    ids=lambda params: str(params)[:40],
)
@pytest.mark.parametrize("area", ["messages/", "conversations/"])
def test_an_invalid_page_is_refused(client, area, params):
    answer = client.get(V1 + area, params)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


@pytest.mark.parametrize("area", ["sessions/", "conversations/", "messages/", "turns/"])
def test_a_list_costs_the_same_queries_however_long_it_is(client, session, area):
    def rows(count):
        for _ in range(count):
            contact = Contact.objects.create(session=session)
            conversation = Conversation.objects.create(session=session, contact=contact, address="x")
            outbound(conversation, status="sent", sender=contact)
            Turn.objects.create(conversation=conversation, outcome="answered", started_at=timezone.now())

    def queries():
        with CaptureQueriesContext(connection) as captured:
            get(client, area)
        return len(captured)

    rows(1)
    queries()  # a connection plans the statement that shows rows once
    few = queries()
    rows(10)
    assert queries() == few <= 4


def test_a_contact_shows_its_aliases_in_one_order_wherever_it_is_shown(client, says):
    says("Hello")
    contact = Contact.objects.get()
    for number in range(3):
        ContactAlias.objects.create(session=contact.session, contact=contact, kind="lid", value=f"{number}@lid")
    contact.aliases.filter(kind="phone").update(value="+552")  # which moves its row to the end of the table
    shown = [
        get(client, "contacts/")["results"][0],
        get(client, f"contacts/{contact.pk}/"),
        client.patch(f"{V1}contacts/{contact.pk}/", json.dumps({}), content_type="application/json").json(),
    ]
    assert [alias["value"] for alias in shown[0]["aliases"]] == ["+552", "0@lid", "1@lid", "2@lid"]
    assert shown[0] == shown[1] == shown[2]


def test_a_row_deleted_while_a_list_is_read_is_left_out(client, says, monkeypatch):
    received = says("kayak")
    says("kayak, too")

    def found_a_moment_ago(**asked):
        hits = search(**asked)
        Message.objects.filter(text="kayak, too").delete()
        return hits

    monkeypatch.setattr(views, "search", found_a_moment_ago)
    (hit,) = get(client, f"conversations/{received.conversation_id}/search/", q="kayak")["results"]
    assert (hit["message"]["text"], hit["neighbours"]) == ("kayak", [])
