"""The engine in the web process: threads that take turns and deliver, a clock that rings when something is due, and a
sweep that finds what no ring reached. Everything it knows is in the database; killing it loses time, never a message.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from accounts import idempotency, lockout, throttling, tokens
from agent import sender, webhook_sender
from agent.turns.summary import done_by, fold_early
from agent.turns.turn import give_back_held, renew_held, take_turn
from messaging import control, outbox
from messaging.events import feed
from messaging.inbound import settle_early_receipts
from messaging.models import Conversation
from messaging.search import embeddings
from messaging.search.index import index_waiting
from messaging.webhooks import endpoints
from sessions_app.services import sync_due_bridges
from whatsapp_agent import wakeups
from whatsapp_agent.postgres.base import mark_background_thread

log = structlog.get_logger(__name__)

SWEEP_LIMIT = 1000
MEND_EVERY_S = 5.0
TELL_EVERY_S = 0.5
MAX_CONCURRENT_COMPACTIONS = 2
CLOCK_RESOLUTION_S = 0.002

Job = Callable[[UUID], datetime | None]


class WorkerPool:
    """Runs one job for many conversations at once, but for each of them once at a time.

    A ring for a conversation that is being worked on makes it run once more afterwards. Threads are started as they are
    needed and are daemons: one that hangs in a bridge's or a model's answer does not hold up the end of the process.
    """

    def __init__(
        self, name: str, job: Job, *, threads: int, ring_at: Callable[["WorkerPool", UUID, datetime], None]
    ) -> None:
        self.name = name
        self._job = job
        self._ring_at = ring_at
        self._most = threads
        self._waiting: deque[UUID] = deque()
        self._requeued: dict[UUID, bool] = {}  # conversations waiting or being worked on
        self._started = 0
        self._idle = 0
        self._open = True
        self._guard = threading.Lock()
        self._wanted = threading.Condition(self._guard)  # idle threads wait here, and one ring wakes one of them
        self._ended = threading.Condition(self._guard)

    def ring(self, conversation_id: UUID) -> None:
        with self._guard:
            if not self._open:
                return
            if conversation_id in self._requeued:
                self._requeued[conversation_id] = True
                return
            self._requeued[conversation_id] = False
            self._waiting.append(conversation_id)
            if self._idle >= len(self._waiting) or self._started >= self._most:
                self._wanted.notify()
                return
            self._started += 1
        threading.Thread(target=self._work, name=f"{self.name}-{self._started}", daemon=True).start()

    def close(self, *, timeout_s: float) -> bool:
        """Take nothing new and wait for what is under way; returns whether all of it came to its end."""
        with self._guard:
            self._open = False
            for conversation_id in self._waiting:
                self._requeued.pop(conversation_id)
            self._waiting.clear()
            self._wanted.notify_all()
            return self._ended.wait_for(lambda: not self._requeued, timeout=timeout_s)

    def _work(self) -> None:
        mark_background_thread()
        while (conversation_id := self._next()) is not None:
            again_at: datetime | None = None
            try:
                again_at = self._job(conversation_id)
            except (OperationalError, InterfaceError) as exc:
                log.warning("database_unreachable", job=self.name, error=type(exc).__name__)
            except Exception:  # one conversation's trouble must not end the thread the others need
                log.exception("job_failed", job=self.name, conversation=str(conversation_id))
            finally:
                connections.close_all()
            self._finish(conversation_id)
            if again_at is not None:
                self._ring_at(self, conversation_id, again_at)

    def _next(self) -> UUID | None:
        with self._guard:
            self._idle += 1
            self._wanted.wait_for(lambda: self._waiting or not self._open)
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None

    def _finish(self, conversation_id: UUID) -> None:
        with self._guard:
            if self._requeued[conversation_id] and self._open:
                self._requeued[conversation_id] = False
                self._waiting.append(conversation_id)  # this very thread asks for the next one now
            else:
                del self._requeued[conversation_id]
            self._ended.notify_all()


class Engine:
    """The lanes of one process, its clock and its sweep."""

    def __init__(self) -> None:
        self._turns = WorkerPool("turn", self._take_turn, threads=settings.AGENT_CONCURRENCY, ring_at=self._ring_at)
        self._deliveries = WorkerPool(
            "delivery", sender.deliver, threads=settings.AGENT_CONCURRENCY, ring_at=self._ring_at
        )
        self._folds = WorkerPool("fold", fold_early, threads=MAX_CONCURRENT_COMPACTIONS, ring_at=self._ring_at)
        self._endpoints = WorkerPool(
            "webhook", webhook_sender.tell, threads=settings.AGENT_CONCURRENCY, ring_at=self._ring_at
        )
        self._alarms: list[tuple[float, int, WorkerPool, UUID]] = []
        self._alarm_count = 0
        self._alarm_set = threading.Condition()
        self._stopping = threading.Event()
        self._rounds = [
            threading.Thread(target=body, name=f"engine{body.__name__}", daemon=True)
            for body in (
                self._clock,
                self._renew,
                self._sweep_on,
                self._mend_on,
                self._sync_on,
                self._index_on,
                self._tell_on,
                self._embed_on,
            )
        ]

    def start(self) -> None:
        for thread in self._rounds:
            thread.start()
        wakeups.subscribe(self.ring)
        done_by(self._folds.ring)

    def stop(self, *, timeout_s: float) -> None:
        """Take nothing new, let what is under way end, and give back the leases of what does not end in time."""
        wakeups.subscribe(None)
        done_by(None)
        self._folds.close(timeout_s=0)
        self._stopping.set()
        with self._alarm_set:
            self._alarm_set.notify()
        deadline = time.monotonic() + timeout_s
        ended = self._turns.close(timeout_s=timeout_s)
        if not ended:
            log.info("leases_given_back", count=give_back_held())
        self._deliveries.close(timeout_s=max(deadline - time.monotonic(), 1.0))
        self._endpoints.close(timeout_s=max(deadline - time.monotonic(), 0.0))
        for thread in self._rounds:
            thread.join(max(deadline - time.monotonic(), 0.2))
        connections.close_all()

    def ring(self, conversation_id: UUID) -> None:
        """Something is to be done in this conversation, now."""
        self._deliveries.ring(conversation_id)
        self._turns.ring(conversation_id)

    def wake(self, conversation_id: UUID, due_at: datetime) -> None:
        """A turn is due in this conversation at `due_at`."""
        self._ring_at(self._turns, conversation_id, due_at)

    def _take_turn(self, conversation_id: UUID) -> datetime | None:
        again_at = take_turn(conversation_id)
        if again_at is None and not self._stopping.is_set() and (at := sender.deliver(conversation_id)) is not None:
            self._ring_at(self._deliveries, conversation_id, at)
        return again_at

    # --- the clock ------------------------------------------------------------------------------------------------

    def _ring_at(self, lane: WorkerPool, conversation_id: UUID, at: datetime) -> None:
        wait_s = (at - timezone.now()).total_seconds()
        if wait_s <= 0:
            lane.ring(conversation_id)
            return
        with self._alarm_set:
            self._alarm_count += 1
            alarm = (time.monotonic() + wait_s + CLOCK_RESOLUTION_S, self._alarm_count, lane, conversation_id)
            heapq.heappush(self._alarms, alarm)
            if self._alarms[0] is alarm:
                self._alarm_set.notify()

    def _clock(self) -> None:
        while True:
            with self._alarm_set:
                if self._stopping.is_set():
                    return
                if not self._alarms:
                    self._alarm_set.wait()
                    continue
                wait_s = self._alarms[0][0] - time.monotonic()
                if wait_s > 0:
                    self._alarm_set.wait(wait_s)
                    continue
                _, _, lane, conversation_id = heapq.heappop(self._alarms)
            lane.ring(conversation_id)

    # --- what must happen even if no one rings ---------------------------------------------------------------------

    def _renew(self) -> None:
        self._every(settings.AGENT_LEASE_S / 3, renew_held)

    def _sweep_on(self) -> None:
        self._every(settings.AGENT_SWEEP_S, self.sweep)

    def _tell_on(self) -> None:
        self._every(TELL_EVERY_S, self.tell)

    def tell(self) -> None:
        """Ring for every endpoint that has something to be told."""
        for endpoint_id in endpoints.with_work():
            self._endpoints.ring(endpoint_id)

    def _mend_on(self) -> None:
        self._every(MEND_EVERY_S, mend)

    def _sync_on(self) -> None:
        self._every(MEND_EVERY_S, sync_due_bridges)  # apart from the rest: a bridge may keep us waiting

    def _index_on(self) -> None:
        self._every(settings.AGENT_SWEEP_S, index_waiting)

    def _embed_on(self) -> None:
        if settings.OPENAI_EMBEDDING_MODEL:
            self._every(settings.AGENT_SWEEP_S, embeddings.embed_waiting)

    def sweep(self) -> None:
        """Ring for every conversation that is due and every message that may leave."""
        for conversation_id in Conversation.objects.due().values_list("pk", flat=True)[:SWEEP_LIMIT]:
            self._turns.ring(conversation_id)
        for conversation_id in outbox.conversations_to_deliver(limit=SWEEP_LIMIT):
            self._deliveries.ring(conversation_id)

    def _every(self, seconds: float, act: Callable[[], object]) -> None:
        while not self._stopping.wait(seconds):
            attempt(act)


def attempt(act: Callable[[], object]) -> None:
    """Do what is done again and again; a failure is logged, and the next round may do better."""
    try:
        act()
    except (OperationalError, InterfaceError) as exc:
        log.warning("database_unreachable", job=act.__name__, error=type(exc).__name__)
    except Exception:
        log.exception("job_failed", job=act.__name__)
    finally:
        connections.close_all()


def mend() -> None:
    """What time alone changes: takeovers that end, sends cut off in the middle, words too late to be said."""
    for act in (
        control.release_expired,
        outbox.give_up_stuck,
        outbox.drop_outdated,
        settle_early_receipts,
        feed.rebase,
        feed.purge,
        endpoints.purge,
        idempotency.purge,
        lockout.purge,
        tokens.purge,
        throttling.purge,
    ):
        attempt(act)


# --- the engine of this process -----------------------------------------------------------------------------------

_engine: Engine | None = None


def start() -> None:
    """Start working in this process; further calls do nothing."""
    global _engine
    if _engine is None:
        _engine = Engine()
        _engine.start()


def stop(*, timeout_s: float = 10.0) -> None:
    """Stop working in this process; leases of what does not end within `timeout_s` are given back."""
    global _engine
    if _engine is not None:
        engine, _engine = _engine, None
        engine.stop(timeout_s=timeout_s)


def wake(conversation_id: UUID, due_at: datetime) -> None:
    """A turn is due at `due_at`. Without an engine in this process the sweep of another one finds it."""
    if _engine is not None:
        _engine.wake(conversation_id, due_at)
