"""Connections to bridges and model servers, for httpx and httpx2, which differ in their classes alone.

Their own pool looks at every open connection for each request: with 400 calls under way that is a quarter of what a
call to a model costs. Here each connection has a pool of its own, and the one that was used last is taken first.
"""

import os
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any


@cache
def _tls_context(library: ModuleType, _process: int) -> ssl.SSLContext:
    return library.create_ssl_context()


def tls_context(library: ModuleType) -> ssl.SSLContext:
    """Return the one that all clients share: reading the certificates of all authorities takes some 40 ms.

    A forked process makes its own, because an engine process replaces what TLS is made of.
    """
    return _tls_context(library, os.getpid())


def quick_transport(library: ModuleType, *, keepalive_s: float) -> Any:
    """Return a transport for a client of `library`: httpx or httpx2. It knows no proxies.

    A connection that has been idle for `keepalive_s` is closed.
    """

    class Body(library.SyncByteStream):  # type: ignore[misc, name-defined]
        """A response's body; once it is closed its connection is free."""

        def __init__(self, stream: Any, *, release: Callable[[], None]) -> None:
            self._stream, self._release = stream, release
            self._is_open = True

        def __iter__(self) -> Iterator[bytes]:
            yield from self._stream

        def close(self) -> None:
            if self._is_open:
                self._is_open = False
                self._stream.close()
                self._release()

    class Transport(library.BaseTransport):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._idle: deque[tuple[float, Any]] = deque()  # since when, and a transport with one connection
            self._limits = library.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=keepalive_s)

        def handle_request(self, request: Any) -> Any:
            transport = self._take()
            try:
                response = transport.handle_request(request)
            except BaseException:
                transport.close()
                raise
            response.stream = Body(response.stream, release=lambda: self._release(transport))
            return response

        def _take(self) -> Any:
            try:
                return self._idle.pop()[1]
            except IndexError:
                return library.HTTPTransport(verify=tls_context(library), trust_env=False, limits=self._limits)

        def _release(self, transport: Any) -> None:
            now = time.monotonic()
            self._idle.append((now, transport))
            while self._idle[0][0] < now - keepalive_s:
                try:
                    _, unused = self._idle.popleft()
                except IndexError:  # another thread took it between the two lines
                    return
                unused.close()

        def close(self) -> None:
            while self._idle:
                self._idle.pop()[1].close()

    return Transport()
