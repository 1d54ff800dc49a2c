"""`python -m benchmarks.inbox`: time and database queries of the pages that staff work on.

On 100,000 conversations with a million messages, as an administrator, who sees them all. Each page is asked for within
this process: the time is the server's, with its middleware, database and templates, without HTTP.
"""

import argparse
import sys
import time
from statistics import median
from typing import Any

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from messaging.management.seeding import seed
from messaging.models import Conversation
from sessions_app.services import ensure_default_bridges

MAX_PAGE_MS, MAX_PAGE_QUERIES, MAX_POLL_QUERIES = 300.0, 15, 3
COMES_LATER = ("search", "dashboard")  # the page is there before what was found or counted


def pages(conversation: Conversation) -> dict[str, tuple[str, int]]:
    """Return each page with its path and how many queries it may take."""
    inbox, opened = "/admin/inbox/", f"/admin/inbox/{conversation.pk}/"
    return {
        "list": (inbox, MAX_PAGE_QUERIES),
        "list, everything": (f"{inbox}?tab=all", MAX_PAGE_QUERIES),
        "conversation": (opened, MAX_PAGE_QUERIES),
        "poll of the list": (f"{inbox}poll/", MAX_POLL_QUERIES),
        "poll of a conversation": (f"{inbox}poll/?open={conversation.pk}&visible=1", MAX_POLL_QUERIES),
        "search, a common word": (f"{inbox}?tab=all&q=parcel", MAX_PAGE_QUERIES),
        "search, a rare word": (f"{inbox}?tab=all&q=500007", MAX_PAGE_QUERIES),
        "search, a phone": (f"{inbox}?tab=all&q={conversation.contact.phone[-8:]}", MAX_PAGE_QUERIES),
        "dashboard, 24 hours": ("/admin/dashboard/?period=24h&part=figures", MAX_PAGE_QUERIES),
        "dashboard, 7 days": ("/admin/dashboard/?period=7d&part=figures", MAX_PAGE_QUERIES),
        "dashboard, 30 days": ("/admin/dashboard/?period=30d&part=figures", MAX_PAGE_QUERIES),
    }


def measure(client: Client, path: str, *, times: int) -> tuple[list[float], int]:
    """Return the milliseconds of each request but the first, and the queries of the last one."""
    took = []
    for _ in range(times + 1):
        began = time.perf_counter()
        answer: Any = client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code in {200, 204}, (path, answer.status_code)
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    return sorted(took[1:]), len(queries)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inbox", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=20, help="how often each page is asked for")
    options = parser.parse_args()
    call_command("prepare_static_files")  # pages name the files by their hashes
    ensure_default_bridges()
    for _ in seed(messages=options.messages, conversations=options.conversations):
        pass
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("bench"))
    conversation = Conversation.objects.select_related("contact").order_by("-last_message_at")[0]
    is_met = True
    print(f"  {'':<26}{'median ms':>10}{'slowest':>9}{'queries':>9}")
    for name, (path, max_queries) in pages(conversation).items():
        took, queries = measure(client, path, times=options.times)
        is_well = queries <= max_queries and (name.startswith(COMES_LATER) or median(took) <= MAX_PAGE_MS)
        is_met &= is_well
        print(
            f"  {name:<26}{median(took):10.1f}{took[-1]:9.1f}{queries:9}  {'met' if is_well else 'MISSED'}", flush=True
        )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
