"""The database: a pool of connections shared by the threads of a process."""

from django.db import connection


def release() -> None:
    """Give this thread's connection back to the pool before a long wait; the next query takes one again."""
    if not connection.in_atomic_block:
        connection.close()
