"""`manage.py requeue`: run failed turns and sends again."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from messaging.maintenance.requeue import Selection, requeue
from sessions_app.members import find_session
from whatsapp_agent.terminal import OperatorCommand, moment

SINCE = timedelta(hours=24)


class Command(OperatorCommand):
    help = "Run failed turns again, and send failed messages again; by default those of the last 24 hours."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--session", metavar="NAME", help="only of this session: its name, BRIDGE/NAME or id")
        parser.add_argument("--since", type=moment, metavar="TIME", help="24h, 2026-11-27 or 2026-11-27T06:00")
        parser.add_argument("--until", type=moment, metavar="TIME", help="until when; default: now")
        parser.add_argument("--only", choices=["turns", "sends"], help="only turns, or only sends")
        parser.add_argument(
            "--unconfirmed",
            action="store_true",
            help="also messages of which it is unknown whether they were sent: they may arrive twice",
        )
        parser.add_argument("--dry-run", action="store_true", help="list them and change nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, session: str | None, dry_run: bool, json: bool, only: str | None, **options: Any) -> None:
        now = timezone.now()
        selection = Selection(
            since=options["since"] or now - SINCE,
            until=options["until"] or now,
            session=find_session(session) if session else None,
            turns=only != "sends",
            sends=only != "turns",
            unconfirmed=options["unconfirmed"],
        )
        done = list(self.progress(requeue(selection, dry_run=dry_run), what="looked at"))
        if json:
            self.print_json({"dry_run": dry_run, "items": [asdict(each) for each in done]})
            return
        for each in done:
            if each.refused or dry_run:
                self.stdout.write(f"{each.kind} {each.id} of {each.session}: {each.refused or 'would be queued'}")
        queued = [each.kind for each in done if not each.refused]
        verb = "would be queued again" if dry_run else "queued again"
        self.stdout.write(
            f"{queued.count('turn')} turns and {queued.count('message')} messages {verb}, "
            f"{len(done) - len(queued)} left alone."
        )
