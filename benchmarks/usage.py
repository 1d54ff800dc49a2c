"""What processes use, as the kernel counts it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU used: by our processes, by the database's, by this one, by whatever else the machine does; and
    the clock.
    """

    ours: float
    database: float
    load: float
    others: float
    at: float

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(
            ours=self.ours - before.ours,
            database=self.database - before.database,
            load=self.load - before.load,
            others=self.others - before.others,
            at=self.at - before.at,
        )


def cpu(ours: Iterable[psutil.Process], postgres_data: Path) -> Cpu:
    ours_s = sum(_seconds(process) for process in ours)
    database_s = _database_seconds(postgres_data)
    load_s = _seconds(psutil.Process())
    machine = psutil.cpu_times()
    all_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    others_s = all_s - ours_s - database_s - load_s
    return Cpu(ours=ours_s, database=database_s, load=load_s, others=others_s, at=time.perf_counter())


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _database_seconds(postgres_data: Path) -> float:
    """Of the server and its present children, and of those that have ended."""
    first = psutil.Process(int((postgres_data / "postmaster.pid").read_text().split("\n", 1)[0]))
    times = first.cpu_times()
    total = float(times.user + times.system + times.children_user + times.children_system)
    for child in first.children():
        try:
            total += _seconds(child)
        except psutil.NoSuchProcess:
            continue
    return total


def memory_mb(process: psutil.Process) -> tuple[float, float]:
    """Resident, and the share of it that this process would be charged with (PSS)."""
    info = process.memory_full_info()
    return info.rss / 2**20, info.pss / 2**20


def pace_ms() -> float:
    """How long this machine takes now for work that is always the same; other tenants of its host change it by half."""
    began, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return 1000 * (time.perf_counter() - began)
