"""The processes of one machine: gunicorn in this very process, which forks web processes and engine processes."""

import gc
import logging
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.urls import get_resolver
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from agent import engine, heartbeats, llm
from agent.backups import key_holders
from agent.models import EngineProcess
from agent.monitoring.counts import store_counts
from agent.server import web_jobs
from agent.server.engine_worker import EngineWorker
from agent.server.wake_channel import WakeChannel
from agent.server.wake_publisher import celery_publisher
from agent.server.worker import BufferingWorker
from whatsapp_agent import periodic, wakeups
from whatsapp_agent.http.request_body import with_content_length
from whatsapp_agent.postgres import base as postgres
from whatsapp_agent.telemetry import tracing

STOP_S = 20  # for requests, turns and sends that are under way
ENGINE_STOP_S = 10.0
MAX_OPEN_FILES = 16384


class Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Log where everything else is logged, and leave out the start and stop of every worker."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.setLevel(logging.WARNING)
        self.error_log.propagate = True


def _engine_worker(number: int, *arguments: Any) -> EngineWorker:
    worker = EngineWorker(*arguments)
    worker.number = number
    return worker


def engine_processes() -> int:
    """Return how many engine processes run here: none if Celery workers take turns and send."""
    return 0 if settings.REDIS_URL else int(settings.ENGINE_PROCESSES)


class ProcessArbiter(Arbiter):  # type: ignore[misc]
    """Keep web and engine processes running.

    Stop gracefully on Ctrl-C and when the terminal closes, as on SIGTERM; a second Ctrl-C stops at once."""

    def spawn_worker(self) -> Any:
        """Fork an engine process if one is missing, else a web process."""
        running = {worker.number for worker in self.WORKERS.values() if isinstance(worker, EngineWorker)}
        missing = [number for number in range(engine_processes()) if number not in running]
        self.worker_class = partial(_engine_worker, missing[0]) if missing else BufferingWorker
        return super().spawn_worker()

    def init_signals(self) -> None:
        hangup = signal.getsignal(signal.SIGHUP)
        super().init_signals()
        if hangup == signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def handle_int(self) -> None:
        self.handle_term()

    def handle_hup(self) -> None:
        self.handle_term()


class WebServer(BaseApplication):  # type: ignore[misc]
    """Serve until SIGTERM or SIGINT. `in_first_worker` is called once, when requests are being answered."""

    def __init__(self, *, address: str, in_first_worker: Callable[[], None], on_exit: Callable[[], None]) -> None:
        self._options = {
            "bind": address,
            "workers": settings.WEB_PROCESSES + engine_processes(),
            "worker_class": BufferingWorker,
            "threads": settings.WEB_THREADS,
            "worker_connections": _allow_connections(),
            "sendfile": False,  # it would wait for the client
            "preload_app": True,  # workers share the memory of what is loaded before they fork
            "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,  # noqa: S108
            "timeout": 60,
            "graceful_timeout": STOP_S,
            "keepalive": 30,
            "limit_request_line": 8190,  # bytes, gunicorn's maximum: in a search term a character may take 12
            "logger_class": Log,
            "control_socket_disable": True,
            "pre_fork": _before_fork,
            "post_worker_init": self._worker_starts,
            "worker_exit": _worker_ends,
            "on_exit": self._server_ends,
        }
        self._in_first_worker = in_first_worker
        self._channel = EngineWorker.channel = WakeChannel(engines=engine_processes())
        self._on_exit = on_exit
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application, and load what its first request and turn need: once, shared by all workers."""
        application = get_wsgi_application()
        get_resolver().url_patterns  # noqa: B018
        periodic.import_jobs(engine.APPS_WITH_JOBS)
        llm.load_client()
        gc.collect()
        gc.freeze()  # collecting garbage writes to objects, which would copy their memory into each worker
        return with_content_length(application)

    def run(self) -> None:
        ProcessArbiter(self).run()

    def _worker_starts(self, worker: Any) -> None:
        # A terminal's Ctrl-C reaches every process; workers wait for the arbiter's signal, so that they end in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if isinstance(worker, EngineWorker):
            engine.start()
            heartbeats.start(EngineProcess.Kind.ENGINE)
            key_holders.start(EngineProcess.Kind.ENGINE)
            return
        web_jobs.start()
        key_holders.start("web")
        if settings.REDIS_URL:
            publisher = celery_publisher()
            publisher.start()
            wakeups.subscriber.provide(publisher.send)
        else:
            wakeups.subscriber.provide(self._channel.send)
        if worker.age == engine_processes() + 1:  # the first web process: engine processes are forked before
            self._in_first_worker()

    def _server_ends(self, arbiter: Any) -> None:  # noqa: ARG002
        self._on_exit()


def _allow_connections() -> int:
    """Raise this process's limit of open files, and return how many connections a worker may hold with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    # A connection may need a second file, for what it buffers; half of the rest is for the database and models.
    return int(min(max(soft if soft > 0 else wanted, 1024), wanted) // 4)


def _before_fork(arbiter: Any, worker: Any) -> None:  # noqa: ARG001
    """Close all connections: each belongs to one process."""
    connections.close_all()
    postgres.close_idle()


def _worker_ends(arbiter: Any, worker: Any) -> None:  # noqa: ARG001
    web_jobs.stop()
    heartbeats.stop()
    key_holders.stop()
    engine.stop(timeout_s=ENGINE_STOP_S)
    engine.attempt(store_counts)
    tracing.stop()
    connections.close_all()
    postgres.close_idle()
