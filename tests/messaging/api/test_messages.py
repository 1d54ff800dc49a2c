"""`messages/` of the API."""

import pytest

from messaging.models import Contact, Conversation, Message
from tests.support.messaging.api import get, outbound, post


def test_messages_are_listed_newest_first(client, says):
    for text in ("one", "two", "three"):
        received = says(text)
    rows = get(client, f"conversations/{received.conversation_id}/messages/")["results"]
    assert [row["text"] for row in rows] == ["three", "two", "one"]
    assert rows[0]["sender"]["phone"] == "+5511988887777"
    assert [row["id"] for row in get(client, "messages/")["results"]] == [row["id"] for row in rows]
    assert get(client, f"messages/{received.message_id}/") == rows[0]


def test_a_text_sent_by_a_person_is_queued_and_takes_the_conversation_over(client, member, conversation):
    answer = post(client, f"conversations/{conversation.pk}/messages/", text="I am here now")
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["status"], answer.json()["author"]) == ("queued", "staff")
    message = Message.objects.get()
    assert (message.text, message.sent_by) == ("I am here now", member)
    assert Conversation.objects.get().control == "human"


def test_a_text_is_sent_to_a_phone_nobody_wrote_from(client, session):
    answer = post(client, "messages/", session=str(session.pk), to="+55 11 97777-6666", text="Hello")
    assert answer.status_code == 201, answer.json()
    assert Contact.objects.get().phone == "+5511977776666"


def test_a_text_is_sent_to_a_conversation(client, conversation):
    answer = post(client, "messages/", conversation=str(conversation.pk), text="Hello")
    assert (answer.status_code, answer.json()["conversation"]) == (201, str(conversation.pk))


def test_a_text_may_reply_only_to_a_message_of_its_conversation(client, says, session):
    received = says("Hello")
    other = Conversation.objects.create(session=session, contact=Contact.objects.create(session=session), address="1")
    answer = post(client, f"conversations/{other.pk}/messages/", text="Yes", reply_to=str(received.message_id))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["reply_to"])
    assert not Message.objects.filter(direction="outbound").exists()


def test_a_disconnected_session_sends_nothing_and_reports_it(client, session):
    session.status = "disconnected"
    session.save()
    answer = post(client, "messages/", session=str(session.pk), to="+5511977776666", text="Hello")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_not_connected")
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "   "}, "text"),
        ({"text": None}, "text"),
        ({"text": 5}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"text": "x" * 5000}, "text"),
        ({"text": "x" * 70000}, "text"),
        ({"text": "x", "reply_to": "nonsense"}, "reply_to"),
        ({"text": "x", "author": "agent"}, "author"),
    ],
)
def test_an_invalid_text_is_refused_by_the_name_of_the_field(client, conversation, body, field):
    answer = post(client, f"conversations/{conversation.pk}/messages/", **body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "to", ["", "hello", "123", "+", "+" + "9" * 39, "5511988887777@s.whatsapp.net", "+1\x00", "٣" * 12, "+0000000000"]
)
def test_an_invalid_phone_number_is_refused(client, session, to):
    answer = post(client, "messages/", session=str(session.pk), to=to, text="Hello")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["to"])
    assert not Contact.objects.exists()


@pytest.mark.parametrize("status", ["failed", "unconfirmed", "cancelled"])
def test_a_failed_or_unconfirmed_message_is_sent_again(client, session, conversation, status):
    message = outbound(conversation, status=status)
    answer = post(client, f"messages/{message.pk}/retry/")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


def test_a_delivered_message_is_not_sent_again(client, conversation):
    answer = post(client, f"messages/{outbound(conversation, status='read').pk}/retry/")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
