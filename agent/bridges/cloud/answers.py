"""What the answers of the Cloud API mean. Its error code decides, not the HTTP status."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agent.bridges.addresses import phone_of_digits
from agent.bridges.base import Sent, SessionState
from agent.bridges.cloud.errors import PAIR_RATE, PAIR_RATE_WAIT_S, PAYMENT, error_text, meaning_of
from agent.bridges.events import Link
from agent.bridges.exchange import BridgeError, PaymentNeeded, Refused, Response, Unconfirmed, failure, session_failure
from agent.bridges.parsing import (
    MAX_MIME_TYPE_LENGTH,
    MAX_NAME_LENGTH,
    MAX_SESSION_NAME_LENGTH,
    Fields,
    WrongShape,
)
from whatsapp_agent.http.retry_after import parse_retry_after


@dataclass(frozen=True, slots=True)
class MediaAnswer:
    url: str
    mime_type: str
    sha256: str
    size_bytes: int | None


def parse_sent(response: Response) -> Sent:
    """Return the id of the accepted message, and the recipient's own address, which may spell the number otherwise.

    Raises NotSent, Refused or Unconfirmed.
    """
    if (failed := _failure(response)) is not None:
        raise failed
    try:
        answer = response.object()
        message = next(iter(answer.objects("messages")), None)
        if message is None:
            raise WrongShape("messages is empty")
        contact = next(iter(answer.objects("contacts")), None)
        address = contact.short("wa_id") if contact else None
        return Sent(message.needed("id"), address=address, is_pending="message_status" in message)
    except WrongShape as exc:
        raise Unconfirmed("Meta took the message without naming its id.", code="bridge_failure") from exc


def parse_upload(response: Response) -> str:
    if (failed := _failure(response)) is not None:
        raise failed
    try:
        return response.object().needed("id")
    except WrongShape as exc:
        raise Unconfirmed("Meta took the file without naming its id.", code="bridge_failure") from exc


def parse_number(response: Response, *, name: str) -> SessionState | None:
    """Return how a number stands; None if Meta does not know it."""
    if is_unknown(response):
        return None
    check(response)
    try:
        return _read_number(response.object(), name=name)
    except WrongShape as exc:
        raise unknown_format() from exc


def parse_numbers(response: Response) -> list[SessionState]:
    """Return the numbers of a business account."""
    check(response)
    try:
        numbers = response.object().objects("data")
        return [_read_number(each, name=each.needed("id", longest=MAX_SESSION_NAME_LENGTH)) for each in numbers]
    except WrongShape as exc:
        raise unknown_format() from exc


def quality_limit(rating: str) -> dict[str, Any]:
    """Return the rating of a number as a limit of the account: with RED it may be restricted soon."""
    return {"kind": "quality", "active": rating == "RED", "until": None, "status": rating}


def _read_number(raw: Fields, *, name: str) -> SessionState:
    digits = "".join(filter(str.isdecimal, raw.short("display_phone_number") or ""))
    status, quality = raw.short("status", longest=50), raw.short("quality_rating", longest=20)
    is_connected = status in {None, "CONNECTED"}  # None: of an older version, where it answers only of such numbers
    return SessionState(
        name=name,
        status=Link.CONNECTED if is_connected else Link.DISCONNECTED,
        reason="" if is_connected else (status or "").lower(),
        limits=(quality_limit(quality),) if quality else None,
        phone=phone_of_digits(digits),
        display_name=raw.short("verified_name", longest=MAX_NAME_LENGTH),
    )


def parse_media(response: Response) -> MediaAnswer:
    if is_unknown(response):
        raise Refused("Meta no longer has this file.", code="not_found")
    check(response)
    try:
        answer = response.object()
        return MediaAnswer(
            url=answer.needed("url", longest=4000),
            mime_type=answer.short("mime_type", longest=MAX_MIME_TYPE_LENGTH) or "",
            sha256=answer.short("sha256") or "",
            size_bytes=answer.integer("file_size"),
        )
    except WrongShape as exc:
        raise unknown_format() from exc


def check(response: Response) -> None:
    """Raise what a response to a call other than a send means, if it is no success, which its body may deny."""
    if (failed := _failure(response)) is not None:
        raise session_failure(failed)
    with suppress(WrongShape):
        answer = response.object()
        if "success" in answer and not answer.flag("success"):
            raise Refused("Meta reports a failure.")


def is_unknown(response: Response) -> bool:
    failed = _failure(response)
    return failed is not None and failed.code == "not_found"


def unknown_format() -> BridgeError:
    return BridgeError("Meta answered in an unknown format.", code="bridge_failure")


def _failure(response: Response) -> BridgeError | None:
    """Return what a response says of a send; None if it succeeded."""
    error = _error(response)
    if error is None:
        return None if response.is_success else _without_code(response)
    failed = _failure_of(error, response)
    failed.trace_id = error.short("fbtrace_id", longest=100) or ""
    return failed


def _failure_of(error: Fields, response: Response) -> BridgeError:
    code = error.integer("code")
    meaning = meaning_of(code, error.integer("error_subcode"))
    if meaning == "refused" and response.status >= 500:
        meaning = "bridge_failure"
    if code == PAYMENT:
        return PaymentNeeded(f"Meta: {error_text(error)[:200] or 'no reason given'} ({code})")
    wait_s = PAIR_RATE_WAIT_S if code == PAIR_RATE else parse_retry_after(response.headers)
    return failure(meaning, f"Meta: {error_text(error)[:200] or 'no reason given'} ({code})", retry_after_s=wait_s)


def _without_code(response: Response) -> BridgeError:
    if response.status in {401, 403}:
        return failure("unauthorized", "Meta refuses our token.")
    if response.status == 429:
        return failure("rate_limited", "Meta asks us to slow down.", retry_after_s=parse_retry_after(response.headers))
    return failure("bridge_failure", f"Meta answered with status {response.status}.")


def _error(response: Response) -> Fields | None:
    try:
        return response.object().maybe_object("error")
    except WrongShape:
        return None
