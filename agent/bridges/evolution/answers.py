"""What the answers of Evolution API mean."""

from http import HTTPStatus
from typing import Any

from agent.bridges.addresses import phone_of_digits, read_address
from agent.bridges.base import KnownNumber, Sent, SessionState
from agent.bridges.common import read_png
from agent.bridges.events import BridgeEvent, Link
from agent.bridges.evolution.payloads import LINKS, read_listed
from agent.bridges.exchange import BridgeError, Refused, Response, Unconfirmed, failure, session_failure
from agent.bridges.parsing import MAX_NAME_LENGTH, MAX_SESSION_NAME_LENGTH, Fields, WrongShape, listed
from whatsapp_agent.http.retry_after import parse_retry_after

NOT_VALID = ("group not found", "requires property")  # texts of a 400 that Evolution answers before it sends anything
# Of a 400: its database has no such message, the message has no file, or WhatsApp has deleted it.
FILE_GONE = ("not found", "not of the media type", "status code 404", "status code 410", "re-upload", "reupload")


def parse_sent(response: Response) -> Sent:
    """Return the id of the sent message. Raises NotSent, Refused or Unconfirmed."""
    if (failed := _failure(response)) is not None:
        if response.status == HTTPStatus.BAD_REQUEST and failed.code == "invalid" and not _is_validation(response):
            # Any error within a send is answered with 400, also one that follows the sending: of its database, say.
            raise failure("bridge_failure", "Evolution reports an error after which the message may have been sent.")
        raise failed
    try:
        answer = response.object()
        return Sent(provider_message_id=answer.object("key").needed("id"), at=answer.time("messageTimestamp"))
    except WrongShape as exc:
        raise Unconfirmed("Evolution took the message without naming its id.", code="bridge_failure") from exc


def parse_created(response: Response, *, name: str) -> SessionState:
    try:
        answer = response.object()
        code = answer.maybe_object("qrcode")
        return _state_with(code, name=name, status=answer.object("instance").needed("status"))
    except WrongShape as exc:
        raise _unknown_format() from exc


def parse_state(response: Response, *, name: str) -> SessionState:
    """Return the state that `connectionState`, `connect` and `restart` answer with: a state, or a code to scan."""
    try:
        answer = response.object()
        instance = answer.maybe_object("instance")
        if instance is None:
            return _state_with(answer, name=name, status="connecting")
        return _state_with(None, name=name, status=instance.short("state") or instance.needed("status"))
    except WrongShape as exc:
        raise _unknown_format() from exc


def _state_with(code: Fields | None, *, name: str, status: str) -> SessionState:
    link = LINKS.get(status, Link.DISCONNECTED)
    png = read_png(code.text("base64")) if code else None
    return SessionState(
        name=name,
        status=Link.QR_WAITING if link == Link.CONNECTING and png else link,
        qr_png=png,
        qr_text=code.short("code", longest=1000) if code else None,
        pairing_code=code.short("pairingCode", longest=16) if code else None,
    )


def parse_sessions(response: Response) -> list[SessionState]:
    try:
        sessions = response.json()
        if not isinstance(sessions, list):
            raise WrongShape("the instances are no list")
        return [_listed(Fields(one)) for one in sessions]
    except WrongShape as exc:
        raise _unknown_format() from exc


def _listed(raw: Fields) -> SessionState:
    owner = (raw.short("ownerJid") or "").partition("@")[0].partition(":")[0]
    status = LINKS.get(raw.short("connectionStatus") or "", Link.DISCONNECTED)
    if status == Link.DISCONNECTED and raw.integer("disconnectionReasonCode") == HTTPStatus.UNAUTHORIZED:
        status = Link.LOGGED_OUT
    return SessionState(
        name=raw.needed("name", longest=MAX_SESSION_NAME_LENGTH),
        status=status,
        phone=phone_of_digits(owner),
        display_name=raw.short("profileName", longest=MAX_NAME_LENGTH),
    )


def parse_number(response: Response) -> KnownNumber:
    try:
        found = Fields(response.json()[0])
        exists = found.maybe_flag("exists")
        if exists is False:
            return KnownNumber(exists=False)
        address = read_address(found.needed("jid")) if exists else None
        if address is None:
            raise WrongShape("no address of a number that exists")
    except (WrongShape, LookupError, TypeError) as exc:
        raise BridgeError("Evolution answered in an unknown format.", code="bridge_failure") from exc
    return KnownNumber(True, address.address, address.phone)


