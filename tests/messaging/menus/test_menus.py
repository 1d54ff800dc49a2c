"""Buttons and lists over the Cloud API: sent, stored as a text that everything can read, refused where they cannot."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from agent.sender import deliver
from messaging.history.transcript import load_history
from messaging.models import Conversation, Message
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud

BUTTONS = {"text": "When shall we come?", "buttons": ["Morning", "Afternoon"]}
ROWS = [{"title": "Repair", "description": "From 20 euros"}, {"title": "Cleaning"}]
LIST = {"text": "What is it about?", "button": "Choose", "rows": ROWS}


@pytest.fixture
def client(member: Any) -> Any:
    return as_user(member)


@pytest.fixture
def cloud(conversation: Conversation) -> Iterator[FakeCloud]:
    """A Cloud API with the session of the conversation, whose contact has just written."""
    with FakeCloud() as fake:
        connect_default_bridge("cloud", fake)
        fake.add_session(NUMBER, phone="5511999990000")
        WhatsAppSession.objects.update(name=NUMBER)
        Conversation.objects.update(address="5511988887777")
        conversation.messages.create(
            session=conversation.session, direction="inbound", author="contact", status="handled", text="Hi",
            provider_message_id="wamid.1", written_at=timezone.now(),
        )  # fmt: skip
        yield fake


def send(client: Any, conversation: Conversation, menu: Any, **more: Any) -> Any:
    path = f"/api/v1/conversations/{conversation.pk}/messages/"
    return client.post(path, {"interactive": menu, **more}, format="json")


def test_buttons_are_sent_and_stored_as_a_readable_text(
    client: Any, conversation: Conversation, cloud: FakeCloud
) -> None:
    answer = send(client, conversation, BUTTONS)
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["kind"], answer.json()["text"]) == (
        "interactive",
        "When shall we come?\n\n1. Morning\n2. Afternoon",
    )
    deliver(conversation.pk)
    asked = cloud.requests[-1].json()
    assert (asked["type"], asked["interactive"]["type"]) == ("interactive", "button")
    assert asked["interactive"]["body"] == {"text": "When shall we come?"}
    assert asked["interactive"]["action"]["buttons"] == [
        {"type": "reply", "reply": {"id": "1", "title": "Morning"}},
        {"type": "reply", "reply": {"id": "2", "title": "Afternoon"}},
    ]
    assert Message.objects.get(kind="interactive").status == "sent"


def test_a_list_is_sent_with_its_descriptions(client: Any, conversation: Conversation, cloud: FakeCloud) -> None:
    answer = send(client, conversation, LIST)
    assert answer.json()["text"] == "What is it about?\n\n1. Repair: From 20 euros\n2. Cleaning"
    deliver(conversation.pk)
    asked = cloud.requests[-1].json()["interactive"]
    assert (asked["type"], asked["action"]) == (
        "list",
        {
            "button": "Choose",
            "sections": [
                {
                    "rows": [
                        {"id": "1", "title": "Repair", "description": "From 20 euros"},
                        {"id": "2", "title": "Cleaning"},
                    ]
                }
            ],
        },
    )


def test_the_model_reads_what_was_offered(client: Any, conversation: Conversation, cloud: FakeCloud) -> None:
    send(client, conversation, BUTTONS)
    deliver(conversation.pk)
    assert any("Afternoon" in message.text for message in load_history(conversation))


@pytest.mark.parametrize("kind", ["zapw", "waha", "evolution"])
def test_a_bridge_without_buttons_is_not_asked(client: Any, conversation: Conversation, kind: str) -> None:
    Bridge.objects.filter(slug="default").update(kind=kind, base_url="http://127.0.0.1:9")
    assert send(client, conversation, BUTTONS).json()["code"] == "not_supported"
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "menu",
    [
        {"text": "Which?"},
        {"text": "Which?", "buttons": []},
        {"text": "", "buttons": ["A"]},
        {"text": "Which?", "buttons": ["A", "B", "C", "D"]},
        {"text": "Which?", "buttons": ["A", "A"]},
        {"text": "Which?", "buttons": ["x" * 21]},
        {"text": "x" * 1025, "buttons": ["A"]},
        {"text": "Which?", "buttons": ["A"], "rows": ROWS, "button": "Choose"},
        {"text": "Which?", "buttons": ["A"], "button": "Choose"},
        {"text": "Which?", "rows": ROWS},
        {"text": "Which?", "rows": [{"title": "x" * 25}], "button": "Choose"},
        {"text": "Which?", "rows": [{"title": str(number)} for number in range(11)], "button": "Choose"},
        {"text": "Which?", "rows": [{"title": "A", "description": "x" * 73}], "button": "Choose"},
    ],
)
def test_what_whatsapp_would_refuse_is_refused_by_name(
    client: Any, conversation: Conversation, cloud: FakeCloud, menu: dict[str, Any]
) -> None:
    answer = send(client, conversation, menu)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert all(name.startswith("interactive") for name in answer.json()["fields"])


def test_buttons_go_together_with_nothing_else(client: Any, conversation: Conversation, cloud: FakeCloud) -> None:
    assert send(client, conversation, BUTTONS, text="And this").status_code == 400
    assert send(client, conversation, BUTTONS, location={"latitude": 0, "longitude": 0}).status_code == 400


def test_a_stranger_sends_no_buttons(conversation: Conversation, cloud: FakeCloud, stranger: Any) -> None:
    assert send(as_user(stranger), conversation, BUTTONS).status_code == 404
