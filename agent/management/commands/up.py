"""`manage.py up`: run database, web server and engine until Ctrl-C."""

import signal
import sys
import threading
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.services import FIRST_STAFF_USER
from agent.models import EngineProcess
from agent.server import memory, startup
from agent.server.gunicorn import WebServer
from agent.server.self_check import QUESTION, SelfCheckFailed, run_self_check
from sessions_app import bridge_clocks
from sessions_app.bridges import bridge_health
from sessions_app.models import Bridge
from whatsapp_agent.env import stored_secret
from whatsapp_agent.postgres import clock, embedded

CLOCK_REMEDY = "messages may be treated as old. Synchronize both clocks with NTP."


class Command(BaseCommand):
    help = "Start the embedded database, the web server and the engine, and run until Ctrl-C."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT, help="The port. Default: PORT.")
        parser.add_argument(
            "--self-check", action="store_true", help="Send the agent a test message, as the first start does."
        )
        parser.add_argument(
            "--no-self-check", action="store_true", help="Send no test message, even at the first start."
        )

    def handle(self, *, port: int, self_check: bool, no_self_check: bool, **options: Any) -> None:  # noqa: ARG002
        signal.signal(signal.SIGTERM, _exit)  # until the web server takes over
        memory.use_one_arena()
        try:
            is_first = self._prepare(port)
        except (startup.CannotStart, ImproperlyConfigured) as exc:
            raise CommandError(str(exc)) from None
        except KeyboardInterrupt:
            self._print("Stopped.")
            sys.exit(130)

        def greet() -> None:
            if settings.REDIS_URL and not EngineProcess.objects.working().exists():
                self._print("WARNING: no Celery worker runs, and nothing is answered. Start one: manage.py worker.")
            elif self_check or (is_first and not no_self_check):
                self._run_self_check(port)
            self._show_addresses(port, is_first=is_first)
            self._warn_of_bridge_clocks()

        WebServer(
            address=f"{startup.in_url(settings.HOST)}:{port}",
            in_first_worker=lambda: threading.Thread(target=greet, name="greeting", daemon=True).start(),
            on_exit=self._on_exit,
        ).run()

    def _prepare(self, port: int) -> bool:
        """Check and prepare everything; return whether the first staff user was created now."""
        if not 1 <= port <= 65535:
            raise startup.CannotStart(f"--port {port} is not a port: it must be between 1 and 65535.")
        self._warn()
        startup.check_address(host=settings.HOST, port=port)
        startup.close_data_directory()
        if settings.EMBEDDED:
            startup.start_embedded_database(report=self._print)
        startup.check_database()
        offset = clock.offset_s()
        if abs(offset) > clock.MAX_OFFSET_S:
            self._print(f"WARNING: {clock.describe(offset)}: {CLOCK_REMEDY}")
        is_first = startup.prepare_database(report=self._print)
        startup.prepare_static_files(report=self._print)
        startup.close_data_directory()  # again, for the files that this start created
        return is_first

    def _warn(self) -> None:
        if not (settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL):
            self._print("WARNING: neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: a scripted model answers.")
        if settings.REDIS_URL:
            self._print("REDIS_URL is set: Celery workers take turns and send. Start one or more: manage.py worker.")
        if settings.DEBUG:
            self._print("WARNING: DEBUG is on: error pages show settings and code. Never use it in production.")
        if settings.HOST not in startup.LOOPBACK and not settings.HTTPS:
            self._print(f"WARNING: HOST={settings.HOST} without HTTPS: passwords and messages travel unencrypted.")
        if startup.has_no_name():
            self._print("WARNING: HTTPS is on, but ALLOWED_HOSTS names only this machine. Add the names people use.")
        for name in settings.ENVIRONMENT.unread_names():
            self._print(f"WARNING: .env sets {name}, which no setting reads. Check its spelling against .env.example.")

    def _warn_of_bridge_clocks(self) -> None:
        for bridge in Bridge.objects.order_by("slug"):
            for difference in bridge_clocks.differences(bridge, bridge_health(bridge)):
                self._print(f"WARNING: {difference}: {CLOCK_REMEDY}")

    def _run_self_check(self, port: int) -> None:
        self._print(f"Self check: writing to the agent through the simulator: {QUESTION}")
        try:
            answer = run_self_check(startup.local_url(port))
        except SelfCheckFailed as exc:
            self._print(f"WARNING: the self check failed: {exc} See manage.py doctor.")
        else:
            self._print(f"  answered after {answer.seconds:.1f} s: {' '.join(answer.text.split())}")

    def _show_addresses(self, port: int, *, is_first: bool) -> None:
        url = startup.public_url(port)
        self._print(
            f"\nWhatsApp Agent runs until Ctrl-C.\n"
            f"  Admin      {url}/admin/\n"
            f"  Simulator  {url}/simulator/\n"
            f"  API        {url}/api/docs/\n"
            f"  Health     {url}/health/\n"
            f"  Log in as  {self._login(is_first)}"
        )

    def _login(self, is_first: bool) -> str:
        if settings.ADMIN_PASSWORD:
            return f"{FIRST_STAFF_USER}, {self._password(is_first)}"
        if User.objects.filter(is_superuser=True, is_active=True).exists():
            return "a user you created with manage.py createsuperuser"
        return (
            "nobody yet: create the first user with manage.py createsuperuser\n"
            f"             (or set ADMIN_PASSWORD and start again, which creates {FIRST_STAFF_USER})"
        )

    def _password(self, is_first: bool) -> str:
        """Return where to find the password of `admin`; the password itself only if it was generated just now."""
        source = settings.ENVIRONMENT.source("ADMIN_PASSWORD")
        stored = stored_secret("ADMIN_PASSWORD", data_dir=settings.DATA_DIR)
        if is_first and stored == settings.ADMIN_PASSWORD and self.stdout.isatty():
            return f"password {settings.ADMIN_PASSWORD} (stored in {source})"
        admin = User.objects.filter(username=FIRST_STAFF_USER).first()
        if admin is None:
            return "if that user exists; manage.py createsuperuser creates another"
        if admin.check_password(settings.ADMIN_PASSWORD):
            return f"with ADMIN_PASSWORD from {source}"
        if stored and admin.check_password(stored):
            return f"with ADMIN_PASSWORD from {settings.DATA_DIR / 'secrets.env'}, not the one from {source}"
        return f"with the password set since (manage.py changepassword {FIRST_STAFF_USER} changes it)"

    def _on_exit(self) -> None:
        if settings.EMBEDDED:
            embedded.stop(settings.DATA_DIR / "postgres")
        self._print("Stopped.")

    def _print(self, line: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            self.stdout.write(line)
            self.stdout.flush()


def _exit(_signal: int, _frame: Any) -> NoReturn:
    sys.exit(143)
