"""A gunicorn worker in which a slow client costs a socket, never a thread.

gthread gives a connection to a thread, which then waits for the rest of the request and for the client to take the
answer: as many slow clients as there are threads silence the server. Here the main loop reads a request to its end
before a thread sees it, and sends what the client did not take at once. Every step has a deadline.
"""

import errno
import json
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from gunicorn import http
from gunicorn.workers.gthread import TConn, ThreadWorker

from agent.server.request_buffer import MEMORY_BYTES, RequestBuffer
from whatsapp_agent.http.request_body import max_body_bytes

HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 20.0
SEND_TIMEOUT_S = 30.0
MIN_BYTES_PER_S = 16 * 1024  # a long body or answer has more time, at this rate
LINGER_S = 2.0  # a client reads the end of our answer before the connection is reset
LINGER_CUT_S = 10.0  # and one that still sends a body which we refused needs longer
CHECK_INTERVAL_S = 0.5
MAX_BUFFERED_BYTES = 1024 * 1024 * 1024  # of all requests that are being read
RECEIVE_BYTES = 64 * 1024


class ResponseSocket:
    """A socket that takes all it is given: what the client is slow to read waits in a buffer, to be sent by `flush`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._unsent: IO[bytes] | None = None
        self._chunk = b""
        self.unsent_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def setblocking(self, flag: bool) -> None:
        """gunicorn wants to wait in its threads; nothing here does."""

    def settimeout(self, timeout: float | None) -> None:
        """See `setblocking`."""

    def gettimeout(self) -> float | None:
        return None

    def send(self, data: bytes, *_flags: int) -> int:
        self.sendall(data)
        return len(data)

    def sendall(self, data: bytes, *_flags: int) -> None:
        if self._unsent is None:
            data = data[self._send(data) :]
            if not data:
                return
            self._unsent = SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115  # closed by `close`
        self.unsent_bytes += self._unsent.write(data)

    def flush(self) -> bool:
        """Send what the client takes now; return whether nothing is left. Raises OSError when it is gone."""
        if self._unsent is None:
            return True
        if not self._chunk:
            self._unsent.seek(-self.unsent_bytes, os.SEEK_END)
            self._chunk = self._unsent.read(RECEIVE_BYTES)
        sent = self._send(self._chunk)
        self._chunk = self._chunk[sent:]
        self.unsent_bytes -= sent
        if self.unsent_bytes:
            return False
        self._unsent.close()
        self._unsent = None
        return True

    def _send(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def close(self) -> None:
        if self._unsent is not None:
            self._unsent.close()
        self._socket.close()


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A client's connection, with the request that is being read or answered."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, ResponseSocket(sock), client, server)
        self.request: RequestBuffer | None = None
        self.began_at = 0.0
        self.deadline = 0.0
        self.keeps_alive = False
        self.is_open = True
        self.is_receiving = False

    def prepare(self) -> None:
        """Let gunicorn's parser read the buffered request."""
        assert self.request is not None
        self.initialized = self.data_ready = True
        self.parser = http.get_parser(self.cfg, self.sock, self.client)
        self.parser.unreader = self.request.reader()


