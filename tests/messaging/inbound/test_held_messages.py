"""Messages of our own number: typed on the phone, or the echo of what we sent. Known by id, never by text alone."""

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from agent import inbox
from agent.bridges.base import MessageRef, Sent
from agent.bridges.exchange import Steps, Unconfirmed, without_request
from agent.bridges.simulator import SimulatorBridge
from agent.sender import deliver
from messaging import control, leases, outbox
from messaging.inbound import receive_message, receive_own_message, settle_held_messages
from messaging.models import Conversation, HeldMessage, Message
from sessions_app import bridges
from tests.conftest import SESSION, message_event
from tests.support.messaging.turns import settle

ROUNDS = 200
AT_ONCE = 5  # rounds, each in a chat of its own
THREADS = 3 * AT_ONCE  # the customer, the owner, echoes; fewer than DATABASE_POOL_SIZE
ECHO_ID = "3EB0ECHO"


@pytest.fixture
def answering(says, conversation):
    """An answer of two parts whose first one is being sent."""
    says("Hello")
    settle(leases.take(conversation.pk), conversation, replies=["part one", "part two"])
    return outbox.claim_next_message(conversation.pk)


def typed(text: str = "I will answer this myself", **changes):
    return message_event(text, provider_message_id=changes.pop("id", "3A1F"), outbound=True, **changes)


def by_phone() -> list[str]:
    return list(Message.objects.filter(author="phone").values_list("text", flat=True))


@pytest.mark.parametrize("text", ["I will answer this myself", "part one"])
def test_what_comes_while_an_answer_is_sent_waits_and_nothing_more_is_sent(bridge, conversation, answering, text):
    receive_own_message(bridge=bridge, event=typed(text))
    outbox.mark_sent(answering, provider_message_id="3EB0OURS", at=None)

    assert outbox.claim_next_message(conversation.pk) is None
    settle_held_messages()

    conversation.refresh_from_db()
    assert (by_phone(), conversation.control) == ([text], "human")
    assert Message.objects.get(text="part two").status == "cancelled"
    assert Message.objects.get(text="part one", author="agent").provider_message_id == "3EB0OURS"


def test_an_answer_without_an_id_does_not_remove_the_one_that_the_echo_had(bridge, answering):
    receive_own_message(bridge=bridge, event=typed("part one", id=ECHO_ID, is_echo=True))
    outbox.mark_sent(answering, provider_message_id=None, at=None)

    assert Message.objects.get(text="part one").provider_message_id == ECHO_ID


def test_an_echo_that_overtakes_the_answer_is_known_by_its_id_once_the_answer_is_there(bridge, conversation, answering):
    receive_own_message(bridge=bridge, event=typed("*part one*", id=ECHO_ID))  # WhatsApp's form of our text
    settle_held_messages()
    outbox.mark_sent(answering, provider_message_id=ECHO_ID, at=None)
    settle_held_messages()

    conversation.refresh_from_db()
    assert (by_phone(), conversation.control, HeldMessage.objects.count()) == ([], "agent", 0)
    assert outbox.claim_next_message(conversation.pk).text == "part two"


def test_the_same_held_twice_is_stored_once(bridge, answering):
    for _ in range(2):
        receive_own_message(bridge=bridge, event=typed())
    outbox.mark_sent(answering, provider_message_id="3EB0OURS", at=None)
    settle_held_messages()

    assert len(by_phone()) == 1


def test_a_held_message_keeps_every_field_of_the_bridge(bridge, answering):
    event = typed(quoted_id="3EB0Q", details={"payload": "x"}, forwarded=True, full_id="true_x@c.us_3A1F")
    receive_own_message(bridge=bridge, event=event)
    outbox.mark_sent(answering, provider_message_id="3EB0OURS", at=None)
    settle_held_messages()

    stored = Message.objects.get(author="phone")
    assert (stored.quoted_provider_id, stored.written_at) == ("3EB0Q", event.sent_at)
    assert stored.details == {"payload": "x", "forwarded": True, "full_id": "true_x@c.us_3A1F"}


def test_what_the_bridge_calls_an_echo_settles_the_send_at_once(bridge, conversation, answering):
    receive_own_message(bridge=bridge, event=typed("part one", id=ECHO_ID, is_echo=True))

    sent = Message.objects.get(text="part one")
    assert (sent.status, sent.provider_message_id) == ("sent", ECHO_ID)
    assert not HeldMessage.objects.exists()


@pytest.mark.parametrize(
    ("is_typed", "statuses"), [(False, {"agent": "sent"}), (True, {"agent": "unconfirmed", "phone": "sent"})]
)
def test_an_unconfirmed_send_is_settled_by_its_echo_and_not_by_the_same_words_of_a_person(
    bridge, answering, is_typed, statuses
):
    outbox.mark_unconfirmed(answering, code="timeout", error="")

    receive_own_message(bridge=bridge, event=typed("part one", is_typed=is_typed))

    assert dict(Message.objects.filter(text="part one").values_list("author", "status")) == statuses


def test_what_another_program_sends_through_the_bridge_takes_nothing_over(bridge, conversation, says):
    says("Hello")
    receive_own_message(bridge=bridge, event=typed("Your order is ready", is_echo=True))

    conversation.refresh_from_db()
    assert Message.objects.get(direction="outbound").author == "api"
    assert conversation.control == "agent"


