"""Jobs that run again and again, each declared beside the feature it serves:

    @periodic(every_s=60)
    def purge() -> None: ...

The engine of every process runs them, so a job must be safe when two processes run it at once. Times are approximate.
"""

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from whatsapp_agent.postgres.advisory import one_at_a_time

Function = TypeVar("Function", bound=Callable[..., Any])

NOT_IMPORTED = ("migrations", "management", "tasks")  # tasks: they import Celery, which only a worker needs


@dataclass(frozen=True, slots=True, eq=False)
class PeriodicJob:
    run: Callable[[], object]
    every_s: Callable[[], float]
    may_block: bool
    in_each_process: bool = False
    in_web_processes: bool = False

    def run_where_due(self) -> None:
        """Run it, unless another worker runs it at this moment; one that may block arranges that by itself."""
        if self.may_block or self.in_each_process:
            self.run()
            return
        with one_at_a_time(f"{self.run.__module__}.{getattr(self.run, '__name__', 'job')}") as is_mine:
            if is_mine:
                self.run()


registry: list[PeriodicJob] = []


def periodic(
    *,
    every_s: float | Callable[[], float],
    may_block: bool = False,
    in_each_process: bool = False,
    in_web_processes: bool = False,
) -> Callable[[Function], Function]:
    """Run the decorated function about every `every_s` seconds; pass a callable for an interval that is a setting.

    A job that `may_block` (it waits for another server, or others wait for its speed) has a thread of its own; all
    others share one, in which a failing job does not stop the rest. With Celery workers, these run in one worker at a
    time, but for what concerns the process itself (`in_each_process`). What must run even where no engine does runs
    `in_web_processes`, too.
    """

    def register(function: Function) -> Function:
        interval = every_s if callable(every_s) else lambda: every_s
        registry.append(
            PeriodicJob(
                run=function,
                every_s=interval,
                may_block=may_block,
                in_each_process=in_each_process,
                in_web_processes=in_web_processes,
            )
        )
        return function

    return register


def import_jobs(packages: Iterable[str]) -> None:
    """Import every module of these packages, so that each job declared there is in the registry."""
    for name in packages:
        _import_modules(name)


def _import_modules(package: str) -> None:
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        if module.name.rpartition(".")[2] in NOT_IMPORTED:
            continue
        import_module(module.name)
        if module.ispkg:
            _import_modules(module.name)
