"""`manage.py reindex_search`: rebuild the search index, after a change of SEARCH_LANGUAGES or a restore."""

from typing import Any

from django.core.management.base import BaseCommand

from messaging.knowledge.entries import index_all
from messaging.models import Message
from messaging.search.index import reindex


class Command(BaseCommand):
    help = "Rebuild the search index, newest messages first. Search works meanwhile."

    def handle(self, **_options: Any) -> None:
        total = Message.objects.count()
        done = 0
        for done in reindex():
            if self.stdout.isatty():
                self.stdout.write(f"{done} of {total} messages\r", ending="")
                self.stdout.flush()
        self.stdout.write(f"Indexed {done} messages and {index_all()} entries of what profiles know.")
