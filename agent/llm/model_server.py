"""The HTTP client of an OpenAI-compatible server: one JSON request, one JSON answer, each failure as a ModelError."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies

import httpx2

from agent.llm.base import ModelError, ModelRefused, ModelUnavailable
from agent.llm.failures import failure
from agent.llm.reading.streams import is_stream, read_stream
from whatsapp_agent.http.connections import quick_transport, tls_context

if TYPE_CHECKING:
    import openai

MAX_RESPONSE_BYTES = 8 * 1024 * 1024  # bytes
_CONNECT_TIMEOUT_S = 10.0
_MIN_SECRET_CHARS = 12  # a shorter key is a placeholder like "ollama", which may be the host's name too
_KEEPALIVE_S = 30.0


class ModelServer:
    """A thread-safe client. It never retries: turns do, and they remember it across a crash.

    The request goes through the SDK's `post`, not through `chat.completions.create`, which spends 0.4 ms of CPU on
    checking each message of the history. Proxies of the environment are used, by the library's own connections.

    The SDK is imported by the first client: it takes 26 MB, which an installation without a model server does not need.
    """

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float) -> None:
        import openai

        self._sdk = openai
        self.base_url = base_url or "https://api.openai.com/v1"
        self._api_key, self._timeout_s = api_key, timeout_s
        self._client = self._new_client()
        # A local server wants no key, but the SDK insists on one, or on being told to send none.
        self._options: Any = {} if api_key else {"headers": {"Authorization": self._sdk.Omit()}}

    def public_url(self, path: str) -> str:
        """Return the URL of `path` without what may be secret: user, password, query, and the key wherever it is."""
        parts = urlsplit(self.base_url)
        url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + path, "", ""))
        return url.replace(self._api_key, "…") if len(self._api_key) >= _MIN_SECRET_CHARS else url

    def _new_client(self) -> "openai.OpenAI":
        return self._sdk.OpenAI(
            base_url=self.base_url,
            api_key=self._api_key or "none",
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},  # a small compressed answer could be a huge one
            http_client=httpx2.Client(
                transport=None if getproxies() else quick_transport(httpx2, keepalive_s=_KEEPALIVE_S),
                verify=tls_context(httpx2),
                timeout=httpx2.Timeout(self._timeout_s, connect=min(_CONNECT_TIMEOUT_S, self._timeout_s)),
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=_KEEPALIVE_S),
                event_hooks={"response": [self._bound]},
            ),
        )

    def _bound(self, response: httpx2.Response) -> None:
        """Refuse a compressed body, and bound its size, before it is read."""
        if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            if response.is_success:
                raise ModelUnavailable("The model server compressed its answer though asked not to.", code="malformed")
            raise failure(response.status_code, None, response.headers)
        response.stream = _BoundedStream(response.stream, until=time.monotonic() + self._timeout_s)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return a JSON object; nothing else about it is checked. Raises ModelUnavailable or ModelRefused."""
        try:
            content = json.dumps(body).encode()
        except RecursionError as exc:
            raise ModelRefused("The request is nested too deeply.", code="malformed") from exc
        return self._answer(
            lambda: self._client.post(path, content=content, cast_to=httpx2.Response, options=self._options)
        )

    def post_file(self, path: str, fields: dict[str, str], *, file: tuple[str, IO[bytes], str]) -> dict[str, Any]:
        """Return the answer to a form with a file (name, content, MIME type); otherwise as `post`."""
        headers = self._options.get("headers", {}) | {"Content-Type": "multipart/form-data"}
        options = self._options | {"headers": headers}
        return self._answer(
            lambda: self._client.post(path, body=fields, files={"file": file}, cast_to=httpx2.Response, options=options)
        )

    def post_for_bytes(self, path: str, body: dict[str, Any]) -> bytes:
        """Return the body of an answer that is no JSON, like a sound; otherwise as `post`."""
        content = json.dumps(body).encode()
        response = self._respond(
            lambda: self._client.post(path, content=content, cast_to=httpx2.Response, options=self._options)
        )
        return response.content

    def _answer(self, request: Callable[[], httpx2.Response]) -> dict[str, Any]:
        return _json_object(self._respond(request))

    def _respond(self, request: Callable[[], httpx2.Response]) -> httpx2.Response:
        try:
            return request()
        except self._sdk.APITimeoutError as exc:
            raise ModelUnavailable("The model server did not answer in time.", code="timeout") from exc
        except self._sdk.APIConnectionError as exc:
            raise ModelUnavailable("No connection to the model server.", code="connection") from exc
        except self._sdk.APIStatusError as exc:
            # Without its cause: the SDK's error carries the server's text, which may quote the prompt.
            raise _status_error(exc.response) from None


class _BoundedStream(httpx2.SyncByteStream):
    """A response body with a maximum size and a deadline."""

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
        answer = read_stream(response.content) if is_stream(response.content) else json.loads(response.content)
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
    body = body[0] if isinstance(body, list) and body else body  # Gemini
    error = body.get("error") or body if isinstance(body, dict) else response.content[:4000].decode("utf-8", "replace")
    return failure(response.status_code, error, response.headers)
