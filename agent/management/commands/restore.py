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
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, file: Path | None, recover: bool, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _exit)  # so that it is undone
        if file is None and not recover:
            raise CommandError("Name the backup: manage.py restore FILE.")
        env.creates_data = True  # the database; until now nothing was created
        try:
            self._handle(file, recover=recover, **options)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left is to stop the embedded database

    def _handle(self, file: Path | None, *, recover: bool, json: bool, **options: Any) -> None:
        result: dict[str, Any] = {}
        try:
            with one_restore() as found:
                if env.RESTORE in found:
                    if options["dry_run"]:
                        raise CommandError("A restore was interrupted here: finish or undo it with restore --recover.")
                    result["recovered"] = "finished" if settle() else "undone"
                    found = sorted(path.name for path in settings.DATA_DIR.iterdir())
                elif recover:
                    result["recovered"] = ""
                if not json:
                    self._print_recovered(result)
                if file is not None:
                    result |= self._restore(file, found=found, says=not json, **options)
        finally:
            if json and result:  # also if it recovered an earlier restore, and then failed
                self.print_json(result)

    def _print_recovered(self, result: dict[str, Any]) -> None:
        match result.get("recovered"):
            case "finished":
                self.stdout.write("Finished.")
            case "undone":
                self.stdout.write("Undone: everything is as it was before that restore.")
            case "":
                self.stdout.write("No restore was interrupted here.")

    def _restore(
        self,
        file: Path,
        *,
        found: list[str],
        replace: bool,
        dry_run: bool,
        secrets: Path | None,
        says: bool,
        **options: Any,
    ) -> dict[str, Any]:
        """Return the result for --json; `says`: print it for people."""
        say = self.stdout.write if says else lambda _: None
        started_at, report = time.monotonic(), self.reporter()
        with verified(file, passphrase=read_passphrase(options["passphrase_file"]), report=report) as archive:
            version, created_at = archive.manifest["version"], archive.manifest["created_at"]
            result = {"file": str(file), "version": version, "created_at": created_at, "restored": False}
            say(f"{file} is whole: version {version}, made at {created_at}.")
            if secrets is not None:
                with whole_file(secrets) as target:
                    target.write((archive.directory / SECRETS).read_bytes())
                say(f"Wrote its secrets into {secrets}.")
                return result | {"secrets": str(secrets)}
            if dry_run:
                try:
                    check_target(archive, replace=replace)
                finally:
                    leave_as_found(found)
                say("It can be restored here. Nothing was changed.")
                return result | {"dry_run": True}
            missing = restore(archive, found=found, replace=replace, report=report)
        took_s = time.monotonic() - started_at
        if missing:
            say(f"{missing} media have no file: it was deleted while the backup was made. They are marked as failed.")
        say(
            f"Restored in {took_s:.1f} s. Messages that waited to be sent are unconfirmed: "
            "look at them in the admin. Start with manage.py up, which also applies newer migrations."
        )
        return result | {"restored": True, "missing_media": missing, "took_s": took_s}


def _exit(_signal: int, _frame: Any) -> NoReturn:
    sys.exit(143)
