"""What the answers of WAHA mean. Its errors repeat our request, with the text: no part of them is shown or logged."""

import re
from http import HTTPStatus
from typing import Any

from agent.bridges.addresses import phone_of_digits
from agent.bridges.base import KnownNumber, Sent, SessionState
from agent.bridges.common import PNG, read_png
from agent.bridges.events import BridgeEvent, Link
from agent.bridges.exchange import BridgeError, Response, Unconfirmed, failure, session_failure
from agent.bridges.parsing import MAX_NAME_LENGTH, MAX_SESSION_NAME_LENGTH, Fields, WrongShape, listed
from agent.bridges.waha.ids import maybe_person, split_id
from agent.bridges.waha.limits import read_capping, read_limits, read_timelock
from agent.bridges.waha.payloads import LINKS, REASONS, read_listed
from whatsapp_agent.http.retry_after import parse_retry_after

RESTRICTED = re.compile(r"\berror (?:463|475)\b")  # WhatsApp's limits on our account: timelock and capping


def parse_sent(response: Response) -> Sent:
    """Return WhatsApp's id of the sent message, which each engine puts elsewhere.

    Raises NotSent, Refused or Unconfirmed.
    """
    check_sent(response)
    try:
        answer = response.object()
        nested = answer.maybe_object("key") or answer.maybe_object("id")
        raw_id = nested.needed("id") if nested else answer.needed("id")
        at = answer.time("messageTimestamp") or answer.time("timestamp")
        return Sent(provider_message_id=split_id(raw_id).stanza_id, at=at)
    except WrongShape as exc:
        raise Unconfirmed("WAHA took the message without naming its id.", code="bridge_failure") from exc


def parse_session(response: Response) -> SessionState:
    check(response)
    try:
        return read_session(response.object())
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_config(response: Response) -> dict[str, Any]:
    """Return the configuration of a session, empty if it has none. Raises BridgeError."""
    check(response)
    try:
        config = response.json().get("config")
    except (WrongShape, AttributeError) as exc:
        raise unknown_format() from exc
    return config if isinstance(config, dict) else {}


def parse_sessions(response: Response) -> list[SessionState]:
    check(response)
    try:
        return [read_session(Fields(one)) for one in listed(response.json())]
    except WrongShape as exc:
        raise unknown_format() from exc


def read_session(raw: Fields) -> SessionState:
    me = raw.maybe_object("me")
    own = maybe_person(me.short("id")) if me else None
    status = raw.needed("status")
    return SessionState(
        name=raw.needed("name", longest=MAX_SESSION_NAME_LENGTH),
        status=LINKS.get(status, Link.DISCONNECTED),
        phone=own.phone if own else None,
        display_name=me.short("pushName", longest=MAX_NAME_LENGTH) if me else None,
        reason=REASONS.get(status, ""),
        limits=read_limits(me),
    )


def parse_qr(response: Response) -> bytes:
    """Return the PNG of the code to scan."""
    check(response)
    if response.body.startswith(PNG):  # a release that does not look at `Accept`
        return response.body
    try:
        code = read_png(response.object().needed("data", longest=1_000_000))
    except WrongShape as exc:
        raise unknown_format() from exc
    if code is None:
        raise unknown_format()
    return code


def parse_pairing_code(response: Response) -> str:
    check(response)
    try:
        return response.object().needed("code", longest=16)
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_number(response: Response) -> KnownNumber:
    """Return whether a number is on WhatsApp. The address may spell it otherwise, or hide it; then `pn` has it.

    Raises BridgeError unless the answer says so: an address that is missing or cannot be read says nothing.
    """
    check(response)
    try:
        answer = response.object()
        exists = answer.maybe_flag("numberExists")
        if exists is False:
            return KnownNumber(exists=False)
        address = maybe_person(answer.short("chatId")) if exists else None
        if address is None:
            raise WrongShape("no address of a number that exists")
        known = maybe_person(answer.short("pn"))
        return KnownNumber(True, address.address, address.phone or (known.phone if known else None))
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_timelock(response: Response) -> dict[str, Any]:
    check(response)
    try:
        return read_timelock(response.object())
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_capping(response: Response) -> dict[str, Any]:
    check(response)
    try:
        return read_capping(response.object())
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_lid(response: Response) -> str | None:
    """Return the phone (E.164) of a hidden number; None if WAHA does not know it either."""
    check(response)
    try:
        return phone_of_digits((response.object().short("pn") or "").partition("@")[0])
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_messages(response: Response, *, session: str) -> list[BridgeEvent]:
    """Return the messages of a page; one that cannot be read is Malformed."""
    check(response)
    try:
        return [read_listed(each, session=session) for each in listed(response.json())]
    except WrongShape as exc:
        raise unknown_format() from exc


def unknown_format() -> BridgeError:
    return BridgeError("WAHA answered in an unknown format.", code="bridge_failure")


def check(response: Response) -> None:
    """Raise what a response to a call about sessions means, if it is no success."""
    try:
        check_sent(response)
    except BridgeError as exc:
        raise session_failure(exc) from None


def is_unknown_session(response: Response) -> bool:
    """Return whether this is WAHA's own 404; another one comes from something else at this address."""
    return response.status == HTTPStatus.NOT_FOUND and "session" in _words(response)


def check_sent(response: Response) -> None:
    """Raise what a response to a send means, if it is no success: NotSent, Refused or Unconfirmed."""
    match response.status:
        case status if 200 <= status < 300:
            return
        case 401 | 403:
            raise failure("unauthorized", "WAHA refuses our API key.")
        case 404:
            raise failure("not_found", "WAHA does not know this session.")
        case 422 if _expects_other_status(response):
            raise failure("not_connected", "The number is not connected.")
        case 409 | 422 if "already exists" in _words(response):
            raise failure("already_exists", "WAHA has a session of this name.")
        case 429:
            wait_s = parse_retry_after(response.headers)
            raise failure("rate_limited", "WAHA asks us to slow down.", retry_after_s=wait_s)
        case 500 if _is_restricted(response):
            raise failure("restricted", "WhatsApp limits whom this account may write to, for some time.")
        case status if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
            raise failure("invalid", "WAHA says that the request is not valid.")
    raise failure("bridge_failure", f"WAHA answered with status {response.status}.")


def _expects_other_status(response: Response) -> bool:
    try:
        return "expected" in response.object()
    except WrongShape:
        return False


def _words(response: Response) -> str:
    try:
        answer = response.object()
        message = answer.listed("message") or [answer.short("message", longest=1000)]
    except WrongShape:
        return ""
    return " ".join(item for item in message if isinstance(item, str)).lower()


def _is_restricted(response: Response) -> bool:
    try:
        exception = response.object().maybe_object("exception")
    except WrongShape:
        return False
    return bool(exception and RESTRICTED.search(exception.short("message", longest=1000) or ""))
