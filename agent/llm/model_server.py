"""The way to an OpenAI-compatible server: one JSON request, one JSON answer, and every failure by its name."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from agent.llm.base import ContextTooLong, ModelError, ModelRefused, ModelUnavailable
from whatsapp_agent.http.retry_after import parse_retry_after

MAX_RESPONSE_BYTES = 8 * 1024 * 1024  # bytes
_CONNECT_TIMEOUT_S = 10.0
_POOLS = 16
_CALLS_PER_POOL = 64  # before the next pool is used
_KEPT_ALIVE = 8  # idle connections per pool
_KEPT_ALIVE_S = 30.0

_CONTEXT_TOO_LONG = re.compile(
    r"context.{0,20}(length|window|size|limit)|prompt is too long|too many tokens|maximum.{0,20}tokens", re.IGNORECASE
)


class ModelServer:
    """A client to share by threads. It never tries twice: our turns do, and they remember it across a crash.

    The request goes through the SDK's `post`, not through `chat.completions.create`, which spends 0.4 ms of CPU on
    checking each message of the history. A pool looks at each of its connections for every request, so the
    thousand calls that may wait at once are spread over several pools, with few idle connections in each; while few
    wait, the first pool has them all, and its connections stay warm.
    """

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self._base_url, self._api_key, self._timeout_s = base_url, api_key, timeout_s
        self._tls = httpx2.create_ssl_context()
        self._clients = [self._new_client()]
        self._busy = [0]  # calls under way, by client
        self._lock = threading.Lock()
        # A server of one's own wants no key; the SDK insists on one, or on being told to send none.
        self._options: Any = {} if api_key else {"headers": {"Authorization": openai.Omit()}}

    def _new_client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self._base_url or "https://api.openai.com/v1",
            api_key=self._api_key or "none",
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},  # a small compressed answer could be a huge one
            http_client=httpx2.Client(
                verify=self._tls,
                timeout=httpx2.Timeout(self._timeout_s, connect=min(_CONNECT_TIMEOUT_S, self._timeout_s)),
                limits=httpx2.Limits(
                    max_connections=None, max_keepalive_connections=_KEPT_ALIVE, keepalive_expiry=_KEPT_ALIVE_S
                ),
                event_hooks={"response": [self._bound]},
            ),
        )

    def _bound(self, response: httpx2.Response) -> None:
        """Before the body is read: refuse to inflate it, and bound it."""
        if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            if response.is_success:
                raise ModelUnavailable("The model server compressed its answer though asked not to.", code="malformed")
            raise failure(response.status_code, None, response.headers)
        response.stream = _BoundedStream(response.stream, until=time.monotonic() + self._timeout_s)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises ModelUnavailable or ModelRefused; what comes back is a JSON object, and nothing more is promised."""
        try:
            with self._some_client() as client:
                response = client.post(
                    path, content=json.dumps(body).encode(), cast_to=httpx2.Response, options=self._options
                )
        except openai.APITimeoutError as exc:
            raise ModelUnavailable("The model server did not answer in time.", code="timeout") from exc
        except openai.APIConnectionError as exc:
            raise ModelUnavailable("No connection to the model server.", code="connection") from exc
        except openai.APIStatusError as exc:
            # Without its cause: the SDK's error carries the server's text, which may quote the prompt.
            raise _status_error(exc.response) from None
        return _json_object(response)

    @contextmanager
    def _some_client(self) -> Iterator[openai.OpenAI]:
        with self._lock:
            free = (index for index, calls in enumerate(self._busy) if calls < _CALLS_PER_POOL)
            index = next(free, -1)
            if index < 0 and len(self._clients) < _POOLS:
                self._clients.append(self._new_client())
                self._busy.append(0)
            if index < 0:
                index = self._busy.index(min(self._busy))
            self._busy[index] += 1
        try:
            yield self._clients[index]
        finally:
            with self._lock:
                self._busy[index] -= 1


class _BoundedStream(httpx2.SyncByteStream):
    """A body that may neither be larger than any answer nor trickle in for ever."""

    def __init__(self, stream: Any, *, until: float) -> None:
        self._stream, self._until = stream, until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise ModelUnavailable("The model server's answer is too large.", code="malformed")
            if time.monotonic() > self._until:
                raise ModelUnavailable("The model server did not end its answer in time.", code="timeout")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _json_object(response: httpx2.Response) -> dict[str, Any]:
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        raise ModelUnavailable("The model server's answer is not JSON.", code="malformed") from None
    if not isinstance(answer, dict):
        raise ModelUnavailable("The model server's answer is not a JSON object.", code="malformed")
    if answer.get("error"):  # some gateways say 200 and put the failure inside
        raise failure(_http_status_in(answer["error"]), answer["error"], response.headers)
    return answer


def _http_status_in(error: Any) -> int:
    code = str(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else 500


def _status_error(response: httpx2.Response) -> ModelError:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    return failure(response.status_code, error, response.headers)


def failure(status: int, error: Any, headers: httpx2.Headers | None = None) -> ModelError:
    """What a server's failure means to us. `error` is whatever it said; only its short type or code is repeated."""
    said = _short_name(error)
    message = f"The model server answered {status}{f' ({said})' if said else ''}."
    wait_s = parse_retry_after(headers) if headers is not None else None
    if "quota" in said or "billing" in said or status == 402:
        return ModelUnavailable(message, code="insufficient_quota", retry_after_s=wait_s)
    if status == 429 or "rate_limit" in said:
        return ModelUnavailable(message, code="rate_limited", retry_after_s=wait_s)
    if status in {408, 504}:
        return ModelUnavailable(message, code="timeout", retry_after_s=wait_s)
    if _is_context_too_long(status, said, error):
        return ContextTooLong(message)
    if status >= 500 or status in {409, 425}:
        return ModelUnavailable(message, code="server_error", retry_after_s=wait_s)
    if status in {401, 403}:
        return ModelRefused(message, code="unauthorized")
    if status == 404:
        return ModelRefused(message, code="model_not_found")
    if status < 400:
        return ModelRefused(f"{message} Is OPENAI_BASE_URL the right address?", code="redirect")
    return ModelRefused(message, code="bad_request")


def _short_name(error: Any) -> str:
    for key in ("code", "type"):
        name = error.get(key) if isinstance(error, dict) else None
        if isinstance(name, str) and re.fullmatch(r"[A-Za-z][\w.-]{0,63}", name, re.ASCII):
            return name.lower()
    return ""


def _is_context_too_long(status: int, said: str, error: Any) -> bool:
    if status == 413 or "context_length" in said or "context_size" in said:
        return True
    message = error.get("message") if isinstance(error, dict) else None
    return status in {400, 422} and isinstance(message, str) and bool(_CONTEXT_TOO_LONG.search(message[:1000]))
