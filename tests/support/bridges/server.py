"""What the fake bridges share: sends that are remembered, webhooks that are posted, failures on demand.

A subclass answers requests (`right_answer`) and makes the bodies of its webhooks. It may be steered over HTTP by the
names of its methods, under `/_fake/`.
"""

import asyncio
import json
import random
import threading
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.support.http_server import Connection, ThreadedServer

IDLE_S = 5.0  # Node closes connections that idle for so long


@dataclass
class Failure:
    """What happens instead of the right answer: to which call, how often, and whether the send was recorded first."""

    call: str  # send, start, state, list, delete, health, …; any
    rate: float = 1.0
    times: int | None = None  # None: until healed
    recorded: bool = False
    wait_s: float = 0.0
    status: int | None = None  # None: break the connection off
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    right_answer: bool = False  # only late


OUTCOMES: dict[str, dict[str, Any]] = {
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


def plain(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(data).encode())


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def parameters(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.query).items()}

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_message_id() -> str:
    return f"3EB0{uuid.uuid4().hex[:18].upper()}"


@dataclass
class FakeBridge(ThreadedServer):
    """`duplicate_rate` is the share of webhooks posted twice; with a `seed` chance repeats itself."""

    port: int = 0
    api_key: str = "fake-bridge-key"
    webhook_url: str = ""
    duplicate_rate: float = 0.0
    webhook_waits_s: tuple[float, ...] = (1.0, 2.0)  # between the tries
    webhook_timeout_s: float = 60.0
    record: Path | None = None
    seed: int | None = None
    sent: list[dict[str, Any]] = field(default_factory=list)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=1000))
    failures: list[Failure] = field(default_factory=list)

    outcomes: ClassVar[dict[str, dict[str, Any]]] = OUTCOMES

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._arrived = threading.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._record_file = self.record.open("ab", buffering=0) if self.record else None

    def connection(self) -> "BridgeConnection":
        return BridgeConnection(self)

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
    def fail(self, outcome: str, *, call: str = "send", **more: Any) -> None:
        """From now on: one of `outcomes` to `call`, always or with `rate`, for ever or so many `times`."""
        if isinstance(more.get("body"), str):
            more["body"] = more["body"].encode()
        self.failures.append(Failure(call=call, **(self.outcomes[outcome] | more)))

    def heal(self) -> None:
        self.failures.clear()

    def wait_for_sent(self, count: int, *, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """What was sent, as soon as there are `count`; fails the test when they do not come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.sent) >= count, timeout_s), (
                f"{len(self.sent)} sends arrived, not {count}"
            )
        return list(self.sent)

    def keep(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Remember a send, with `session`, `to`, `type`, `text` and `id`."""
        entry = entry | {"at": time()}
        if self._record_file:
            self._record_file.write(json.dumps(entry).encode() + b"\n")
        with self._arrived:
            self.sent.append(entry)
            self._arrived.notify_all()
        return entry

    def down(self) -> None:
        """Refuse connections, until `up`."""
        self.wait(self._hang_up())

    def up(self) -> None:
        self.wait(self._listen())

    # --- webhooks ------------------------------------------------------------------------------------------------
    async def post_webhook(
        self, payload: Any, *, headers: dict[str, str] | None = None, duplicates: int | None = None
    ) -> list[int]:
        """Post a webhook until it is taken; return the statuses of its tries, 0 for one that got no answer."""
        if not self.webhook_url:
            return []
        body = json.dumps(payload, ensure_ascii=False).encode()
        headers = (headers or {}) | self.signature(body)
        if duplicates is None:
            duplicates = int(self._dice.random() < self.duplicate_rate)
        posts = [self._post_until_taken(body, headers) for _ in range(1 + duplicates)]
        return [status for tries in await asyncio.gather(*posts) for status in tries]

    def signature(self, body: bytes) -> dict[str, str]:  # noqa: ARG002
        """Return the headers that prove a body to be the bridge's."""
        return {}

    async def _post_until_taken(self, body: bytes, headers: dict[str, str]) -> list[int]:
        statuses = []
        for wait_s in (*self.webhook_waits_s, None):
            statuses.append(await self._post_once(body, headers))
            if 200 <= statuses[-1] < 300 or wait_s is None:
                break
            await asyncio.sleep(wait_s)
        return statuses

    async def _post_once(self, body: bytes, headers: dict[str, str]) -> int:
        url = urlsplit(self.webhook_url)
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
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
    def call_of(self, request: Request) -> tuple[str, str]:
        """Return which call it is, and of which session."""
        raise NotImplementedError

    def right_answer(self, call: str, name: str, request: Request) -> Answer:
        raise NotImplementedError

    def handle(self, request: Request, connection: "BridgeConnection") -> None:
        if request.path.startswith("/_fake/"):
            self._later(self._steer(request, connection))
            return
        self.requests.append(request)
        call, name = self.call_of(request)
        failure = self._failure_of(call)
        if failure is None:
            connection.answer(self.right_answer(call, name, request))
            return
        answer: Answer | None = None
        if failure.recorded or failure.right_answer:
            answer = self.right_answer(call, name, request)
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

    # --- steering ------------------------------------------------------------------------------------------------
    async def _steer(self, request: Request, connection: "BridgeConnection") -> None:
        try:
            connection.answer(plain(await self.steer(request, request.json())))
        except (KeyError, TypeError, ValueError) as exc:
            connection.answer(plain({"error": repr(exc)}, 400))

    async def steer(self, request: Request, given: dict[str, Any]) -> dict[str, Any]:
        match request.path.removeprefix("/_fake/"):
            case "sent":
                return {"sent": self.sent[int(request.parameters.get("since", "0")) :]}
            case "fail":
                self.fail(given.pop("outcome"), **given)
            case "heal":
                self.heal()
            case "forget":
                self.sent.clear()
            case "down":
                self._later(self._down_for(given["for_s"]))
            case other:
                raise KeyError(other)
        return {}

    async def _down_for(self, seconds: float) -> None:
        await asyncio.sleep(0.01)  # the answer goes out first
        await self._hang_up()
        await asyncio.sleep(seconds)
        await self._listen()


class BridgeConnection(Connection):
    server: "FakeBridge"

    def __init__(self, server: "FakeBridge") -> None:
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
