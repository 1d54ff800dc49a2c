"""Make the requests that adapters ask for: bounded in time and size, never redirected, each made once."""

import json
import tempfile
from collections.abc import Mapping
from time import monotonic
from typing import IO, Any

import httpx
import structlog

from agent.bridges.base import BridgeAdapter
from agent.bridges.exchange import (
    TOO_LARGE,
    BridgeError,
    NotSent,
    Refused,
    Request,
    Response,
    Result,
    Steps,
    Unconfirmed,
)
from whatsapp_agent.http.connections import quick_transport
from whatsapp_agent.text.sanitize import storable_json

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_EXPIRY_S = 3.0  # Node closes idle connections after 5 s; one closed as we write leaves a send unconfirmed


class HttpTransport:
    """Drives the steps of one bridge's adapter over HTTP. Thread-safe: its connections are shared."""

    def __init__(self, adapter: BridgeAdapter) -> None:
        """Raises Refused if the bridge's address or key cannot be used."""
        self._name = adapter.kind
        self._timeout_s = adapter.config.timeout_s
        self._max_request_bytes = adapter.max_request_bytes
        try:
            self._http = httpx.Client(
                base_url=adapter.base_url,
                headers=adapter.request_headers(),
                follow_redirects=False,
                trust_env=False,
                transport=quick_transport(httpx, keepalive_s=KEEPALIVE_EXPIRY_S),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as exc:
            raise Refused("The bridge's address or key cannot be used.", code="invalid_configuration") from exc

    def close(self) -> None:
        self._http.close()

    def run(self, steps: Steps[Result]) -> Result:
        """Make the requests of `steps` and return their result. A request that fails is raised inside the steps."""
        try:
            request = next(steps)
            while True:
                try:
                    response = self._respond(request)
                except BridgeError as exc:
                    request = steps.throw(exc)
                else:
                    request = steps.send(response)
        except StopIteration as done:
            return done.value
        except BridgeError as exc:
            if exc.trace_id:
                log.warning("bridge_request_failed", bridge=self._name, code=exc.code, trace_id=exc.trace_id)
            raise

    def _respond(self, request: Request) -> Response:
        """Make one request; it has to be whole within the time-out. Raises NotSent, Refused or Unconfirmed."""
        body = self._body(request)
        timeout_s = request.timeout_s or self._timeout_s
        give_up_at = monotonic() + timeout_s
        try:
            with self._http.stream(
                request.method,
                request.path,
                params=request.query or None,
                timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
                **body,
            ) as response:
                if request.to_file and response.is_success:
                    file = self._to_file(response, max_bytes=request.max_response_bytes, give_up_at=give_up_at)
                    return Response(response.status_code, b"", _lower(response.headers), file)
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > request.max_response_bytes or monotonic() > give_up_at:
                        raise Unconfirmed(f"The answer of {self._name} did not end.", code="bridge_failure")
                return Response(response.status_code, bytes(received), _lower(response.headers))
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise failure_of(exc, name=self._name) from exc

    def _to_file(self, response: httpx.Response, *, max_bytes: int, give_up_at: float) -> IO[bytes]:
        """Stream the body to a temporary file, which is deleted when it is closed. Raises Refused if it is larger."""
        too_large = Refused(f"The file is larger than {max_bytes // 1024} KiB.", code=TOO_LARGE)
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise too_large
        file = tempfile.TemporaryFile()  # noqa: SIM115  its reader closes it
        try:
            size = 0
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > max_bytes:
                    raise too_large
                if monotonic() > give_up_at:
                    raise Unconfirmed(f"The answer of {self._name} did not end.", code="timeout")
                file.write(chunk)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def _body(self, request: Request) -> dict[str, Any]:
        headers = dict(request.headers)
        if request.file is not None:
            return {"headers": headers, "data": request.form, "files": {"file": request.file}}
        if request.json is None:
            return {"headers": headers}
        content = json.dumps(storable_json(request.json), ensure_ascii=False).encode()
        if self._max_request_bytes is not None and len(content) > self._max_request_bytes:
            raise Refused(f"{self._name} takes at most {self._max_request_bytes // 1024} KiB at once.", code="invalid")
        return {"headers": {"Content-Type": "application/json"} | headers, "content": content}


def failure_of(exc: Exception, *, name: str) -> BridgeError:
    """Return what a request that got no answer means for the call: not made, or perhaps made."""
    match exc:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout() | httpx.UnsupportedProtocol():
            return NotSent(f"{name} cannot be reached.", code="bridge_unreachable")
        case httpx.InvalidURL():
            return Refused("The bridge's address cannot be used.", code="invalid_configuration")
        case httpx.TimeoutException():
            return Unconfirmed(f"{name} did not answer in time.", code="timeout")
    return Unconfirmed(f"{name} broke off without an answer.", code="bridge_failure")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
