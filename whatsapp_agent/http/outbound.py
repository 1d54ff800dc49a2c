"""HTTP to addresses that strangers name, and never into our own network.

The name is resolved once, by us, each address it stands for is looked at, and the connection goes to the address that
was looked at: a name that means another address a moment later gains nothing. Whatever spelling an address has
(decimal, octal, IPv4 within IPv6), it is the resolved one that is judged. Redirects are followed only where the caller
says so, each like an address of its own.
"""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore
from django.conf import settings

from whatsapp_agent.errors import AppError

MAX_URL_LENGTH = 2000
CONNECT_TIMEOUT_S = 5.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# IPv6 in which the address of an IPv4 network is wrapped: what is inside decides.
NAT64 = ipaddress.ip_network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
COMPATIBLE = ipaddress.ip_network("::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnsafeUrl(AppError):
    status, code, detail = 400, "unsafe_url", "This address cannot be used."


class PrivateAddress(UnsafeUrl):
    code, detail = "private_address", "This address is in a private network."


class FetchFailed(AppError):
    """Nothing usable came back. `code` says what went wrong, for programs."""

    status, code, detail = 400, "fetch_failed", "Nothing could be fetched from this address."

    def __init__(self, detail: str = "", *, code: str = "fetch_failed", field: str | None = None) -> None:
        super().__init__(detail, field=field)
        self.code = code


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address answered; the body as far as the caller wanted to read it."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    is_whole: bool


# --- addresses ----------------------------------------------------------------------------------------------------


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet could reach it: no private, loopback, link-local, reserved or multicast one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _wrapped(address)
        if inner is not None:
            return is_public(inner)
        if address in LOCAL_NAT64 or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in NAT64 or address in COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def check_url(url: str) -> SplitResult:
    """The parts of an http or https address we may ask. Resolves nothing. Raises UnsafeUrl."""
    if len(url) > MAX_URL_LENGTH or not url.isascii() or any(not 32 < ord(character) < 127 for character in url):
        raise UnsafeUrl("An address has up to 2000 characters, all of them plain ASCII; encode the others.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise UnsafeUrl("Invalid URL.") from exc
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise UnsafeUrl("The address must begin with http:// or https:// and a host.")
    if "@" in parts.netloc or "\\" in url:
        raise UnsafeUrl("The address must not carry a user name or a password.")
    return parts


def check_target(url: str, *, allow_private: bool = False) -> None:
    """Raises UnsafeUrl, or PrivateAddress when its host is known to be a private one. A host unknown now may come."""
    parts = check_url(url)
    assert parts.hostname is not None
    try:
        _resolve(parts.hostname, parts.port or 443, allow_private=allow_private)
    except OSError:
        return


def _resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses a host stands for. One that is private spoils them all. Raises OSError or PrivateAddress."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # a label too long or empty
        raise OSError("no host name") from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(is_public(ipaddress.ip_address(each.partition("%")[0])) for each in addresses):
        raise PrivateAddress()
    return addresses


class _Guarded(httpcore.SyncBackend):
    """Connects to the addresses that were looked at, and to nothing else."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = _resolve(host, port, allow_private=self._allow_private)
        except OSError as exc:
            raise httpcore.ConnectError("the host name cannot be resolved") from exc
        for address in addresses[:-1]:
            try:
                return _Bounded(super().connect_tcp(address, port, timeout, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return _Bounded(super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options))


class _Deadline(threading.local):
    """Until when this thread's present request may take, on the monotonic clock."""

    at: float = float("inf")

    def left_s(self, timeout: float | None) -> float:
        return max(min(self.at - monotonic(), float("inf") if timeout is None else timeout), 0.001)


_deadline = _Deadline()


class _Bounded(httpcore.NetworkStream):
    """A connection on which a whole request ends in time, not only each of the many reads it is made of."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _deadline.left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _deadline.left_s(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, _deadline.left_s(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@cache
def _pool(allow_private: bool) -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(),
        max_connections=None,
        max_keepalive_connections=20,
        keepalive_expiry=3.0,  # below what servers commonly have, so that few close as we write
        network_backend=_Guarded(allow_private=allow_private),
    )


# --- asking -------------------------------------------------------------------------------------------------------


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    timeout_s: float,
    max_bytes: int,
    allow_private: bool = False,
) -> Fetched:
    """Ask once. Reads no more than `max_bytes`, takes no longer than `timeout_s`, and follows no redirect.

    Raises UnsafeUrl, or FetchFailed with a code: `unreachable`, `timeout`, `broken`.
    """
    parts = check_url(url)
    _deadline.at = monotonic() + timeout_s
    own = [("User-Agent", "whatsapp-agent"), ("Accept-Encoding", "identity")]
    timeouts = {"connect": min(CONNECT_TIMEOUT_S, timeout_s), "read": timeout_s, "write": timeout_s, "pool": timeout_s}
    try:
        with _pool(allow_private).stream(
            method,
            _without_fragment(parts),
            headers=[*own, *(headers or {}).items()],
            content=content,
            extensions={"timeout": timeouts},
        ) as response:
            body = bytearray()
            is_whole = True
            for chunk in response.iter_stream():
                body += chunk
                if monotonic() > _deadline.at:
                    raise FetchFailed("The answer did not come to its end in time.", code="timeout")
                if len(body) > max_bytes:
                    is_whole = False
                    break
            answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            return Fetched(response.status, answered, bytes(body[:max_bytes]), is_whole)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
        raise FetchFailed("The address cannot be reached.", code="unreachable") from exc
    except httpcore.TimeoutException as exc:
        raise FetchFailed("No answer came in time.", code="timeout") from exc
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError, ValueError) as exc:
        raise FetchFailed("The connection broke off without an answer.", code="broken") from exc


def _without_fragment(parts: SplitResult) -> str:
    return parts._replace(fragment="", path=parts.path or "/").geturl()


def fetch(url: str, *, timeout_s: float = 30.0, max_bytes: int, max_redirects: int = 3) -> Fetched:
    """What is found at a public address. Raises UnsafeUrl or FetchFailed; `too_large` beyond `max_bytes`."""
    give_up_at = monotonic() + timeout_s
    for _ in range(max_redirects + 1):
        left_s = give_up_at - monotonic()
        if left_s <= 0:
            break
        allow_private = settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS
        answer = ask("GET", url, timeout_s=left_s, max_bytes=max_bytes, allow_private=allow_private)
        if answer.status in REDIRECTS and (location := answer.headers.get("location")):
            url = urljoin(url, location)
            continue
        if answer.status != HTTPStatus.OK:
            raise FetchFailed(f"The address answered with status {answer.status}.", code="not_found_there")
        if not answer.is_whole:
            raise FetchFailed(f"It is larger than {max_bytes} bytes.", code="too_large")
        return answer
    raise FetchFailed("The address leads on and on.", code="too_many_redirects")
