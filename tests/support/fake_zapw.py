"""A small zapw on a real socket: sessions, QR codes, sends it remembers, webhooks it posts, and failures when told to.

In a test:

    with FakeZapw(webhook_url=...) as fake:
        fake.add_session("sales", phone="5511999990000")
        fake.emit_message("Oi", phone="5511988887777")  # posts a webhook, returns the statuses it was answered with
        fake.wait_for_sent(1)
        fake.fail("drop_after", rate=0.2)

As a process of its own: `python -m tests.support.fake_zapw --port 8150 --session sales:5511999990000 --record
sent.jsonl`, steered over HTTP by the same names (JSON in and out, no key):

    GET  /_fake/sent?since=N     {"sent": [{session, to, jid, type, text, id, at}]}; `at` is seconds since 1970
    POST /_fake/fail             {outcome, call?, rate?, times?, wait_s?}
    POST /_fake/heal             failures end
    POST /_fake/forget           what was sent is forgotten
    POST /_fake/down             {for_s}: refuse connections for so long
    POST /_fake/session          {name, phone?, display_name?, status?}
    POST /_fake/scan             {session, phone, name?}: someone scans the code; posts session.connected
    POST /_fake/message          the arguments of `emit_message`; {"statuses": [...]}
    POST /_fake/emit             {event_type, data, session, duplicates?}; {"statuses": [...]}
"""

import argparse
import asyncio
import json
import random
import re
import threading
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import segno

from tests.support.http_server import Connection, ThreadedServer

MAX_BODY_BYTES = 100 * 1024
IDLE_S = 5.0  # Node closes connections that idle for so long


@dataclass
class Failure:
    """What happens instead of the right answer: to which call, how often, and whether the send was recorded first."""

    call: str  # send, start, state, list, delete, health; any
    rate: float = 1.0
    times: int | None = None  # None: until healed
    recorded: bool = False
    wait_s: float = 0.0
    status: int | None = None  # None: break the connection off
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    right_answer: bool = False  # only late


def error(text: str) -> bytes:
    return json.dumps({"status": "error", "error": text}).encode()


OUTCOMES: dict[str, dict[str, Any]] = {
    "error_500": {"status": 500, "body": error("Failed to send message")},
    "error_500_after": {"status": 500, "body": error("Failed to send message"), "recorded": True},
    "not_connected": {"status": 400, "body": error("Session not connected")},
    "invalid": {"status": 400, "body": error('Recipient "to" is required')},
    "rate_limited": {"status": 429, "body": error("Too many requests"), "headers": (("Retry-After", "7"),)},
    "redirect": {"status": 302, "headers": (("Location", "http://127.0.0.1:9/"),)},
    "nonsense": {"status": 200, "body": b"<html>Hello</html>", "recorded": True},
    "slow": {"right_answer": True, "wait_s": 1.0},
    "hang": {"wait_s": 60.0},
    "hang_after": {"wait_s": 60.0, "recorded": True},
    "drop_before": {},
    "drop_after": {"recorded": True},
    "answer": {},  # status, body and headers as given
}


@dataclass
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = f"HTTP/1.1 {self.status} \r\nContent-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        return f"{head}{extra}\r\n".encode() + self.body


def _refusal_of_message(body: dict[str, Any]) -> Answer | None:
    match body.get("type"):
        case "text" if not body.get("text"):
            return Answer(400, error("Text is required for text messages"))
        case "image" | "video" | "audio" | "document" if not (body.get("mediaUrl") or body.get("mediaBase64")):
            return Answer(400, error("Media URL or base64 is required"))
        case "document" if not body.get("fileName"):
            return Answer(400, error("File name is required for documents"))
        case "location" if body.get("latitude") is None or body.get("longitude") is None:
            return Answer(400, error("Latitude and longitude are required for location messages"))
        case "contact" if not (body.get("contactName") and body.get("contactNumber")):
            return Answer(400, error("Contact name and number are required for contact messages"))
        case "text" | "image" | "video" | "audio" | "document" | "location" | "contact" if isinstance(body["to"], str):
            return None
    return Answer(500, error("Failed to send message"))


