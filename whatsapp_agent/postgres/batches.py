"""Natural batching: what waits while a statement runs goes into the next one. An idle process waits for nothing.

A statement for 16 conversations costs little more than one for a single conversation, in Python, in PostgreSQL and in
commits. There is no pause to collect calls: a call that finds none under way runs at once, alone.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError, connection

from whatsapp_agent.postgres import release

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ITEMS = 32


class Busy:
    """The result of an item whose row somebody else has locked: it is run alone, and waits there."""


BUSY = Busy()


class _Call(Generic[Item, Result]):
    """A call that waits for its result, or to lead the next batch."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.is_done = False
        self.result: Result | Busy = BUSY
        self.error: Exception | None = None
        self._wakes = threading.Lock()
        self._wakes.acquire()

    def wait(self) -> None:
        self._wakes.acquire()

    def wake(self) -> None:
        self._wakes.release()


class Batched(Generic[Item, Result]):
    """Call it with one item, from any thread or greenlet, and get its result.

    `run(items, wait)` returns a result for each item, in order, and commits. With `wait` it waits for locked rows;
    without it, it skips them and returns BUSY for them. If it raises, each item is run alone, so that a bad one fails
    alone; unless the database is gone: that is raised to all. Within a transaction an item is run alone, inside it.
    """

    def __init__(self, run: Callable[[Sequence[Item], bool], Sequence[Result | Busy]]) -> None:
        self._run = run
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._is_running = False
        self._lock = threading.Lock()

    def __call__(self, item: Item) -> Result:
        result = BUSY if connection.in_atomic_block else self._in_batch(item)
        if isinstance(result, Busy):
            (result,) = self._run([item], True)
            assert not isinstance(result, Busy)
        return result

    def _in_batch(self, item: Item) -> Result | Busy:
        call = _Call[Item, Result](item)
        with self._lock:
            self._waiting.append(call)
            leads, self._is_running = not self._is_running, True
        if not leads:
            release()  # else those who wait could hold the connections that the leader waits for
            call.wait()
        if not call.is_done:
            self._lead()
        if call.error is not None:
            raise call.error
        return call.result

    def _lead(self) -> None:
        """Run what waits, then let the next call lead that came meanwhile. Its own call is the first."""
        with self._lock:
            calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_ITEMS))]
        try:
            results = self._run([call.item for call in calls], False)
            for call, result in zip(calls, results, strict=True):
                call.result = result
        except Exception as exc:  # noqa: BLE001  # each call raises its own
            if len(calls) == 1 or isinstance(exc, (OperationalError, InterfaceError)):
                for call in calls:
                    call.error = exc
        finally:
            with self._lock:
                self._is_running = bool(self._waiting)
                following = self._waiting[0] if self._waiting else None
            for call in calls:
                call.is_done = True
            for call in calls[1:]:
                call.wake()
            if following is not None:
                following.wake()
