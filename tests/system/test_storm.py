"""Everything at once on one database whose connections are cut: afterwards every promise holds."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import InterfaceError, OperationalError, connection, connections
from django.utils import timezone
from pydantic import TypeAdapter

from agent import engine, inbox, llm, sender
from agent.bridges import ADAPTERS
from agent.bridges.addresses import read_address
from agent.bridges.base import MessageRef, Sent, WebhookRequest
from agent.bridges.events import AliasKind, BridgeEvent, ChatAddress, MessageReceived
from agent.bridges.exchange import NotSent, Refused, Steps, Unconfirmed, without_request
from agent.bridges.simulator import SimulatorBridge
from agent.llm.base import Completion, ModelUnavailable, Prompt
from agent.turns.turn import take_turn
from messaging import control, outbox
from messaging.models import Conversation, Message
from messaging.outbound import send_text
from sessions_app import bridges
from tests.conftest import message_event
from whatsapp_agent.errors import NotFound

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 8
PEOPLE = [(f"55119888877{number:02}@s.whatsapp.net", f"998877{number:02}@lid") for number in range(5)]
EVENT = TypeAdapter(MessageReceived)
chance = random.Random(7)


class OddBridge(SimulatorBridge):
    """Accepts most messages, and echoes some of them before it answers, as real bridges do."""

    taken: Counter[str] = Counter()

    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        number = chance.random()
        if number < 0.05:
            raise NotSent("Later.")
        if number < 0.08:
            raise Refused("Never.")
        self.taken[text] += 1
        sent = Sent(provider_message_id=uuid4().hex)
        if number < 0.2:
            echo = message_event(text, provider_message_id=sent.provider_message_id, outbound=True, chat=_read(address))
            try_to(lambda: post(echo))
        if number < 0.25:
            raise Unconfirmed("Perhaps.")
        return without_request(sent)

    def is_authentic(self, request: WebhookRequest) -> bool:  # noqa: ARG002
        return True

    def parse_webhook(self, request: WebhookRequest) -> list[BridgeEvent]:
        return [EVENT.validate_json(request.body)]


class UnsteadyModel:
    """Returns a different text each time, and fails at times."""

    def complete(self, prompt: Prompt) -> Completion:  # noqa: ARG002
        time.sleep(chance.random() * 0.05)
        if chance.random() < 0.05:
            raise ModelUnavailable("Busy.")
        return Completion(text=f"Answer {uuid4().hex}")


@pytest.fixture
def storm(session, simulator, profile, monkeypatch, settings) -> Iterator[None]:
    settings.SEND_GAP_S = 0.0
    settings.AGENT_LEASE_S = 1.0
    settings.AGENT_RETRY_BASE_S = 0.01
    settings.BRIDGE_TIMEOUT_S = 1.0
    profile.loop_repeats = profile.loop_fast_replies = profile.loop_max_turns = 0  # these contacts are programs
    profile.save()
    session.bridge = simulator
    session.save()
    OddBridge.taken = Counter()
    monkeypatch.setattr(llm, "model_for_settings", UnsteadyModel)
    monkeypatch.setitem(ADAPTERS, "simulator", OddBridge)
    bridges._adapter.cache_clear()
    bridges._transport.cache_clear()
    yield
    bridges._adapter.cache_clear()
    bridges._transport.cache_clear()


def try_to(act: Callable[[], object]) -> bool:
    """Call `act`. Return False if the connection to the database was cut."""
    try:
        act()
    except (OperationalError, InterfaceError):
        return False
    finally:
        connections.close_all()
    return True


def post(event: MessageReceived) -> dict[str, int]:
    bridge = bridges.bridge_of_slug("simulator")
    return inbox.process_webhook_request(bridge=bridge, headers={}, body=EVENT.dump_json(event))


def _read(address: str) -> ChatAddress:
    return ChatAddress(address, AliasKind.LID) if address.endswith("@lid") else read_address(address)


def write(stored_ids: list[str]) -> None:
    """Receive a message from a phone or a LID; some messages link the two."""
    phone, hidden = chance.choice(PEOPLE)
    tied = ChatAddress(hidden, AliasKind.LID, alternates=(read_address(phone),))
    chat = chance.choices([_read(phone), _read(hidden), tied], weights=[10, 10, 1])[0]
    event = message_event("Hello", provider_message_id=uuid4().hex, chat=chat)
    for _ in range(chance.choice([1, 2])):
        assert post(event)["kept"] == 1
    stored_ids.append(event.provider_message_id)
    time.sleep(0.02)


def work() -> None:
    for conversation_id in Conversation.objects.due().values_list("pk", flat=True)[:3]:
        take_turn(conversation_id)
    time.sleep(0.01)


def send() -> None:
    for conversation_id, _ in outbox.conversations_to_deliver(limit=5):
        sender.deliver(conversation_id)
    time.sleep(0.01)


def intervene() -> None:
    time.sleep(0.05)
    conversation = Conversation.objects.select_related("contact", "session__bridge").order_by("?").first()
    if conversation is None:
        return
    act = chance.choice([control.take_over, control.release, control.release, send_text])
    with suppress(NotFound):  # the contact was merged meanwhile
        act(conversation=conversation, **({"text": f"Bia here {uuid4().hex}"} if act is send_text else {}))


def cut() -> None:
    """Terminate a connection that is in use."""
    time.sleep(0.05)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
            " AND backend_type = 'client backend' AND state <> 'idle' LIMIT 1"
        )
        for (pid,) in cursor.fetchall():
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


def test_concurrent_work_on_connections_that_are_cut_keeps_every_promise(storm):
    stored_ids: list[str] = []
    failures: list[BaseException] = []
    calm = threading.Event()

    def play(role: Callable[[], None]) -> None:
        while not calm.is_set() and not failures:
            try:
                try_to(role)
            except BaseException as exc:  # noqa: BLE001
                failures.append(exc)

    roles = [lambda: write(stored_ids)] * 2 + [work] * 3 + [send] * 2 + [intervene, engine.run_maintenance, cut]
    players = [threading.Thread(target=play, args=[role]) for role in roles]
    for player in players:
        player.start()
    calm.wait(SECONDS)
    calm.set()
    for player in players:
        player.join(30)
    connections.close_all()
    assert failures == []

    for conversation in Conversation.objects.all():
        control.release(conversation=conversation)
    Message.objects.filter(status="sending").update(sending_at=timezone.now() - timedelta(minutes=5))
    deadline = time.monotonic() + 60
    under_way = Message.objects.filter(status__in=["received", "queued", "sending"])
    while under_way.exists() and time.monotonic() < deadline:
        work()
        send()
        engine.run_maintenance()

    assert Message.objects.filter(provider_message_id__in=stored_ids).count() == len(set(stored_ids))
    assert list(under_way.values("direction", "status", "conversation__control", "conversation__control_reason")) == []
    assert not Message.objects.filter(direction="inbound", turn=None, unanswered="").exists()
    ours = Message.objects.filter(direction="outbound")
    assert not ours.filter(author="phone").exists(), "an echo was stored as typed on the phone"
    assert set(OddBridge.taken.values()) == {1}
    texts = set(ours.filter(status__in=["sent", "unconfirmed"]).values_list("text", flat=True))
    assert texts >= set(OddBridge.taken)
    assert set(ours.filter(status="sent").values_list("text", flat=True)) <= set(OddBridge.taken)