def test_an_old_message_of_the_phone_takes_nothing_over(bridge, conversation):
    receive_own_message(bridge=bridge, event=typed(age=timedelta(days=2)))

    conversation.refresh_from_db()
    assert (len(by_phone()), conversation.control) == (1, "agent")


def test_a_send_whose_process_died_holds_nothing_for_ever(bridge, conversation, answering):
    receive_own_message(bridge=bridge, event=typed("part one"))
    Message.objects.filter(status="sending").update(sending_at=timezone.now() - timedelta(minutes=1))
    outbox.mark_stuck_unconfirmed()
    settle_held_messages()

    assert (Message.objects.get(text="part one").status, by_phone()) == ("sent", [])


# --- races --------------------------------------------------------------------------------------------------------
@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that keep their connections to the database, which takes longer to open than a round."""
    with ThreadPoolExecutor(count) as pool:
        yield pool
        together = threading.Barrier(count)

        def leave() -> None:
            together.wait(20)
            connections.close_all()

        for each in [pool.submit(leave) for _ in range(count)]:
            each.result()


class EchoingBridge(SimulatorBridge):
    """Takes its time to answer; its echo comes before or after the answer, in the bridge's own form, or is lost."""

    chance = random.Random(11)
    pool: ThreadPoolExecutor
    echoes: list[Future[None]]

    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        sent = Sent(provider_message_id=uuid4().hex)
        late_s = self.chance.uniform(-0.02, 0.03)
        if late_s > 0:
            self.echoes.append(self.pool.submit(echo, address, text, sent, after_s=late_s))
        else:
            echo(address, text, sent)
        time.sleep(self.chance.uniform(0, 0.02))
        if self.chance.random() < 0.05:
            raise Unconfirmed("Perhaps.")
        return without_request(sent)


def echo(chat: str, text: str, sent: Sent, *, after_s: float = 0) -> None:
    time.sleep(after_s)
    own(chat, text, message_id=sent.provider_message_id)


def own(chat: str, text: str, *, message_id: str) -> None:
    """Post a message of our own number; a bridge that does not say whose it is."""
    event = {"event": "message", "session": SESSION, "id": message_id, "chat": chat, "text": text, "outbound": True}
    bridge = bridges.bridge_of_slug("simulator")
    inbox.process_webhook_request(bridge=bridge, headers={}, body=json.dumps(event).encode())


@pytest.mark.django_db(transaction=True)
def test_in_200_races_no_agent_message_follows_the_owners_and_no_echo_is_taken_for_the_owner(
    session, simulator, profile, monkeypatch, settings
):
    settings.SEND_GAP_S = 0.0
    session.bridge = simulator
    session.save()
    chance = random.Random(7)
    monkeypatch.setitem(bridges.ADAPTERS, "simulator", EchoingBridge)
    monkeypatch.setattr(EchoingBridge, "echoes", [], raising=False)
    bridges._adapter.cache_clear()
    bridges._transport.cache_clear()
    owner_wrote_at: dict[str, object] = {}

    def customer(chat: str, *, model_s: float) -> None:
        received = receive_message(bridge=simulator, event=message_event("Hello", chat=chat))
        lease = leases.take(received.conversation_id)
        time.sleep(model_s)
        if lease is None:
            return
        conversation = Conversation.objects.get(pk=received.conversation_id)
        settle(lease, conversation, replies=[f"one {chat}", f"two {chat}", f"three {chat}"])
        for _ in range(3):
            deliver(received.conversation_id)
            settle_held_messages()

    def owner(chat: str, *, after_s: float) -> None:
        time.sleep(after_s)
        own(chat, f"I am here, {chat}", message_id=uuid4().hex)
        owner_wrote_at[chat] = timezone.now()

    chats = [f"55119{number:08}@s.whatsapp.net" for number in range(ROUNDS)]
    with threads(THREADS) as pool:
        monkeypatch.setattr(EchoingBridge, "pool", pool, raising=False)
        for begin in range(0, ROUNDS, AT_ONCE):
            acts = []
            for chat in chats[begin : begin + AT_ONCE]:
                acts.append(pool.submit(customer, chat, model_s=chance.uniform(0, 0.04)))
                acts.append(pool.submit(owner, chat, after_s=chance.uniform(0, 0.08)))
            for act in acts:
                act.result()
        for each in EchoingBridge.echoes:
            each.result()
    Message.objects.filter(status="sending").update(sending_at=timezone.now() - timedelta(hours=1))
    settle_held_messages()
    bridges._adapter.cache_clear()
    bridges._transport.cache_clear()

    agents = Message.objects.filter(author="agent").exclude(sending_at=None).select_related("conversation")
    late = [each for each in agents if each.sending_at > owner_wrote_at[each.conversation.address]]
    assert not late
    assert not HeldMessage.objects.exists()
    phones = Message.objects.filter(author="phone").values_list("text", flat=True)
    assert sorted(phones) == sorted(f"I am here, {chat}" for chat in owner_wrote_at)
    assert Conversation.objects.filter(control=control.Control.HUMAN).count() == ROUNDS
    assert agents.count() > ROUNDS / 4  # the races were run: some messages left before the owner wrote
    assert (
        Message.objects.filter(status="cancelled").count()
        + Message.objects.filter(direction="inbound", turn=None).count()
        > ROUNDS / 4
    )  # and some were stopped
