"""Counters and histograms: what this process counted since it last stored its counts.

    TURNS = Counter("turns", "Turns, by outcome.", labels=("outcome",))
    TURNS.add(outcome)

Counting costs about a microsecond: it changes a dictionary. `agent.monitoring.counts` adds what was counted to the
totals in the database. So they are those of all processes on all machines, whichever is asked, and survive restarts.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

MAX_LABEL_VALUES = 200  # combinations for one metric; what comes after them is counted as `other`
OTHER = "other"

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of a metric under these labels: a counter's value, or a histogram's buckets and its sum."""

    name: str
    labels: Labels
    values: Sequence[float]


class Metric:
    """What counters and histograms have in common. Label values must be few: names of kinds, never ids or texts."""

    def __init__(self, name: str, description: str, *, labels: Labels = ()) -> None:
        self.name = name
        self.description = description
        self.labels = labels
        self._width = 1
        self._counted: dict[Labels, list[float]] = {}
        self._seen: set[Labels] = set()
        self._lock = Lock()
        registry[name] = self

    def _count(self, labels: Labels, *changes: tuple[int, float]) -> None:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}")
        with self._lock:
            values = self._counted.get(labels)
            if values is None:
                if labels not in self._seen:
                    if len(self._seen) >= MAX_LABEL_VALUES:
                        labels = (OTHER,) * len(self.labels)
                    self._seen.add(labels)
                values = self._counted.setdefault(labels, [0.0] * self._width)
            for at, change in changes:
                values[at] += change

    def take(self) -> list[Counted]:
        """Return what was counted since the last call, and begin anew."""
        with self._lock:
            counted, self._counted = self._counted, {}
        return [Counted(self.name, labels, values) for labels, values in counted.items()]

    def give_back(self, counted: Counted) -> None:
        """Count again what was taken and could not be stored."""
        self._count(counted.labels, *enumerate(counted.values))


class Counter(Metric):
    """Something that happens; its value only grows."""

    def add(self, *labels: str, value: float = 1.0) -> None:
        self._count(labels, (0, value))


class Histogram(Metric):
    """How long something takes, in seconds: how many took at most so long, for each of `buckets`."""

    def __init__(self, name: str, description: str, *, buckets: Sequence[float], labels: Labels = ()) -> None:
        super().__init__(name, description, labels=labels)
        self.buckets = buckets
        self._width = len(buckets) + 2  # the last two: longer than all buckets, and the sum

    def observe(self, seconds: float, *labels: str) -> None:
        self._count(labels, (bisect_left(self.buckets, seconds), 1.0), (self._width - 1, seconds))


registry: dict[str, Metric] = {}


def take_all() -> list[Counted]:
    """Return what this process counted of all metrics since the last call."""
    return [counted for metric in registry.values() for counted in metric.take()]


def give_back(every: Sequence[Counted], metrics: Mapping[str, Metric] = registry) -> None:
    for counted in every:
        metrics[counted.name].give_back(counted)
