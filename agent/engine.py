"""The engine of a process: threads that take turns and send messages, timers for what is due later, and a sweep that
finds what no wake-up reached. Everything it knows is in the database; killing it loses time, never a message.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from agent import sender, webhook_sender
from agent.turns import summary
from agent.turns.turn import give_back_held, take_turn
from messaging import outbox
from messaging.models import Conversation
from messaging.webhooks import deliveries
from whatsapp_agent import disk, periodic, wakeups
from whatsapp_agent.periodic import PeriodicJob
from whatsapp_agent.postgres.base import mark_background_thread

log = structlog.get_logger(__name__)

APPS_WITH_JOBS = ("accounts", "sessions_app", "messaging", "commands", "agent")
SWEEP_LIMIT = 1000
ENDPOINT_SWEEP_S = 0.5
MAX_CONCURRENT_COMPACTIONS = 2
TIMER_RESOLUTION_S = 0.002

Job = Callable[[UUID], datetime | None]


class WorkerPool:
    """Runs one job for many ids (conversations, webhook endpoints) at once, but for each of them once at a time.

    An id that is submitted while its job runs is run once more afterwards. A job may return the time at which it wants
    to run again. Threads are started as they are needed and are daemons: one that hangs in a bridge's or a model's
    answer does not hold up the end of the process.
    """

    def __init__(
        self, name: str, job: Job, *, threads: int, submit_at: Callable[["WorkerPool", UUID, datetime], None]
    ) -> None:
        self.name = name
        self._job = job
        self._submit_at = submit_at
        self._max_threads = threads
        self._waiting: deque[UUID] = deque()
        self._requeued: dict[UUID, bool] = {}  # every id that waits or runs: whether to run it once more afterwards
        self._started = 0
        self._idle = 0
        self._open = True
        self._lock = threading.Lock()
        self._work_available = threading.Condition(self._lock)  # idle threads wait here; each submit wakes one of them
        self._job_ended = threading.Condition(self._lock)

    def submit(self, key: UUID) -> None:
        """Run the job for this id as soon as a thread is free; does nothing once the pool is closed."""
        with self._lock:
            if not self._open:
                return
            if key in self._requeued:
                self._requeued[key] = True
                return
            self._requeued[key] = False
            self._waiting.append(key)
            if self._idle >= len(self._waiting) or self._started >= self._max_threads:
                self._work_available.notify()
                return
            self._started += 1
        threading.Thread(target=self._work, name=f"{self.name}-{self._started}", daemon=True).start()

    def close(self, *, timeout_s: float) -> bool:
        """Take nothing new and wait for what is running; return whether all of it ended in time."""
        with self._lock:
            self._open = False
            for key in self._waiting:
                self._requeued.pop(key)
            self._waiting.clear()
            self._work_available.notify_all()
            return self._job_ended.wait_for(lambda: not self._requeued, timeout=timeout_s)

    def _work(self) -> None:
        mark_background_thread()
        while (key := self._next()) is not None:
            again_at: datetime | None = None
            try:
                again_at = self._job(key)
            except (OperationalError, InterfaceError) as exc:
                log.warning("database_unreachable", job=self.name, error=disk.reason(exc))
            except Exception:  # one conversation's failure must not end the thread that others need
                log.exception("job_failed", job=self.name, conversation=str(key))
            finally:
                connections.close_all()
            self._finish(key)
            if again_at is not None:
                self._submit_at(self, key, again_at)

    def _next(self) -> UUID | None:
        with self._lock:
            self._idle += 1
            self._work_available.wait_for(lambda: self._waiting or not self._open)
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _finish(self, key: UUID) -> None:
        with self._lock:
            if self._requeued[key] and self._open:
                self._requeued[key] = False
                self._waiting.append(key)  # this very thread takes the next one now
            else:
                del self._requeued[key]
            self._job_ended.notify_all()


class Engine:
    """The worker pools of one process, its timers, its sweep and the periodic jobs."""

    def __init__(self) -> None:
        periodic.import_jobs(APPS_WITH_JOBS)
        self._turns = self._pool("turn", self._take_turn)
        self._sends = self._pool("delivery", sender.deliver)
        self._compactions = self._pool("compaction", summary.compact_early, threads=MAX_CONCURRENT_COMPACTIONS)
        self._endpoints = self._pool("webhook", webhook_sender.deliver_to_endpoint)
        self._timers: list[tuple[float, int, WorkerPool, UUID]] = []  # a heap: when, order, what
        self._timer_count = 0
        self._timer_added = threading.Condition()
        self._stopping = threading.Event()
        self._threads = [
            _thread("timers", self._run_timers),
            _thread("sweep", self._every, settings.AGENT_SWEEP_S, self.sweep),
            _thread("endpoints", self._every, ENDPOINT_SWEEP_S, self.sweep_endpoints),
        ]
        if maintenance := [job for job in periodic.registry if not job.may_block]:
            self._threads.append(_thread("maintenance", self._run_periodically, maintenance))
        for job in periodic.registry:
            if job.may_block:
                self._threads.append(_thread(_name_of(job.run), self._run_periodically, [job]))

    def _pool(self, name: str, job: Job, *, threads: int | None = None) -> WorkerPool:
        return WorkerPool(name, job, threads=threads or settings.AGENT_CONCURRENCY, submit_at=self._submit_at)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        wakeups.subscriber.provide(self.notify)
        summary.schedule.provide(self._compactions.submit)

    def stop(self, *, timeout_s: float) -> None:
        """Take nothing new, let what is running end, and give back the leases of what does not end in time."""
        wakeups.subscriber.provide(None)
        summary.schedule.provide(None)
        self._compactions.close(timeout_s=0)
        self._stopping.set()
        with self._timer_added:
            self._timer_added.notify()
        deadline = time.monotonic() + timeout_s
        if not self._turns.close(timeout_s=timeout_s):
            log.info("leases_given_back", count=give_back_held())
        self._sends.close(timeout_s=max(deadline - time.monotonic(), 1.0))
        self._endpoints.close(timeout_s=max(deadline - time.monotonic(), 0.0))
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.2))
        connections.close_all()

    def notify(self, conversation_id: UUID, due_at: datetime | None) -> None:
        """Look at this conversation now, for messages to send and a turn to take, or take a turn at `due_at`."""
        if due_at is not None:
            self._submit_at(self._turns, conversation_id, due_at)
            return
        self._sends.submit(conversation_id)
        self._turns.submit(conversation_id)

    def _take_turn(self, conversation_id: UUID) -> datetime | None:
        again_at = take_turn(conversation_id)
        if again_at is None and not self._stopping.is_set() and (at := sender.deliver(conversation_id)) is not None:
            self._submit_at(self._sends, conversation_id, at)
        return again_at

    # --- timers ---------------------------------------------------------------------------------------------------

    def _submit_at(self, pool: WorkerPool, key: UUID, at: datetime) -> None:
        wait_s = (at - timezone.now()).total_seconds()
        if wait_s <= 0:
            pool.submit(key)
            return
        with self._timer_added:
            self._timer_count += 1
            timer = (time.monotonic() + wait_s + TIMER_RESOLUTION_S, self._timer_count, pool, key)
            heapq.heappush(self._timers, timer)
            if self._timers[0] is timer:
                self._timer_added.notify()

    def _run_timers(self) -> None:
        while True:
            with self._timer_added:
                if self._stopping.is_set():
                    return
                if not self._timers:
                    self._timer_added.wait()
                    continue
                wait_s = self._timers[0][0] - time.monotonic()
                if wait_s > 0:
                    self._timer_added.wait(wait_s)
                    continue
                _, _, pool, key = heapq.heappop(self._timers)
            pool.submit(key)

    # --- what must happen even without a wake-up --------------------------------------------------------------------

    def sweep(self) -> None:
        """Submit every conversation that is due or has a message that may leave."""
        for conversation_id in Conversation.objects.due().values_list("pk", flat=True)[:SWEEP_LIMIT]:
            self._turns.submit(conversation_id)
        for conversation_id in outbox.conversations_to_deliver(limit=SWEEP_LIMIT):
            self._sends.submit(conversation_id)

    def sweep_endpoints(self) -> None:
        """Submit every webhook endpoint that has events to deliver."""
        for endpoint_id in deliveries.with_pending():
            self._endpoints.submit(endpoint_id)

    def _every(self, seconds: float, run: Callable[[], object]) -> None:
        while not self._stopping.wait(seconds):
            attempt(run)

    def _run_periodically(self, jobs: Sequence[PeriodicJob]) -> None:
        next_run = {job: time.monotonic() + job.every_s() for job in jobs}
        while not self._stopping.wait(max(min(next_run.values()) - time.monotonic(), 0.0)):
            for job in jobs:
                if next_run[job] <= time.monotonic() and not self._stopping.is_set():
                    attempt(job.run)
                    next_run[job] = time.monotonic() + job.every_s()


def _thread(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
    return threading.Thread(target=target, args=args, name=f"engine_{name}", daemon=True)


def _name_of(run: Callable[[], object]) -> str:
    return getattr(run, "__name__", "job")


def attempt(run: Callable[[], object]) -> None:
    """Run a job that will run again; a failure is logged, and the next round may succeed."""
    try:
        run()
    except (OperationalError, InterfaceError) as exc:
        log.warning("database_unreachable", job=_name_of(run), error=disk.reason(exc))
    except Exception:
        log.exception("job_failed", job=_name_of(run))
    finally:
        connections.close_all()


def run_maintenance() -> None:
    """Run every periodic job that does not block once, now: what time alone changes, such as takeovers that end."""
    periodic.import_jobs(APPS_WITH_JOBS)
    for job in periodic.registry:
        if not job.may_block:
            attempt(job.run)


# --- the engine of this process -----------------------------------------------------------------------------------

_engine: Engine | None = None


def start() -> None:
    """Start the engine of this process; further calls do nothing."""
    global _engine
    if _engine is None:
        _engine = Engine()
        _engine.start()


def stop(*, timeout_s: float = 10.0) -> None:
    """Stop the engine of this process; leases of what does not end within `timeout_s` are given back."""
    global _engine
    if _engine is not None:
        engine, _engine = _engine, None
        engine.stop(timeout_s=timeout_s)
