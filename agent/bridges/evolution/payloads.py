"""The webhook requests of Evolution API: https://doc.evolution-api.com/v2 (2.3.7, December 2025)."""

from dataclasses import replace
from typing import Any

from agent.bridges.addresses import called_persons, is_own, phone_of_digits, read_address, with_alternate
from agent.bridges.baileys import CHANGES, Content, read_called, read_change, read_content
from agent.bridges.common import is_answerable, read_png
from agent.bridges.events import (
    AliasKind,
    BridgeEvent,
    CallChanged,
    CallStatus,
    ChatAddress,
    GroupChanged,
    HistorySynced,
    Ignored,
    Kind,
    Link,
    Malformed,
    MediaRef,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Receipt,
    SessionChanged,
    StatusChanged,
)
from agent.bridges.parsing import MAX_NAME_LENGTH, MAX_SESSION_NAME_LENGTH, Fields, WrongShape

RECEIPTS = {
    "PENDING": Receipt.PENDING,
    "SERVER_ACK": Receipt.SENT,
    "DELIVERY_ACK": Receipt.DELIVERED,
    "READ": Receipt.READ,
    "PLAYED": Receipt.PLAYED,
    "ERROR": Receipt.FAILED,
}
LINKS = {
    "open": Link.CONNECTED,
    "connecting": Link.CONNECTING,
    "close": Link.DISCONNECTED,
    "closed": Link.DISCONNECTED,
    "refused": Link.FAILED,  # nobody scanned in time
}
CALLS = {
    "offer": CallStatus.RINGING,
    "ringing": CallStatus.RINGING,
    "accept": CallStatus.ACCEPTED,
    "reject": CallStatus.REJECTED,
    "timeout": CallStatus.MISSED,
    "terminate": CallStatus.ENDED,
}
PHONES = frozenset({"android", "ios"})
GROUP_ACTIONS = {"add": "join", "remove": "leave", "promote": "promote", "demote": "demote", "modify": "update"}
LOGGED_OUT = 401
MAX_TRANSCRIPT_LENGTH = 20_000


def read_envelope(envelope: Fields) -> list[BridgeEvent]:
    """Return the events of one webhook request; an item that cannot be read is Malformed."""
    name = envelope.needed("event")
    session = envelope.needed("instance", longest=MAX_SESSION_NAME_LENGTH)
    if name in {"logout.instance", "remove.instance"}:
        return [SessionChanged(session, Link.LOGGED_OUT)]
    if name == "messages.set":
        return [_history(session, envelope)]
    read = READERS.get(name)
    if read is None:
        return [Ignored(f"event {name[:50]}")]
    if "data" not in envelope:
        raise WrongShape("data is missing or null")
    items = envelope.listed("data") or [envelope.object("data")]
    return [_guarded(read, session, envelope, item) for item in items]


def _guarded(read: Any, session: str, envelope: Fields, item: Any) -> BridgeEvent:
    try:
        return read(session, envelope, item if isinstance(item, Fields) else Fields(item, "data"))
    except WrongShape as exc:
        return Malformed(str(exc))


def read_listed(data: Any, *, session: str) -> BridgeEvent:
    """Read a message as Evolution has it stored: as it posts it, but among those that were sent through Evolution.

    Only the ids that phones give tell those of the owner apart: WhatsApp Web gives the same ids as Evolution.
    """
    event = _guarded(_message, session, Fields({}), data)
    if isinstance(event, MessageReceived) and event.outbound:
        return replace(event, is_typed=Fields(data).short("source") in PHONES)
    return event


# --- who ----------------------------------------------------------------------------------------------------------
def _person(raw: str, envelope: Fields, *, alternate: str | None = None, name: str | None = None) -> ChatAddress | None:
    """Parse an address together with the other address of the same person; None for stories, lists and channels."""
    address = read_address(raw.replace("@c.us", "@s.whatsapp.net"), name=name)
    if address is None:
        return None
    return with_alternate(address, _maybe_address(alternate), own_phone=_own_phone(envelope), own_lid=None)


def _maybe_address(raw: str | None) -> ChatAddress | None:
    try:
        return read_address(raw) if raw else None
    except WrongShape:
        return None


def _chat(envelope: Fields, key: Fields, *, name: str | None = None) -> ChatAddress | None:
    return _person(key.needed("remoteJid"), envelope, alternate=key.short("remoteJidAlt"), name=name)


def _own(envelope: Fields) -> ChatAddress | None:
    return _maybe_address(envelope.short("sender"))


def _own_phone(envelope: Fields) -> str | None:
    own = _own(envelope)
    return own.phone if own else None


def _sender(envelope: Fields, key: Fields, chat: ChatAddress, *, from_me: bool, name: str | None = None) -> ChatAddress:
    if from_me:
        return _own(envelope) or chat
    participant = key.short("participant")
    if not chat.is_group or participant is None:
        return chat
    return _person(participant, envelope, alternate=key.short("participantAlt"), name=name) or chat


