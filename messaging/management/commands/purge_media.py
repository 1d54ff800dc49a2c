"""`manage.py purge_media`: delete media files that no message refers to."""

from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import CommandParser

from messaging.media.files import unused
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Count the media files that no message refers to; with --delete, delete them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--delete", action="store_true", help="delete them permanently")
        parser.add_argument("--dry-run", action="store_true", help="only count them: the default")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, delete: bool, dry_run: bool, json: bool, **_options: Any) -> None:
        delete = delete and not dry_run
        count = size_bytes = 0
        for name in self.progress(unused(), what="files"):
            count, size_bytes = count + 1, size_bytes + default_storage.size(name)
            if delete:
                default_storage.delete(name)
        if json:
            self.print_json({"files": count, "size_bytes": size_bytes, "deleted": delete})
            return
        hint = "Deleted." if delete else "Run it with --delete to delete them."
        self.stdout.write(f"Files that no message has: {count}, {size_bytes / 1e6:.1f} MB. {hint}")
