"""The engine process: turns and sends beside the web processes, each in a greenlet.

Hundreds of turns wait for models and bridges at once. As threads they would share one interpreter lock with each other
and with the requests; as greenlets they share an event loop, and the code that waits is written the same.
"""

import os
import warnings
from typing import Any

from gunicorn.workers.base import Worker

from agent.server.wake_channel import WakeChannel
from whatsapp_agent import wakeups

HEARTBEAT_S = 0.25  # also how soon a signal to stop is seen
NICENESS = 5  # a webhook request goes first: its bridge waits, and sends again what takes too long


def become_cooperative() -> None:
    """Let everything in this process that waits give way to other greenlets. Call it right after the fork.

    The application is loaded before the fork, so that processes share its memory. What it holds by then of threads is
    replaced; TLS contexts have to be made afterwards. `select` stays as it is: it is used here with a time of 0 only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about patching what is imported already
        from gevent import monkey

        monkey.patch_all(select=False)
    import psycopg2.extensions
    from asgiref.local import Local
    from django.db import connections

    connections._connections = Local(connections.thread_critical)  # type: ignore[attr-defined]
    psycopg2.extensions.set_wait_callback(_wait_for_database)


def _wait_for_database(connection: Any) -> None:
    """Format: https://www.psycopg.org/docs/advanced.html#support-for-coroutine-libraries"""
    from gevent.socket import wait_read, wait_write
    from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

    while (state := connection.poll()) != POLL_OK:
        if state == POLL_READ:
            wait_read(connection.fileno())
        elif state == POLL_WRITE:
            wait_write(connection.fileno())


class EngineWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A child of the arbiter that serves no requests. It is started again when it dies, and ended like a web process.

    Set `number` and `channel` before it is forked.
    """

    number: int
    channel: WakeChannel

    def init_process(self) -> None:
        os.nice(NICENESS)
        become_cooperative()
        super().init_process()

    def run(self) -> None:
        import gevent

        receiver = gevent.spawn(self._receive)
        while self.alive:
            self.notify()
            gevent.sleep(HEARTBEAT_S)
        receiver.kill()

    def _receive(self) -> None:
        from gevent.socket import wait_read

        while True:
            wait_read(self.channel.read_end(self.number))
            for conversation_id, session_id, due_at in self.channel.receive(self.number):
                wakeups.subscriber(conversation_id, session_id, due_at)
