"""`manage.py rotate_secrets`: a new SECRET_KEY, in three steps with a restart between them."""

from typing import Any

from django.core.management.base import CommandParser

from agent.backups.rotation import count_outdated, encrypt_again, finish_rotation, start_rotation
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Replace SECRET_KEY. Without an option: write a new one; restart; --encrypt; --finish; restart."

    def add_arguments(self, parser: CommandParser) -> None:
        step = parser.add_mutually_exclusive_group()
        step.add_argument("--encrypt", action="store_true", help="encrypt stored secrets with the new key")
        step.add_argument("--finish", action="store_true", help="accept earlier keys no longer")
        step.add_argument("--dry-run", action="store_true", help="count what an earlier key has encrypted")

    def handle(self, *, encrypt: bool, finish: bool, dry_run: bool, **_: Any) -> None:
        if dry_run:
            self.stdout.write(f"{count_outdated()} values are encrypted with an earlier key.")
        elif encrypt:
            count = sum(1 for _ in self.progress(encrypt_again(), what="values"))
            self.stdout.write(f"Encrypted {count} values with the present key. Then: rotate_secrets --finish.")
        elif finish:
            finish_rotation()
            self.stdout.write("Earlier keys are accepted no longer, once everything is restarted.")
        else:
            path = start_rotation()
            self.stdout.write(
                f"Wrote a new SECRET_KEY into {path}; the former is accepted, too. Restart everything, then run "
                "rotate_secrets --encrypt."
            )
