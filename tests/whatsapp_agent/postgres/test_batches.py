"""Natural batching: what waits while a statement runs goes into the next one."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, connections, transaction

from whatsapp_agent.postgres.batches import BUSY, MAX_ITEMS, Batched

pytestmark = pytest.mark.django_db(transaction=True)


class Squares:
    """Squares numbers; the first batch waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[int], bool]] = []
        self.is_running = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, items: Sequence[int], wait: bool) -> list[int]:
        self.batches.append((list(items), wait))
        if len(self.batches) == 1:
            self.is_running.set()
            assert self.may_end.wait(10)
        return [item * item for item in items]


def call_while_busy(run: Squares, items: Sequence[int]) -> list[int]:
    """Call for 0, and for these items while that call runs."""
    batched = Batched(run)
    waiting = threading.Semaphore(0)

    def call(item: int) -> int:
        waiting.release()
        try:
            return batched(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(items) + 1) as pool:
        first = pool.submit(call, 0)
        assert run.is_running.wait(10)
        later = [pool.submit(call, item) for item in items]
        for _ in range(len(items) + 1):
            assert waiting.acquire(timeout=10)
        give_the_last_one_time = threading.Event()
        give_the_last_one_time.wait(0.2)
        run.may_end.set()
        return [first.result(10), *(each.result(10) for each in later)]


def test_a_call_that_finds_none_under_way_runs_at_once_and_alone():
    run = Squares()
    run.may_end.set()
    assert Batched(run)(3) == 9
    assert run.batches == [([3], False)]


def test_calls_that_come_while_one_runs_go_into_one_batch():
    run = Squares()
    assert call_while_busy(run, range(1, 9)) == [number * number for number in range(9)]
    assert [sorted(items) for items, _ in run.batches] == [[0], list(range(1, 9))]


def test_a_call_that_waits_holds_no_connection_that_the_running_one_may_need():
    run = Squares()
    batched = Batched(run)
    wrappers = []

    def call(item: int) -> int:
        connection.ensure_connection()
        wrappers.append(connections["default"])
        try:
            return batched(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call, 1)]
        assert run.is_running.wait(10)
        calls.append(pool.submit(call, 2))
        give_up_at = time.monotonic() + 60
        while len(wrappers) < 2 or wrappers[1].connection is not None:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
        run.may_end.set()
        assert [each.result(10) for each in calls] == [1, 4]


def test_a_batch_has_a_limit():
    run = Squares()
    assert call_while_busy(run, range(1, MAX_ITEMS + 4)) == [number * number for number in range(MAX_ITEMS + 4)]
    assert [len(items) for items, _ in run.batches] == [1, MAX_ITEMS, 3]


def test_a_bad_item_fails_alone():
    class WithBadItem(Squares):
        def __call__(self, items: Sequence[int], wait: bool) -> list[int]:
            results = super().__call__(items, wait)
            if 2 in items:
                raise ValueError("2 is bad")
            return results

    run = WithBadItem()
    with pytest.raises(ValueError, match="2 is bad"):
        call_while_busy(run, [1, 2, 3])
    alone = [items for items, wait in run.batches if wait]
    assert sorted(alone) == [[1], [2], [3]]


def test_a_lost_database_is_raised_to_every_call_and_no_statement_is_repeated():
    class WithoutDatabase(Squares):
        def __call__(self, items: Sequence[int], wait: bool) -> list[int]:
            super().__call__(items, wait)
            raise OperationalError("gone")

    run = WithoutDatabase()
    with pytest.raises(OperationalError):
        call_while_busy(run, [1, 2, 3])
    assert [sorted(items) for items, _ in run.batches] == [[0], [1, 2, 3]]


def test_an_item_whose_row_is_locked_waits_alone():
    def run(items: Sequence[int], wait: bool) -> list[object]:
        runs.append((list(items), wait))
        return [item if wait else BUSY for item in items]

    runs: list[tuple[list[int], bool]] = []
    assert Batched(run)(5) == 5
    assert runs == [([5], False), ([5], True)]


def test_a_call_within_a_transaction_is_a_part_of_it():
    run = Squares()
    run.may_end.set()
    with transaction.atomic():
        assert Batched(run)(3) == 9
    assert run.batches == [([3], True)]
