"""A redis-server of its own, to be killed, paused, emptied and started again."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest
import redis

from tests.support.application import free_port

MISSING = "redis-server is not installed (Debian, Ubuntu: apt install redis-server): NOTHING OF CELERY IS TESTED"


def require_redis() -> None:
    """Skip the test, with a reason nobody overlooks, if there is no redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)


class RedisServer:
    """On a port of its own, in memory alone: what it held is gone when it is started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5, decode_responses=True)

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.directory)]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < give_up_at, "redis-server does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
