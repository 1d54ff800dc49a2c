"""The channel over which web processes wake engine processes."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from agent.server.wake_channel import WakeChannel

SESSION = uuid4()
DUE = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def receive_all(channel: WakeChannel, engine: int) -> list[tuple[UUID, UUID, datetime | None]]:
    received: list[tuple[UUID, UUID, datetime | None]] = []
    while batch := list(channel.receive(engine)):
        received += batch
    return received


def test_a_wake_up_arrives_with_its_time():
    channel = WakeChannel(engines=1)
    one, other = uuid4(), uuid4()
    channel.send(one, SESSION, None)
    channel.send(other, SESSION, DUE)
    assert receive_all(channel, 0) == [(one, SESSION, None), (other, SESSION, DUE)]


def test_an_engine_process_that_has_nothing_to_do_receives_nothing():
    assert receive_all(WakeChannel(engines=1), 0) == []


@pytest.mark.parametrize("engines", [1, 2, 3])
def test_a_conversation_always_wakes_the_same_engine_process(engines):
    channel = WakeChannel(engines=engines)
    conversations = [uuid4() for _ in range(60)]
    for conversation in conversations * 2:
        channel.send(conversation, SESSION, None)
    received = [Counter(key for key, *_ in receive_all(channel, engine)) for engine in range(engines)]
    assert sum(received, Counter()) == Counter(conversations * 2)
    assert all(set(one.values()) == {2} for one in received)


def test_a_full_channel_drops_wake_ups_and_never_blocks():
    channel = WakeChannel(engines=1)
    sent = [uuid4() for _ in range(20_000)]
    for conversation in sent:
        channel.send(conversation, SESSION, None)
    received = [key for key, *_ in receive_all(channel, 0)]
    assert received == sent[: len(received)]
    assert len(received) > 1000
