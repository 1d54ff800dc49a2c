"""What the management commands for operators share: clear errors, ages and times, progress, and JSON."""

import re
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from psycopg2.errors import UndefinedColumn, UndefinedTable

from whatsapp_agent.errors import AppError
from whatsapp_agent.postgres import embedded
from whatsapp_agent.storage import disk
from whatsapp_agent.storage.input_file import open_input

Item = TypeVar("Item")

AGE = re.compile(r"([0-9]{1,6}) ?(s|min|m|h|d|w)", re.IGNORECASE)
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MAX_AGE = timedelta(days=500 * 365)
PROGRESS_INTERVAL_S = 1.0


def reason_of(exc: BaseException) -> str | None:
    """Return why a management command cannot work, if that is for the operator to correct; None for a fault of ours."""
    if isinstance(exc, AppError):
        return str(exc)
    if disk.is_full(exc):
        return "The disk is full: make room, then run it again."
    if isinstance(exc.__cause__, embedded.NotStarted):
        return str(exc.__cause__)
    if isinstance(exc, UnicodeEncodeError):
        return "An argument, or what was to be printed, cannot be written in this terminal's encoding. Use UTF-8."
    if isinstance(exc, OSError):
        return f"{exc.strerror or exc}: {exc.filename or ''}".rstrip(": ")
    if isinstance(exc, ProgrammingError) and isinstance(exc.__cause__, UndefinedTable | UndefinedColumn):
        return "The database is not up to date: run manage.py migrate, or make run, first."
    if isinstance(exc, OperationalError | InterfaceError):
        return f"The database failed: {str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__}"
    return None


class OperatorCommand(BaseCommand):
    """A management command over a service: what the operator can correct ends it with one line and exit code 1."""

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except (CommandError, BrokenPipeError):
            raise
        except Exception as exc:
            if reason := reason_of(exc):
                raise CommandError(reason) from exc
            raise

    def print_json(self, data: Any) -> None:
        self.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2, default=str).decode())

    def progress(self, items: Iterable[Item], *, what: str) -> Iterator[Item]:
        """Yield the items; count them on the standard error output, at most once a second."""
        report = self.reporter()
        for count, item in enumerate(items, start=1):
            yield item
            report(f"{count:,} {what}")

    def reporter(self) -> Callable[[str], None]:
        """Return what writes how far the work is to the standard error output, at most once a second."""
        next_at = time.monotonic() + PROGRESS_INTERVAL_S

        def report(text: str) -> None:
            nonlocal next_at
            if time.monotonic() >= next_at:
                self.stderr.write(f"{text} ...", self.style.NOTICE)
                self.stderr.flush()
                next_at = time.monotonic() + PROGRESS_INTERVAL_S

        return report


def age(text: str) -> timedelta:
    """Parse an age like 90min, 24h or 30d, for argparse."""
    found = AGE.fullmatch(text.strip())
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no age. Write it like 90min, 24h, 30d or 2w.")
    length = timedelta(seconds=int(found[1]) * SECONDS[found[2].lower()])
    if length > MAX_AGE:
        raise ArgumentTypeError(f"{text!r} is too long ago.")
    return length


def seconds(text: str) -> float:
    """Parse a number of seconds to wait, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < threading.TIMEOUT_MAX:
        raise ArgumentTypeError(f"{text!r} is no number of seconds.")
    return value


def moment(text: str) -> datetime:
    """Parse a time, or an age before now, for argparse: `2026-11-27`, `2026-11-27T06:00`, `24h`."""
    if AGE.fullmatch(text.strip()):
        return timezone.now() - age(text)
    try:
        at = parse_datetime(text.strip())
        day = None if at else parse_date(text.strip())
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is no time: {exc}.") from exc
    if day is not None:
        at = datetime(day.year, day.month, day.day)  # noqa: DTZ001  made aware below
    if at is None:
        raise ArgumentTypeError(f"{text!r} is no time. Write it like 2026-11-27, 2026-11-27T06:00 or 24h.")
    try:
        return (at if at.tzinfo else timezone.make_aware(at)).astimezone(UTC)
    except OverflowError as exc:
        raise ArgumentTypeError(f"{text!r} is out of range.") from exc


def is_terminal() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_passphrase(path: Path | None) -> str:
    """Return the passphrase in a file, without the end of its line; empty without a file. Raises CommandError."""
    if path is None:
        return ""
    try:
        with open_input(path, may_be_pipe=True) as file:
            passphrase = file.read().decode().strip("\r\n")
    except UnicodeDecodeError as exc:
        raise CommandError(f"{path} is no text: it must hold the passphrase in UTF-8.") from exc
    if not passphrase:
        raise CommandError(f"{path} is empty: it must hold the passphrase.")
    return passphrase
