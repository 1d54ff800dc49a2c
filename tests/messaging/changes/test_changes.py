"""What we sent is edited and deleted for everyone: at WhatsApp, and then here."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from messaging.changes.service import edit as change_text
from messaging.history.visibility import visible
from messaging.models import Conversation, Event, Message
from messaging.receipts import apply_edit
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.background import BackgroundCall
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from whatsapp_agent.errors import Conflict

pytestmark = pytest.mark.django_db

ANSWER_ID = "3EB0ANSWER"


@pytest.fixture
def client(member: Any) -> Any:
    return as_user(member)


@pytest.fixture(params=["waha", "evolution"])
def fake(request: pytest.FixtureRequest, conversation: Conversation) -> Iterator[Any]:
    with (FakeWaha if request.param == "waha" else FakeEvolution)() as server:
        server.add_session("sales", phone="5511999990000")
        connect_default_bridge(request.param, server)
        yield server


@pytest.fixture
def answer(conversation: Conversation) -> Message:
    return sent(conversation)


def sent(conversation: Conversation, *, age: timedelta = timedelta(), **changes: Any) -> Message:
    at = timezone.now() - age
    values: dict[str, Any] = {
        "session": conversation.session,
        "direction": "outbound",
        "author": "agent",
        "status": "delivered",
        "text": "We close at six.",
        "provider_message_id": ANSWER_ID,
        "sent_at": at,
        "said_at": at,
    }
    return conversation.messages.create(**values | changes)


def edit(client: Any, message: Message, text: str = "We close at five.") -> Any:
    return client.post(f"/api/v1/messages/{message.pk}/edit/", {"text": text}, format="json")


def revoke(client: Any, message: Message) -> Any:
    return client.post(f"/api/v1/messages/{message.pk}/revoke/", format="json")


def test_an_edit_changes_the_message_at_whatsapp_and_here(client: Any, fake: Any, answer: Message) -> None:
    response = edit(client, answer)
    assert response.status_code == 200, response.json()
    shown = response.json()
    assert (shown["text"], [each["text"] for each in shown["earlier_texts"]]) == (
        "We close at five.",
        ["We close at six."],
    )
    assert shown["edited_at"] is not None
    ((message_id, text),) = fake.edited.items()
    assert message_id.endswith(ANSWER_ID)
    assert text == "We close at five."
    assert Event.objects.filter(type="message.edited").count() == 1


def test_a_deletion_removes_the_message_at_whatsapp_and_from_what_the_model_sees(
    client: Any, fake: Any, answer: Message
) -> None:
    response = revoke(client, answer)
    assert response.status_code == 200, response.json()
    assert response.json()["revoked_at"] is not None
    assert [each.endswith(ANSWER_ID) for each in fake.revoked] == [True]
    assert not visible(Message.objects.all()).exists()
    assert Event.objects.filter(type="message.revoked").count() == 1


def test_the_same_change_asked_for_twice_is_done_once(client: Any, fake: Any, answer: Message) -> None:
    assert [edit(client, answer).status_code for _ in range(2)] == [200, 200]
    assert [revoke(client, answer).status_code for _ in range(2)] == [200, 200]
    changes = [each for each in fake.requests if each.method != "GET"]
    assert len(changes) == 2
    assert len(Message.objects.get().earlier_texts) == 1


def test_a_message_is_edited_for_fifteen_minutes_and_deleted_for_sixty_hours(
    client: Any, fake: Any, conversation: Conversation
) -> None:
    older = sent(conversation, age=timedelta(minutes=16))
    oldest = sent(conversation, age=timedelta(hours=61), provider_message_id="3EB0OLD")
    assert edit(client, older).status_code == 409
    assert revoke(client, oldest).status_code == 409
    assert (fake.edited, fake.revoked) == ({}, [])
    assert revoke(client, older).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"direction": "inbound", "author": "contact", "status": "handled"},
        {"status": "unconfirmed", "provider_message_id": None},
        {"kind": "reaction", "text": ""},
    ],
)
def test_what_we_have_not_sent_can_be_neither_edited_nor_deleted(
    client: Any, conversation: Conversation, changes: dict[str, Any]
) -> None:
    Bridge.objects.filter(slug="default").update(kind="waha", base_url="http://127.0.0.1:9")
    message = sent(conversation, **changes)
    assert [(each.status_code, each.json()["code"]) for each in (edit(client, message), revoke(client, message))] == [
        (409, "conflict")
    ] * 2


@pytest.mark.parametrize("kind", ["zapw", "cloud"])
def test_a_bridge_that_cannot_change_messages_is_not_asked(client: Any, answer: Message, kind: str) -> None:
    Bridge.objects.filter(slug="default").update(kind=kind, base_url="http://127.0.0.1:9")
    assert [each.json()["code"] for each in (edit(client, answer), revoke(client, answer))] == ["not_supported"] * 2


def test_a_picture_is_deleted_and_not_edited(client: Any, fake: Any, conversation: Conversation) -> None:
    picture = sent(conversation, kind="image", text="Our shop")
    assert edit(client, picture).status_code == 409
    assert revoke(client, picture).status_code == 200


@pytest.mark.parametrize("text", ["", "  \n", "x" * 5000])
def test_an_empty_or_overlong_text_is_refused(client: Any, fake: Any, answer: Message, text: str) -> None:
    assert edit(client, answer, text).status_code == 400
    assert fake.edited == {}


def test_an_edit_by_a_number_that_is_not_connected_is_refused_with_its_code(
    client: Any, fake: Any, answer: Message
) -> None:
    WhatsAppSession.objects.update(status="disconnected")
    assert edit(client, answer).json()["code"] == "session_not_connected"


@pytest.mark.parametrize("outcome", ["error_500", "invalid", "nonsense", "drop_before", "drop_after"])
def test_a_change_that_fails_at_the_bridge_changes_nothing_here_and_can_be_tried_again(
    client: Any, fake: Any, answer: Message, outcome: str
) -> None:
    status = {"nonsense": {"status": 500}}.get(outcome, {})
    for call in ("edit", "revoke"):
        fake.fail(outcome, call=call, times=1, **status)
    assert [each.status_code for each in (edit(client, answer), revoke(client, answer))] == [502, 502]
    answer.refresh_from_db()
    assert (answer.text, answer.revoked_at, answer.changing_until) == ("We close at six.", None, None)
    assert [each.status_code for each in (edit(client, answer), revoke(client, answer))] == [200, 200]


def test_a_stranger_cannot_tell_whether_the_message_exists(fake: Any, answer: Message, stranger: Any) -> None:
    client = as_user(stranger)
    assert [each.status_code for each in (edit(client, answer), revoke(client, answer))] == [404, 404]
    assert (fake.edited, fake.revoked) == ({}, [])


class PatientWaha(FakeWaha):
    """It answers an edit only once it is told to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def right_answer(self, call: str, name: str, request: Any) -> Any:
        if call == "edit":
            self.is_asked.set()
            self.may_answer.wait(timeout=30)
        return super().right_answer(call, name, request)


