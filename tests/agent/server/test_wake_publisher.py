"""The publisher of wake-ups to Celery: nobody waits for Redis, and what it misses is swept afterwards."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from agent.server import wake_publisher
from agent.server.wake_publisher import WakePublisher
from tests.support.background import becomes_true

SESSION = uuid4()


class Broker:
    """What a publisher calls; it may fail or hang."""

    def __init__(self) -> None:
        self.published: list[tuple[str, UUID | None]] = []
        self.error: Exception | None = None
        self.may_return = threading.Event()
        self.may_return.set()
        self.calls = 0

    def call(self, name: str, conversation_id: UUID | None = None) -> None:
        self.calls += 1
        self.may_return.wait(20)
        if self.error is not None:
            raise self.error
        self.published.append((name, conversation_id))


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def publisher(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[WakePublisher]:
    monkeypatch.setattr(wake_publisher, "BREAKER_S", 0.6)
    publisher = WakePublisher(
        take_turn=lambda conversation, _: broker.call("take_turn", conversation),
        deliver=lambda conversation, _: broker.call("deliver", conversation),
        sweep=lambda: broker.call("sweep"),
    )
    publisher.start()
    yield publisher
    broker.may_return.set()
    publisher.stop()


def test_a_wake_up_without_a_time_sends_and_one_with_a_time_takes_a_turn(broker, publisher):
    first, second = uuid4(), uuid4()
    publisher.send(first, SESSION)
    publisher.send(second, SESSION, timezone.now())
    assert becomes_true(lambda: len(broker.published) == 2)
    assert set(broker.published) == {("deliver", first), ("take_turn", second)}


def test_a_wake_up_is_published_when_it_is_due_and_not_before(broker, publisher):
    conversation = uuid4()
    due_at = timezone.now() + timedelta(seconds=0.4)
    publisher.send(conversation, SESSION, due_at)
    publisher.send(uuid4(), SESSION)
    assert becomes_true(lambda: ("take_turn", conversation) in broker.published)
    assert timezone.now() >= due_at
    assert broker.published[0][0] == "deliver"


def test_of_a_burst_only_the_latest_time_is_published(broker, publisher):
    conversation = uuid4()
    for delay_s in (0.6, 0.7, 0.8):
        publisher.send(conversation, SESSION, timezone.now() + timedelta(seconds=delay_s))
    last = uuid4()
    publisher.send(last, SESSION, timezone.now() + timedelta(seconds=1.0))
    assert becomes_true(lambda: ("take_turn", last) in broker.published)
    assert broker.published == [("take_turn", conversation), ("take_turn", last)]


def test_sending_does_not_wait_for_a_broker_that_hangs(broker, publisher):
    broker.may_return.clear()
    publisher.send(uuid4(), SESSION)
    assert becomes_true(lambda: broker.calls == 1)
    for _ in range(1000):
        publisher.send(uuid4(), SESSION)
    assert (broker.calls, broker.published) == (1, [])  # it hangs still


def test_after_a_failure_nothing_is_published_for_a_while_and_then_a_sweep_comes_first(broker, publisher):
    broker.error = ConnectionError("refused")
    publisher.send(uuid4(), SESSION)
    assert becomes_true(lambda: broker.calls == 1)
    publisher.send(uuid4(), SESSION)
    time.sleep(0.05)
    assert broker.calls == 1  # the breaker is open
    broker.error = None
    time.sleep(0.7)
    conversation = uuid4()
    publisher.send(conversation, SESSION)
    assert becomes_true(lambda: len(broker.published) == 2)
    assert broker.published == [("sweep", None), ("deliver", conversation)]
    publisher.send(conversation, SESSION)
    assert becomes_true(lambda: len(broker.published) == 3)
    assert broker.published[2] == ("deliver", conversation)  # and once only


def test_what_is_too_much_for_its_memory_is_left_to_the_sweep(broker, publisher, monkeypatch):
    monkeypatch.setattr(wake_publisher, "MAX_WAITING", 2)
    later = timezone.now() + timedelta(seconds=0.6)
    conversations = [uuid4() for _ in range(3)]
    for conversation in conversations:
        publisher.send(conversation, SESSION, later)
    assert becomes_true(lambda: len(broker.published) == 2)
    time.sleep(0.1)
    assert {conversation for _, conversation in broker.published} == set(conversations[:2])


def test_a_stopped_publisher_ends_its_thread(broker, publisher):
    publisher.send(uuid4(), SESSION)
    assert becomes_true(lambda: len(broker.published) == 1)
    thread = next(each for each in threading.enumerate() if each.name == "wake_publisher")
    publisher.stop()
    thread.join(20)
    assert not thread.is_alive()
