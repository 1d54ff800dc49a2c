"""`manage.py stats`: print figures of the installation."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from messaging.maintenance.overview import overview
from sessions_app.members import find_session
from whatsapp_agent.terminal import OperatorCommand, moment

SINCE = timedelta(hours=24)


class Command(OperatorCommand):
    help = "Print how many sessions, messages, turns and tokens there are, what waits, and what takes up space."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--session", metavar="NAME", help="only of this session: its name, BRIDGE/NAME or id")
        parser.add_argument("--since", type=moment, metavar="TIME", help="24h (default), 2026-11-27, 2026-11-27T06:00")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, session: str | None, json: bool, **options: Any) -> None:
        since = options["since"] or timezone.now() - SINCE
        data = overview(since=since, session=find_session(session) if session else None)
        if json:
            self.print_json(data)
            return
        waiting, conversations, media = data["waiting"], data["conversations"], data["media"]
        lines = {
            "Sessions": _listed(data["sessions"]),
            "Conversations": f"{conversations['total']:,} ({_listed(conversations['by_control'])}), "
            f"{conversations['unread']:,} unread, {conversations['need_attention']:,} need attention",
            "Waiting": f"{_waiting(waiting['due_conversations'], waiting['oldest_due_s'])} to be answered, "
            f"{_waiting(waiting['queued_messages'], waiting['oldest_queued_s'])} to be sent",
            "Received": _listed(data["messages"]["inbound"]),
            "Not answered": _listed(data["messages"]["unanswered"]),
            "Outbound": _listed(data["messages"]["outbound"]),
            "Turns": _listed(data["turns"]),
            "Webhooks": f"{data['webhooks']['endpoints']} endpoints; {_listed(data['webhooks']['deliveries'])}",
            "Media": f"{media['files']:,} files, {_megabytes(media['size_bytes'])}",
            "Database": _megabytes(data["database"]["size_bytes"]),
        }
        self.stdout.write(f"Since {since:%F %T} UTC:")
        for name, text in lines.items():
            self.stdout.write(f"  {name + ':':15} {text}")
        for model in data["models"]:
            self.stdout.write(
                f"  {'Model:':15} {model['model']}: {model['turns']:,} turns, {model['prompt_tokens']:,} prompt tokens "
                f"({model['cached_tokens']:,} cached), {model['completion_tokens']:,} completion tokens"
            )
        for table in data["database"]["largest_tables"]:
            self.stdout.write(f"  {table['table']:35} about {table['rows']:,} rows, {_megabytes(table['size_bytes'])}")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _waiting(count: int, oldest_s: int | None) -> str:
    return f"{count:,} (the oldest for {oldest_s:,} s)" if oldest_s is not None else f"{count:,}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
