"""`manage.py link_session NAME`: link a number with a QR code in the terminal, or with a pairing code."""

import os
import re
import shutil
import signal
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agent.bridges.base import PairingCode
from agent.bridges.simulator import SimulatorBridge
from sessions_app import services
from sessions_app.admin.link_reasons import describe_reason
from sessions_app.bridges import phone_to_pair
from sessions_app.links.problems import LinkProblemCode, link_problem
from sessions_app.management import qr
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.errors import AppError, BridgeFailed, Conflict
from whatsapp_agent.terminal import seconds

POLL_INTERVAL_S = 1.0
MAX_ENDED_POLLS = 10  # a bridge may report `disconnected` briefly while it creates a new code
Status = WhatsAppSession.Status


class Command(BaseCommand):
    help = "Link a WhatsApp number: start its session (or connect it again) and show the QR code to scan."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="A name for the session: letters, digits and _ . -")
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")
        parser.add_argument(
            "--phone",
            default="",
            metavar="NUMBER",
            help="Link this number with a code to type on it, without scanning.",
        )
        parser.add_argument(
            "--timeout", type=seconds, default=300.0, metavar="SECONDS", help="Give up after this time. Default: 300."
        )

    def handle(self, *, name: str, bridge: str, phone: str, timeout: float, **options: Any) -> None:  # noqa: ARG002
        for stop in (signal.SIGINT, signal.SIGTERM):  # shells start background processes with SIGINT ignored
            signal.signal(stop, _interrupt)
        self._image: Path | None = None
        self._lines_to_replace = 0
        self._phone = phone
        if not re.fullmatch(services.SESSION_NAME, name):
            raise CommandError(
                f"Invalid name {name!r}. Use letters, digits and _ . -, and begin with a letter or digit."
            )
        ensure_bridges()
        try:
            self._link(name, find_bridge(bridge), timeout_s=timeout)
        finally:
            if self._image is not None:
                self._image.unlink(missing_ok=True)

    def _link(self, name: str, bridge: Bridge, *, timeout_s: float) -> None:
        known = WhatsAppSession.objects.live().filter(bridge=bridge, name=name).select_related("bridge").first()
        try:
            if self._phone:
                phone_to_pair(bridge, self._phone)  # before a session is started that cannot be linked so
            session = services.reconnect_session(known) if known else services.start_session(name=name, bridge=bridge)
        except AppError as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            self.stdout.write("Stopped before the bridge answered. Run manage.py sync_sessions to see what it has.")
            sys.exit(130)
        try:
            is_linked = self._follow(session, deadline=time.monotonic() + timeout_s)
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")
            self._undo(session, was_known=known is not None)
            sys.exit(130)
        except AppError as exc:  # the bridge has no pairing codes after all
            self._undo(session, was_known=known is not None)
            raise CommandError(str(exc)) from exc
        if not is_linked:
            self._undo(session, was_known=known is not None)
            raise CommandError(
                f"{name} was not linked within {timeout_s:g} seconds. If the code was scanned and nothing followed, "
                "the account probably demands a passkey: remove it on the phone, or take another number."
            )

    def _follow(self, session: WhatsAppSession, *, deadline: float) -> bool:
        """Show each QR code, or one pairing code, until the number is linked. Return False at the deadline."""
        shown: bytes | None = None
        problem = ""
        ended_polls = 0
        wants_code = bool(self._phone)
        reported: LinkProblemCode | None = None
        while session.status != Status.CONNECTED:
            if (trouble := link_problem(session)) is not None and trouble.code != reported:
                reported = trouble.code
                self.stderr.write(f"{trouble.detail} {trouble.remedy}")
            ended_polls = ended_polls + 1 if session.status in {Status.DISCONNECTED, Status.LOGGED_OUT} else 0
            if ended_polls == MAX_ENDED_POLLS:
                why = f" ({describe_reason(session.status_reason)})" if session.status_reason else ""
                raise CommandError(
                    f"{session.name} is {session.get_status_display().lower()}{why}. Run the command again."
                )
            png = bytes(session.qr_png) if session.qr_png else None
            if wants_code and session.status in services.WAITING:
                try:
                    self._show_pairing_code(services.request_pairing_code(session, phone=self._phone))
                    wants_code = False
                except BridgeFailed as exc:  # it may have none before its own link is up
                    problem = self._report(str(exc), before=problem)
                except Conflict:
                    pass  # linked, or ended, since it was polled
            elif not self._phone and png and png != shown and session.status == Status.QR_WAITING:
                self._show(session, png, is_first=shown is None)
                shown = png
            elif not self._phone and shown is None and not problem:
                problem = f"Waiting for the bridge: {session.get_status_display()} ..."
                self.stdout.write(problem)
            if time.monotonic() >= deadline:
                return False
            postgres.release()
            time.sleep(min(POLL_INTERVAL_S, max(deadline - time.monotonic(), 0.0)))
            try:
                session = services.refresh_session(session)
            except BridgeFailed as exc:
                problem = self._report(str(exc), before=problem)
        when = timezone.localtime(session.linked_at).strftime("%Y-%m-%d %H:%M:%S %Z") if session.linked_at else "now"
        self.stdout.write(
            self.style.SUCCESS(f"{session.name} is connected as {session.phone or 'unknown'}, since {when}.")
        )
        if session.bridge.kind == SimulatorBridge.kind:
            self.stdout.write("The number is made up: this is the simulator. For a real one set WHATSAPP_API_URL.")
        return True

    def _report(self, problem: str, *, before: str) -> str:
        """Write a problem that is not the one before. Return it."""
        if problem != before:
            self.stderr.write(f"{problem} Trying again ...")
        return problem

    def _show_pairing_code(self, code: PairingCode) -> None:
        self.stdout.write(
            "On the phone: WhatsApp, Settings, Linked devices, Link a device, Link with phone number instead. Type:"
        )
        self.stdout.write(f"\n    {code.code}\n")
        self.stdout.write(f"Valid until {timezone.localtime(code.expires_at):%H:%M:%S %Z} at the latest.")
        self.stdout.flush()

    # --- QR code --------------------------------------------------------------------------------------------------
    def _show(self, session: WhatsAppSession, png: bytes, *, is_first: bool) -> None:
        drawing = self._drawing(png)
        if is_first:
            self.stdout.write("On the phone: WhatsApp, Settings, Linked devices, Link a device. Then scan:\n")
        elif drawing and self._lines_to_replace < shutil.get_terminal_size().lines:
            self.stdout.write(f"\x1b[{self._lines_to_replace}F\x1b[J" if self._lines_to_replace else "", ending="")
        until = ""
        if session.qr_expires_at:
            until = f"Valid until {timezone.localtime(session.qr_expires_at):%H:%M:%S %Z}; a new one follows."
        if drawing:
            self.stdout.write("\n".join(drawing))
            self.stdout.write(until)
            self._lines_to_replace = len(drawing) + 1
        else:
            self.stdout.write(f"Open this image and scan it: {self._write_image(session, png)}  {until}")
        self.stdout.flush()

    def _drawing(self, png: bytes) -> list[str]:
        """Return the code as lines for this terminal; an empty list if it cannot be drawn or does not fit."""
        if not self.stdout.isatty() or os.environ.get("TERM") == "dumb":
            return []
        try:
            modules = qr.read_modules(png)
        except qr.UnreadableCode as exc:
            self.stderr.write(f"The code cannot be drawn here. {exc}")
            return []
        columns = shutil.get_terminal_size().columns
        for quiet in (4, 2, 1):
            if len(modules) + 2 * quiet <= columns:
                return qr.draw(modules, quiet=quiet)
        self.stderr.write(f"The code cannot be drawn here: it needs {len(modules) + 2} columns, there are {columns}.")
        return []

    def _write_image(self, session: WhatsAppSession, png: bytes) -> Path:
        """Write the code to a file and return its path. Readable by its owner only: scanning it links a phone."""
        self._image = settings.DATA_DIR / f"qr-{session.pk}.png"
        self._image.unlink(missing_ok=True)
        with os.fdopen(os.open(self._image, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(png)
        return self._image

    # --- end ------------------------------------------------------------------------------------------------------
    def _undo(self, session: WhatsAppSession, *, was_known: bool) -> None:
        """End a session that this command started, also at the bridge."""
        if was_known:
            return
        with suppress(KeyboardInterrupt):
            try:
                services.end_session(session)
            except AppError as exc:
                self.stderr.write(f"The bridge did not delete {session.name}: {exc} Run manage.py sync_sessions later.")


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt
