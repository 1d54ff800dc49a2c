"""`manage.py restore FILE`: replace this installation by a backup."""

import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from agent.backups.create import SECRETS
from agent.backups.restore import check_target, restore, verified
from whatsapp_agent.terminal import OperatorCommand, read_passphrase
from whatsapp_agent.whole_file import whole_file


class Command(OperatorCommand):
    help = "Verify a backup and restore it into an empty installation; stop the application first."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="what manage.py backup has written")
        parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="holds the passphrase")
        parser.add_argument("--replace", action="store_true", help="delete the installation that is there")
        parser.add_argument("--secrets", type=Path, metavar="FILE", help="only write the backup's secrets into a file")
        parser.add_argument("--dry-run", action="store_true", help="verify it and restore nothing")

    def handle(self, *, file: Path, replace: bool, dry_run: bool, secrets: Path | None, **options: Any) -> None:
        started_at = time.monotonic()
        with verified(file, passphrase=read_passphrase(options["passphrase_file"])) as archive:
            made = f"{file} is whole: version {archive.manifest['version']}, made at {archive.manifest['created_at']}."
            self.stdout.write(made)
            if secrets is not None:
                with whole_file(secrets) as target:
                    target.write((archive.directory / SECRETS).read_bytes())
                self.stdout.write(f"Wrote its secrets into {secrets}.")
                return
            check_target(archive, replace=replace)
            if dry_run:
                self.stdout.write("It can be restored here. Nothing was changed.")
                return
            restore(archive)
        self.stdout.write(
            f"Restored in {time.monotonic() - started_at:.1f} s. Messages that waited to be sent are unconfirmed: "
            "look at them in the admin. Start with manage.py up, which also applies newer migrations."
        )
