"""`make drill`: the application is killed at every step of a message's way, then in a storm of failures.

Its processes end by SIGKILL, all at once. Where a step lies between two of its own lines, the drill holds a lock in the
database that stops it there. What is looked at afterwards: the database, and the bridge's own record of what was sent.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from tests.support.application import Application
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


TEA, PERSON = "Tea", "A person"  # what is written has the model remember it, or hand over
UNDER_WAY = ("received", "queued", "sending")


@dataclass(frozen=True)
class Check:
    what: str
    is_good: bool
    told: str = ""

    def line(self) -> str:
        return f"  {'ok  ' if self.is_good else 'FAIL'}  {self.what:<66} {self.told}"


class Drill:
    """One application with the world around it, and what it promised so far."""

    def __init__(self, data_dir: Path, *, long_every: int = 0, **more: Any) -> None:
        """Every so many answers one is too long for one message; 0: none is."""
        self.long_every = long_every
        self.answers = 0
        self.model = FakeOpenAI(reply=self._reply, on_word=self._tools())
        self.zapw = FakeZapw(webhook_waits_s=(0.1,) * 900, webhook_timeout_s=5)
        self.zapw.add_session("sales", phone="5511999990000")
        self.data_dir = data_dir
        self.more = more
        self.acknowledged: dict[str, str] = {}  # message id: phone
        self.posters = ThreadPoolExecutor(40, thread_name_prefix="poster")
        self.kills = 0

    def __enter__(self) -> "Drill":
        self.model.__enter__()
        self.zapw.__enter__()
        settings = SETTINGS | {
            "WHATSAPP_API_URL": self.zapw.url,
            "WHATSAPP_API_KEY": self.zapw.api_key,
            "OPENAI_BASE_URL": self.model.base_url,
        }
        self.application = Application(self.data_dir, **settings | self.more)
        self.zapw.webhook_url = self.application.webhook_url
        self.application.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.posters.shutdown(wait=False, cancel_futures=True)
        self.application.stop()
        self.zapw.__exit__()
        self.model.__exit__()

    def _reply(self, said: str) -> str:
        """No two replies are alike, and each tells whom it is for."""
        self.answers += 1
        number = self.answers
        is_long = self.long_every and number % self.long_every == 0
        more = " ".join(f"{number}.{point}" for point in range(900)) if is_long else ""  # leaves in two parts
        return f"Answer {number} to {said.split()[-1]}. {more}".strip()

    def _tools(self) -> dict[str, tuple[str, Any]]:
        """What the model does on these words; however often it is asked, it never words it the same."""
        numbers = count(1)
        return {
            TEA: ("remember", lambda said: {"fact": f"{said.split()[-1]} likes tea ({next(numbers)})"}),
            PERSON: ("hand_off", lambda said: {"reason": f"{said.split()[-1]} is angry ({next(numbers)})"}),
        }

    # --- writing --------------------------------------------------------------------------------------------------

    def write(self, phone: str, words: str = "Message") -> Future[None]:
        """Somebody writes; the bridge posts it until it is taken."""
        return self.posters.submit(self._write, phone, words)

    def _write(self, phone: str, words: str) -> None:
        number = len(self.acknowledged) + random.randrange(10**12)
        message_id = f"3EB0{number:016X}"
        statuses = self.zapw.emit_message(f"{words} for {phone}", phone=phone, message_id=message_id)
        if 200 in statuses:
            self.acknowledged[message_id] = phone

    # --- killing --------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """All processes at once; the database forgets whatever they had not committed."""
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
        """Whoever needs the table waits."""
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

    def wait_for_waiter(self, words: str, statement: str) -> None:
        """Until a statement that holds these words waits for a lock, or is being planned and waits."""
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name <> 'drill'"
            " AND (strpos(query, %s) > 0 OR (query LIKE 'PREPARE%%' AND strpos(query, %s) > 0))"
        )
        wait_until(lambda: bool(self.rows(waits, words, statement)), what=f"a statement with {words} waits")

    def is_settled(self, phone: str) -> bool:
        return bool(self.rows(f"SELECT 1 FROM messaging_turn WHERE conversation_id = ({CONVERSATION})", f"+{phone}"))

    def reply_statuses(self, phone: str) -> list[str]:
        rows = self.rows(
            f"SELECT status FROM messaging_message WHERE direction = 'outbound' AND conversation_id = ({CONVERSATION})"
            " ORDER BY created_at, id",
            f"+{phone}",
        )
        return [status for (status,) in rows]

    def said_to(self, phone: str) -> list[str]:
        """What the bridge was given for somebody."""
        return [entry["text"] for entry in self.zapw.sent if entry["to"] == phone]

    def effects(self, phone: str) -> int:
        """How many facts are known about somebody, and how often their conversation changed hands."""
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


# --- one step after the other -----------------------------------------------------------------------------------------


def before_the_commit(drill: Drill, phone: str) -> None:
    with drill.lock("messaging_conversation"):
        drill.write(phone)
        drill.wait_for_waiter("3EB0", "WITH place")
        drill.kill()


def after_the_commit(drill: Drill, phone: str) -> None:
    drill.write(phone).result(30)
    drill.kill()


def during_the_model_call(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 1.0
    ask(drill, phone)
    drill.kill()
    drill.model.latency_s = 0.0


def before_the_turn_is_settled(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone)
    with drill.lock("messaging_turn"):
        drill.wait_for_waiter("Answer", "WITH settled")
        drill.kill()
    drill.model.latency_s = 0.0


def after_the_turn_is_settled(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone)
    with drill.lock("sessions_app_bridge"):
        wait_until(lambda: drill.is_settled(phone), what="the turn is settled")
        drill.kill()
    drill.model.latency_s = 0.0


def before_the_bridge_takes_it(drill: Drill, phone: str) -> None:
    drill.zapw.fail("hang", times=1)
    drill.write(phone)
    wait_until(
        lambda: any(phone.encode() in request.body for request in list(drill.zapw.requests)), what="the bridge is asked"
    )
    drill.kill()


def after_the_bridge_took_it(drill: Drill, phone: str) -> None:
    drill.zapw.fail("hang_after", times=1)
    drill.write(phone)
    wait_until(lambda: bool(drill.said_to(phone)), what="the bridge takes it")
    drill.kill()


def before_the_status_is_saved(drill: Drill, phone: str) -> None:
    drill.zapw.fail("slow", times=1, wait_s=0.5)
    drill.write(phone)
    wait_until(lambda: bool(drill.said_to(phone)), what="the bridge takes it")
    with drill.lock("messaging_message"):
        drill.wait_for_waiter(drill.zapw.sent[-1]["id"], "messaging_earlyreceipt")
        drill.kill()


def after_the_status_is_saved(drill: Drill, phone: str) -> None:
    drill.write(phone)
    wait_until(lambda: drill.reply_statuses(phone) == ["sent"], what="it is sent")
    drill.kill()


def after_a_tool_took_effect(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    drill.write(phone, TEA)
    wait_until(lambda: drill.effects(phone) == 1, what="the fact is kept")
    drill.kill()
    drill.model.latency_s = 0.0


def before_a_hand_over_is_settled(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone, PERSON)
    with drill.lock("messaging_turn"):
        drill.wait_for_waiter("answered", "WITH settled")
        drill.kill()
    drill.model.latency_s = 0.0


def after_a_hand_over_is_settled(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone, PERSON)
    with drill.lock("sessions_app_bridge"):
        wait_until(lambda: drill.is_settled(phone), what="the turn is settled")
        drill.kill()
    drill.model.latency_s = 0.0


def ask(drill: Drill, phone: str, words: str = "Message") -> None:
    """Until the model has been asked, and thinks."""
    drill.write(phone, words)
    wait_until(
        lambda: any(phone.encode() in asked.raw for asked in list(drill.model.requests)), what="the model is asked"
    )


@dataclass(frozen=True)
class Step:
    """What is to become of the reply, how often the bridge may have it, and how many effects tools are to have."""

    act: Callable[[Drill, str], None]
    status: str
    times: int
    effects: int = 0


STEPS = [
    Step(before_the_commit, "sent", 1),
    Step(after_the_commit, "sent", 1),
    Step(during_the_model_call, "sent", 1),
    Step(after_a_tool_took_effect, "sent", 1, effects=1),
    Step(before_the_turn_is_settled, "sent", 1),
    Step(before_a_hand_over_is_settled, "sent", 1, effects=1),
    Step(after_the_turn_is_settled, "sent", 1),
    Step(after_a_hand_over_is_settled, "sent", 1, effects=1),
    Step(before_the_bridge_takes_it, "unconfirmed", 0),
    Step(after_the_bridge_took_it, "unconfirmed", 1),
    Step(before_the_status_is_saved, "unconfirmed", 1),
    Step(after_the_status_is_saved, "sent", 1),
]


def step_by_step(drill: Drill, steps: list[Step]) -> list[Check]:
    """Kill at each step, in a conversation of its own, and start again; look when all has come to rest."""
    phones = [f"55119770000{number:02}" for number in range(len(steps))]
    for step, phone in zip(steps, phones, strict=True):
        step.act(drill, phone)
        drill.application.start()
        drill.wait_until_quiet("received", "queued", timeout_s=30)  # what it left behind is not to meet the next one
    drill.wait_until_quiet(*UNDER_WAY, timeout_s=60)
    checks = []
    for step, phone in zip(steps, phones, strict=True):
        statuses, said, effects = drill.reply_statuses(phone), drill.said_to(phone), drill.effects(phone)
        is_good = statuses == [step.status] and len(said) == step.times and effects == step.effects
        told = f"the reply is {', '.join(statuses) or 'missing'}; the bridge has it {len(said)} times"
        if step.effects or effects:
            told += f"; {effects} effects"
        checks.append(Check(f"killed {step.act.__name__.replace('_', ' ')}", is_good, told))
    return checks + promises(drill)


# --- all at once ------------------------------------------------------------------------------------------------------

MODEL_FAILURES = ["rate_limited", "error_500", "not_json", "empty", "drop"]
BRIDGE_FAILURES = ["error_500", "error_500_after", "drop_before", "drop_after", "rate_limited"]


def storm(drill: Drill, *, seconds: float, per_s: float, kill_every_s: float, conversations: int) -> list[Check]:
    """Many write at once; webhooks come twice, the bridge and the model fail and hang, and processes are killed."""
    drill.zapw.duplicate_rate = 0.1
    for outcome in MODEL_FAILURES:
        drill.model.fail(outcome, rate=0.2 / len(MODEL_FAILURES), headers={"Retry-After": "0.2"})
    drill.model.fail("hang", rate=0.05, wait_s=4)
    for outcome in BRIDGE_FAILURES:
        more = {"headers": (("Retry-After", "0.2"),)} if outcome == "rate_limited" else {}
        drill.zapw.fail(outcome, rate=0.2 / len(BRIDGE_FAILURES), **more)
    drill.zapw.fail("hang", rate=0.025, wait_s=4)
    drill.zapw.fail("hang_after", rate=0.025, wait_s=4)
    drill.model.latency_s = 0.2
    phones = [f"55119880000{number:02}" for number in range(conversations)]
    under_way: Counter[str] = Counter()
    over = threading.Event()
    written: list[Future[None]] = []

    def write() -> None:
        while not over.wait(random.expovariate(per_s)):
            written.append(drill.write(random.choice(phones), random.choice(["Message", "Message", TEA])))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(random.uniform(0.5, 1.5) * kill_every_s)
        under_way.update(dict(drill.rows(WHAT_IS_UNDER_WAY)))
        if drill.kills % 3 == 2:
            drill.application.kill_a_worker()
            drill.kills += 1
        else:
            drill.kill()
            drill.application.start()
    kill_the_database(drill)
    time.sleep(3)
    over.set()
    writer.join()
    for one in written:
        one.result(60)
    quiet = drill.wait_until_quiet(*UNDER_WAY, timeout_s=90)
    print(
        f"  {len(written)} messages written, {drill.kills} times killed, the database once; under way at those moments:"
    )
    print(f"  {', '.join(f'{what}: {count}' for what, count in sorted(under_way.items()))}")
    return [Check("all comes to rest", quiet), *promises(drill)]


WHAT_IS_UNDER_WAY = """
SELECT 'waiting for a turn', count(*) FROM messaging_conversation WHERE due_at IS NOT NULL AND lease_token IS NULL
UNION ALL SELECT 'in a turn', count(*) FROM messaging_conversation WHERE lease_expires_at > now()
UNION ALL SELECT message.status, count(*) FROM messaging_message message
           WHERE message.status IN ('queued', 'sending') GROUP BY 1