@pytest.mark.django_db(transaction=True)
def test_of_two_changes_at_once_the_second_is_refused(client: Any, member: Any, conversation: Conversation) -> None:
    message = sent(conversation)
    with PatientWaha() as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        first = BackgroundCall(lambda: edit(as_user(member), message, "At four.").status_code)
        assert fake.is_asked.wait(timeout=20)
        try:
            assert edit(client, message, "At five.").status_code == 409
            assert revoke(client, message).status_code == 409
        finally:
            fake.may_answer.set()
        assert first.result() == 200
    message.refresh_from_db()
    assert list(fake.edited.values()) == [message.text] == ["At four."]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_outlived_its_lock_leaves_the_next_ones_lock_alone(
    member: Any, conversation: Conversation
) -> None:
    message = sent(conversation)
    others = timezone.now() + timedelta(minutes=1)
    with PatientWaha() as fake:
        fake.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", fake)
        first = BackgroundCall(lambda: edit(as_user(member), message, "At four.").status_code)
        assert fake.is_asked.wait(timeout=20)
        try:
            Message.objects.update(changing_until=others)
        finally:
            fake.may_answer.set()
        assert first.result() == 200
    message.refresh_from_db()
    assert message.changing_until == others


def test_an_edit_of_a_text_that_was_edited_after_it_was_loaded_is_refused(fake: Any, answer: Message) -> None:
    stale = Message.objects.get()
    apply_edit([answer.pk], text="We close at four.")
    with pytest.raises(Conflict):
        change_text(stale, text="We close at five.")
    assert fake.edited == {}


def test_a_lock_that_a_dead_process_left_ends_by_itself(client: Any, fake: Any, answer: Message) -> None:
    Message.objects.update(changing_until=timezone.now() + timedelta(seconds=30))
    assert edit(client, answer).status_code == 409
    Message.objects.update(changing_until=timezone.now() - timedelta(seconds=1))
    assert edit(client, answer).status_code == 200
