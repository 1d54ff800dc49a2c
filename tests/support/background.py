"""Run a function concurrently on its own database connection, and wait for what other threads and processes do."""

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

COUNT_WAITING = """
SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND datname = current_database()
"""


def becomes_true(condition: Callable[[], object], *, timeout_s: float = 60.0) -> bool:
    """Wait until the condition holds; return False if it does not within the time. Use it with `assert`."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


class BackgroundCall(threading.Thread):
    """A thread that runs `act`. `wait_for_lock` returns once `count` backends wait for a lock, or it has ended."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self._result: Any = None
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._act()
        except Exception as exc:  # noqa: BLE001
            self._error = exc
        finally:
            connection.close()

    def wait_for_lock(self, *, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        with connection.cursor() as cursor:
            while self.is_alive():
                cursor.execute("SELECT pg_stat_clear_snapshot()")  # who has connected since is not in it
                cursor.execute(COUNT_WAITING)
                if cursor.fetchone()[0] >= count:
                    return
                assert time.monotonic() < deadline, "it neither waited nor ended"
                time.sleep(0.01)

    def result(self) -> Any:
        """Return what `act` returned; raise what it raised."""
        self.join(20)
        assert not self.is_alive(), "it did not end"
        if self._error is not None:
            raise self._error
        return self._result
