"""What is still queued is edited and cancelled here: it leaves with the new text, or not at all, with every bridge."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import Capability
from agent.sender import deliver
from messaging import control
from messaging.changes.service import edit as change_text
from messaging.changes.service import is_changeable
from messaging.changes.service import revoke as delete
from messaging.inbound import receive_own_message
from messaging.models import Conversation, Event, Message
from messaging.outbound import send_again, send_text
from messaging.receipts import apply_edit
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user, message_event
from tests.support.background import BackgroundCall
from tests.support.fake_zapw import FakeZapw
from whatsapp_agent.errors import Conflict

pytestmark = pytest.mark.django_db
ROUNDS = 20


@pytest.fixture
def client(member: Any) -> Any:
    return as_user(member)


@pytest.fixture
def zapw(settings: Any, session: WhatsAppSession) -> Iterator[FakeZapw]:
    """The bridge that can neither edit nor delete."""
    settings.SEND_GAP_S = 0.0
    with FakeZapw() as fake:
        fake.add_session("sales", phone="5511999990000")
        Bridge.objects.filter(slug="default").update(base_url=fake.url, api_key=fake.api_key)
        yield fake


@pytest.fixture
def queued(conversation: Conversation, zapw: FakeZapw) -> Message:
    return send_text(conversation=conversation, text="We close at six.")


def edit(client: Any, message: Message, text: str = "We close at five.") -> Any:
    return client.post(f"/api/v1/messages/{message.pk}/edit/", {"text": text}, format="json")


def revoke(client: Any, message: Message) -> Any:
    return client.post(f"/api/v1/messages/{message.pk}/revoke/", format="json")


def test_a_queued_text_leaves_as_it_was_edited(client: Any, queued: Message, zapw: FakeZapw) -> None:
    response = edit(client, queued)
    assert response.status_code == 200, response.json()
    assert (response.json()["text"], response.json()["status"]) == ("We close at five.", "queued")
    deliver(queued.conversation_id)
    assert [each["text"] for each in zapw.sent] == ["We close at five."]


def test_a_queued_message_that_is_deleted_never_leaves(client: Any, queued: Message, zapw: FakeZapw) -> None:
    send_text(conversation=queued.conversation, text="Come tomorrow.")
    assert revoke(client, queued).json()["status"] == "cancelled"
    deliver(queued.conversation_id)
    assert [each["text"] for each in zapw.sent] == ["Come tomorrow."]


def test_a_deleted_queued_message_may_be_sent_after_all(queued: Message, zapw: FakeZapw) -> None:
    send_again(message=delete(queued))
    deliver(queued.conversation_id)
    assert len(zapw.sent) == 1


def test_a_message_that_waits_for_its_session_can_be_edited(client: Any, queued: Message) -> None:
    WhatsAppSession.objects.update(status="disconnected")
    assert edit(client, queued).status_code == 200


@pytest.mark.parametrize("status", ["sending", "failed", "cancelled", "unconfirmed"])
def test_what_has_left_the_queue_and_has_not_arrived_is_not_changed(client: Any, queued: Message, status: str) -> None:
    Bridge.objects.filter(slug="default").update(kind="waha")
    Message.objects.update(status=status)
    assert [edit(client, queued).status_code, revoke(client, queued).status_code] == [409, 409]


@pytest.mark.parametrize("changes", [{"kind": "image"}, {"details": {"template": {"name": "a", "language": "en"}}}])
def test_only_texts_are_edited_in_the_queue(client: Any, queued: Message, changes: dict[str, Any]) -> None:
    Message.objects.update(**changes)
    assert edit(client, queued).status_code == 409
    assert revoke(client, queued).status_code == 200


@pytest.mark.parametrize("text", ["", " \n", "x" * 5000])
def test_a_queued_text_is_not_replaced_by_one_that_cannot_be_sent(client: Any, queued: Message, text: str) -> None:
    assert edit(client, queued, text).status_code == 400
    assert Message.objects.get().text == "We close at six."


def test_an_edit_of_a_queued_text_that_was_edited_meanwhile_is_refused(queued: Message) -> None:
    stale = Message.objects.get()
    change_text(queued, text="We close at four.")
    with pytest.raises(Conflict):
        change_text(stale, text="We close at five.")
    assert Message.objects.get().text == "We close at four."


def test_a_takeover_cancels_an_answer_although_it_was_edited(conversation: Conversation, zapw: FakeZapw) -> None:
    epoch = control.lock_conversation(conversation.pk).control_epoch
    message = send_text(conversation=conversation, text="One", author=Message.Author.AGENT, control_epoch=epoch)
    change_text(message, text="Two")
    control.take_over(conversation=conversation)
    assert Message.objects.get().status == "cancelled"


def test_a_queued_edit_leaves_a_trace_for_staff_and_clients(queued: Message, zapw: FakeZapw) -> None:
    change_text(queued, text="We close at five.")
    queued.refresh_from_db()
    assert [each["text"] for each in queued.earlier_texts] == ["We close at six."]
    assert list(Event.objects.filter(type="message.edited").values_list("data__message", flat=True)) == [str(queued.pk)]
    deliver(queued.conversation_id)
    queued.refresh_from_db()
    assert (queued.status, queued.is_edited_unseen) == ("sent", True)
    apply_edit([queued.pk], text="We close at four.")
    queued.refresh_from_db()
    assert not queued.is_edited_unseen


@pytest.fixture
def tried(queued: Message) -> Message:
    """A message that is queued again although its first try may have arrived."""
    Message.objects.update(status="unconfirmed", sending_at=timezone.now(), tries=1)
    Conversation.objects.update(control="agent")
    return send_again(message=queued)


def test_a_text_that_may_have_arrived_is_not_edited_while_it_is_queued_again(client: Any, tried: Message) -> None:
    response = edit(client, tried)
    assert (response.status_code, "may have arrived" in response.json()["detail"]) == (409, True)
    assert not is_changeable(tried, adapter=ADAPTERS["waha"], capability=Capability.EDIT)
    assert Message.objects.get().text == "We close at six."


def test_deleting_what_may_have_arrived_leaves_it_unconfirmed(
    client: Any, tried: Message, zapw: FakeZapw, bridge: Bridge
) -> None:
    response = revoke(client, tried).json()
    assert (response["status"], "may have arrived" in response["error"]) == ("unconfirmed", True)
    deliver(tried.conversation_id)
    assert zapw.sent == []
    receive_own_message(bridge=bridge, event=message_event(tried.text, number=5, outbound=True))
    assert (Message.objects.get().status, Conversation.objects.get().control) == ("sent", "agent")


def test_the_echo_of_an_earlier_try_settles_a_message_that_is_queued_again(
    tried: Message, zapw: FakeZapw, bridge: Bridge
) -> None:
    receive_own_message(bridge=bridge, event=message_event(tried.text, number=5, outbound=True))
    deliver(tried.conversation_id)
    message = Message.objects.get()
    assert (message.status, message.provider_message_id, zapw.sent) == ("sent", "3EB00000000000000005", [])
    receive_own_message(bridge=bridge, event=message_event(tried.text, number=6, outbound=True))
    assert Conversation.objects.get().control == "human"  # a person typed the same words


@pytest.mark.parametrize("is_edited", [False, True], ids=["as it was sent", "edited since"])
def test_an_echo_of_an_earlier_try_that_comes_after_the_next_one_is_no_takeover(
    tried: Message, bridge: Bridge, is_edited: bool
) -> None:
    deliver(tried.conversation_id)
    if is_edited:
        apply_edit([tried.pk], text="We close at five.")
    for _ in range(2):  # bridges deliver an event more than once
        receive_own_message(bridge=bridge, event=message_event("We close at six.", number=5, outbound=True))
    assert Conversation.objects.get().control == "agent"
    assert Message.objects.filter(text="We close at six.", provider_message_id="3EB00000000000000005").count() == 1
    receive_own_message(bridge=bridge, event=message_event("We close at six.", number=6, outbound=True))
    assert Conversation.objects.get().control == "human"


def test_words_that_were_surely_typed_are_no_echo_of_an_earlier_try(tried: Message, bridge: Bridge) -> None:
    receive_own_message(bridge=bridge, event=message_event(tried.text, number=5, outbound=True, is_typed=True))
    assert Conversation.objects.get().control == "human"


@pytest.mark.parametrize("act", [edit, revoke])
def test_a_stranger_changes_nothing_in_the_queue(queued: Message, stranger: Any, act: Any) -> None:
    assert act(as_user(stranger), queued).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_waits_for_an_edit_takes_the_new_text(queued: Message, zapw: FakeZapw) -> None:
    with transaction.atomic():
        change_text(queued, text="We close at five.")
        sender = BackgroundCall(lambda: deliver(queued.conversation_id))
        sender.wait_for_lock()
    sender.result()
    deliver(queued.conversation_id)
    assert [each["text"] for each in zapw.sent] == ["We close at five."]


@pytest.mark.django_db(transaction=True)
def test_of_an_edit_and_a_claim_at_the_same_moment_exactly_one_is_first(
    conversation: Conversation, zapw: FakeZapw
) -> None:
    for number in range(ROUNDS):
        message = send_text(conversation=conversation, text=f"old {number}")
        both = threading.Barrier(2)

        def change(message: Message = message, both: threading.Barrier = both) -> bool:
            both.wait(timeout=20)
            try:
                change_text(message, text="new")
            except Conflict:
                return False
            return True

        changed = BackgroundCall(change)
        both.wait(timeout=20)
        deliver(conversation.pk)
        is_changed = changed.result()
        deliver(conversation.pk)
        message.refresh_from_db()
        left = zapw.sent[-1]["text"]
        assert (message.text, message.status, len(zapw.sent)) == (left, "sent", number + 1)
        assert left == ("new" if is_changed else f"old {number}")
