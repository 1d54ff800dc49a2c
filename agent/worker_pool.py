"""A pool of threads that runs one job for many ids, each id once at a time, and lets no group of them starve others."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, connections

from whatsapp_agent.postgres.base import mark_background_thread
from whatsapp_agent.storage import disk

log = structlog.get_logger(__name__)

Job = Callable[[UUID, UUID], datetime | None]  # gets the id and its group
SubmitAt = Callable[["WorkerPool", UUID, UUID, datetime], None]  # the id, its group, and when to run it again


class Load(NamedTuple):
    """How much a pool has to do. `stalled_s`: for how long ids have been waiting and none was begun or ended."""

    running: int
    waiting: int
    stalled_s: float


class WorkerPool:
    """Runs one job for many ids (conversations, webhook endpoints) at once, but for each of them once at a time.

    An id that is submitted while its job runs is run once more afterwards. A job may return the time at which it wants
    to run again. Threads are started as they are needed and are daemons: one that hangs in a bridge's or a model's
    answer does not hold up the end of the process.

    Ids belong to groups (conversations to their session). Groups take turns, and the last quarter of the threads is
    only for groups that have few: one whose jobs hang leaves room for others, and a second one for a third.
    """

    def __init__(self, name: str, job: Job, *, threads: int, submit_at: SubmitAt) -> None:
        self.name = name
        self._job = job
        self._submit_at = submit_at
        self._max_threads = threads
        self._shared_threads = threads // 4
        self._waiting: dict[UUID, deque[UUID]] = {}  # by group; the group whose turn it is comes first
        self._running: Counter[UUID] = Counter()  # by group
        self._requeued: dict[UUID, bool] = {}  # every id that waits or runs: whether to run it once more afterwards
        self._progress_at = 0.0
        self._started = 0
        self._idle = 0
        self._open = True
        self._lock = threading.Lock()
        self._work_available = threading.Condition(self._lock)  # idle threads wait here; each submit wakes one of them
        self._job_ended = threading.Condition(self._lock)

    def submit(self, key: UUID, group: UUID) -> None:
        """Run the job for this id as soon as a thread is free; does nothing once the pool is closed."""
        with self._lock:
            if not self._open:
                return
            if key in self._requeued:
                self._requeued[key] = True
                return
            self._requeued[key] = False
            if not self._waiting:
                self._progress_at = time.monotonic()
            self._waiting.setdefault(group, deque()).append(key)
            waiting = sum(map(len, self._waiting.values()))
            if self._idle >= waiting or self._started >= self._max_threads or not self._may_start(group):
                self._work_available.notify()
                return
            self._started += 1
        threading.Thread(target=self._work, name=f"{self.name}-{self._started}", daemon=True).start()

    def close(self, *, timeout_s: float) -> bool:
        """Take nothing new and wait for what is running; return whether all of it ended in time."""
        with self._lock:
            self._open = False
            for keys in self._waiting.values():
                for key in keys:
                    self._requeued.pop(key)
            self._waiting.clear()
            self._work_available.notify_all()
            return self._job_ended.wait_for(lambda: not self._requeued, timeout=timeout_s)

    def load(self) -> Load:
        with self._lock:
            waiting = sum(map(len, self._waiting.values()))
            return Load(self._running.total(), waiting, time.monotonic() - self._progress_at if waiting else 0.0)

    def _may_start(self, group: UUID) -> bool:
        free = self._max_threads - self._running.total()
        if free > self._shared_threads:
            return True
        running = self._running[group]
        return free > 0 if running == 0 else free > 1 and running < self._shared_threads * 3 // 4

    def _work(self) -> None:
        mark_background_thread()
        while (next_one := self._next()) is not None:
            key, group = next_one
            again_at: datetime | None = None
            try:
                again_at = self._job(key, group)
            except (OperationalError, InterfaceError) as exc:
                log.warning("database_unreachable", job=self.name, error=disk.reason(exc))
            except Exception:  # one conversation's failure must not end the thread that others need
                log.exception("job_failed", job=self.name, conversation=str(key))
            finally:
                connections.close_all()
            self._finish(key, group)
            if again_at is not None:
                self._submit_at(self, key, group, again_at)

    def _next(self) -> tuple[UUID, UUID] | None:
        """Wait for an id whose group may start; None once the pool is closed."""
        with self._lock:
            self._idle += 1
            while (group := self._next_group()) is None and self._open:
                self._work_available.wait()
            self._idle -= 1
            if group is None:
                return None
            keys = self._waiting.pop(group)
            key = keys.popleft()
            if keys:
                self._waiting[group] = keys  # last in the order now
            self._running[group] += 1
            self._progress_at = time.monotonic()
            if self._waiting and self._idle:
                self._work_available.notify()  # a wake-up that found this thread may have been for another group
            return key, group

    def _next_group(self) -> UUID | None:
        return next((group for group in self._waiting if self._may_start(group)), None)

    def _finish(self, key: UUID, group: UUID) -> None:
        with self._lock:
            self._running[group] -= 1
            self._progress_at = time.monotonic()
            if not self._running[group]:
                del self._running[group]
            if self._requeued[key] and self._open:
                self._requeued[key] = False
                self._waiting.setdefault(group, deque()).append(key)  # this very thread takes the next one now
            else:
                del self._requeued[key]
            self._job_ended.notify_all()
