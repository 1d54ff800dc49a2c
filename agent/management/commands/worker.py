"""`manage.py worker`: a Celery worker that takes turns and sends, on this or any other machine."""

import os
import signal
import socket
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from agent.server import memory, startup
from whatsapp_agent.postgres import embedded

# What only the command line takes. docs/machines.md has the whole command.
FLAGS = ("--without-gossip", "--without-mingle", "--without-heartbeat")


class Command(BaseCommand):
    help = "Start a Celery worker: turns and sends of an application whose REDIS_URL is set, on any number of machines."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="", help="Its name among the workers. Default: machine and process id.")

    def handle(self, *, name: str, **options: Any) -> None:  # noqa: ARG002
        if not settings.REDIS_URL:
            raise CommandError(
                "REDIS_URL is empty: a worker is woken through Redis. Set it here and for manage.py up, "
                "or run manage.py up alone, which takes turns and sends by itself."
            )
        memory.use_one_arena()
        try:
            startup.close_data_directory()
            if settings.EMBEDDED:
                startup.start_embedded_database(report=self.stdout.write)
            startup.check_database()
            startup.prepare_database(report=self.stdout.write)
        except (startup.CannotStart, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from None
        from whatsapp_agent.celery import QUEUES, app

        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        node = name or f"{socket.gethostname()}-{os.getpid()}"
        self.stdout.write(f"Worker {node} takes turns and sends until Ctrl-C.")
        try:
            app.worker_main(["--quiet", "worker", *FLAGS, "--queues", ",".join(QUEUES), "--hostname", f"agent@{node}"])
        finally:
            if settings.EMBEDDED:
                embedded.stop(settings.DATA_DIR / "postgres")
