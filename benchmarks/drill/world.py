"""The application with the fake bridge and model around it, and means to stop it at a chosen line."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.application import Application
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw
from whatsapp_agent.postgres import embedded

SETTINGS = {
    "AGENT_DEBOUNCE_S": 0.3,
    "AGENT_DEBOUNCE_MAX_S": 1,
    "AGENT_LEASE_S": 2,
    "AGENT_SWEEP_S": 0.2,
    "AGENT_RETRY_BASE_S": 0.1,
    "MODEL_TIMEOUT_S": 1.5,
    "BRIDGE_TIMEOUT_S": 1,
    "SEND_GAP_S": 0.1,
    "WEB_THREADS": 8,
}


TEA, PERSON = "Tea", "A person"  # the model answers these texts by remembering a fact, or by handing off
SIGNING_KEY = "for-the-drill-only"
UNDER_WAY = ("received", "queued", "sending")


@dataclass(frozen=True)
class Check:
    what: str
    is_good: bool
    detail: str = ""

    def line(self) -> str:
        return f"  {'ok  ' if self.is_good else 'FAIL'}  {self.what:<66} {self.detail}"


class Drill:
    """One application with the world around it, and what it promised so far."""

    def __init__(self, data_dir: Path, *, bridge: str = "zapw", long_every: int = 0, **more: Any) -> None:
        """Every so many answers one is too long for one message; 0: none is. `bridge` is `zapw`, or `waha` with echoes
        and receipts.
        """
        self.long_every = long_every
        self.answers = 0
        self.model = FakeOpenAI(reply=self._reply, on_word=self._tools())
        self.has_receipts = bridge == "waha"
        patience: dict[str, Any] = {"webhook_waits_s": (0.1,) * 900, "webhook_timeout_s": 5}
        self.bridge: Any = FakeWaha(hmac_key=SIGNING_KEY, **patience) if self.has_receipts else FakeZapw(**patience)
        self.bridge.add_session("sales", phone="5511999990000")
        self.data_dir = data_dir
        self.more = more
        self.acknowledged: dict[str, str] = {}  # message id: phone
        self.posters = ThreadPoolExecutor(40, thread_name_prefix="poster")
        self.kills = 0

    def __enter__(self) -> "Drill":
        self.model.__enter__()
        self.bridge.__enter__()
        settings = SETTINGS | {
            "WHATSAPP_BRIDGE": "waha" if self.has_receipts else "zapw",
            "WHATSAPP_SIGNING_KEY": SIGNING_KEY if self.has_receipts else "",
            "WHATSAPP_API_URL": self.bridge.url,
            "WHATSAPP_API_KEY": self.bridge.api_key,
            "OPENAI_BASE_URL": self.model.base_url,
        }
        self.application = Application(self.data_dir, **settings | self.more)
        self.bridge.webhook_url = self.application.webhook_url
        self.application.start()
        # Who writes here repeats himself at a machine's pace, and is to be answered all the same.
        self.rows("UPDATE sessions_app_agentprofile SET loop_repeats = 0, loop_fast_replies = 0, loop_max_turns = 0")
        return self

    def __exit__(self, *_: object) -> None:
        self.posters.shutdown(wait=False, cancel_futures=True)
        self.application.stop()
        self.bridge.__exit__()
        self.model.__exit__()

    def _reply(self, text: str) -> str:
        """Return a reply that is unique and names its recipient."""
        self.answers += 1
        number = self.answers
        is_long = self.long_every and number % self.long_every == 0
        more = " ".join(f"{number}.{point}" for point in range(900)) if is_long else ""  # leaves in two parts
        return f"Answer {number} to {text.split()[-1]}. {more}".strip()

    def _tools(self) -> dict[str, tuple[str, Any]]:
        """Return the model's tool calls by word; their arguments differ on every request."""
        numbers = count(1)
        return {
            TEA: ("remember", lambda text: {"fact": f"{text.split()[-1]} likes tea ({next(numbers)})"}),
            PERSON: ("hand_off", lambda text: {"reason": f"{text.split()[-1]} is angry ({next(numbers)})"}),
        }

    # --- writing --------------------------------------------------------------------------------------------------

    def write(self, phone: str, text: str = "Message") -> Future[None]:
        """Post a message as the bridge does: again until it is acknowledged."""
        return self.posters.submit(self._write, phone, text)

    def _write(self, phone: str, text: str) -> None:
        number = len(self.acknowledged) + random.randrange(10**12)
        message_id = f"3EB0{number:016X}"
        statuses = self.bridge.emit_message(f"{text} for {phone}", phone=phone, message_id=message_id)
        if 200 in statuses:
            self.acknowledged[message_id] = phone

    # --- killing --------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill all processes at once; what they had not committed is rolled back."""
        self.kills += 1
        self.application.kill()
        self.rows(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'drill'"
        )

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.application.rows(query, *parameters)

    @contextmanager
    def lock(self, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
        """Lock a table, so that statements that need it wait."""
        server = embedded.ensure_running(self.data_dir / "postgres")
        holder = psycopg2.connect(
            **server.address,
            user=embedded.SUPERUSER,
            dbname=embedded.DATABASE,
            application_name="drill",
        )
        try:
            with holder.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield
        finally:
            holder.close()

    def wait_for_waiter(self, text: str, statement: str) -> None:
        """Until a statement waits for a lock: one with this text, or this statement while it is being planned.

        Only the first 1024 bytes of a statement are seen.
        """
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name <> 'drill'"
            " AND (strpos(query, %s) > 0 OR (query LIKE '%%PREPARE %%' AND strpos(query, %s) > 0))"
        )
        wait_until(lambda: bool(self.rows(waits, text, statement)), what=f"a statement with {text} waits")

    def is_completed(self, phone: str) -> bool:
        return bool(self.rows(f"SELECT 1 FROM messaging_turn WHERE conversation_id = ({CONVERSATION})", f"+{phone}"))

    def reply_statuses(self, phone: str) -> list[str]:
        rows = self.rows(
            f"SELECT status FROM messaging_message WHERE direction = 'outbound' AND conversation_id = ({CONVERSATION})"
            " ORDER BY created_at, id",
            f"+{phone}",
        )
        return [status for (status,) in rows]

    def texts_sent_to(self, phone: str) -> list[str]:
        """What the bridge was given for somebody."""
        return [entry["text"] for entry in self.sent() if entry["to"] == phone]

    def sent(self) -> list[dict[str, Any]]:
        """What the bridge was given, `to` the digits of a phone."""
        return [entry | {"to": entry["to"].partition("@")[0]} for entry in list(self.bridge.sent)]

    def effects(self, phone: str) -> int:
        """Return the number of facts about a contact, and of takeovers of the conversation."""
        rows = self.rows(
            "SELECT (SELECT count(*) FROM messaging_fact WHERE contact_id = conversation.contact_id), control_epoch"
            f" FROM messaging_conversation conversation WHERE id = ({CONVERSATION})",
            f"+{phone}",
        )
        return sum(int(facts + changes) for facts, changes in rows)

    # --- quiet ----------------------------------------------------------------------------------------------------

    def wait_until_quiet(self, *statuses: str, timeout_s: float) -> bool:
        """Until no message has one of these statuses, none is being sent and no turn is due; False if never."""
        left = (
            "SELECT (SELECT count(*) FROM messaging_message WHERE status = ANY(%s)"
            " OR (status = 'sending' AND sending_at > now() - interval '2 seconds'))"
            " + (SELECT count(*) FROM messaging_conversation WHERE due_at IS NOT NULL)"
        )
        try:
            wait_until(
                lambda: self.rows(left, list(statuses)) == [(0,)], what="nothing is left to do", timeout_s=timeout_s
            )
        except AssertionError:
            return False
        return True


CONVERSATION = """
SELECT conversation.id FROM messaging_conversation conversation
  JOIN messaging_contact contact ON contact.id = conversation.contact_id WHERE contact.phone = %s
"""


def wait_until(is_so: Callable[[], bool], *, what: str, timeout_s: float = 20.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at, f"not in {timeout_s:g} s: {what}"
        time.sleep(0.01)
