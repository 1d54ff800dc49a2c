"""Locks by name, for what one transaction or one process at a time should do, on however many machines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection


def lock(name: str) -> None:
    """Take the lock of this name until the current transaction ends; wait for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def try_lock(name: str, *, holder: Any = connection) -> bool:
    """Take the lock of this name until the current transaction of `holder` ends; False if another process has it."""
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"one_at_a_time:{name}"])
        return bool(cursor.fetchone()[0])


@contextmanager
def one_at_a_time(name: str) -> Iterator[bool]:
    """Yield True, unless another process does at this moment what has this name. Without Redis always True.

    The lock lives in a transaction of its own, on a connection of its own: the caller's own transactions stay as they
    are, and a process that dies gives the lock back. It takes a second connection of the pool: one thread at a time.
    """
    if not settings.REDIS_URL:
        yield True
        return
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        yield try_lock(name, holder=holder)
    finally:
        holder.close()
