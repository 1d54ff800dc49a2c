"""`manage.py import_chat FILE`: import a chat that WhatsApp has exported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from messaging.imports.parsing import DATE_ORDERS
from messaging.imports.service import ImportReport, run_import
from sessions_app.members import find_session
from whatsapp_agent.storage.input_file import open_input
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = 'Import what WhatsApp\'s "Export chat" wrote: a .txt, or a .zip with the files. It is never answered.'

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--session", metavar="NAME", required=True, help="the session whose chat it is")
        parser.add_argument(
            "--contact",
            metavar="CONTACT",
            required=True,
            help="whose chat: a phone, or the id of a contact or group",
        )
        parser.add_argument("--me", metavar="NAME", default="", help="the name under which this number wrote")
        parser.add_argument(
            "--date-order", choices=DATE_ORDERS, default="", help="order of day, month, year; else the file decides"
        )
        parser.add_argument("--dry-run", action="store_true", help="read it, and import nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, file: Path, session: str, json: bool, **options: Any) -> None:
        with open_input(file) as content:
            reports = run_import(
                content,
                session=find_session(session),
                contact=options["contact"],
                me=options["me"],
                date_order=options["date_order"],
                dry_run=options["dry_run"],
            )
            report = list(self.progress(reports, what="thousand messages"))[-1]
        if json:
            self.print_json(report.as_dict())
            return
        self._print(report, dry_run=options["dry_run"])

    def _print(self, report: ImportReport, *, dry_run: bool) -> None:
        verb = "would be imported" if dry_run else "imported"
        self.stdout.write(
            f"{report.new} messages {verb}, {report.known} were here already, {report.changed} of them edited or "
            f"deleted since. {report.files} files, {report.system} lines of WhatsApp itself."
        )
        guess = "" if report.is_order_sure else " That is a guess: every date fits both ways. --date-order decides."
        self.stdout.write(f"Dates were read as {report.date_order}.{guess} {report.me!r} is this number.")
        self._list("lines could not be read", [f"line {each.line}: {each.reason}" for each in report.unreadable])
        self._list("files were left out", [f"{name}: {reason}" for name, reason in report.skipped_files])

    def _list(self, what: str, items: Sequence[str]) -> None:
        if items:
            self.stdout.write(f"{len(items)} {what}:")
            for item in items:
                self.stdout.write(f"  {item}")
