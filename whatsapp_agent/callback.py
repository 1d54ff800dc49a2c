"""Callbacks: functions that an app calls although they belong to an app on its right, which provides them.

    schedule = Callback[[UUID], None](default=lambda _: None)   # on the left, where it is called
    summary.schedule.provide(pool.submit)                       # on the right

So no import points to the right, and there is one form of it to look for.
"""

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
Returned = TypeVar("Returned")


class Callback(Generic[P, Returned]):
    """A function that another module provides, for this process; before that, and after None, `default` is called."""

    def __init__(self, *, default: Callable[P, Returned]) -> None:
        self._default = self._function = default

    def provide(self, function: Callable[P, Returned] | None) -> None:
        self._function = function or self._default

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Returned:
        return self._function(*args, **kwargs)
