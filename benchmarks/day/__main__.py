"""Simulate a day's traffic of many numbers: how much comes at once, how long answers wait, what the day stores.

    python -m benchmarks.day --numbers 10000 --messages 60

Nothing is started: minutes of a day are drawn at random, and what each message costs is taken from docs/benchmarks.md.
"""

import argparse
import heapq
import random
from typing import NamedTuple

HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 20, 17, 16, 18, 19, 20, 21, 22, 21, 18, 13, 8, 4)  # shape of a day
ANSWERED_SHARE = 0.8  # messages that begin a turn; the others come within the burst window of one before
RECEIPTS = 2.5  # webhooks about each message that is sent
CHATTY_EXPONENT = 1.2  # a few numbers get most messages (Pareto)
MODEL_S = (0.8, 4.0)  # how long a model takes, from and to
# docs/benchmarks.md: CPU of our processes and of PostgreSQL together, and bytes on disk, for each message.
WEBHOOK_CPU_MS = 1.1
ANSWER_CPU_MS = 6.0
STORED_KB = 2.5
DATABASE_SHARE = 0.4  # of all CPU
MAX_LOAD = 0.5  # of the cores, so that a peak and the loss of a machine are survived


class Day(NamedTuple):
    messages: int
    busiest_s: int
    busiest_minute: int
    turns_at_once: int
    paced_p99_s: float
    paced_max_s: float
    cores: float
    stored_gb: float


def simulate(*, numbers: int, messages_each: int, per_minute: int, seed: int = 1) -> Day:
    dice = random.Random(seed)
    weights = [dice.paretovariate(CHATTY_EXPONENT) for _ in range(numbers)]
    total = numbers * messages_each
    chosen = dice.choices(range(numbers), weights, k=total)
    hours = dice.choices(range(24), HOURS, k=total)
    arrivals = sorted((hour * 3600 + dice.random() * 3600, number) for hour, number in zip(hours, chosen, strict=True))
    seconds, minutes = [0] * 86_400, [0] * 1_440
    running: list[float] = []
    most = 0
    free_at = [0.0] * numbers  # when a number may send again
    waits = []
    for at, number in arrivals:
        seconds[int(at)] += 1
        minutes[int(at) // 60] += 1
        if dice.random() > ANSWERED_SHARE:
            continue
        while running and running[0] <= at:
            heapq.heappop(running)
        ready = at + dice.uniform(*MODEL_S)
        heapq.heappush(running, ready)
        most = max(most, len(running))
        leaves = max(ready, free_at[number])
        waits.append(leaves - ready)
        free_at[number] = leaves + (60 / per_minute if per_minute else 0.0)
    waits.sort()
    in_peak_s = max(minutes) / 60
    answers = in_peak_s * ANSWERED_SHARE
    cpu_ms = in_peak_s * WEBHOOK_CPU_MS + answers * (ANSWER_CPU_MS + RECEIPTS * WEBHOOK_CPU_MS)
    return Day(
        messages=total,
        busiest_s=max(seconds),
        busiest_minute=max(minutes),
        turns_at_once=most,
        paced_p99_s=waits[int(len(waits) * 0.99)],
        paced_max_s=waits[-1],
        cores=cpu_ms / 1000 / MAX_LOAD,
        stored_gb=total * (1 + ANSWERED_SHARE) * STORED_KB / 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=60, help="received by a number in a day, on average")
    parser.add_argument("--per-minute", type=int, default=30, help="SEND_RATE_PER_MINUTE")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    day = simulate(numbers=given.numbers, messages_each=given.messages, per_minute=given.per_minute, seed=given.seed)
    print(f"{given.numbers:,} numbers, {given.messages} messages each: {day.messages:,} messages")
    print(f"busiest second {day.busiest_s}, busiest minute {day.busiest_minute:,}")
    print(f"turns at once {day.turns_at_once}")
    print(f"an answer waits for the send rate: 99% up to {day.paced_p99_s:.0f} s, longest {day.paced_max_s:.0f} s")
    print(f"cores at half load {day.cores:.1f}, of these for PostgreSQL {day.cores * DATABASE_SHARE:.1f}")
    print(f"stored in a day {day.stored_gb:.1f} GB, in a year {day.stored_gb * 365:,.0f} GB")


if __name__ == "__main__":
    main()
