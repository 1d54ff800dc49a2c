"""`manage.py export_conversation ID`: write a conversation as JSON, text or HTML."""

import io
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from messaging.maintenance.export import FORMATS, find_conversation, write_conversation, write_zip
from whatsapp_agent.storage.whole_file import whole_file
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Write a conversation as JSON, text or HTML; into a .zip, together with its files."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("conversation", metavar="CONVERSATION", help="the id of the conversation")
        parser.add_argument("--format", choices=FORMATS, help="default: by the name of the file, else text")
        parser.add_argument("--output", type=Path, metavar="FILE", help="a new file; a .zip also holds the media")
        parser.add_argument("--json", action="store_true", help="with --output: print a summary as JSON")

    def handle(
        self, *, conversation: str, format: str | None, output: Path | None, json: bool, **_options: Any
    ) -> None:
        row = find_conversation(conversation)
        if output is None:
            if json:
                raise CommandError("--json goes with --output; --format json prints the conversation itself as JSON.")
            text = io.BytesIO()
            for _ in write_conversation(row, text, format=format or "text"):
                self.stdout.write(text.getvalue().decode(), ending="")
                text.seek(0)
                text.truncate()
            return
        suffix = output.suffix.lower()
        is_zip = suffix == ".zip"
        by_name = {".json": "json", ".txt": "text", ".html": "html", ".htm": "html", ".zip": "html"}.get(suffix)
        if format is None and by_name is None:
            raise CommandError("Unknown format: add --format, or name it .json, .txt, .html or .zip.")
        write = write_zip if is_zip else write_conversation
        with whole_file(output) as file:
            written = write(row, file, format=format or str(by_name))
            count = sum(1 for _ in self.progress(written, what="messages and files"))
        if json:
            size_bytes = output.stat().st_size
            self.print_json({"file": str(output), "conversation": row.pk, "items": count, "size_bytes": size_bytes})
            return
        self.stdout.write(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB). It holds what people wrote.")
