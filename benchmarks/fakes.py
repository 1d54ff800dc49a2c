"""The world around the application, as cheap as it can be: who writes, the bridge, and the model; one event loop.

Everything here runs beside the application on the same cores, so it parses no more than it needs and answers with
bytes made beforehand.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

PHONE = 5511900000000
SEED = "from benchmarks.seed import seed_history; seed_history({}, messages={})"  # for `manage.py shell -c`


def phone(conversation: int) -> str:
    return str(PHONE + conversation)


class Server(asyncio.Protocol):
    """A kept-alive HTTP connection; requests with Content-Length, one after the other."""

    def __init__(self, answer: Callable[["Server", bytes], None]) -> None:
        self._answer = answer
        self._received = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received = data = self._received + data if self._received else data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _content_length(data[:head_end])
        if len(data) < head_end + 4 + length:
            return
        self._received = b""
        self._answer(self, data)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


def _content_length(head: bytes) -> int:
    head = head.lower()
    at = head.find(b"content-length:")
    if at < 0:
        return 0
    end = head.find(b"\r\n", at)
    return int(head[at + 15 : end if end > 0 else len(head)])


def response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Model:
    """An OpenAI-compatible server that gives the same answer after `latency_s`."""

    ANSWER = response(
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"bench","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"We are open from nine to six, on Saturdays until noon."},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":400,"completion_tokens":14,"total_tokens":414}}'
    )

    def __init__(self, *, latency_s: float) -> None:
        self.latency_s = latency_s
        self.asked = 0
        self.waiting = self.most_waiting = 0
        self.request_bytes = 0

    async def listen(self) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(self._answer), "127.0.0.1", 0, backlog=2048)
        return int(server.sockets[0].getsockname()[1])

    def _answer(self, connection: Server, request: bytes) -> None:
        self.asked += 1
        self.request_bytes = len(request)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        if b'"model": "hung"' in request or b'"model":"hung"' in request:
            return  # see `benchmarks.fairness`
        asyncio.get_running_loop().call_later(self.latency_s, self._say, connection)

    def _say(self, connection: Server) -> None:
        self.waiting -= 1
        connection.write(self.ANSWER)


class Bridge:
    """A zapw that accepts every send and calls `on_send` with recipient and time."""

    CONNECTED = response(
        b'{"status":"success","data":[%b]}'
        % b",".join(
            b'{"id":"%b","status":"connected","phoneNumber":"%b","name":"Bench",'
            b'"createdAt":"2026-11-22T22:35:16.727Z","connectedAt":"2026-11-22T22:35:17.573Z"}' % each
            for each in ((b"sales", b"5511999990000"), (b"paced", b"5511999990002"))
        )
    )

    def __init__(self, on_send: Callable[[int, float], None]) -> None:
        self._on_send = on_send
        self.ids = itertools.count(time.time_ns() // 1000)

    async def listen(self) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Server(self._answer), "127.0.0.1", 0, backlog=2048)
        return int(server.sockets[0].getsockname()[1])

    def _answer(self, connection: Server, request: bytes) -> None:
        at = time.perf_counter()
        if not request.startswith(b"POST"):
            connection.write(self.CONNECTED)
            return
        connection.write(
            response(
                b'{"status":"success","data":{"messageId":"3EB0SENT%d","timestamp":%d,"status":"sent"}}'
                % (next(self.ids), time.time() * 1000)
            )
        )
        digits = request.index(b'"to"')
        first = request.index(b'"', digits + 4) + 1
        self._on_send(int(request[first : request.index(b'"', first)]) - PHONE, at)


CLOSED = 0  # in place of a status


class Poster(asyncio.Protocol):
    """One kept-alive connection of a bridge that posts webhooks, one after the other; None when it is busy."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[int] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._answered and not self._answered.done():
            self._answered.set_result(CLOSED)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        if len(self._received) < head_end + 4 + _content_length(self._received[:head_end]):
            return
        status = int(self._received[9:12])
        self._received = b""
        if self._answered and not self._answered.done():
            self._answered.set_result(status)

    def post(self, request: bytes) -> asyncio.Future[int]:
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answered


class Webhooks:
    """Posts message.received events over a few kept-alive connections, as zapw's one process does."""

    def __init__(self, *, port: int, path: str, session: str = "sales") -> None:
        self._port = port
        self._session = session
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            "X-Webhook-Event: message.received\r\nContent-Length: "
        ).encode()
        self._free: list[Poster] = []
        self._run = time.time_ns() // 1_000_000
        self._count = itertools.count()
        self.not_taken = 0

    def message(self, conversation: int, text: str = "When are you open on Saturday, please") -> bytes:
        now_ms = int(time.time() * 1000)
        body = (
            f'{{"sessionId":"{self._session}","origin":"5511999990000","eventType":"message.received","timestamp":{now_ms},'
            f'"data":{{"from":"{phone(conversation)}@s.whatsapp.net","to":"5511999990000:12@s.whatsapp.net",'
            f'"messageId":"3EB0{self._run:X}{next(self._count):08X}","timestamp":{now_ms // 1000 * 1000},'
            f'"isGroup":false,"type":"text","text":"{text}"}}}}'
        ).encode()
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    async def post(self, conversation: int) -> float:
        """Post one message until it is taken; returns how long the acknowledgement took, in seconds."""
        message = self.message(conversation)
        began = time.perf_counter()
        while True:
            poster = self._free.pop() if self._free else None
            if poster is None or poster.transport.is_closing():
                _, poster = await asyncio.get_running_loop().create_connection(Poster, "127.0.0.1", self._port)
            status = await poster.post(message)
            if status == 200:
                self._free.append(poster)
                return time.perf_counter() - began
            poster.transport.close()
            if status != CLOSED:  # a kept-alive connection may be closed just when it is used again
                self.not_taken += 1