def parse_messages(response: Response, *, session: str) -> list[BridgeEvent]:
    """Return the messages of a page; one that cannot be read is Malformed."""
    try:
        answer = response.json()
        if isinstance(answer, dict):  # releases before 2 answered with the list alone
            messages = answer.get("messages")
            answer = messages.get("records") if isinstance(messages, dict) else messages
        return [read_listed(each, session=session) for each in listed(answer)]
    except WrongShape as exc:
        raise BridgeError("Evolution answered in an unknown format.", code="bridge_failure") from exc


def _unknown_format() -> BridgeError:
    return BridgeError("Evolution described a session in an unknown format.", code="bridge_failure")


def check(response: Response) -> None:
    """Raise what a response to a call about sessions means, if it is no success."""
    if (failed := _failure(response)) is not None:
        raise session_failure(failed)


def check_changed(response: Response) -> None:
    """Raise what a response to an edit or a deletion means, if it is no success: NotSent, Refused or Unconfirmed."""
    if (failed := _failure(response)) is not None:
        raise failed


def check_file(response: Response) -> None:
    """Raise what a response to a file's call means, if it is no success. Any error within it is answered with 400."""
    if response.status == HTTPStatus.BAD_REQUEST and any(text in _words(_message(response)) for text in FILE_GONE):
        raise Refused("Evolution no longer has this file.", code="not_found")
    failed = _failure(response)
    if failed is not None and failed.code == "invalid":
        raise BridgeError("Evolution could not fetch this file.", code="bridge_failure")
    check(response)


def is_unknown_instance(response: Response) -> bool:
    """Return whether this is Evolution's own 404; another one comes from something else at this address."""
    return response.status == HTTPStatus.NOT_FOUND and "does not exist" in _words(_message(response))


def _failure(response: Response) -> BridgeError | None:
    """Return what a response says of a send; None if it succeeded. `connect` and `restart` report failures with 200."""
    message = _message(response)
    match response.status:
        case status if 200 <= status < 300:
            has_failed = isinstance(message, dict) and message.get("error") is True
            return failure("bridge_failure", "Evolution reports a failure.") if has_failed else None
        case 400 if "connection closed" in _words(message):
            return failure("not_connected", "The number is not connected.")
        case 400 if _is_not_on_whatsapp(message):
            return failure("not_on_whatsapp", "This number is not on WhatsApp.")
        case 401:
            return failure("unauthorized", "Evolution refuses our API key.")
        case 403 if "already in use" in _words(message):
            return failure("already_exists", "Evolution has an instance of this name.")
        case 403:
            return failure("unauthorized", "Evolution refuses our API key.")
        case 404:
            return failure("not_found", "Evolution does not know this instance.")
        case 429:
            wait_s = parse_retry_after(response.headers)
            return failure("rate_limited", "Evolution asks us to slow down.", retry_after_s=wait_s)
        case status if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
            return failure("invalid", "Evolution says that the request is not valid.")
    return failure("bridge_failure", f"Evolution answered with status {response.status}.")


def _message(response: Response) -> Any:
    """Return the message of a failure: a text, or lists of texts or objects. Of a success, the answer itself."""
    try:
        answer = response.json()
    except WrongShape:
        return None
    if response.is_success or not isinstance(answer, dict):
        return answer
    inner = answer.get("response")
    return inner.get("message") if isinstance(inner, dict) else answer.get("message")


def _flat(value: Any) -> list[Any]:
    return [item for inner in value for item in _flat(inner)] if isinstance(value, list) else [value]


def _words(message: Any) -> str:
    """Return the texts of a message in lower case. They may hold a number: match them, do not show or log them."""
    return " ".join(item.lower() for item in _flat(message) if isinstance(item, str))


def _is_validation(response: Response) -> bool:
    """Return whether a 400 says that the request is not valid: by a list of lists of texts, or by a known text."""
    message = _message(response)
    is_nested = isinstance(message, list) and any(isinstance(item, list) for item in message)
    words = _words(message)
    return (is_nested and bool(words)) or any(text in words for text in NOT_VALID)


def _is_not_on_whatsapp(message: Any) -> bool:
    return any(isinstance(item, dict) and item.get("exists") is False for item in _flat(message))