def success(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps({"status": "success", "data": data}).encode())


def plain(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data).encode())


INTERNAL_ERROR = plain(
    {"error": "Internal Server Error", "message": "An unexpected error occurred", "statusCode": 500}, 500
)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_message_id() -> str:
    return f"3EB0{uuid.uuid4().hex[:18].upper()}"


@dataclass
class FakeZapw(ThreadedServer):
    """See the module. `duplicate_rate` is the share of webhooks posted twice; a `seed` makes the dice fall alike."""

    port: int = 0
    api_key: str = "fake-zapw-key"
    webhook_url: str = ""
    qr_life_s: float = 60.0
    connect_after_s: float | None = None  # someone scans the code by themselves so long after it is shown
    duplicate_rate: float = 0.0
    webhook_waits_s: tuple[float, ...] = (1.0, 2.0)  # between the tries
    webhook_timeout_s: float = 10.0
    record: Path | None = None
    seed: int | None = None
    sent: list[dict[str, Any]] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=1000))
    failures: list[Failure] = field(default_factory=list)
    clock_ahead: timedelta = timedelta()  # by which the time in its health is ahead

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._arrived = threading.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._record_file = self.record.open("ab", buffering=0) if self.record else None

    def connection(self) -> "_Connection":
        return _Connection(self)

    async def serve(self, started: Callable[[], None] = lambda: None) -> None:
        await super().serve(started)
        for task in list(self._tasks):
            task.cancel()
        if self._record_file:
            self._record_file.close()

    def _later(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what tests ask for --------------------------------------------------------------------------------------
    def add_session(self, name: str, *, phone: str = "", display_name: str = "", status: str = "connected") -> None:
        session = {"id": name, "status": status, "createdAt": iso(datetime.now(UTC))}
        if phone:
            session |= {"phoneNumber": phone, "name": display_name, "connectedAt": iso(datetime.now(UTC))}
        self.sessions[name] = session

    def fail(self, outcome: str, *, call: str = "send", **more: Any) -> None:
        """From now on: one of OUTCOMES to `call`, always or with `rate`, for ever or so many `times`."""
        if isinstance(more.get("body"), str):
            more["body"] = more["body"].encode()
        self.failures.append(Failure(call=call, **(OUTCOMES[outcome] | more)))

    def heal(self) -> None:
        self.failures.clear()

    def wait_for_sent(self, count: int, *, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """What was sent, as soon as there are `count`; fails the test when they do not come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.sent) >= count, timeout_s), (
                f"{len(self.sent)} sends arrived, not {count}"
            )
        return list(self.sent)

    def down(self) -> None:
        """Refuse connections, until `up`."""
        self.wait(self._hang_up())

    def up(self) -> None:
        self.wait(self._listen())

    def emit(self, event_type: str, data: Any, *, session: str = "sales", duplicates: int | None = None) -> list[int]:
        """Post a webhook; the statuses of its tries, 0 for one that got no answer."""
        return self.wait(self.post(event_type, data, session=session, duplicates=duplicates))

    def emit_message(self, text: str = "", **fields: Any) -> list[int]:
        """Post a message.received; see `message` for the fields."""
        return self.wait(self.post_message(text=text, **fields))

    def emit_connected(self, session: str = "sales", *, name: str = "") -> list[int]:
        phone = self.sessions[session].get("phoneNumber", "")
        return self.emit("session.connected", {"phoneNumber": phone, "name": name}, session=session)

    def emit_disconnected(self, session: str = "sales", *, code: int | None = 401) -> list[int]:
        """Close the session and say so; without a code the session says that it is coming back."""
        self.sessions[session]["status"] = "connecting" if code is None else "disconnected"
        cause = {} if code is None else {"reason": {"output": {"statusCode": code}}}
        data = {"reason": cause | {"shouldReconnect": code not in {401, 403}}}
        return self.emit("session.disconnected", data, session=session)

    def scan(self, session: str, *, phone: str, name: str = "") -> list[int]:
        """Someone scans the code: the session is connected, and a webhook says so."""
        return self.wait(self._scan(session, phone=phone, name=name))

    async def _scan(self, session: str, *, phone: str, name: str = "") -> list[int]:
        self.sessions[session] = {
            "id": session,
            "status": "connected",
            "phoneNumber": phone,
            "name": name,
            "createdAt": self.sessions[session]["createdAt"],
            "connectedAt": iso(datetime.now(UTC)),
        }
        return await self.post("session.connected", {"phoneNumber": phone, "name": name}, session=session)

    # --- webhooks ------------------------------------------------------------------------------------------------
    def message(
        self,
        text: str = "",
        *,
        phone: str = "5511988887777",
        sender: str = "",
        message_id: str = "",
        sent_at: float | None = None,
        group: str = "",
        kind: str = "text",
        **more: Any,
    ) -> dict[str, Any]:
        """The data of a message.received. `sent_at` is in seconds since 1970, `sender` a whole JID."""
        data: dict[str, Any] = {
            "from": sender or f"{phone}@s.whatsapp.net",
            "to": "5511999990000:12@s.whatsapp.net",
            "messageId": message_id or new_message_id(),
            "timestamp": int(time() if sent_at is None else sent_at) * 1000,
            "isGroup": bool(group),
        }
        if group:
            data["groupId"] = group
        if kind:
            data["type"] = kind
        if text:
            data["text" if kind == "text" else "caption"] = text
        return data | more

    async def post_message(self, *, session: str = "sales", duplicates: int | None = None, **fields: Any) -> list[int]:
        return await self.post("message.received", self.message(**fields), session=session, duplicates=duplicates)

    async def post(
        self, event_type: str, data: Any, *, session: str = "sales", duplicates: int | None = None
    ) -> list[int]:
        if not self.webhook_url:
            return []
        envelope = {
            "sessionId": session,
            "origin": self.sessions.get(session, {}).get("phoneNumber") or session,
            "eventType": event_type,
            "timestamp": int(time() * 1000),
            "data": data,
        }
        body = json.dumps(envelope, ensure_ascii=False).encode()
        if duplicates is None:
            duplicates = int(self._dice.random() < self.duplicate_rate)
        posts = [self._post_until_taken(event_type, body) for _ in range(1 + duplicates)]
        return [status for tries in await asyncio.gather(*posts) for status in tries]

    async def _post_until_taken(self, event_type: str, body: bytes) -> list[int]:
        statuses = []
        for wait_s in (*self.webhook_waits_s, None):
            statuses.append(await self._post_once(event_type, body))
            if 200 <= statuses[-1] < 300 or wait_s is None:
                break
            await asyncio.sleep(wait_s)
        return statuses

    async def _post_once(self, event_type: str, body: bytes) -> int:
        url = urlsplit(self.webhook_url)
        head = (
            f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"X-Webhook-Event: {event_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer = None
        try:
            async with asyncio.timeout(self.webhook_timeout_s):
                reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
                writer.write(head.encode() + body)
                return int((await reader.readline()).split()[1])
        except (OSError, TimeoutError, IndexError, ValueError):
            return 0
        finally:
            if writer:
                writer.close()

    # --- answering -----------------------------------------------------------------------------------------------
    def handle(self, request: Request, connection: "_Connection") -> None:
        if request.path.startswith("/_fake/"):
            self._later(self._steer(request, connection))
            return
        self.requests.append(request)
        call, name = _call_of(request)
        failure = self._failure_of(call)
        if failure is None:
            connection.answer(self._right_answer(call, name, request))
            return
        answer: Answer | None = None
        if failure.recorded or failure.right_answer:
            answer = self._right_answer(call, name, request)
        if not failure.right_answer:
            given = failure.status
            answer = None if given is None else Answer(given, failure.body, headers=failure.headers)
        if failure.wait_s:
            self._loop.call_later(failure.wait_s, connection.answer, answer)
        else:
            connection.answer(answer)

    def _failure_of(self, call: str) -> Failure | None:
        for failure in self.failures:
            if failure.call not in {call, "any"} or failure.times == 0 or self._dice.random() >= failure.rate:
                continue
            if failure.times is not None:
                failure.times -= 1
            return failure
        return None

    def _right_answer(self, call: str, name: str, request: Request) -> Answer:
        if call == "health":
            return plain(
                {
                    "status": "ok",
                    "timestamp": iso(datetime.now(UTC) + self.clock_ahead),
                    "service": "zapw",
                    "uptime": 1.0,
                }
            )
        if refusal := self._refusal(request):
            return refusal
        if len(request.body) > MAX_BODY_BYTES:
            return INTERNAL_ERROR
        try:
            body = json.loads(request.body) if request.body else {}
        except ValueError:
            return INTERNAL_ERROR
        match call:
            case "start":
                return self._start(body.get("sessionId") or str(uuid.uuid4()))
            case "list":
                return success(list(self.sessions.values()))
            case "unknown":
                return Answer(404, b"<!DOCTYPE html><pre>Cannot GET</pre>", "text/html; charset=utf-8")
        if name not in self.sessions:
            return Answer(404, error(f"Session {name} not found"))
        match call:
            case "state":
                return success(self._state(name))
            case "delete":
                del self.sessions[name]
                return Answer(204)
        return self._send(name, body)

    def _refusal(self, request: Request) -> Answer | None:
        if not self.api_key:
            return None
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if given == self.api_key:
            return None
        return plain({"error": "Unauthorized", "message": "Invalid API key" if given else "API key is required"}, 401)

    def _send(self, name: str, body: dict[str, Any]) -> Answer:
        if self.sessions[name]["status"] != "connected":
            return Answer(400, error("Session not connected"))
        if not body.get("to"):
            return Answer(400, error('Recipient "to" is required'))
        if refusal := _refusal_of_message(body):
            return refusal
        at = time()
        entry = {
            "session": name,
            "to": body["to"],
            "jid": re.sub(r"\D", "", body["to"]) + "@s.whatsapp.net",
            "type": body["type"],
            "text": body.get("text", ""),
            "body": body,
            "id": new_message_id(),
            "at": at,
        }
        if self._record_file:
            self._record_file.write(json.dumps(entry).encode() + b"\n")
        with self._arrived:
            self.sent.append(entry)
            self._arrived.notify_all()
        return success({"messageId": entry["id"], "timestamp": int(at * 1000), "status": "sent"})

    # --- sessions ------------------------------------------------------------------------------------------------
    def _start(self, name: str) -> Answer:
        if name in self.sessions:
            return Answer(409, error(f"Session {name} already exists"))
        self.add_session(name, status="qr_waiting")
        self._show_code(name)
        if self.connect_after_s is not None:
            self._loop.call_later(
                self.connect_after_s, lambda: self._later(self._scan(name, phone="1234567890", name="Test User"))
            )
        return success(self.sessions[name], 201)

    def _show_code(self, name: str) -> None:
        code = segno.make(f"2@{uuid.uuid4().hex}", error="m")
        self.sessions[name] |= {
            "status": "qr_waiting",
            "qrCode": code.png_data_uri(scale=6),
            "qrExpiresAt": iso(datetime.now(UTC) + timedelta(seconds=self.qr_life_s)),
        }

    def _state(self, name: str) -> dict[str, Any]:
        """The session; an expired code is answered once more, as `connecting`, while a new one is made."""
        session = self.sessions[name]
        if session["status"] != "qr_waiting" or iso(datetime.now(UTC)) < session["qrExpiresAt"]:
            return session
        old = session | {"status": "connecting"}
        self._show_code(name)
        self._later(self.post("session.disconnected", {"reason": {"shouldReconnect": True}}, session=name))
        return old

    # --- steering ------------------------------------------------------------------------------------------------
    async def _steer(self, request: Request, connection: "_Connection") -> None:
        try:
            given = json.loads(request.body) if request.body else {}
            connection.answer(plain(await self._steered(request, given)))
        except (KeyError, TypeError, ValueError) as exc:
            connection.answer(plain({"error": repr(exc)}, 400))

    async def _steered(self, request: Request, given: dict[str, Any]) -> dict[str, Any]:
        match request.path.removeprefix("/_fake/"):
            case "sent":
                return {"sent": self.sent[int(parse_qs(request.query).get("since", ["0"])[0]) :]}
            case "fail":
                self.fail(given.pop("outcome"), **given)
            case "heal":
                self.heal()
            case "forget":
                self.sent.clear()
            case "down":
                self._later(self._down_for(given["for_s"]))
            case "session":
                self.add_session(given.pop("name"), **given)
            case "scan":
                return {"statuses": await self._scan(given.pop("session"), **given)}
            case "message":
                return {"statuses": await self.post_message(**given)}
            case "emit":
                return {"statuses": await self.post(given.pop("event_type"), given.pop("data"), **given)}
            case other:
                raise KeyError(other)
        return {}

    async def _down_for(self, seconds: float) -> None:
        await asyncio.sleep(0.01)  # the answer goes out first
        await self._hang_up()
        await asyncio.sleep(seconds)
        await self._listen()


def _call_of(request: Request) -> tuple[str, str]:
    """Which call it is, and of which session."""
    match (request.method, request.path.strip("/").split("/")):
        case ("GET", ["health"]):
            return "health", ""
        case ("POST", ["sessions"]):
            return "start", ""
        case ("GET", ["sessions"]):
            return "list", ""
        case ("GET", ["sessions", name]):
            return "state", unquote(name)
        case ("DELETE", ["sessions", name]):
            return "delete", unquote(name)
        case ("POST", ["sessions", name, "messages"]):
            return "send", unquote(name)
    return "unknown", ""


class _Connection(Connection):
    server: "FakeZapw"

    def __init__(self, server: "FakeZapw") -> None:
        super().__init__(server)
        self._idle: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._no_longer_idle()

    def data_received(self, data: bytes) -> None:
        self._no_longer_idle()
        super().data_received(data)

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        self.server.handle(Request(method, path, query, headers, body), self)

    def answer(self, answer: Answer | None) -> None:
        """Send `answer`; None breaks the connection off."""
        if self.transport.is_closing():
            return
        if answer is None:
            self.drop()
            return
        self.transport.write(answer.encoded())
        self._idle = self.server._loop.call_later(IDLE_S, self.transport.close)

    def _no_longer_idle(self) -> None:
        if self._idle:
            self._idle.cancel()
            self._idle = None


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake zapw.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key", default="fake-zapw-key", help="empty: ask for none")
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--record", type=Path, help="append each send to this file, a line of JSON each")
    parser.add_argument("--session", action="append", default=[], help="NAME:PHONE, connected from the start")
    parser.add_argument("--duplicate-rate", type=float, default=0.0)
    parser.add_argument("--qr-life-s", type=float, default=60.0)
    parser.add_argument("--connect-after-s", type=float)
    parser.add_argument("--seed", type=int)
    given = vars(parser.parse_args())
    sessions = given.pop("session")
    fake = FakeZapw(**given)
    for session in sessions:
        name, _, phone = session.partition(":")
        fake.add_session(name, phone=phone)
    with suppress(KeyboardInterrupt):
        asyncio.run(fake.serve(lambda: print(f"fake zapw on {fake.url}", flush=True)))  # noqa: T201


if __name__ == "__main__":
    main()
