"""Shared by the fake servers: an event loop in a thread, and HTTP over keep-alive connections."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self


class ThreadedServer:
    """A server whose `serve` runs in a thread while the context manager is entered. `port` 0 picks a free port."""

    port: int
    _loop: asyncio.AbstractEventLoop
    _stop: asyncio.Event

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(started.set)), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        assert started.wait(60), f"{type(self).__name__} did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, started: Callable[[], None] = lambda: None) -> None:
        """Listen, call `started`, and serve until it is stopped."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._connections: set[Connection] = set()
        await self._listen()
        started()
        await self._stop.wait()
        await self._hang_up()

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the server's thread and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=120)

    def connection(self) -> "Connection":
        """Return the protocol of a new connection."""
        raise NotImplementedError

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._server = await self._loop.create_server(self.connection, sock=listener, backlog=4096)

    async def _hang_up(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.drop()


class Connection(asyncio.Protocol):
    """One keep-alive connection: requests with Content-Length, one after the other."""

    transport: asyncio.Transport

    def __init__(self, server: ThreadedServer) -> None:
        self.server = server
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.server._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        lines = self._received[:head_end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        end = head_end + 4 + int(headers.get("content-length", "0"))
        if len(self._received) < end:
            return
        method, target, _ = lines[0].split(" ")
        body = bytes(self._received[head_end + 4 : end])
        del self._received[:end]
        self.handle(method, target, headers, body)

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        """Answer a request."""
        raise NotImplementedError

    def drop(self) -> None:
        self.transport.abort()