# --- messages -----------------------------------------------------------------------------------------------------
def _message(session: str, envelope: Fields, data: Fields, *, is_echo: bool = False) -> BridgeEvent:
    key = data.object("key")
    from_me = is_echo or key.flag("fromMe")
    name = None if from_me else data.short("pushName", longest=MAX_NAME_LENGTH)
    in_group = key.needed("remoteJid").endswith("@g.us")
    chat = _chat(envelope, key, name=None if in_group else name)
    if chat is None:
        return Ignored("a story, a broadcast list or a channel")
    message = data.maybe_object("message")
    content = read_content(message) if message else Content()
    if message and content.key == CHANGES and (change := read_change(message)):
        return _edited(session, envelope, change, carrier=key)
    provider_message_id = key.needed("id")
    context = data.maybe_object("contextInfo")
    return MessageReceived(
        session=session,
        provider_message_id=provider_message_id,
        chat=chat,
        sender=_sender(envelope, key, chat, from_me=from_me, name=name),
        kind=content.kind,
        text=content.text,
        outbound=from_me,
        sent_at=data.time("messageTimestamp"),
        media=_media(content, provider_message_id, message),
        details=content.details,
        quoted_id=(context.short("stanzaId") if context else None) or content.quoted_id,
        answerable=not from_me and is_answerable(content.kind, content.text, content.details),
        forwarded=content.forwarded,
        is_echo=is_echo,
        own_phone=_own_phone(envelope),
        own_lid=_own_lid(key) if from_me else None,
        called=called_persons((*read_called(context), *content.called), text=content.text) if chat.is_group else (),
    )


def _own_lid(key: Fields) -> str | None:
    """Return the hidden address that our own message in a group names as its writer's."""
    writer = _maybe_address(key.short("participant"))
    return writer.address if writer and writer.kind == AliasKind.LID else None


def _media(content: Content, message_id: str, message: Fields | None) -> MediaRef | None:
    """The file is fetched by the message's id: the address beside it leads to encrypted bytes."""
    if message is None or not content.has_media:
        return None
    return MediaRef(
        mime_type=content.mime_type,
        filename=content.filename,
        ref=message_id,
        downloadable=True,
        size_bytes=content.size_bytes,
        is_inline="base64" in message,
        transcript=(message.short("speechToText", longest=MAX_TRANSCRIPT_LENGTH) or "").strip(),
    )


def _echo(session: str, envelope: Fields, data: Fields) -> BridgeEvent:
    return _message(session, envelope, data, is_echo=True)


def _history(session: str, envelope: Fields) -> BridgeEvent:
    items = envelope.listed("data")
    if "data" not in envelope or (not items and envelope.maybe_object("data") is not None):
        raise WrongShape("data is no list")
    events = [_guarded(_message, session, envelope, item) for item in items]
    messages = [replace(event, is_history=True) for event in events if isinstance(event, MessageReceived)]
    return HistorySynced(
        session,
        count=len(items),
        messages=tuple(messages),
        progress=envelope.integer("progress"),
        is_latest=envelope.flag("isLatest") if "isLatest" in envelope else None,
    )


def _status(session: str, envelope: Fields, data: Fields) -> BridgeEvent:
    inner = data.maybe_object("key")
    key = inner or data
    provider_message_id = inner.needed("id") if inner else data.needed("keyId")
    status = RECEIPTS.get(data.short("status") or "")
    if status is None:
        return Ignored("an update without a status")  # DELETED too: it stands for any other update, edits included
    if "fromMe" in key and not key.flag("fromMe"):
        return Ignored("the status of a message to us")
    if not key.text("remoteJid"):
        return StatusChanged(session, provider_message_id, status)
    chat = _chat(envelope, key)
    if chat is None:
        return Ignored("a story, a broadcast list or a channel")
    participant = _maybe_address(key.short("participant")) if chat.is_group else None
    return StatusChanged(session, provider_message_id, status, chat=chat, recipient=participant or chat)


def _edited(session: str, envelope: Fields, data: Fields, *, carrier: Fields | None = None) -> BridgeEvent:
    """`carrier` is the key of the message that brought the change: it names the chat as we see it."""
    edited = data.maybe_object("editedMessage")
    if edited is None:
        if data.short("type") == "REVOKE" or data.integer("type") == 0:
            return _revoked(session, envelope, data, carrier=carrier)
        return Ignored("a protocol message")
    key = data.object("key")
    where = _where(envelope, carrier or key)
    if where is None:
        return Ignored("a story, a broadcast list or a channel")
    content = read_content(edited.maybe_object("message") or edited)
    if content.kind == Kind.UNKNOWN or (content.kind == Kind.TEXT and not content.text):
        return Ignored("an edit whose content is unknown")
    at = data.time("timestampMs")
    return MessageEdited(session, target_id=key.needed("id"), text=content.text, at=at, **where)


