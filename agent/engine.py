"""The engine of a process: threads that take turns and send messages, timers for what is due later, and a sweep that
finds what no wake-up reached. Everything it knows is in the database; killing it loses time, never a message.
"""

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, transaction
from django.utils import timezone

from agent import sender, webhook_sender
from agent.turns import summary
from agent.turns.turn import release_held_leases, take_turn
from agent.worker_pool import Job, Load, WorkerPool
from messaging import outbox
from messaging.media import fetching
from messaging.models import Conversation
from messaging.webhooks import deliveries
from whatsapp_agent import periodic, wakeups
from whatsapp_agent.periodic import PeriodicJob
from whatsapp_agent.postgres.advisory import try_lock
from whatsapp_agent.storage import disk

log = structlog.get_logger(__name__)

APPS_WITH_JOBS = ("accounts", "sessions_app", "messaging", "commands", "agent")
SWEEP_LIMIT = 1000
ENDPOINT_SWEEP_S = 0.5
MEDIA_SWEEP_S = 0.5
MAX_CONCURRENT_COMPACTIONS = 2
TIMER_RESOLUTION_S = 0.002


class Engine:
    """The worker pools of one process, its timers, its sweep and the periodic jobs."""

    def __init__(self) -> None:
        periodic.import_jobs(APPS_WITH_JOBS)
        self._turns = self._pool("turn", self._take_turn)
        self._sends = self._pool("delivery", lambda conversation_id, _: sender.deliver(conversation_id))
        self._compactions = self._pool(
            "compaction",
            lambda conversation_id, _: summary.compact_early(conversation_id),
            threads=MAX_CONCURRENT_COMPACTIONS,
        )
        self._endpoints = self._pool("webhook", lambda endpoint_id, _: webhook_sender.deliver_to_endpoint(endpoint_id))
        self._media = self._pool(
            "media", lambda media_id, _: fetching.process(media_id), threads=settings.MEDIA_CONCURRENCY
        )
        self._timers: list[tuple[float, int, WorkerPool, UUID, UUID]] = []  # a heap: when, order, what
        self._timer_count = 0
        self._timer_added = threading.Condition()
        self._stopping = threading.Event()
        self._threads = [
            _thread("timers", self._run_timers),
            _thread("sweep", self._every, settings.AGENT_SWEEP_S, self.sweep),
            _thread("endpoints", self._every, ENDPOINT_SWEEP_S, self.sweep_endpoints),
            _thread("media", self._every, MEDIA_SWEEP_S, self.sweep_media),
            *threads_of_jobs(periodic.registry, stopping=self._stopping),
        ]

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
            log.info("leases_released", count=release_held_leases())
        self._sends.close(timeout_s=max(deadline - time.monotonic(), 1.0))
        self._media.close(timeout_s=max(deadline - time.monotonic(), 0.0))
        self._endpoints.close(timeout_s=max(deadline - time.monotonic(), 0.0))
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.2))
        connections.close_all()

    def notify(self, conversation_id: UUID, session_id: UUID, due_at: datetime | None) -> None:
        """Look at this conversation now, for messages to send and a turn to take, or take a turn at `due_at`."""
        if due_at is not None:
            self._submit_at(self._turns, conversation_id, session_id, due_at)
            return
        self._sends.submit(conversation_id, session_id)
        self._turns.submit(conversation_id, session_id)

    def load(self) -> Load:
        """Return how many turns run and wait here; it stalls when turns do, or sends."""
        turns = self._turns.load()
        return turns._replace(stalled_s=max(turns.stalled_s, self._sends.load().stalled_s))

    def _take_turn(self, conversation_id: UUID, session_id: UUID) -> datetime | None:
        again_at = take_turn(conversation_id)
        if again_at is None:
            self._sends.submit(conversation_id, session_id)  # a bridge that hangs must not hold the place of a turn
        return again_at

    # --- timers ---------------------------------------------------------------------------------------------------

    def _submit_at(self, pool: WorkerPool, key: UUID, group: UUID, at: datetime) -> None:
        wait_s = (at - timezone.now()).total_seconds()
        if wait_s <= 0:
            pool.submit(key, group)
            return
        with self._timer_added:
            self._timer_count += 1
            timer = (time.monotonic() + wait_s + TIMER_RESOLUTION_S, self._timer_count, pool, key, group)
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
                _, _, pool, key, group = heapq.heappop(self._timers)
            pool.submit(key, group)

    # --- what must happen even without a wake-up --------------------------------------------------------------------

    def sweep(self) -> None:
        """Submit every conversation that is due or has a message that may leave, of each session the same number."""
        with transaction.atomic():
            if settings.REDIS_URL and not try_lock("sweep"):
                return  # another worker sweeps at this very moment
            due = list(Conversation.objects.due_by_session(limit=SWEEP_LIMIT))
            to_deliver = list(outbox.conversations_to_deliver(limit=SWEEP_LIMIT))
        for conversation_id, session_id in due:
            self._turns.submit(conversation_id, session_id)
        for conversation_id, session_id in to_deliver:
            self._sends.submit(conversation_id, session_id)

    def sweep_endpoints(self) -> None:
        """Submit every webhook endpoint that has events to deliver."""
        for endpoint_id in deliveries.with_pending():
            self._endpoints.submit(endpoint_id, endpoint_id)

    def sweep_media(self) -> None:
        """Submit every received file that is to be fetched or read."""
        for media_id, session_id in fetching.due(limit=SWEEP_LIMIT):
            self._media.submit(media_id, session_id)

    def _every(self, seconds: float, run: Callable[[], object]) -> None:
        while not self._stopping.wait(seconds):
            attempt(run)


def threads_of_jobs(jobs: Sequence[PeriodicJob], *, stopping: threading.Event) -> list[threading.Thread]:
    """Return threads that run these jobs until `stopping` is set: one for each that may block, one for the others."""
    quick = [job for job in jobs if not job.may_block]
    threads = [_thread("maintenance", _run_periodically, quick, stopping)] if quick else []
    return threads + [_thread(_name_of(job.run), _run_periodically, [job], stopping) for job in jobs if job.may_block]


def _run_periodically(jobs: Sequence[PeriodicJob], stopping: threading.Event) -> None:
    next_run = {job: time.monotonic() + job.every_s() for job in jobs}
    while not stopping.wait(max(min(next_run.values()) - time.monotonic(), 0.0)):
        for job in jobs:
            if next_run[job] <= time.monotonic() and not stopping.is_set():
                attempt(job.run_where_due, name=_name_of(job.run))
                next_run[job] = time.monotonic() + job.every_s()


def _thread(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
    return threading.Thread(target=target, args=args, name=f"engine_{name}", daemon=True)


def _name_of(run: Callable[[], object]) -> str:
    return getattr(run, "__name__", "job")


def attempt(run: Callable[[], object], *, name: str = "") -> None:
    """Run a job that will run again; a failure is logged, and the next round may succeed."""
    try:
        run()
    except (OperationalError, InterfaceError) as exc:
        log.warning("database_unreachable", job=name or _name_of(run), error=disk.reason(exc))
    except Exception:
        log.exception("job_failed", job=name or _name_of(run))
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


def current() -> Engine:
    """Return the engine of this process. Raises RuntimeError if it was not started."""
    if _engine is None:
        raise RuntimeError("the engine of this process was not started")
    return _engine


def stop(*, timeout_s: float = 10.0) -> None:
    """Stop the engine of this process; leases of what does not end within `timeout_s` are given back."""
    global _engine
    if _engine is not None:
        engine, _engine = _engine, None
        engine.stop(timeout_s=timeout_s)