class BufferingWorker(ThreadWorker):  # type: ignore[misc]
    """gthread, but a thread gets whole requests and leaves answers to the main loop.

    All methods but `handle` and those it calls run in the main loop, so that nothing here needs a lock.

    `nr_conns` counts every open connection. At the limit of `worker_connections` the one that has been waiting longest
    is closed, so that new ones are always accepted.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: dict[Connection, None] = {}  # for the client: to send, to read or to close; the oldest first
        self._next_check = 0.0
        self._stop_at: float | None = None
        self._buffered_bytes = 0

    # --- a request comes in -------------------------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        try:
            sock, address = listener.accept()
        except OSError as exc:
            if exc.errno in {errno.EMFILE, errno.ENFILE}:
                self._close_oldest()
            elif exc.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, sock, address, listener.getsockname())
        self._receive(conn, b"")
        if self.nr_conns >= self.worker_connections:
            self._close_oldest()

    def on_client_socket_readable(self, conn: Connection, client: Any) -> None:
        """The next request on a kept connection."""
        if not conn.is_open:
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._receive(conn, b"")

    def _receive(self, conn: Connection, data: bytes) -> None:
        conn.request = RequestBuffer(max_body=max_body_bytes())
        conn.is_receiving = True
        conn.began_at = time.monotonic()
        conn.deadline = conn.began_at + self.cfg.keepalive  # until the first byte comes
        if data:
            self._feed(conn, data)
        else:
            self._on_readable(conn, conn.sock)  # mostly the request is there already
        if conn.is_receiving:
            self._wait(conn, selectors.EVENT_READ, self._on_readable)

    def _on_readable(self, conn: Connection, _client: Any) -> None:
        if data := self._read(conn):
            self._feed(conn, data)

    def _read(self, conn: Connection) -> bytes:
        """Return what arrived, or nothing. Drops the connection if the client has closed it."""
        try:
            data = conn.sock.recv(RECEIVE_BYTES) if conn.is_open else b""
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
        return bytes(data)

    def _feed(self, conn: Connection, data: bytes) -> None:
        request = conn.request
        assert request is not None
        had_head, before = request.has_head, request.size
        if not before:
            conn.began_at = time.monotonic()
        try:
            request.feed(data)
        except OSError as exc:
            self.log.error("A request cannot be buffered: %s", exc.strerror)
            self._refuse(conn, HTTPStatus.INSUFFICIENT_STORAGE, "insufficient_storage", "Not enough disk space.")
            return
        self._buffered_bytes += request.size - before
        if request.is_head_too_long:
            self._refuse(conn, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "invalid", "The headers are too large.")
        elif request.is_form_too_long:
            self._refuse(conn, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The file is too large.")
        elif request.is_complete:
            self._stop_waiting(conn)
            self.enqueue_req(conn)
        elif self._buffered_bytes > MAX_BUFFERED_BYTES and request.size > MEMORY_BYTES:
            self._refuse(conn, HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many large requests. Try again later.")
        else:
            if request.has_head and not had_head and request.expects_continue:
                self._send_now(conn, b"HTTP/1.1 100 Continue\r\n\r\n")
            limit_s = HEAD_TIMEOUT_S if not request.has_head else BODY_TIMEOUT_S + request.size / MIN_BYTES_PER_S
            conn.deadline = self._until(conn.began_at + limit_s)

    # --- a thread answers it ------------------------------------------------------------------------------------------

    def handle(self, conn: Connection) -> Any:
        conn.prepare()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        if conn.request is not None and conn.request.is_cut:
            req.force_close()
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        assert conn.request is not None
        return super()._keepalive_after(conn, keepalive) and not conn.request.is_cut

    # --- the answer goes out ------------------------------------------------------------------------------------------

    def finish_request(self, conn: Connection, fs: "Future[Any]") -> None:
        conn.keeps_alive = not fs.cancelled() and fs.exception() is None and fs.result() is True
        if fs.cancelled() or conn.sock.fileno() < 0:
            self._drop(conn)
        elif conn.sock.unsent_bytes:
            self._wait(conn, selectors.EVENT_WRITE, self._on_writable)
            conn.deadline = time.monotonic() + SEND_TIMEOUT_S + conn.sock.unsent_bytes / MIN_BYTES_PER_S
        else:
            self._after_answer(conn)

    def _on_writable(self, conn: Connection, _client: Any) -> None:
        if not conn.is_open:
            return
        try:
            is_done = conn.sock.flush()
        except OSError:
            self._drop(conn)
            return
        if is_done:
            self._stop_waiting(conn)
            self._after_answer(conn)

    def _after_answer(self, conn: Connection) -> None:
        request = conn.request
        assert request is not None
        if not conn.keeps_alive:
            self._linger(conn)
            return
        rest = request.rest
        self._forget_request(conn)
        if rest:  # the client did not wait for this answer before it sent the next request
            self._receive(conn, rest)
            return
        conn.timeout = self._until(time.monotonic() + self.cfg.keepalive)
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, conn))

    def _refuse(self, conn: Connection, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer without the application, and close."""
        self._stop_waiting(conn)
        body = json.dumps({"detail": detail, "code": code}).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        self._send_now(conn, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self._linger(conn)

    def _send_now(self, conn: Connection, data: bytes) -> None:
        with suppress(OSError):
            conn.sock.sendall(data)

    def _linger(self, conn: Connection) -> None:
        """Close our side, and the connection when the client has closed its own."""
        is_cut = conn.request is not None and conn.request.is_cut
        self._forget_request(conn)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        self._wait(conn, selectors.EVENT_READ, self._on_lingering)
        conn.deadline = self._until(time.monotonic() + (LINGER_CUT_S if is_cut else LINGER_S))

    def _on_lingering(self, conn: Connection, _client: Any) -> None:
        self._read(conn)

    # --- what waits for a client, and its deadline --------------------------------------------------------------------

    def _wait(self, conn: Connection, event: int, callback: Callable[[Connection, Any], None]) -> None:
        self._waiting[conn] = None
        self.poller.register(conn.sock, event, partial(callback, conn))

    def _stop_waiting(self, conn: Connection) -> None:
        conn.is_receiving = False
        if conn in self._waiting:
            del self._waiting[conn]
            self.poller.unregister(conn.sock)

    def _until(self, deadline: float) -> float:
        return deadline if self._stop_at is None else min(deadline, self._stop_at)

    def _cap_keepalive(self, deadline: float) -> None:
        """gunicorn is about to stop: nobody is waited for any longer than `deadline`, but for answers under way."""
        super()._cap_keepalive(deadline)
        self._stop_at = deadline
        for conn in self._waiting:
            if not conn.sock.unsent_bytes:
                conn.deadline = min(conn.deadline, deadline)

    def murder_pending(self) -> None:
        """Close what is over its deadline; gunicorn calls this in every round of the main loop."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_INTERVAL_S
        for conn in [conn for conn in self._waiting if conn.deadline <= now]:
            if conn.is_receiving and conn.request is not None and conn.request.size:
                self._refuse(conn, HTTPStatus.REQUEST_TIMEOUT, "timeout", "The request took too long to arrive.")
            else:
                self._drop(conn)

    def _close_oldest(self) -> None:
        waiting: deque[Connection] = self.keepalived_conns
        if (oldest := next(iter(self._waiting), None)) is not None:
            self._drop(oldest)
        elif waiting:
            oldest = waiting.popleft()
            self.poller.unregister(oldest.sock)
            self._drop(oldest)

    def _drop(self, conn: Connection) -> None:
        """Close it at once. What was selected before may still be handed to its callbacks, once."""
        if not conn.is_open:
            return
        conn.is_open = False
        self._stop_waiting(conn)
        self._forget_request(conn)
        self.nr_conns -= 1
        conn.close()

    def _forget_request(self, conn: Connection) -> None:
        if conn.request is not None:
            self._buffered_bytes -= conn.request.size
            conn.request.close()
            conn.request = None
