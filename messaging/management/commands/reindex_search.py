"""`manage.py reindex_search`: rebuild the search index, after a change of SEARCH_LANGUAGES or a restore."""

from typing import Any

from messaging.knowledge.entries import index_all
from messaging.models import Message
from messaging.search.index import reindex
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Rebuild the search index, newest messages first. Search works meanwhile."

    def handle(self, **_options: Any) -> None:
        total = Message.objects.count()
        done, report = 0, self.reporter()
        for done in reindex():
            report(f"{done:,} of {total:,} messages")
        self.stdout.write(f"Indexed {done} messages and {index_all()} entries of what profiles know.")
