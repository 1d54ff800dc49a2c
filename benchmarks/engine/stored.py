"""`python -m benchmarks.engine.stored`: what a turn costs with 1,000, 100,000 and 1,000,000 stored conversations.

A turn is everything but HTTP: store the message, take the turn with the scripted model, send to the simulator, record
it. One conversation after the other, chosen from all over the table, each a few times.
"""

import argparse
import itertools
import time
from statistics import median

from benchmarks import scratch  # isort: skip  # first: models need it

from django.db import connection

from agent import sender
from agent.bridges.addresses import read_address
from agent.bridges.events import Kind, MessageReceived
from agent.turns.turn import take_turn
from benchmarks import usage
from benchmarks.seed import NO_LOOP_LIMITS
from messaging.inbound import receive_message
from messaging.management.seeding import seed
from messaging.models import Conversation
from sessions_app.models import AgentProfile
from sessions_app.services import ensure_default_bridges

SIZES = (1_000, 100_000, 1_000_000)
MESSAGES_EACH = 3
SAMPLE = 150
TARGET = 1.3
_numbers = itertools.count()


def grow(size: int) -> None:
    missing = size - Conversation.objects.count()
    for _ in seed(messages=missing * MESSAGES_EACH, conversations=missing):
        pass
    AgentProfile.objects.update(debounce_s=0, debounce_max_s=0, **NO_LOOP_LIMITS)


def sample() -> list[Conversation]:
    ids = "SELECT id FROM messaging_conversation WHERE control = 'agent' ORDER BY md5(id::text) LIMIT %s"
    with connection.cursor() as cursor:
        cursor.execute(ids, [SAMPLE])
        found = [row[0] for row in cursor.fetchall()]
    return list(Conversation.objects.select_related("session__bridge").filter(pk__in=found))


def turn(conversation: Conversation) -> float:
    """Take one turn; return its seconds."""
    address = read_address(conversation.address)
    assert address is not None
    event = MessageReceived(
        session=conversation.session.name,
        provider_message_id=f"STORED{next(_numbers)}",
        chat=address,
        sender=address,
        kind=Kind.TEXT,
        text="When are you open on Saturday, please?",
    )
    began = time.perf_counter()
    receive_message(bridge=conversation.session.bridge, event=event)
    take_turn(conversation.pk)
    sender.deliver(conversation.pk)
    return time.perf_counter() - began


def measure(rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of a turn, and the CPU milliseconds of one, ours and the database's."""
    conversations = sample()
    for conversation in conversations:  # pages and plans are warm afterwards
        turn(conversation)
    before = usage.cpu([], scratch.POSTGRES)
    took = [turn(conversation) for _ in range(rounds) for conversation in conversations]
    spent = usage.cpu([], scratch.POSTGRES).since(before)
    return 1000 * median(took), 1000 * (spent.load + spent.database) / len(took)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.stored", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ensure_default_bridges()
    first: tuple[float, float] | None = None
    worst = 1.0
    for size in arguments.sizes:
        grow(size)
        took_ms, cpu_ms = measure(arguments.rounds)
        first = first or (took_ms, cpu_ms)
        factors = took_ms / first[0], cpu_ms / first[1]
        worst = max(worst, *factors)
        print(
            f"{size:>10,} conversations: {took_ms:6.2f} ms in the median ({factors[0]:.2f} times), "
            f"{cpu_ms:6.2f} ms CPU with the database ({factors[1]:.2f} times), pace {usage.pace_ms():.0f} ms",
            flush=True,
        )
    print(f"at most {worst:.2f} times; {TARGET} {'is met' if worst <= TARGET else 'IS MISSED'}")
    return 0 if worst <= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main())
