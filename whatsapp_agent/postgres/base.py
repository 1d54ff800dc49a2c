"""Django's PostgreSQL backend with a pool of connections a process shares, and the embedded server behind it.

Django keeps a connection for each thread, and pools only under psycopg 3. Here hundreds of turns wait for a model in
threads of their own: each gives its connection back while it waits (`release`), so that a process never holds more
than POOL_SIZE. Closing a connection, as Django does at the end of each request, hands it to the pool.
"""

import threading
from collections import deque
from typing import Any

import psycopg2
from django.db import connection
from django.db.backends.postgresql import base
from django.db.utils import OperationalError
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from whatsapp_agent import embedded_postgres

WAIT_FOR_CONNECTION_S = 30.0


class Pool:
    """At most `size` connections at once; the most recently used is lent first, so that few stay warm."""

    def __init__(self, size: int) -> None:
        self._free_places = threading.BoundedSemaphore(size)
        self._idle: deque[Any] = deque()

    def take(self, connect: Any) -> Any:
        """An idle connection or a new one. Raises OperationalError when none comes free in time."""
        if not self._free_places.acquire(timeout=WAIT_FOR_CONNECTION_S):
            raise OperationalError("every database connection of this process is in use")
        try:
            return self._idle_one() or connect()
        except BaseException:
            self._free_places.release()
            raise

    def _idle_one(self) -> Any:
        while self._idle:
            try:
                idle = self._idle.pop()
            except IndexError:  # another thread took the last one between the two lines
                return None
            if not idle.closed:
                return idle
        return None

    def give_back(self, lent: Any) -> None:
        try:
            if not lent.closed and lent.info.transaction_status == TRANSACTION_STATUS_IDLE:
                self._idle.append(lent)
            else:
                lent.close()
                self.close_idle()  # the server went away, most likely for the others too
        finally:
            self._free_places.release()

    def close_idle(self) -> None:
        while idle := self._idle_one():
            idle.close()


_pools: dict[tuple[str, str], Pool] = {}
_pools_lock = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        if data_dir := self.settings_dict.get("EMBEDDED_IN"):
            params["host"] = str(embedded_postgres.ensure_running(data_dir).socket_dir)
        return params

    @property
    def _pool(self) -> Pool:
        key = (self.alias, str(self.settings_dict["NAME"]))  # a test run changes the name
        with _pools_lock:
            return _pools.setdefault(key, Pool(self.settings_dict.get("POOL_SIZE") or 20))

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._lent_by = self._pool
        lent = self._lent_by.take(lambda: super(DatabaseWrapper, self).get_new_connection(conn_params))
        return lent

    def _close(self) -> None:
        if self.connection is None:
            return
        lent, self.connection = self.connection, None
        with self.wrap_database_errors:
            if not lent.closed and lent.info.transaction_status != TRANSACTION_STATUS_IDLE:
                try:
                    lent.rollback()
                except psycopg2.Error:
                    lent.close()
            self._lent_by.give_back(lent)


def release() -> None:
    """Give this thread's connection back to the pool before a long wait; the next query takes one again."""
    if not connection.in_atomic_block:
        connection.close()


def close_idle() -> None:
    """Close what no one uses: before a fork, and at the end."""
    with _pools_lock:
        for pool in _pools.values():
            pool.close_idle()
