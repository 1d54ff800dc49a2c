"""`events/` of the API."""

import threading

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.credentials.keys import create_key
from messaging.events import views
from messaging.models import Conversation, Event, Message
from tests.conftest import as_user

EVENTS = "/api/v1/events/"

pytestmark = pytest.mark.usefixtures("db", "feed")


@pytest.fixture
def client(member):
    return as_user(member)


def read(client, **query):
    answer = client.get(EVENTS, query)
    assert answer.status_code == 200, answer.json()
    return answer.json()


def test_a_client_goes_on_where_it_left_off(client, says):
    says("one")
    first = read(client, types="message.received")
    says("two")
    second = read(client, types="message.received", after=first["cursor"])
    nothing = read(client, types="message.received", after=second["cursor"])
    assert [len(page["results"]) for page in (first, second, nothing)] == [1, 1, 0]
    assert second["results"][0]["data"]["message"] == str(Message.objects.order_by("id").last().pk)
    assert nothing["cursor"] == second["cursor"]


def test_an_event_has_an_id_a_type_a_time_and_its_subject(client, says):
    says("Hello")
    (event,) = read(client, types="message.received")["results"]
    message = Message.objects.get()
    assert event["id"] == f"evt_{Event.objects.get(type='message.received').public_id.hex}"
    assert event["timestamp"].endswith("Z")
    assert event["data"] | {"session": str(message.session_id), "message": str(message.pk)} == event["data"]
    assert "Hello" not in str(event)


def test_messages_come_along_on_demand_at_a_constant_number_of_queries(client, says):
    says("Hello")
    read(client, types="message.received", expand="message")  # a connection plans what shows a message once
    with CaptureQueriesContext(connection) as one:
        (event,) = read(client, types="message.received", expand="message")["results"]
    assert event["message"]["text"] == "Hello"
    for _ in range(5):
        says("Hello")
    with CaptureQueriesContext(connection) as many:
        read(client, types="message.received", expand="message")
    assert len(many) == len(one)


def test_a_deleted_message_is_null(client, says):
    says("Hello")
    Message.objects.all().delete()
    (event,) = read(client, types="message.received", expand="message")["results"]
    assert event["message"] is None


def test_a_stranger_gets_no_event(says, stranger):
    received = says("Hello")
    for query in ({}, {"conversation": str(received.conversation_id)}, {"expand": "message"}):
        assert read(as_user(stranger), **query)["results"] == []


def test_a_caller_without_login_gets_no_event():
    assert as_user().get(EVENTS).status_code == 401


def test_a_key_that_may_follow_events_does_not_read_messages_by_it(member, says):
    says("Hello")
    client = APIClient()
    _, text = create_key(user=member, name="CRM", scopes=["events:read"])
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    assert client.get(EVENTS).status_code == 200
    refused = client.get(EVENTS, {"expand": "message"})
    assert (refused.status_code, "messages:read" in refused.json()["detail"]) == (403, True)


def test_a_key_restricted_to_sessions_gets_the_events_of_these_alone(member, session, says):
    says("Hello")
    Event.objects.create(type="endpoint.disabled", user_id=member.pk, data={"endpoint": "another"})
    client = APIClient()
    _, text = create_key(user=member, name="CRM", scopes=["events:read"], session_ids=[session.pk])
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    assert {event["data"].get("session") for event in read(client)["results"]} == {str(session.pk)}
    assert "endpoint.disabled" in {event["type"] for event in read(as_user(member))["results"]}


def test_one_conversation_can_be_followed(client, says):
    says("Hello")
    received = says("Hi", chat="5511977776666@s.whatsapp.net")
    results = read(client, conversation=str(received.conversation_id))["results"]
    assert {event["data"]["conversation"] for event in results} == {str(received.conversation_id)}
    assert Conversation.objects.count() == 2


def test_latest_begins_with_what_happens_from_now_on(client, says):
    says("old")
    cursor = read(client, after="latest")["cursor"]
    says("new")
    assert len(read(client, after=cursor, types="message.received")["results"]) == 1


@pytest.mark.django_db(transaction=True)
def test_waiting_ends_when_something_happens(client, says, monkeypatch):
    monkeypatch.setattr(views, "POLL_INTERVAL_S", 0.01)
    cursor = read(client, after="latest")["cursor"]

    def speak():
        says("at last")
        connection.close()

    timer = threading.Timer(0.1, speak)
    timer.start()
    page = read(client, after=cursor, wait=20, types="message.received")
    timer.join()
    assert len(page["results"]) == 1


def test_waiting_ends_when_nothing_happens_and_only_so_many_may_wait(client, says, monkeypatch):
    cursor = read(client, after="latest")["cursor"]
    assert read(client, after=cursor, wait=1)["results"] == []
    monkeypatch.setattr(views, "long_poll_slots", threading.BoundedSemaphore(1))
    views.long_poll_slots.acquire()
    assert read(client, after=cursor, wait=30)["results"] == []  # the test would not end in time otherwise


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "9" * 400}, "limit"),
        ({"types": "message.received,nonsense"}, "types"),
        ({"types": ","}, "types"),
        ({"wait": "31"}, "wait"),
        ({"wait": "-1"}, "wait"),
        ({"session": "1"}, "session"),
        ({"conversation": "\x00"}, "conversation"),
        ({"expand": "media"}, "expand"),
        ({"typse": "message.received"}, "typse"),
        ({"after": "A" * 101}, "after"),
    ],
)
def test_an_invalid_query_is_refused_by_name(client, query, field):
    answer = client.get(EVENTS, query)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


@pytest.mark.parametrize("cursor", ["nonsense", "MA", "\x00", "é", "01a2060c-0186-76a7-9642-3a280e006d9b"])
def test_an_invalid_cursor_is_refused(client, cursor):
    assert client.get(EVENTS, {"after": cursor}).status_code == 400
