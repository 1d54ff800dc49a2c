"""`manage.py restore FILE`: replace this installation by a backup."""

import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from agent.backups.archive import verified
from agent.backups.create import SECRETS
from agent.backups.restore import check_target, leave_as_found, one_restore, restore, settle
from whatsapp_agent import env
from whatsapp_agent.storage.whole_file import whole_file
from whatsapp_agent.terminal import OperatorCommand, read_passphrase


class Command(OperatorCommand):
    help = "Verify a backup and restore it into an empty installation; stop the application first."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", nargs="?", help="what manage.py backup has written")
        parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="holds the passphrase")
        parser.add_argument("--replace", action="store_true", help="delete the installation that is there")
        parser.add_argument("--secrets", type=Path, metavar="FILE", help="only write the backup's secrets into a file")
        parser.add_argument("--recover", action="store_true", help="finish or undo a restore that was interrupted")
        parser.add_argument("--dry-run", action="store_true", help="verify it and restore nothing")

    def handle(self, *, file: Path | None, recover: bool, dry_run: bool, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _exit)  # so that it is undone
        if file is None and not recover:
            raise CommandError("Name the backup: manage.py restore FILE.")
        env.creates_data = True  # the database; until now nothing was created
        try:
            self._handle(file, recover=recover, dry_run=dry_run, **options)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left is to stop the embedded database

    def _handle(self, file: Path | None, *, recover: bool, dry_run: bool, **options: Any) -> None:
        with one_restore() as found:
            if env.RESTORE in found:
                if dry_run:
                    raise CommandError("A restore was interrupted here: finish or undo it with restore --recover.")
                self.stdout.write("Finished." if settle() else "Undone: everything is as it was before that restore.")
                found = sorted(path.name for path in settings.DATA_DIR.iterdir())
            elif recover:
                self.stdout.write("No restore was interrupted here.")
            if file is not None:
                self._restore(file, found=found, dry_run=dry_run, **options)

    def _restore(
        self, file: Path, *, found: list[str], replace: bool, dry_run: bool, secrets: Path | None, **options: Any
    ) -> None:
        started_at, report = time.monotonic(), self.reporter()
        with verified(file, passphrase=read_passphrase(options["passphrase_file"]), report=report) as archive:
            made = f"{file} is whole: version {archive.manifest['version']}, made at {archive.manifest['created_at']}."
            self.stdout.write(made)
            if secrets is not None:
                with whole_file(secrets) as target:
                    target.write((archive.directory / SECRETS).read_bytes())
                self.stdout.write(f"Wrote its secrets into {secrets}.")
                return
            if dry_run:
                try:
                    check_target(archive, replace=replace)
                finally:
                    leave_as_found(found)
                self.stdout.write("It can be restored here. Nothing was changed.")
                return
            restore(archive, found=found, replace=replace, report=report)
        self.stdout.write(
            f"Restored in {time.monotonic() - started_at:.1f} s. Messages that waited to be sent are unconfirmed: "
            "look at them in the admin. Start with manage.py up, which also applies newer migrations."
        )


def _exit(_signal: int, _frame: Any) -> NoReturn:
    sys.exit(143)
