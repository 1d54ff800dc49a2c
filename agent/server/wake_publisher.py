"""Wake-ups from a web process to Celery workers on any machine, published by a thread of their own.

Redis may be slow, paused or away, and a request must not wait for it: `send` only adds to a heap in memory. What cannot
be published is dropped: the workers' sweep finds it.
"""

import heapq
import threading
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import structlog
from django.utils import timezone

log = structlog.get_logger(__name__)

BREAKER_S = 3.0  # after a failure, nothing is published for so long
MAX_WAITING = 100_000
TIMER_RESOLUTION_S = 0.002

Wake = Callable[[UUID, UUID], None]  # the conversation, its session


class WakePublisher:
    """Publishes wake-ups at the time at which they are due. Create and start it after the fork.

    `take_turn` and `deliver` publish one wake-up, `sweep` asks a worker to look for what was dropped; they may raise.
    """

    def __init__(self, *, take_turn: Wake, deliver: Wake, sweep: Callable[[], None]) -> None:
        self._take_turn = take_turn
        self._deliver = deliver
        self._sweep = sweep
        self._waiting: list[tuple[float, int, Wake, UUID, UUID]] = []  # a heap: when, order, what
        self._latest: dict[tuple[Wake, UUID], int] = {}  # of each conversation only the latest wake-up is published
        self._count = 0
        self._added = threading.Condition()
        self._is_open = True
        self._has_failed = False
        self._closed_until = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="wake_publisher", daemon=True).start()

    def stop(self) -> None:
        with self._added:
            self._is_open = False
            self._added.notify()

    def send(self, conversation_id: UUID, session_id: UUID, due_at: datetime | None = None) -> None:
        """Wake a worker at once, or at `due_at` for a turn; never waits."""
        wait_s = (due_at - timezone.now()).total_seconds() if due_at else 0.0
        at = time.monotonic() + (wait_s + TIMER_RESOLUTION_S if wait_s > 0 else 0.0)
        publish = self._take_turn if due_at else self._deliver
        with self._added:
            if len(self._waiting) >= MAX_WAITING:
                return
            self._count += 1
            self._latest[publish, conversation_id] = self._count
            heapq.heappush(self._waiting, (at, self._count, publish, conversation_id, session_id))
            if self._waiting[0][1] == self._count:
                self._added.notify()

    def _run(self) -> None:
        while (wake_up := self._next()) is not None:
            publish, conversation_id, session_id = wake_up
            if time.monotonic() < self._closed_until:
                continue
            self._publish(publish, conversation_id, session_id)

    def _next(self) -> tuple[Wake, UUID, UUID] | None:
        """Wait for the next wake-up that is due; None once the publisher is stopped."""
        with self._added:
            while self._is_open:
                wait_s = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if wait_s is None or wait_s > 0:
                    self._added.wait(wait_s)
                    continue
                _, number, publish, conversation_id, session_id = heapq.heappop(self._waiting)
                if self._latest.get((publish, conversation_id)) == number:
                    del self._latest[publish, conversation_id]
                    return publish, conversation_id, session_id
            return None

    def _publish(self, publish: Wake, conversation_id: UUID, session_id: UUID) -> None:
        try:
            if self._has_failed:
                self._sweep()
            publish(conversation_id, session_id)
        except Exception as exc:  # noqa: BLE001  # whatever the client of Redis raises, the next wake-up may get through
            if not self._has_failed:
                log.warning("redis_unreachable", error=type(exc).__name__)
            self._has_failed = True
            self._closed_until = time.monotonic() + BREAKER_S
        else:
            if self._has_failed:
                log.info("redis_reachable")
            self._has_failed = False


def celery_publisher() -> WakePublisher:
    """Return a publisher to the Celery app of REDIS_URL."""
    import whatsapp_agent.celery  # noqa: F401  # only a process that publishes loads it
    from agent import tasks

    return WakePublisher(
        take_turn=lambda conversation_id, session_id: _call(tasks.take_turn, conversation_id, session_id),
        deliver=lambda conversation_id, session_id: _call(tasks.deliver, conversation_id, session_id),
        sweep=lambda: _call(tasks.sweep),
    )


def _call(task: "Callable[..., None]", *ids: UUID) -> None:
    task.apply_async([str(one) for one in ids], retry=False)  # type: ignore[attr-defined]
