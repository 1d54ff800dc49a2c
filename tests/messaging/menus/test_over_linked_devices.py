"""Polls and lists over WAHA and Evolution API: sent once, settled by their echoes, failed with the bridge's reason."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from agent.sender import deliver
from messaging.models import Conversation, Message
from sessions_app.models import Bridge
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha

POLL = {"question": "Which day?", "options": ["Monday", "Tuesday"]}
POLL_TEXT = "Which day?\n\n1. Monday\n2. Tuesday"
ROWS = [{"title": "Repair", "description": "From 20 euros"}, {"title": "Cleaning", "description": ""}]
LIST = {"text": "What is it about?\nWe have time today.", "button": "Choose", "rows": ROWS}
CREATION = {"name": "Which day?", "options": [{"optionName": "Monday"}, {"optionName": "Tuesday"}]}
LIST_SENT = {
    "title": "What is it about?",
    "description": "We have time today.",
    "buttonText": "Choose",
    "sections": [{"title": "What is it about?", "rows": [{"rowId": "1", **ROWS[0]}, {"rowId": "2", **ROWS[1]}]}],
}


@pytest.fixture
def client(member: Any) -> Any:
    return as_user(member)


@pytest.fixture
def waha(conversation: Conversation) -> Iterator[FakeWaha]:
    with FakeWaha(echoes=False, acks=()) as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        yield fake


@pytest.fixture
def evolution(conversation: Conversation) -> Iterator[FakeEvolution]:
    with FakeEvolution(echoes=False, updates=()) as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("evolution", fake)
        yield fake


@pytest.fixture(params=["waha", "evolution"])
def fake(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def send(client: Any, conversation: Conversation, **content: Any) -> Any:
    return client.post(f"/api/v1/conversations/{conversation.pk}/messages/", content, format="json")


def post_event(fake: Any, event: str, payload: Any) -> int:
    """Post an event of this bridge to our webhook; return the status of the answer."""
    bridge = Bridge.objects.get(slug="default")
    name, data = ("instance", "data") if bridge.kind == "evolution" else ("session", "payload")
    body = {"event": event, name: "sales", data: payload, "sender": "5511999990000@s.whatsapp.net"}
    return Client().post(bridge.webhook_path, body, content_type="application/json").status_code


def post_echo(fake: Any, content: dict[str, Any]) -> int:
    """Post the echo of what was sent through the bridge, under an id that its answer did not bring."""
    if isinstance(fake, FakeEvolution):
        return post_event(fake, "send.message", fake.message(content=content, from_me=True, message_id="3EB0ECHO"))
    more = {"_data": {"message": content}, "source": "api"}
    return post_event(fake, "message.any", fake.message("", from_me=True, message_id="3EB0ECHO", **more))


def test_a_poll_is_sent_once_and_stored_as_a_readable_text(client: Any, conversation: Conversation, fake: Any) -> None:
    answer = send(client, conversation, poll=POLL)
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["kind"], answer.json()["text"]) == ("interactive", POLL_TEXT)
    deliver(conversation.pk)
    deliver(conversation.pk)
    (sent,) = fake.sent
    assert sent["type"] == "sendPoll"
    message = Message.objects.get()
    assert (message.status, message.provider_message_id) == ("sent", sent["id"])


@pytest.mark.parametrize(("multiple", "count"), [(False, 1), (True, 0)])
def test_evolution_gets_the_options_and_how_many_may_be_chosen(
    client: Any, conversation: Conversation, evolution: FakeEvolution, multiple: bool, count: int
) -> None:
    send(client, conversation, poll=POLL | {"multiple": multiple})
    deliver(conversation.pk)
    body = evolution.sent[0]["body"]
    assert body == {
        "number": "5511988887777",
        "name": "Which day?",
        "values": ["Monday", "Tuesday"],
        "selectableCount": count,
    }


@pytest.mark.parametrize("multiple", [False, True])
def test_waha_gets_the_options_and_whether_several_may_be_chosen(
    client: Any, conversation: Conversation, waha: FakeWaha, multiple: bool
) -> None:
    send(client, conversation, poll=POLL | {"multiple": multiple})
    deliver(conversation.pk)
    poll = {"name": "Which day?", "options": ["Monday", "Tuesday"], "multipleAnswers": multiple}
    assert waha.sent[0]["body"] == {"session": "sales", "chatId": "5511988887777@c.us", "poll": poll}


def test_waha_sends_a_list_whose_title_is_the_first_line(
    client: Any, conversation: Conversation, waha: FakeWaha
) -> None:
    assert send(client, conversation, interactive=LIST).status_code == 201
    deliver(conversation.pk)
    assert waha.sent[0]["type"] == "sendList"
    assert waha.sent[0]["body"]["message"] == {
        "title": "What is it about?",
        "description": "We have time today.",
        "button": "Choose",
        "sections": [
            {
                "title": "What is it about?",
                "rows": [
                    {"rowId": "1", "title": "Repair", "description": "From 20 euros"},
                    {"rowId": "2", "title": "Cleaning"},
                ],
            }
        ],
    }


@pytest.mark.parametrize("outcome", ["hang_after", "drop_after", "error_500_after"])
def test_a_poll_without_a_clear_answer_is_settled_by_its_echo(
    client: Any, conversation: Conversation, fake: Any, settings: Any, outcome: str
) -> None:
    settings.BRIDGE_TIMEOUT_S = 0.5
    fake.fail(outcome, times=1)
    send(client, conversation, poll=POLL)
    deliver(conversation.pk)
    assert Message.objects.get().status == "unconfirmed"
    deliver(conversation.pk)
    assert len(fake.sent) == 1
    assert post_echo(fake, {"pollCreationMessageV3": CREATION}) == 200
    message = Message.objects.get()
    assert (message.status, message.provider_message_id, message.text) == ("sent", "3EB0ECHO", POLL_TEXT)


def test_a_list_without_a_clear_answer_is_settled_by_its_echo(
    client: Any, conversation: Conversation, waha: FakeWaha
) -> None:
    waha.fail("drop_after", times=1)
    send(client, conversation, interactive=LIST)
    deliver(conversation.pk)
    assert Message.objects.get().status == "unconfirmed"
    post_echo(waha, {"listMessage": LIST_SENT})
    assert (Message.objects.get().status, Message.objects.get().provider_message_id) == ("sent", "3EB0ECHO")


def test_the_echo_of_another_poll_settles_nothing(client: Any, conversation: Conversation, fake: Any) -> None:
    fake.fail("drop_after", times=1)
    send(client, conversation, poll=POLL)
    deliver(conversation.pk)
    post_echo(fake, {"pollCreationMessageV3": CREATION | {"name": "Which month?"}})
    assert Message.objects.get(text=POLL_TEXT).status == "unconfirmed"


def test_a_poll_that_the_bridge_refuses_has_failed_with_its_reason(
    client: Any, conversation: Conversation, fake: Any
) -> None:
    fake.fail("invalid")
    send(client, conversation, poll=POLL)
    deliver(conversation.pk)
    message = Message.objects.get()
    assert (message.status, message.error_code) == ("failed", "invalid")
    assert message.error


@pytest.mark.parametrize("menu", [LIST, {"text": "When?", "buttons": ["Today"]}])
def test_evolution_is_not_asked_for_what_whatsapp_would_not_show(
    client: Any, conversation: Conversation, evolution: FakeEvolution, menu: dict[str, Any]
) -> None:
    answer = send(client, conversation, interactive=menu)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")
    assert not Message.objects.exists()


def test_waha_is_not_asked_for_buttons(client: Any, conversation: Conversation, waha: FakeWaha) -> None:
    answer = send(client, conversation, interactive={"text": "When?", "buttons": ["Today"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")


def test_evolution_is_asked_for_no_more_options_than_it_takes(
    client: Any, conversation: Conversation, evolution: FakeEvolution
) -> None:
    options = [str(number) for number in range(11)]
    answer = send(client, conversation, poll={"question": "Which?", "options": options})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")
    assert send(client, conversation, poll={"question": "Which?", "options": options[:10]}).status_code == 201


@pytest.mark.parametrize("kind", ["zapw", "cloud"])
def test_a_bridge_without_polls_is_not_asked(client: Any, conversation: Conversation, kind: str) -> None:
    Bridge.objects.filter(slug="default").update(kind=kind, base_url="http://127.0.0.1:9")
    conversation.messages.create(
        session=conversation.session, direction="inbound", author="contact", status="handled", text="Hi",
        provider_message_id="3EB0HI", written_at=conversation.created_at,
    )  # fmt: skip
    assert send(client, conversation, poll=POLL).json()["code"] == "not_supported"
    assert Message.objects.count() == 1


@pytest.mark.parametrize(
    "poll",
    [
        {"question": "Which?"},
        {"question": "", "options": ["A", "B"]},
        {"question": "Which?", "options": ["A"]},
        {"question": "Which?", "options": ["A", "A"]},
        {"question": "Which?", "options": ["A", ""]},
        {"question": "Which?", "options": [str(number) for number in range(13)]},
        {"question": "x" * 256, "options": ["A", "B"]},
        {"question": "Which?", "options": ["x" * 101, "B"]},
        {"question": "Which?", "options": ["A", "B"], "answer": 1},
    ],
)
def test_a_poll_that_whatsapp_would_refuse_is_refused_by_name(
    client: Any, conversation: Conversation, waha: FakeWaha, poll: dict[str, Any]
) -> None:
    answer = send(client, conversation, poll=poll)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert all(name.startswith("poll") for name in answer.json()["fields"])


def test_a_vote_is_an_answer_to_its_poll(client: Any, conversation: Conversation, waha: FakeWaha) -> None:
    send(client, conversation, poll=POLL)
    deliver(conversation.pk)
    sent = Message.objects.get()
    chat = "5511988887777@c.us"
    vote = {"id": f"false_{chat}_3EB0VOTE", "from": chat, "to": "me", "fromMe": False, "selectedOptions": ["Tuesday"]}
    poll = {"id": f"true_{chat}_{sent.provider_message_id}", "from": "me", "to": chat, "fromMe": True}
    for _ in range(2):
        assert post_event(waha, "poll.vote", {"vote": vote, "poll": poll}) == 200
    received = Message.objects.get(direction="inbound")
    assert (received.kind, received.text, received.quoted, received.status) == (
        "interactive",
        "Tuesday",
        sent,
        "received",
    )


def test_a_stranger_sends_no_poll(conversation: Conversation, waha: FakeWaha, stranger: Any) -> None:
    assert send(as_user(stranger), conversation, poll=POLL).status_code == 404
