"""The clocks of bridges beside ours, by the times that they state in webhook requests.

One time says little, because what a bridge posts again is old. A wrong clock shows in many times: they differ from the
time of their arrival by one and the same amount, while the differences of what is redelivered shrink as it arrives.
"""

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import structlog
from django.utils import timezone

from agent.bridges.base import Health
from agent.bridges.parsing import MAX_CLOCK_SKEW
from sessions_app.models import Bridge
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_OFFSET_S = 60.0  # a message is on its way for some seconds
TOLERANCE_S = 30.0  # within which differences count as the same
MIN_TIMES = 5
MIN_SPAN_S = 60.0  # messages written together and redelivered together also differ by the same amount
VALID_FOR = timedelta(hours=1)


class BridgeClock(StrEnum):
    MESSAGES = "messages"  # when messages were written; most bridges have it from WhatsApp
    EVENTS = "events"  # when the bridge posted, by the clock of its own machine


@dataclass(slots=True)
class _Run:
    """Successive times that differ from their arrival by the same amount; the freshest difference counts."""

    first_s: float
    freshest_s: float
    count: int
    since: float


@dataclass(slots=True)
class _Estimate:
    """What this process knows about one clock of one bridge. `offset_s` is positive when the clock is ahead of ours."""

    run: _Run | None = None
    offset_s: float = 0.0
    confirmed_at: float | None = None
    saved_at: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, difference_s: float, *, now: float) -> None:
        with self.lock:
            run = self.run
            if run is None or abs(difference_s - run.first_s) > TOLERANCE_S:
                run = self.run = _Run(difference_s, difference_s, 0, now)
            run.count += 1
            run.freshest_s = max(run.freshest_s, difference_s)
            if self.offset_s < 0 and difference_s > self.offset_s + TOLERANCE_S:
                self._set(0.0, now=now)  # nothing arrives before it is written: the clock is not that far behind
            is_behind = run.freshest_s < -MAX_OFFSET_S
            if run.count >= MIN_TIMES and (not is_behind or now - run.since >= MIN_SPAN_S):
                self._set(run.freshest_s if abs(run.freshest_s) > MAX_OFFSET_S else 0.0, now=now)

    def _set(self, offset_s: float, *, now: float) -> None:
        if self.confirmed_at is None or abs(offset_s - self.offset_s) > TOLERANCE_S:
            self.offset_s, self.saved_at = offset_s, None
        self.confirmed_at = now

    def is_valid(self) -> bool:
        return self.confirmed_at is not None and time.monotonic() - self.confirmed_at < VALID_FOR.total_seconds()

    def is_to_be_saved(self) -> bool:
        """Return whether this is new, or an offset was confirmed that others will soon take for outdated."""
        if self.saved_at is None or not self.offset_s:
            return self.saved_at is None and self.confirmed_at is not None
        return (self.confirmed_at or 0) - self.saved_at > VALID_FOR.total_seconds() / 4


_estimates: dict[tuple[UUID, BridgeClock], _Estimate] = {}


def observe(bridge: Bridge, clock: BridgeClock, stated: datetime | None) -> None:
    """Take note of a time that a webhook request states. Redelivered events may be observed, imported history not."""
    if stated is not None:
        estimate = _estimates.setdefault((bridge.pk, clock), _Estimate())
        estimate.add((stated - timezone.now()).total_seconds(), now=time.monotonic())


def offset_s(bridge: Bridge, clock: BridgeClock) -> float:
    """Return by how many seconds the bridge's clock is ahead of ours; 0 if it is right or we do not know."""
    estimate = _estimates.get((bridge.pk, clock))
    if estimate is not None and estimate.is_valid():
        return estimate.offset_s
    return saved_offset_s(bridge) if clock is BridgeClock.MESSAGES else 0.0


def saved_offset_s(bridge: Bridge) -> float:
    """Return what the processes have last found out about the times of messages, 0 if that is long ago."""
    at = bridge.clock_offset_at
    is_valid = at is not None and at > timezone.now() - VALID_FOR
    return bridge.clock_offset_s if is_valid else 0.0


def on_our_clock(bridge: Bridge, clock: BridgeClock, stated: datetime | None) -> datetime | None:
    """Return a time that the bridge states on our clock; None if it is missing or implausible, in the future."""
    if stated is None:
        return None
    if offset := offset_s(bridge, clock):
        stated -= timedelta(seconds=offset)
    return stated if stated <= timezone.now() + MAX_CLOCK_SKEW else None


@periodic(every_s=5, in_each_process=True)
def save_offsets() -> None:
    """Store what this process has found out about the times of messages, for the other processes and for staff."""
    for (bridge_id, clock), estimate in list(_estimates.items()):
        if clock is not BridgeClock.MESSAGES or not estimate.is_to_be_saved():
            continue
        estimate.saved_at = time.monotonic()
        offset = round(estimate.offset_s, 1)
        rows = Bridge.objects.filter(pk=bridge_id)
        if offset == 0:
            rows = rows.exclude(clock_offset_s=0)
        if rows.update(clock_offset_s=offset, clock_offset_at=timezone.now()):
            log.warning("bridge_clock_measured", bridge=str(bridge_id), ahead_s=offset)


def differences(bridge: Bridge, health: Health) -> list[str]:
    """Return in words how the clock that a bridge has just shown, and the times of its messages, differ from ours."""
    found = []
    if health.at is not None:
        found.append(("the clock of bridge", (health.at - timezone.now()).total_seconds()))
    found.append(("what is posted by bridge", saved_offset_s(bridge)))
    return [
        f"{subject} {bridge.slug} is {timedelta(seconds=round(abs(offset)))} {'ahead of' if offset > 0 else 'behind'} "
        "this machine's clock"
        for subject, offset in found
        if abs(offset) > MAX_OFFSET_S
    ]
