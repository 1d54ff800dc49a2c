"""Django's PostgreSQL backend with a pool of connections a process shares, and the embedded server behind it.

Django keeps a connection for each thread, and pools only under psycopg 3. Here hundreds of turns wait for a model in
threads of their own: each gives its connection back while it waits (`release`), so that a process never holds more
than POOL_SIZE. Closing a connection, as Django does at the end of each request, hands it to the pool.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg2
import psycopg2.extensions
from django.db.backends.postgresql import base
from django.db.utils import OperationalError
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from whatsapp_agent.postgres import embedded

CONNECTION_TIMEOUT_S = 30
MAX_IDLE_S = 30.0  # an idle connection is a process of the server with some 5 MB


class Connection(psycopg2.extensions.connection):  # type: ignore[misc]  # the driver has no types
    """Remembers which statements it has planned, see `postgres.statement`, and which slots it holds in its pool."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: set[str] = set()
        self.slots: list[threading.Semaphore] = []
        self.idle_since = 0.0


# Of the connections, the most that threads of the background have at once. Hundreds of them may be awake, and would
# leave none to the requests; and the fewer of them are let in, the less they fight over the interpreter.
BACKGROUND_SHARE = 0.4

_thread = threading.local()


def mark_background_thread() -> None:
    """This thread serves no request: from now on it shares a part of the connections with others like it."""
    _thread.in_background = True


class Pool:
    """At most `size` connections at once; the most recently used is lent first, so that few stay warm.

    One that nobody has wanted for `max_idle_s` is closed when another is given back.
    """

    def __init__(self, size: int, *, max_idle_s: float = MAX_IDLE_S) -> None:
        self._max_idle_s = max_idle_s
        self._free_slots = threading.BoundedSemaphore(size)
        self._free_in_background = threading.BoundedSemaphore(max(round(size * BACKGROUND_SHARE), 1))
        self._idle: deque[Any] = deque()
        self._abandoned: deque[Any] = deque()

    def take(self, connect: Callable[[], Any]) -> Any:
        """An idle connection or a new one. Raises OperationalError when none comes free in time."""
        slots = self._wait_for_slots()
        try:
            lent = self._idle_one() or connect()
        except BaseException:
            _free(slots)
            raise
        lent.slots = slots
        return lent

    def _wait_for_slots(self) -> list[threading.Semaphore]:
        """What is free again when the connection comes back."""
        in_background = getattr(_thread, "in_background", False)
        wanted = [self._free_in_background, self._free_slots] if in_background else [self._free_slots]
        taken: list[threading.Semaphore] = []
        for _ in range(CONNECTION_TIMEOUT_S):
            self._recover_abandoned()
            while len(taken) < len(wanted) and wanted[len(taken)].acquire(timeout=1):
                taken.append(wanted[len(taken)])
            if len(taken) == len(wanted):
                return taken
        _free(taken)
        raise OperationalError("every database connection of this process is in use")

    def _idle_one(self) -> Any:
        while self._idle:
            try:
                idle = self._idle.pop()
            except IndexError:  # another thread took the last one between the two lines
                return None
            if not idle.closed and not _has_pending_input(idle):
                return idle
            idle.close()
        return None

    def put_back(self, lent: Any) -> None:
        slots = lent.slots  # read now: once it is idle, another thread may write its own there
        try:
            if not lent.closed and lent.info.transaction_status == TRANSACTION_STATUS_IDLE:
                self._close_unused()
                lent.idle_since = time.monotonic()
                self._idle.append(lent)
            else:
                lent.close()
        finally:
            _free(slots)

    def _close_unused(self) -> None:
        """Close the connection that has been idle for longest, if it was for long enough."""
        with suppress(IndexError):  # another thread takes the last one meanwhile
            if self._idle[0].idle_since <= time.monotonic() - self._max_idle_s:
                self._idle.popleft().close()

    def abandon(self, lent: Any) -> None:
        """For a connection whose thread ended with it. Takes no lock: it is called from the garbage collector."""
        self._abandoned.append(lent)

    def _recover_abandoned(self) -> None:
        while self._abandoned:
            try:
                lent = self._abandoned.popleft()
            except IndexError:
                return
            lent.close()  # whatever transaction was open is rolled back by that
            _free(lent.slots)

    def close_idle(self) -> None:
        while idle := self._idle_one():
            idle.close()


def _has_pending_input(idle: Any) -> bool:
    """True for a connection the server has closed, or is about to: an idle one has nothing to read otherwise."""
    poll = select.poll()
    poll.register(idle.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _free(slots: list[threading.Semaphore]) -> None:
    for slot in slots:
        slot.release()


pools: dict[tuple[str, str], Pool] = {}
_pools_lock = threading.Lock()


def _forget_pools() -> None:
    """A forked child must not speak on its parent's connections; the driver leaves them open for the parent."""
    global _pools_lock
    _pools_lock = threading.Lock()
    pools.clear()


os.register_at_fork(after_in_child=_forget_pools)


class DatabaseWrapper(base.DatabaseWrapper):
    _lent_by: Pool

    @property
    def _pool(self) -> Pool:
        key = (self.alias, str(self.settings_dict["NAME"]))  # a test run changes the name
        if key not in pools:
            with _pools_lock:
                pools.setdefault(key, Pool(self.settings_dict.get("POOL_SIZE") or 20))
        return pools[key]

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._lent_by = self._pool
        return self._lent_by.take(lambda: self._connect(conn_params))

    def _connect(self, conn_params: dict[str, Any]) -> Any:
        if data_dir := self.settings_dict.get("EMBEDDED_IN"):
            conn_params = conn_params | embedded.ensure_running(data_dir).address
        return super().get_new_connection(conn_params | {"connection_factory": Connection})

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
            self._lent_by.put_back(lent)

    def close_pool(self) -> None:
        """Django calls this before it drops or copies a test database."""
        close_idle()

    def __del__(self) -> None:
        # Django keeps a wrapper for each thread. One that ends without closing it would leak its slot.
        if getattr(self, "connection", None) is not None:
            self._lent_by.abandon(self.connection)


def close_idle() -> None:
    """Close what no one uses: before a fork, and at the end."""
    with _pools_lock:
        for pool in pools.values():
            pool.close_idle()
