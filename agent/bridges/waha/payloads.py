"""The webhook requests of WAHA: https://waha.devlike.pro/docs/how-to/events/ (2026.8.1, all four engines)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from agent.bridges.addresses import called_persons, read_address
from agent.bridges.baileys import MAX_POLL_OPTIONS, Content
from agent.bridges.common import is_answerable
from agent.bridges.events import (
    BridgeEvent,
    CallChanged,
    CallStatus,
    ChatAddress,
    GroupChanged,
    Ignored,
    Kind,
    Link,
    Malformed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Receipt,
    SessionChanged,
    StatusChanged,
)
from agent.bridges.parsing import (
    MAX_ID_LENGTH,
    MAX_NAME_LENGTH,
    MAX_SESSION_NAME_LENGTH,
    Fields,
    WrongShape,
)
from agent.bridges.waha.content import is_forwarded, kind_and_details, own_content, read_media
from agent.bridges.waha.ids import MessageId, maybe_person, read_own, read_own_lid, read_person, split_id
from agent.bridges.waha.limits import read_limits

LINKS = {
    "STARTING": Link.CONNECTING,
    "SCAN_QR_CODE": Link.QR_WAITING,
    "PASSKEY_REQUIRED": Link.QR_WAITING,
    "PASSKEY_CONFIRMATION_REQUIRED": Link.QR_WAITING,
    "WORKING": Link.CONNECTED,
    "STOPPED": Link.DISCONNECTED,
    "FAILED": Link.FAILED,
}
REASONS = {"PASSKEY_REQUIRED": "passkey_required", "PASSKEY_CONFIRMATION_REQUIRED": "passkey_confirmation"}
RECEIPTS = {
    -1: Receipt.FAILED,
    0: Receipt.PENDING,
    1: Receipt.SENT,
    2: Receipt.DELIVERED,
    3: Receipt.READ,
    4: Receipt.PLAYED,
}
RECEIPT_NAMES = {
    "ERROR": Receipt.FAILED,
    "PENDING": Receipt.PENDING,
    "SERVER": Receipt.SENT,
    "DEVICE": Receipt.DELIVERED,
    "READ": Receipt.READ,
    "PLAYED": Receipt.PLAYED,
}
CALLS = {
    "call.received": CallStatus.RINGING,
    "call.accepted": CallStatus.ACCEPTED,
    "call.rejected": CallStatus.REJECTED,
}
REVOKED = "revoked"  # the type that WhatsApp Web gives to what is left of a message
ENGINES_WITHOUT_ACCEPTANCE = frozenset({"WEBJS"})  # they never post call.accepted
GROUP_ACTIONS = frozenset({"join", "leave", "promote", "demote"})


def read_envelope(envelope: Fields) -> BridgeEvent:
    name = envelope.needed("event")
    read = READERS.get(name)
    if read is None:
        return Ignored(f"event {name[:50]}")
    return read(envelope, envelope.object("payload"))


def read_listed(payload: Any, *, session: str) -> BridgeEvent:
    """Read a message as WAHA lists it, which is as it posts it, but for the envelope; one that was deleted as such."""
    envelope = Fields({"session": session})
    try:
        message = Fields(payload)
        data = message.maybe_object("_data")
        if data and data.short("type") == REVOKED:
            return _revoked(envelope, Fields({"after": payload}))
        return _message(envelope, message)
    except WrongShape as exc:
        return Malformed(str(exc))


def _session(envelope: Fields) -> str:
    return envelope.needed("session", longest=MAX_SESSION_NAME_LENGTH)


# --- who ----------------------------------------------------------------------------------------------------------
def _own(envelope: Fields) -> ChatAddress | None:
    return read_own(envelope.maybe_object("me"))


class _Parties(NamedTuple):
    message_id: MessageId
    full_id: str
    chat: ChatAddress
    sender: ChatAddress
    from_me: bool


def _parties(envelope: Fields, payload: Fields, *, writer: str | None = None) -> _Parties | None:
    """Return which message it is, in which chat and by whom; None for stories, broadcast lists and channels.

    `writer`: who wrote it in a group, where the payload names no participant.
    """
    full_id = _full_id(payload)
    message_id = split_id(full_id)
    from_me = payload.flag("fromMe") or message_id.from_me  # what may be ours is not answered
    raw_chat = message_id.chat or _other_side(payload, from_me=from_me)
    names = _Names.of(payload)
    in_group = raw_chat.endswith("@g.us")
    me = envelope.maybe_object("me")
    chat = read_person(
        raw_chat, alternate=names.chat_alternate(from_me), name=None if from_me or in_group else names.name, me=me
    )
    if chat is None:
        return None
    raw_sender = payload.short("participant") or message_id.participant or writer
    if from_me:
        sender = _own(envelope) or maybe_person(raw_sender) or chat
    elif in_group and raw_sender:
        sender = read_person(raw_sender, alternate=names.sender_alternate, name=names.name, me=me) or chat
    else:
        sender = chat
    return _Parties(message_id, full_id, chat, sender, from_me)


def _full_id(payload: Fields) -> str:
    wrapped = payload.maybe_object("id")  # as WEBJS itself has it
    return wrapped.needed("_serialized") if wrapped else payload.needed("id", longest=MAX_ID_LENGTH)


def _other_side(payload: Fields, *, from_me: bool) -> str:
    return (payload.short("to") if from_me else None) or payload.needed("from")


class _Names(NamedTuple):
    """What the engine's own object adds: the sender's name, and the other addresses of sender and chat."""

    name: str | None = None
    sender_alternate: str | None = None
    recipient_alternate: str | None = None
    is_from_key: bool = False

    @classmethod
    def of(cls, payload: Fields) -> "_Names":
        data = payload.maybe_object("_data")
        if data is None:
            return cls()
        if info := data.maybe_object("Info"):  # GOWS
            name = info.short("PushName", longest=MAX_NAME_LENGTH)
            return cls(name, info.short("SenderAlt"), info.short("RecipientAlt"))
        key = data.maybe_object("key")  # NOWEB
        name = data.short("pushName", longest=MAX_NAME_LENGTH) or data.short("notifyName", longest=MAX_NAME_LENGTH)
        if key is None:
            return cls(name)
        return cls(name, key.short("participantAlt") or key.short("remoteJidAlt"), key.short("remoteJidAlt"), True)

    def chat_alternate(self, from_me: bool) -> str | None:
        return self.recipient_alternate if from_me or self.is_from_key else self.sender_alternate


# --- messages -----------------------------------------------------------------------------------------------------
def _message(envelope: Fields, payload: Fields) -> BridgeEvent:
    session = _session(envelope)
    parties = _parties(envelope, payload)
    if parties is None:
        return Ignored("a story, a broadcast list or a channel")
    content = own_content(payload)
    if content.kind == Kind.REACTION:
        return Ignored("a reaction, which message.reaction reports")
    text = payload.text("body") or content.text
    kind, details = kind_and_details(payload, content, text)
    text = "" if kind in {Kind.LOCATION, Kind.CONTACT} else text
    quoted = payload.maybe_object("replyTo")
    own = _own(envelope)
    return MessageReceived(
        session=session,
        provider_message_id=parties.message_id.stanza_id,
        full_id=parties.full_id,
        chat=parties.chat,
        sender=parties.sender,
        kind=kind,
        text=text,
        outbound=parties.from_me,
        sent_at=payload.time("timestamp"),
        media=read_media(payload, kind),
        details=details,
        quoted_id=(split_id(quoted.short("id") or "").stanza_id if quoted else None) or content.quoted_id,
        answerable=not parties.from_me and is_answerable(kind, text, details),
        forwarded=content.forwarded or is_forwarded(payload),
        own_phone=own.phone if own else None,
        own_lid=_own_lid(envelope),
        called=_called(payload, content, quoted, text=text) if parties.chat.is_group else (),
        posted_at=envelope.time("timestamp"),
        is_echo=parties.from_me and payload.short("source") == "api",
        is_typed=parties.from_me and payload.short("source") == "app",
    )


def _own_lid(envelope: Fields) -> str | None:
    return read_own_lid(envelope.maybe_object("me"))


def _called(payload: Fields, content: Content, quoted: Fields | None, *, text: str) -> tuple[str, ...]:
    """Return whom a message in a group mentions, and whose message it answers. Each engine has it elsewhere."""
    data = payload.maybe_object("_data")
    lists = [each.listed(name) for each in (payload, data) if each for name in ("mentionedIds", "mentionedJidList")]
    named = [jid.get("_serialized") if isinstance(jid, dict) else jid for each in lists for jid in each]
    answered = quoted.short("participant") if quoted else None
    return called_persons([*named, *content.called, answered], text=text)


def _reaction(envelope: Fields, payload: Fields) -> BridgeEvent:
    session = _session(envelope)
    parties = _parties(envelope, payload)
    if parties is None:
        return Ignored("a story, a broadcast list or a channel")
    reaction = payload.object("reaction")
    target = reaction.needed("messageId")
    return MessageReceived(
        session=session,
        provider_message_id=parties.message_id.stanza_id,
        full_id=parties.full_id,
        chat=parties.chat,
        sender=parties.sender,
        kind=Kind.REACTION,
        outbound=parties.from_me,
        sent_at=payload.time("timestamp"),
        details={
            "emoji": reaction.short("text"),
            "target_id": split_id(target).stanza_id,
            "target_full_id": target,
        },
        answerable=False,
        posted_at=envelope.time("timestamp"),
        is_echo=parties.from_me and payload.short("source") == "api",
    )


def _vote(envelope: Fields, payload: Fields) -> BridgeEvent:
    """Read what somebody has chosen in a poll of ours, as a message that answers it: each time all that is chosen now.

    https://waha.devlike.pro/docs/how-to/polls/
    """
    vote, poll = payload.maybe_object("vote"), payload.maybe_object("poll")
    if vote is None or poll is None:
        return Ignored("a vote without its poll")
    chosen = [option for option in vote.listed("selectedOptions") if isinstance(option, str) and option.strip()]
    poll_id = split_id(_full_id(poll)) if "id" in poll else None
    if not chosen or poll_id is None or not (poll.flag("fromMe") or poll_id.from_me):
        return Ignored("a vote that was taken back, or in the poll of another")
    parties = _parties(envelope, vote, writer=vote.short("from"))
    if parties is None or parties.from_me:
        return Ignored("our own vote")
    own = _own(envelope)
    text = ", ".join(option[:MAX_NAME_LENGTH] for option in chosen[:MAX_POLL_OPTIONS])
    return MessageReceived(
        session=_session(envelope),
        provider_message_id=parties.message_id.stanza_id,
        full_id=parties.full_id,
        chat=parties.chat,
        sender=parties.sender,
        kind=Kind.INTERACTIVE,
        text=text,
        sent_at=vote.time("timestamp"),
        quoted_id=poll_id.stanza_id,
        answerable=is_answerable(Kind.INTERACTIVE, text, {}),
        own_phone=own.phone if own else None,
        own_lid=_own_lid(envelope),
        called=called_persons([own.address if own else None, _own_lid(envelope)]) if parties.chat.is_group else (),
        posted_at=envelope.time("timestamp"),
    )


def _status(envelope: Fields, payload: Fields) -> BridgeEvent:
    session = _session(envelope)
    parties = _parties(envelope, payload)
    if parties is None:
        return Ignored("a story, a broadcast list or a channel")
    if not parties.from_me:
        return Ignored("the status of a message to us")
    ack = payload.integer("ack")
    status = RECEIPTS.get(ack) if ack is not None else RECEIPT_NAMES.get(payload.short("ackName") or "")
    if status is None:
        return Ignored("an unknown status")
    member = maybe_person(payload.short("participant")) if parties.chat.is_group else None
    return StatusChanged(
        session,
        parties.message_id.stanza_id,
        status,
        at=envelope.time("timestamp"),
        chat=parties.chat,
        recipient=member or parties.chat,
        full_id=parties.full_id,
    )


def _edited(envelope: Fields, payload: Fields) -> BridgeEvent:
    session = _session(envelope)
    parties = _parties(envelope, payload)
    if parties is None:
        return Ignored("a story, a broadcast list or a channel")
    text = payload.text("body") or own_content(payload).text
    if not text and not ("body" in payload and payload.flag("hasMedia")):  # only a caption can be taken away
        return Ignored("an edit whose content is unknown")
    return MessageEdited(
        session,
        # WEBJS names the edited message by the id of the payload.
        target_id=split_id(payload.short("editedMessageId") or parties.full_id).stanza_id,
        text=text,
        chat=parties.chat,
        sender=parties.sender,
        outbound=parties.from_me,
        at=_edited_at(envelope, payload),
    )


def _edited_at(envelope: Fields, payload: Fields) -> datetime | None:
    """Return when a message was edited. In WEBJS its time may be that of the message as it was first written."""
    at, posted_at = payload.time("timestamp"), envelope.time("timestamp")
    if at and posted_at and envelope.short("engine") == "WEBJS":
        return max(at, posted_at)
    return at or posted_at


def _revoked(envelope: Fields, payload: Fields) -> BridgeEvent:
    session = _session(envelope)
    message = payload.maybe_object("after") or payload.maybe_object("before")
    if message is None:
        revoked = split_id(payload.needed("revokedMessageId"))
        return MessageRevoked(session, target_id=revoked.stanza_id, chat=maybe_person(revoked.chat))
    parties = _parties(envelope, message)
    if parties is None:
        return Ignored("a story, a broadcast list or a channel")
    before = payload.maybe_object("before")
    target = payload.short("revokedMessageId") or (_full_id(before) if before and "id" in before else parties.full_id)
    return MessageRevoked(
        session,
        target_id=split_id(target).stanza_id,
        chat=parties.chat,
        sender=parties.sender,
        outbound=parties.from_me,
    )


def _waiting(envelope: Fields, payload: Fields) -> BridgeEvent:  # noqa: ARG001
    return Ignored("not decrypted yet: it may follow under the same id")


# --- sessions -----------------------------------------------------------------------------------------------------
def _session_status(envelope: Fields, payload: Fields) -> BridgeEvent:
    raw_status = payload.needed("status")
    status = LINKS.get(raw_status)
    if status is None:
        return Ignored("an unknown status of the session")
    is_connected = status == Link.CONNECTED
    own = _own(envelope) if is_connected else None
    me = envelope.maybe_object("me")
    return SessionChanged(
        session=payload.short("name", longest=MAX_SESSION_NAME_LENGTH) or _session(envelope),
        status=status,
        phone=own.phone if own else None,
        name=me.short("pushName", longest=MAX_NAME_LENGTH) if me and is_connected else None,
        code=REASONS.get(raw_status, ""),
        at=envelope.time("timestamp"),
        restrictions=read_limits(payload.maybe_object("data")) or read_limits(me) or (),
    )


# --- other events -------------------------------------------------------------------------------------------------
def _call(envelope: Fields, payload: Fields) -> BridgeEvent:
    sender = read_person(payload.needed("from"))
    if sender is None:
        return Ignored("a call from nobody")
    return CallChanged(
        session=_session(envelope),
        call_id=payload.needed("id"),
        status=CALLS[envelope.needed("event")],
        chat=sender,
        sender=sender,
        is_video=payload.flag("isVideo"),
        is_group=payload.flag("isGroup"),
        at=payload.time("timestamp"),
        reports_acceptance=envelope.short("engine") not in ENGINES_WITHOUT_ACCEPTANCE,
    )


def _group_participants(envelope: Fields, payload: Fields) -> BridgeEvent:
    action = payload.needed("type")
    chat = read_address(payload.object("group").needed("id"))
    if chat is None or action not in GROUP_ACTIONS:
        return Ignored("an unknown change of a group")
    people = [maybe_person(each.short("id")) for each in payload.objects("participants")]
    return GroupChanged(
        _session(envelope),
        chat,
        action,
        tuple(person for person in people if person is not None),
        at=payload.time("timestamp"),
    )


def _own_group(envelope: Fields, payload: Fields) -> BridgeEvent:
    chat = read_address(payload.object("group").needed("id"))
    if chat is None:
        return Ignored("an unknown change of a group")
    action = envelope.needed("event").rpartition(".")[2]
    return GroupChanged(_session(envelope), chat, action, at=payload.time("timestamp"))


READERS: dict[str, Callable[[Fields, Fields], BridgeEvent]] = {
    "message": _message,
    "message.any": _message,
    "message.reaction": _reaction,
    "message.ack": _status,
    "message.ack.group": _status,
    "message.edited": _edited,
    "message.revoked": _revoked,
    "message.waiting": _waiting,
    "poll.vote": _vote,
    "session.status": _session_status,
    "group.v2.participants": _group_participants,
    "group.v2.join": _own_group,
    "group.v2.leave": _own_group,
    "group.v2.update": _own_group,
    **dict.fromkeys(CALLS, _call),
}
