"""`manage.py tail`: follow the event feed in the terminal."""

import signal
import sys
import time
from typing import Any

import orjson
from django.core.management.base import CommandParser

from messaging.events import feed
from messaging.events.feed import FeedEvent, Position, Reader
from messaging.events.types import EVENT_TYPE_NAMES
from sessions_app.members import find_session
from whatsapp_agent import postgres
from whatsapp_agent.terminal import OperatorCommand

POLL_INTERVAL_S = 0.5


class Command(OperatorCommand):
    help = "Print what happens, an event a line: ids and statuses, no texts and no numbers. Ctrl-C ends it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--session", metavar="NAME", help="events of this session alone")
        parser.add_argument("--type", metavar="TYPE", action="append", choices=EVENT_TYPE_NAMES, help="may be repeated")
        parser.add_argument(
            "--after", metavar="CURSOR", default="latest", help="go on behind a cursor; `all`: from the oldest event"
        )
        parser.add_argument("--no-follow", action="store_true", help="end at the newest event")
        parser.add_argument("--json", action="store_true", help="print a line of JSON for each event")

    def handle(self, *, session: str | None, after: str, no_follow: bool, json: bool, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        chosen = find_session(session).pk if session else None
        reader = Reader(user_id=None, sessions=(), sees_everything=True)
        position = self._start(after)
        try:
            while True:
                page = feed.read(reader=reader, after=position, types=options["type"], session=chosen)
                for event in page.events:
                    self._print(event, json=json)
                    position = event.position
                position = page.end
                self.stdout.flush()
                if not page.has_more:
                    if no_follow:
                        return
                    postgres.release()
                    time.sleep(POLL_INTERVAL_S)
        except BrokenPipeError:  # the reader, such as head, has enough
            sys.stdout = None  # nothing is left to flush
        finally:
            self.stderr.write(f"Go on with --after {position}", self.style.NOTICE)

    def _start(self, after: str) -> Position:
        if after == "all":
            return feed.START
        if after == "latest":
            return feed.last_position()
        return feed.resolve_position(Position.parse(after))

    def _print(self, event: FeedEvent, *, json: bool) -> None:
        if json:
            self.stdout.write(orjson.dumps(event.as_dict() | {"cursor": str(event.position)}, default=str).decode())
            return
        data = {name: value for name, value in event.as_dict()["data"].items() if value not in (None, "", [])}
        shown = " ".join(f"{name}={value}" for name, value in data.items())
        self.stdout.write(f"{event.at:%F %T} {event.type} {shown}")