def _revoked(session: str, envelope: Fields, data: Fields, *, carrier: Fields | None = None) -> BridgeEvent:
    """`data` is the key of what was deleted, or a row of Evolution's own database with the key inside."""
    key = data.maybe_object("key") or data
    where = _where(envelope, carrier or key)
    if where is None:
        return Ignored("a story, a broadcast list or a channel")
    return MessageRevoked(session, target_id=key.needed("id"), **where)


def _where(envelope: Fields, key: Fields) -> dict[str, Any] | None:
    """Return where a change happened and who made it, as far as the key says; None for stories, lists and channels.

    The key may be as its writer sees it: in the chat with us, where we are the other side. Only its id counts then.
    """
    if not key.text("remoteJid"):
        return {}
    chat = _chat(envelope, key)
    if chat is None:
        return None
    if is_own(chat, phone=_own_phone(envelope), lid=None):
        return {}
    from_me = key.flag("fromMe")
    return {"chat": chat, "sender": _sender(envelope, key, chat, from_me=from_me), "outbound": from_me}


# --- sessions -----------------------------------------------------------------------------------------------------
def _qr(session: str, envelope: Fields, data: Fields) -> BridgeEvent:  # noqa: ARG001
    code = data.maybe_object("qrcode")
    if code is None:
        if "statusCode" in data or "message" in data:
            return SessionChanged(session, Link.FAILED, code=str(data.integer("statusCode") or "")[:16])
        raise WrongShape("data.qrcode is missing")
    return SessionChanged(
        session,
        Link.QR_WAITING,
        qr_png=read_png(code.text("base64")),
        pairing_code=code.short("pairingCode", longest=16),
    )


def _connection(session: str, envelope: Fields, data: Fields) -> BridgeEvent:  # noqa: ARG001
    status = LINKS.get(data.needed("state"))
    if status is None:
        return Ignored("an unknown state")
    owner = _maybe_address(data.short("wuid"))
    return _link(
        session,
        status,
        code=data.integer("statusReason"),
        phone=owner.phone if owner else None,
        name=data.short("profileName", longest=MAX_NAME_LENGTH),
    )


def _instance_status(session: str, envelope: Fields, data: Fields) -> BridgeEvent:  # noqa: ARG001
    status = LINKS.get(data.needed("status"))
    if status is None:
        return Ignored("an unknown status")
    return _link(session, status, code=data.integer("disconnectionReasonCode"))


def _link(
    session: str, status: Link, *, code: int | None, phone: str | None = None, name: str | None = None
) -> SessionChanged:
    is_closed = status in {Link.DISCONNECTED, Link.FAILED}
    if is_closed and code == LOGGED_OUT:
        status = Link.LOGGED_OUT
    return SessionChanged(session, status, phone=phone, name=name, code=str(code)[:16] if is_closed and code else "")


# --- other events -------------------------------------------------------------------------------------------------
def _call(session: str, envelope: Fields, data: Fields) -> BridgeEvent:
    status = CALLS.get(data.needed("status"))
    if status is None:
        return Ignored("an unknown status of a call")
    sender = _person(data.needed("from"), envelope)
    if sender is None:
        return Ignored("a call from nobody")
    named = (_maybe_address(data.short(name)) for name in ("groupJid", "chatId"))
    group = next((chat for chat in named if chat and chat.is_group), None)
    return CallChanged(
        session,
        call_id=data.needed("id"),
        status=status,
        chat=group or sender,
        sender=sender,
        is_video=data.flag("isVideo"),
        is_group=data.flag("isGroup") or group is not None,
        at=data.time("date"),
        is_offline=data.flag("offline"),
    )


def _group(session: str, envelope: Fields, data: Fields) -> BridgeEvent:  # noqa: ARG001
    chat = read_address(data.needed("id"))
    action = GROUP_ACTIONS.get(data.needed("action"))
    if chat is None or action is None:
        return Ignored("an unknown change of a group")
    phones = {one.short("jid"): one.short("phoneNumber") for one in data.objects("participantsData")}
    people = [_participant(raw, phones.get(raw)) for raw in data.listed("participants") if isinstance(raw, str)]
    return GroupChanged(session, chat, action, tuple(person for person in people if person is not None))


def _participant(raw: str, digits: str | None) -> ChatAddress | None:
    person = _maybe_address(raw)
    if person is None or person.phone or not digits:
        return person
    return replace(person, phone=phone_of_digits(digits.partition("@")[0].removeprefix("+")))


READERS: dict[str, Any] = {
    "messages.upsert": _message,
    "send.message": _echo,
    "send.message.update": _edited,  # an edit through the API: the same as an edit on a phone
    "messages.update": _status,
    "messages.edited": _edited,
    "messages.delete": _revoked,
    "qrcode.updated": _qr,
    "connection.update": _connection,
    "status.instance": _instance_status,
    "call": _call,
    "group-participants.update": _group,
}
