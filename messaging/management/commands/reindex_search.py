"""`manage.py reindex_search`: rebuild the search index, after a change of SEARCH_LANGUAGES or a restore."""

from typing import Any

from django.core.management.base import CommandParser

from messaging.knowledge.entries import count_entries, index_all
from messaging.models import Message
from messaging.search.index import reindex
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Rebuild the search index, newest messages first. Search works meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count what would be indexed, and change nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, dry_run: bool, json: bool, **_options: Any) -> None:
        total = Message.objects.count()
        if dry_run:
            entries = count_entries()
            if json:
                self.print_json({"dry_run": True, "messages": total, "entries": entries})
            else:
                self.stdout.write(f"{total} messages and {entries} entries of what profiles know would be indexed.")
            return
        done, report = 0, self.reporter()
        for done in reindex():
            report(f"{done:,} of {total:,} messages")
        entries = index_all()
        if json:
            self.print_json({"dry_run": False, "messages": done, "entries": entries})
        else:
            self.stdout.write(f"Indexed {done} messages and {entries} entries of what profiles know.")
