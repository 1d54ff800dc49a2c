"""How zapw describes sessions and posts events, read into our own types.

Recorded from a running service (Express 4, Baileys 6.7.17) in November 2026.
"""

from typing import Any

from agent.bridges.addresses import phone_as_written, phone_of_digits, read_address
from agent.bridges.base import SessionState
from agent.bridges.common import is_answerable, read_place, read_png
from agent.bridges.events import (
    BridgeEvent,
    ChatAddress,
    Ignored,
    Kind,
    Link,
    MediaRef,
    MessageReceived,
    Receipt,
    SessionChanged,
    StatusChanged,
)
from agent.bridges.parsing import MAX_NAME_LENGTH, MAX_SESSION_NAME_LENGTH, Fields, WrongShape

KINDS = {
    "text": Kind.TEXT,
    "image": Kind.IMAGE,
    "video": Kind.VIDEO,
    "audio": Kind.AUDIO,
    "document": Kind.DOCUMENT,
    "location": Kind.LOCATION,
    "contact": Kind.CONTACT,
}
MEDIA = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.DOCUMENT})
LINKS = {
    "initializing": Link.INITIALIZING,
    "connecting": Link.CONNECTING,
    "qr_waiting": Link.QR_WAITING,
    "connected": Link.CONNECTED,
    "disconnected": Link.DISCONNECTED,
}
LOGGED_OUT = "401"
RESTART_AFTER_PAIRING = "515"  # belongs to linking: zapw connects again by itself


def read_session(raw: Fields) -> SessionState:
    status = LINKS.get(raw.needed("status"), Link.DISCONNECTED)
    # Beside any other status the code is one that has expired and is being replaced.
    waits = status == Link.QR_WAITING
    return SessionState(
        name=raw.needed("id", longest=MAX_SESSION_NAME_LENGTH),
        status=status,
        phone=phone_of_digits(raw.short("phoneNumber") or ""),
        display_name=raw.short("name", longest=MAX_NAME_LENGTH),
        connected_at=raw.past_time("connectedAt"),
        qr_png=read_png(raw.text("qrCode")) if waits else None,
        qr_expires_at=raw.time("qrExpiresAt") if waits else None,
    )


def read_event(envelope: Fields) -> BridgeEvent:
    match envelope.needed("eventType"):
        case "message.received":
            return _message(envelope, envelope.object("data"))
        case "message.delivered":
            return _status(envelope, Receipt.DELIVERED)
        case "message.read":
            return _status(envelope, Receipt.READ)
        case "message.sent":
            return Ignored("message.sent tells no status: it comes with every change of any message")
        case "session.connected":
            return _connected(envelope, envelope.object("data"))
        case "session.disconnected":
            return _disconnected(envelope, envelope.object("data"))
    return Ignored("unknown eventType")


def _message(envelope: Fields, data: Fields) -> BridgeEvent:
    session = envelope.needed("sessionId", longest=MAX_SESSION_NAME_LENGTH)
    sender = read_address(data.needed("from"))
    in_group = data.flag("isGroup") or "groupId" in data
    chat = _group(data.needed("groupId")) if in_group else sender
    if sender is None or chat is None:
        return Ignored("a story, a broadcast list or a channel")
    kind = KINDS.get(data.short("type") or "", Kind.UNKNOWN)
    text = data.text("text") or data.text("caption")
    details = _details(kind, data)
    return MessageReceived(
        session=session,
        provider_message_id=data.needed("messageId"),
        chat=chat,
        sender=sender,
        kind=kind,
        text=text,
        sent_at=data.time("timestamp") or envelope.time("timestamp"),
        posted_at=envelope.time("timestamp"),
        media=MediaRef(filename=data.short("fileName")) if kind in MEDIA or data.flag("hasMedia") else None,
        details=details,
        answerable=is_answerable(kind, text, details),
        own_phone=_own_phone(envelope, session),
    )


def _group(raw: str) -> ChatAddress | None:
    """Return a group, whose id may come without its domain: its digits are nobody's phone."""
    address = read_address(raw if "@" in raw else f"{raw}@g.us")
    if address is not None and not address.is_group:
        raise WrongShape("data.groupId is no group")
    return address


def _details(kind: Kind, data: Fields) -> dict[str, Any]:
    if kind == Kind.LOCATION:
        place = data.maybe_object("location") or data  # the documentation has them directly in `data`
        return {"location": read_place(place)}
    if kind == Kind.CONTACT and (card := data.maybe_object("contact")):
        written = card.short("number") or ""
        return {"contacts": [{"name": card.short("name", longest=MAX_NAME_LENGTH), "phone": phone_as_written(written)}]}
    return {}


def _own_phone(envelope: Fields, session: str) -> str | None:
    """Our number. `origin` is the session's id as long as it never connected, and an id may consist of digits."""
    origin = envelope.short("origin")
    return phone_of_digits(origin) if origin and origin != session else None


def _status(envelope: Fields, status: Receipt) -> StatusChanged:
    return StatusChanged(
        session=envelope.needed("sessionId", longest=MAX_SESSION_NAME_LENGTH),
        provider_message_id=envelope.object("data").needed("messageId"),
        status=status,
        at=envelope.time("timestamp"),
    )


def _connected(envelope: Fields, data: Fields) -> SessionChanged:
    session = envelope.needed("sessionId", longest=MAX_SESSION_NAME_LENGTH)
    return SessionChanged(
        session=session,
        status=Link.CONNECTED,
        phone=phone_of_digits(data.short("phoneNumber") or "") or _own_phone(envelope, session),
        name=data.short("name", longest=MAX_NAME_LENGTH),
        at=envelope.time("timestamp"),
    )


def _disconnected(envelope: Fields, data: Fields) -> SessionChanged:
    """`shouldReconnect` says what could be done, not what zapw does: a closed session stays closed."""
    reason = data.maybe_object("reason")  # a text in the documentation
    cause = reason.maybe_object("reason") if reason else None
    output = cause.maybe_object("output") if cause else None
    status_code = output.integer("statusCode") if output else None
    code = "" if status_code is None else str(status_code)[:16]
    # Without a cause a code nobody scanned is being replaced.
    comes_back = code == RESTART_AFTER_PAIRING or (reason is not None and "reason" not in reason)
    closed = Link.LOGGED_OUT if code == LOGGED_OUT else Link.DISCONNECTED
    return SessionChanged(
        session=envelope.needed("sessionId", longest=MAX_SESSION_NAME_LENGTH),
        status=Link.CONNECTING if comes_back else closed,
        code=code,
        will_reconnect=comes_back,
        at=envelope.time("timestamp"),
    )