"""


def kill_the_database(drill: Drill) -> None:
    """The embedded server too may be killed: whoever needs it next starts it."""
    drill.kills += 1
    first = psutil.Process(int((drill.data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]))
    for process in [first, *first.children(recursive=True)]:
        process.kill()


# --- what was promised ------------------------------------------------------------------------------------------------


def promises(drill: Drill) -> list[Check]:
    """What must be true of every message, whatever happened."""
    kept = Counter(
        provider_id
        for (provider_id,) in drill.rows(
            "SELECT provider_message_id FROM messaging_message WHERE direction = 'inbound'"
        )
    )
    inbound = dict(drill.rows("SELECT status, count(*) FROM messaging_message WHERE direction = 'inbound' GROUP BY 1"))
    outbound = dict(
        drill.rows("SELECT status, count(*) FROM messaging_message WHERE direction = 'outbound' GROUP BY 1")
    )
    turns = dict(drill.rows("SELECT outcome, count(*) FROM messaging_turn GROUP BY 1"))
    without_turn = drill.rows(
        "SELECT count(*) FROM messaging_message WHERE direction = 'inbound' AND unanswered = '' AND turn_id IS NULL"
    )[0][0]
    twice_answered = drill.rows(
        "SELECT count(*) FROM messaging_turn turn WHERE outcome <> 'ignored' AND NOT EXISTS ("
        "SELECT 1 FROM messaging_message burst WHERE burst.turn_id = turn.id AND burst.direction = 'inbound')"
    )[0][0]
    silent_failures = drill.rows(
        "SELECT count(*) FROM messaging_turn turn JOIN messaging_conversation conversation"
        " ON conversation.id = turn.conversation_id"
        " WHERE turn.outcome = 'failed' AND (turn.reason = '' OR NOT conversation.needs_attention)"
    )[0][0]
    known = "SELECT provider_message_id, text FROM messaging_message WHERE direction = 'outbound'"
    rows = dict(drill.rows(f"{known} AND provider_message_id IS NOT NULL"))
    texts = Counter((entry["to"], entry["text"]) for entry in drill.zapw.sent)
    ours = {
        (phone.removeprefix("+"), text): status
        for phone, text, status in drill.rows(
            "SELECT contact.phone, message.text, message.status FROM messaging_message message"
            " JOIN messaging_conversation conversation ON conversation.id = message.conversation_id"
            " JOIN messaging_contact contact ON contact.id = conversation.contact_id"
            " WHERE message.direction = 'outbound'"
        )
    }
    done_twice = drill.rows(
        "SELECT split_part(key, ':', 2), split_part(key, ':', 3), name FROM commands_commandrun"
        " WHERE key LIKE 'tool:%%' AND status = 'done' GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    [(facts, runs, unrecorded)] = drill.rows(
        "SELECT (SELECT count(*) FROM messaging_fact), count(*) FILTER (WHERE name = 'remember' AND status = 'done'),"
        " count(*) FILTER (WHERE turn_id IS NULL) FROM commands_commandrun"
    )
    by_id = {entry["id"]: entry["text"] for entry in drill.zapw.sent}
    lost = [message_id for message_id in drill.acknowledged if not kept[message_id]]
    order = said_in_order(drill)
    wrong_way = [entry for entry in drill.zapw.sent if not is_for(entry)]
    return [
        Check("what was acknowledged is kept", not lost, f"{len(drill.acknowledged)} acknowledged, {len(lost)} lost"),
        Check("and kept once", max(kept.values(), default=0) <= 1, f"{sum(kept.values())} rows"),
        Check("no message is left unanswered", inbound.keys() <= {"handled"} and not without_turn, told(inbound)),
        Check("no burst is answered twice", not twice_answered, told(turns)),
        Check("a failed turn says why, and asks for a person", not silent_failures, f"{turns.get('failed', 0)} failed"),
        Check("nothing waits and nothing hangs", not outbound.keys() & {"queued", "sending"}, told(outbound)),
        Check(
            "nothing is said twice", max(texts.values(), default=0) <= 1, f"{len(drill.zapw.sent)} sends at the bridge"
        ),
        Check("what was said is on record", texts.keys() <= ours.keys()),
        Check("as sent, or as unconfirmed", {ours.get(one) for one in texts} <= {"sent", "unconfirmed"}),
        Check(
            "what is marked sent was sent", all(by_id.get(one) == text for one, text in rows.items()), f"{len(rows)}"
        ),
        Check("what tools do for a burst they do once", not done_twice and facts == runs, f"{facts} facts"),
        Check("and a turn has it on record", not unrecorded, f"{unrecorded} without one"),
        Check("everybody is told what is meant for them", not wrong_way),
        Check("and in order", order),
    ]


def told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def is_for(entry: dict[str, Any]) -> bool:
    text = str(entry["text"])
    return not text.startswith("Answer") or f" to {entry['to']}." in text


def said_in_order(drill: Drill) -> bool:
    """Of each conversation, the bridge has the replies in the order in which they were written."""
    position = {
        (phone.removeprefix("+"), text): number
        for number, (phone, text) in enumerate(
            drill.rows(
                "SELECT contact.phone, message.text FROM messaging_message message"
                " JOIN messaging_conversation conversation ON conversation.id = message.conversation_id"
                " JOIN messaging_contact contact ON contact.id = conversation.contact_id"
                " WHERE message.direction = 'outbound' ORDER BY message.created_at, message.id"
            )
        )
    }
    last: dict[str, int] = {}
    for entry in list(drill.zapw.sent):
        number = position.get((entry["to"], entry["text"]), -1)
        if number < last.get(entry["to"], -1):
            return False
        last[entry["to"]] = number
    return True


# --- make drill -------------------------------------------------------------------------------------------------------


def show(title: str, checks: list[Check]) -> list[Check]:
    print(f"{title}:")
    for check in checks:
        print(check.line())
    return [check for check in checks if not check.is_good]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make drill ARGS=...", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the storm lasts")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    failed = []
    began = time.monotonic()
    for title, act, settings in (
        ("Killed at each step", lambda drill: step_by_step(drill, STEPS), {"WEB_PROCESSES": 1}),
        (
            "Killed in a storm",
            lambda drill: storm(drill, seconds=arguments.seconds, per_s=8, kill_every_s=5, conversations=30),
            {"WEB_PROCESSES": 2, "long_every": 9},
        ),
    ):
        data_dir = Path(tempfile.mkdtemp(prefix="drill-"))
        try:
            with Drill(data_dir, **settings) as drill:
                failed += show(title, act(drill))
        finally:
            shutil.rmtree(data_dir, ignore_errors=True)
    print(f"{'All promises held' if not failed else f'{len(failed)} FAILED'}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
