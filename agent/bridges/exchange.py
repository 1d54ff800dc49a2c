"""What adapters and transports exchange: a request, its response, and the ways in which a call can fail.

An adapter does no I/O. What needs the bridge is written as `Steps`: a generator that yields each request, is sent its
response and returns the result. Any transport can drive it, blocking or asynchronous.
"""

import hashlib
import io
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO, Any, TypeAlias, TypeVar

from agent.bridges.parsing import Fields, WrongShape, read_json
from whatsapp_agent.errors import UnreadableWebhookRequest

Result = TypeVar("Result")

MAX_RESPONSE_BYTES = 8 * 1024 * 1024
FILE_TIMEOUT_S = 120.0
CHECK_NUMBER_TIMEOUT_S = 5.0  # somebody waits for it, and without an answer the message is queued all the same
MESSAGES_PER_PAGE = 100
MESSAGES_TIMEOUT_S = 15.0  # of a page of messages
MAX_PAGE_BYTES = 32 * 1024 * 1024  # a message comes with its preview
TOO_LARGE = "too_large"


class BridgeError(Exception):
    """A call to the bridge failed. `code` is for programs, the message for staff; neither holds a secret.

    `trace_id` is what the platform's support asks for, where it names one.
    """

    code = "bridge_error"
    trace_id = ""

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code


class NotSent(BridgeError):
    """Certainly not done; may be tried again later, after `retry_after_s` if the bridge says so."""

    code = "not_sent"

    def __init__(self, message: str = "", *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Refused(BridgeError):
    """Certainly not done, and trying again will not help."""

    code = "refused"


class PaymentNeeded(Refused):
    """The platform delivers nothing more from this number before it is paid for."""

    code = "restricted"


class Unconfirmed(BridgeError):
    """No clear answer came: it may have been done."""

    code = "unconfirmed"


TRY_LATER = frozenset({"unauthorized", "not_connected", "rate_limited", "bridge_unreachable"})
MAYBE_DONE = frozenset({"bridge_failure", "timeout"})


def failure(code: str, message: str, *, retry_after_s: float | None = None) -> BridgeError:
    """Return the failure that `code` means for a send: NotSent, Unconfirmed, or Refused for any other code."""
    if code in TRY_LATER:
        return NotSent(message, code=code, retry_after_s=retry_after_s)
    return Unconfirmed(message, code=code) if code in MAYBE_DONE else Refused(message, code=code)


def session_failure(failure: BridgeError) -> BridgeError:
    """Return the same for a call about sessions, where nothing waits to be sent: a refused key is final."""
    if failure.code == "unauthorized":
        other: BridgeError = Refused(str(failure), code=failure.code)
    elif isinstance(failure, Unconfirmed):
        other = BridgeError(str(failure), code=failure.code)
    else:
        return failure
    other.trace_id = failure.trace_id
    return other


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a bridge. `path` follows the bridge's base URL; a whole URL replaces it.

    `json` or `form` with `file` (name, content, MIME type; sent as multipart) is the body. `timeout_s` None: the
    bridge's own time-out, in which the whole response has to come. A longer response than `max_response_bytes` is
    given up. `to_file`: the body of a successful response is streamed to `Response.file`, not kept in memory.
    """

    method: str
    path: str
    json: Any = None
    form: Mapping[str, str] | None = None
    file: tuple[str, bytes, str] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    max_response_bytes: int = MAX_RESPONSE_BYTES
    to_file: bool = False


def file_request(path: str, *, max_bytes: int) -> Request:
    """Return the request of a received file. A longer one is refused with the code `too_large`."""
    headers = {"Accept-Encoding": "identity"}  # a small compressed answer could be a huge one
    return Request("GET", path, headers=headers, timeout_s=FILE_TIMEOUT_S, max_response_bytes=max_bytes, to_file=True)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of a bridge. Names in `headers` are in lower case. `file` holds the body that was streamed to it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: IO[bytes] | None = None

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def open(self) -> IO[bytes]:
        """Return the body as a file, at its beginning."""
        file = self.file or io.BytesIO(self.body)
        file.seek(0)
        return file

    @property
    def is_empty(self) -> bool:
        return not self.open().read(1)

    def sha256(self) -> bytes:
        return hashlib.file_digest(self.open(), "sha256").digest()  # type: ignore[arg-type]

    def json(self) -> Any:
        """Return the JSON value of the body. Raises WrongShape if it has none."""
        try:
            return read_json(self.body)
        except UnreadableWebhookRequest as exc:
            raise WrongShape("the answer is not JSON") from exc

    def object(self) -> Fields:
        """Return the JSON object of the body. Raises WrongShape if it has none."""
        return Fields(self.json(), "the answer")


Steps: TypeAlias = Generator[Request, Response, Result]
"""The requests of one call, each answered before the next; returns the result. Raises BridgeError."""


def without_request(result: Result) -> Steps[Result]:
    """Return steps that need no request."""
    return result
    yield  # makes it a generator
