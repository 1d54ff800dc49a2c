"""`manage.py backup FILE`: database, media and secrets in one file."""

import time
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from agent.backups.create import create_backup
from whatsapp_agent.terminal import OperatorCommand, read_passphrase


class Command(OperatorCommand):
    help = "Write database, media and secrets to one file while the application runs. The file holds every secret."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="a new file")
        parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="encrypt with the passphrase in it")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, file: Path, passphrase_file: Path | None, json: bool, **_options: Any) -> None:
        started_at = time.monotonic()
        passphrase = read_passphrase(passphrase_file)
        media_files = create_backup(file, passphrase=passphrase, report=self.reporter())
        took_s, size_bytes = time.monotonic() - started_at, file.stat().st_size
        if json:
            self.print_json({"file": str(file), "size_bytes": size_bytes, "media_files": media_files, "took_s": took_s})
            return
        self.stdout.write(f"Wrote {file}: {size_bytes / 1e6:.1f} MB, {media_files} media files, in {took_s:.1f} s.")
        if not passphrase:
            self.stdout.write("It is not encrypted and holds the secrets: store it where nobody else can read it.")
