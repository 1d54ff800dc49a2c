"""`manage.py prune`: delete rows older than their retention."""

from collections import Counter
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

import commands.retention  # noqa: F401  its kind is registered
from messaging.maintenance.retention import ages_of_settings, count_expired, kinds, prune
from whatsapp_agent.terminal import OperatorCommand, age


class Command(OperatorCommand):
    help = (
        "Delete old messages, media, turns and more, by the settings RETENTION_..._DAYS or by the ages given here. "
        "What still has to be answered or sent stays."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        for name in kinds:
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=age, metavar="AGE", help=f"older {name.replace('_', ' ')}, like 365d")
        parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, dry_run: bool, json: bool, **options: Any) -> None:
        given: dict[str, timedelta] = {name: options[name] for name in kinds if options[name] is not None}
        ages = given or ages_of_settings()
        if not ages:
            raise CommandError(
                "Nothing is set to be deleted. Give an age, like --media 90d, or set RETENTION_..._DAYS."
            )
        now = timezone.now()
        counts: Counter[str] = Counter(dict.fromkeys(ages, 0))
        if dry_run:
            counts.update(count_expired(ages, now=now))
        else:
            for name, count in self.progress(prune(ages, now=now), what="batches"):
                counts[name] += count
        if json:
            self.print_json({"dry_run": dry_run, "deleted": counts})
            return
        for name, count in counts.items():
            done = "would be deleted" if dry_run else "deleted"
            self.stdout.write(f"{name.replace('_', ' ')} older than {ages[name].days} days: {count:,} {done}")
