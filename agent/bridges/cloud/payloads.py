"""The webhook requests of Meta's WhatsApp Cloud API (Graph v26.0):
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from agent.bridges.addresses import called_persons, phone_of_digits
from agent.bridges.cloud.content import read_content
from agent.bridges.cloud.errors import PAYMENT, RETRYABLE, error_text, meaning_of
from agent.bridges.common import is_answerable
from agent.bridges.events import (
    AliasKind,
    BridgeEvent,
    CallChanged,
    CallStatus,
    ChatAddress,
    ContactIdChanged,
    HandoverChanged,
    HistorySynced,
    Ignored,
    Kind,
    Malformed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    PlatformError,
    Receipt,
    StatusChanged,
)
from agent.bridges.parsing import MAX_NAME_LENGTH, MAX_SESSION_NAME_LENGTH, Fields, WrongShape
from whatsapp_agent.text.phones import owner_spellings

USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[0-9A-Za-z]{1,128}")
HANDOVERS = {"control_passed": True, "control_taken": False}  # whether we hold the chat afterwards
RECEIPTS = {
    "sent": Receipt.SENT,
    "delivered": Receipt.DELIVERED,
    "read": Receipt.READ,
    "played": Receipt.PLAYED,
    "failed": Receipt.FAILED,
}


class Value(NamedTuple):
    """One change: which number it is about, and who wrote."""

    fields: Fields
    session: str
    own_phone: str | None
    contacts: list[Fields]
    is_standby: bool = False

    def own(self) -> ChatAddress:
        digits = (self.own_phone or "").removeprefix("+") or self.session
        return ChatAddress(digits, AliasKind.PHONE if self.own_phone else AliasKind.JID, phone=self.own_phone)

    def is_own(self, digits: str | None) -> bool:
        """Return whether these are the digits of our own number, in whichever spelling."""
        own = owner_spellings(self.own_phone) if self.own_phone and digits else ()
        return f"+{(digits or '').removeprefix('+')}" in own


def read_body(body: Fields) -> list[BridgeEvent]:
    """Return the events of one webhook request: several entries, with several changes, with several items each."""
    if body.short("object") != "whatsapp_business_account":
        return [Ignored("another product")]
    events = [event for entry in body.listed("entry") for event in _entry(entry)]
    return events or [Ignored("nothing inside")]


def _entry(raw: Any) -> list[BridgeEvent]:
    if not isinstance(raw, dict):
        return [Malformed("an entry is no object")]
    return [event for change in Fields(raw).listed("changes") for event in _change(change)]


def _change(raw: Any) -> list[BridgeEvent]:
    try:
        change = Fields(raw, "change")
        name = change.needed("field")
        read = FIELDS.get(name)
        if read is None:
            return [Ignored(f"field {name[:50]}", is_of_account=name in ACCOUNT_FIELDS)]
        return list(read(_value(change.object("value"), field=name)))
    except WrongShape as exc:
        return [Malformed(str(exc))]


def _value(fields: Fields, *, field: str) -> Value:
    standby = fields.maybe_object("standby")
    metadata = fields.maybe_object("metadata") or fields.maybe_object("recipient")
    metadata = metadata or (standby.maybe_object("metadata") if standby else None)
    if metadata is None:
        raise WrongShape("metadata is missing: nobody knows which number it is about")
    return Value(
        fields=standby or fields,
        session=metadata.needed("phone_number_id", longest=MAX_SESSION_NAME_LENGTH),
        own_phone=phone_of_digits(re.sub(r"\D", "", metadata.short("display_phone_number") or "")),
        contacts=(standby or fields).objects("contacts"),
        is_standby=standby is not None or field == "standby",
    )


def _each(
    value: Value, name: str, read: Callable[[Value, Fields], BridgeEvent], *, fields: Fields | None = None
) -> Iterator[BridgeEvent]:
    """Read every item of a list; one that cannot be read does not lose the others."""
    for item in (fields or value.fields).listed(name):
        try:
            yield read(value, Fields(item, name))
        except WrongShape as exc:
            yield Malformed(str(exc))


# --- who ----------------------------------------------------------------------------------------------------------
def person(
    digits: str | None, user_id: str | None = None, parent_user_id: str | None = None, *, contact: Fields | None = None
) -> ChatAddress:
    """Return a person by phone, else by business-scoped id. Raises WrongShape if neither is there."""
    profile = contact.maybe_object("profile") if contact else None
    if digits and USER_ID.fullmatch(digits):
        digits, user_id = None, user_id or digits
    if contact is not None:
        digits = digits or contact.short("wa_id")
        user_id = user_id or contact.short("user_id")
        parent_user_id = parent_user_id or contact.short("parent_user_id")
    digits = digits.removeprefix("+") if digits else None
    ids = [each for each in (user_id or digits, parent_user_id) if each and USER_ID.fullmatch(each)]
    name = profile.short("name", longest=MAX_NAME_LENGTH) if profile else None
    username = profile.short("username", longest=MAX_NAME_LENGTH) if profile else None
    others = [ChatAddress(each, AliasKind.BSUID) for each in ids]
    phone = phone_of_digits(digits) if digits else None
    if digits and digits.isdecimal() and (phone or not others):
        kind = AliasKind.PHONE if phone else AliasKind.JID
        return ChatAddress(digits, kind, phone, name, alternates=tuple(others), username=username)
    if not others:
        raise WrongShape("from is missing, and from_user_id too")
    return replace(others[0], name=name, alternates=tuple(others[1:]), username=username)


def _maybe_person(digits: str | None, user_id: str | None) -> ChatAddress | None:
    try:
        return person(digits, user_id)
    except WrongShape:
        return None


def _contact_of(value: Value, digits: str | None, user_id: str | None) -> Fields | None:
    """Return who wrote, among the contacts of the change: they are in another order than the messages."""
    named = {each.removeprefix("+") for each in (digits, user_id) if each}  # `from` may hold either
    for contact in value.contacts:
        if named & {contact.short(name) for name in ("wa_id", "user_id")}:
            return contact
    return None


def _writer(value: Value, raw: Fields) -> ChatAddress:
    digits, user_id = raw.short("from"), raw.short("from_user_id")
    contact = _contact_of(value, digits, user_id)
    return person(digits, user_id, raw.short("from_parent_user_id"), contact=contact)


def _recipient(value: Value, raw: Fields) -> ChatAddress:
    """Return to whom our number wrote."""
    digits, user_id = raw.short("to"), raw.short("to_user_id") or raw.short("recipient")
    contact = _contact_of(value, digits, user_id)
    return replace(person(digits, user_id, contact=contact), name=None)


def _group(raw: Fields, name: str = "group_id") -> ChatAddress | None:
    group_id = raw.needed(name) if raw.text(name) else None
    return ChatAddress(group_id, AliasKind.JID, is_group=True) if group_id else None


# --- messages -----------------------------------------------------------------------------------------------------
def _messages(value: Value) -> Iterator[BridgeEvent]:
    yield from _each(value, "messages", _message)
    yield from _each(value, "statuses", _status)
    yield from _each(value, "message_echoes", _echo)
    yield from _each(value, "errors", _error)


def _message(value: Value, raw: Fields) -> BridgeEvent:
    if raw.short("type") == "system":
        return _system(value, raw)
    sender = _writer(value, raw)
    return _parse_content(value, raw, chat=_group(raw) or sender, sender=sender, outbound=False)


def _echo(value: Value, raw: Fields) -> BridgeEvent:
    """What our number wrote without us: people in the phone's app, or Meta's own agent (standby)."""
    inner = raw.maybe_object("message")
    to = inner or raw
    name = "to" if to.short("recipient_type") == "group" else "group_id"
    chat = _group(to, name) or _recipient(value, to)
    return _parse_content(value, raw, chat=chat, sender=value.own(), outbound=True, content=inner)


def _parse_content(
    value: Value, raw: Fields, *, chat: ChatAddress, sender: ChatAddress, outbound: bool, content: Fields | None = None
) -> BridgeEvent:
    provider_message_id = raw.needed("id")
    content = content or raw
    match content.short("type"):
        case "edit":
            edit = content.object("edit")
            new = read_content(edit.object("message"))
            if new.kind in {Kind.UNKNOWN, Kind.UNSUPPORTED} or (new.kind == Kind.TEXT and not new.text):
                return Ignored("an edit whose content is unknown")
            target = edit.needed("original_message_id")
            return MessageEdited(
                value.session, target, new.text, chat, sender, outbound=outbound, at=raw.time("timestamp")
            )
        case "revoke":
            target = content.object("revoke").needed("original_message_id")
            return MessageRevoked(value.session, target, chat=chat, sender=sender, outbound=outbound)
    what = read_content(content)
    context = content.maybe_object("context") or raw.maybe_object("context")
    forwarded = bool(context and (context.flag("forwarded") or context.flag("frequently_forwarded")))
    return MessageReceived(
        session=value.session,
        provider_message_id=provider_message_id,
        chat=chat,
        sender=sender,
        kind=what.kind,
        text=what.text,
        outbound=outbound,
        sent_at=raw.time("timestamp"),
        media=what.media,
        details=what.details,
        quoted_id=context.short("id") if context and what.kind != Kind.REACTION else None,
        answerable=not outbound and not value.is_standby and is_answerable(what.kind, what.text, what.details),
        forwarded=forwarded,
        own_phone=value.own_phone,
        called=called_persons([context.short("from") if context else None], text=what.text),
        is_echo=outbound and value.is_standby,
        is_typed=outbound and not value.is_standby,
        is_standby=value.is_standby,
    )


def _system(value: Value, raw: Fields) -> BridgeEvent:
    system = raw.object("system")
    match system.short("type"):
        case "user_changed_number" | "user_changed_user_id" as changed:
            is_number = changed == "user_changed_number"
        case _:
            return Ignored("a notice about a person")
    old_id = system.short("previous_user_id") or (raw.short("from_user_id") if is_number else None)
    old = person(raw.short("from"), old_id, system.short("previous_parent_user_id"))
    new_digits = system.short("wa_id") or system.short("new_wa_id")
    new = person(new_digits, system.short("user_id"), system.short("parent_user_id"))
    return ContactIdChanged(
        value.session,
        old=old,
        new=new,
        is_number=is_number,
        provider_message_id=raw.needed("id"),
        at=raw.time("timestamp"),
    )


def _status(value: Value, raw: Fields) -> BridgeEvent:
    status = RECEIPTS.get(raw.needed("status"))
    if status is None:
        return Ignored("an unknown status")
    in_group = raw.short("recipient_type") == "group"
    digits = raw.short("recipient_participant_id") if in_group else raw.short("recipient_id")
    user_id = raw.short("recipient_participant_user_id") if in_group else raw.short("recipient_user_id")
    recipient = _maybe_person(digits, user_id)
    error = next(iter(raw.objects("errors")), None)
    code = error.integer("code") if error else None
    meaning = meaning_of(code) if error else ""
    return StatusChanged(
        value.session,
        raw.needed("id"),
        status,
        at=raw.time("timestamp"),
        error=error_text(error) if error else "",
        chat=_group(raw, "recipient_id") if in_group else recipient,
        recipient=recipient,
        error_code=code,
        error_meaning=meaning,
        is_retryable=meaning in RETRYABLE,
        is_payment=code == PAYMENT,
        pricing=_pricing(raw.maybe_object("pricing")),
        tracker=raw.short("biz_opaque_callback_data", longest=512) or "",
        is_standby=value.is_standby,
    )


def _pricing(raw: Fields | None) -> dict[str, Any] | None:
    if raw is None:
        return None
    return {
        "billable": raw.flag("billable") if "billable" in raw else None,
        "model": raw.short("pricing_model", longest=50),
        "type": raw.short("type", longest=50),
        "category": raw.short("category", longest=50),
    }


def _error(value: Value, raw: Fields) -> BridgeEvent:
    return PlatformError(value.session, raw.integer("code"), error_text(raw))


# --- other fields -------------------------------------------------------------------------------------------------
def _handover(value: Value) -> Iterable[BridgeEvent]:
    raw = value.fields
    kind = raw.needed("type")
    is_ours = HANDOVERS.get(kind)
    if is_ours is None:
        return [Ignored("an unknown handover")]
    sender = raw.object("sender")
    details = raw.maybe_object(kind)
    return [
        HandoverChanged(
            value.session,
            chat=person(sender.short("phone_number"), sender.short("user_id"), sender.short("parent_user_id")),
            type=kind,
            is_ours=is_ours,
            previous_owner_role=(details.short("previous_owner_role", longest=100) if details else None) or "",
            new_owner_role=(details.short("new_owner_role", longest=100) if details else None) or "",
            at=raw.time("timestamp"),
        )
    ]


def _calls(value: Value) -> Iterable[BridgeEvent]:
    return list(_each(value, "calls", _call))


def _call(value: Value, raw: Fields) -> BridgeEvent:
    outbound = raw.short("direction") == "BUSINESS_INITIATED" or value.is_own(raw.short("from"))
    other = _recipient(value, raw) if outbound else _writer(value, raw)
    match raw.needed("event"):
        case "connect":
            status = CallStatus.RINGING
        case "terminate" if "start_time" in raw or outbound:
            status = CallStatus.ENDED
        case "terminate":
            status = CallStatus.MISSED
        case _:
            return Ignored("an unknown event of a call")
    return CallChanged(
        value.session,
        call_id=raw.needed("id"),
        status=status,
        chat=other,
        sender=value.own() if outbound else other,
        outbound=outbound,
        at=raw.time("timestamp"),
        duration_s=(raw.integer("duration") or 0) if "start_time" in raw else None,
    )


def _history(value: Value) -> Iterable[BridgeEvent]:
    return list(_each(value, "history", _history_part))


def _history_part(value: Value, raw: Fields) -> BridgeEvent:
    if error := next(iter(raw.objects("errors")), None):
        return PlatformError(value.session, error.integer("code"), error_text(error))
    metadata = raw.maybe_object("metadata")
    count = 0
    messages: list[MessageReceived] = []
    changes: list[MessageEdited | MessageRevoked] = []
    for thread in raw.objects("threads"):
        count += len(thread.listed("messages"))
        for event in _each(value, "messages", _past(thread.short("id")), fields=thread):
            match event:
                case MessageReceived():
                    messages.append(replace(event, is_history=True))
                case MessageEdited() | MessageRevoked():
                    changes.append(event)
    return HistorySynced(
        value.session,
        count=count,
        messages=tuple(messages),
        phase=metadata.integer("phase") if metadata else None,
        chunk_order=metadata.integer("chunk_order") if metadata else None,
        progress=metadata.integer("progress") if metadata else None,
        changes=tuple(changes),
    )


def _past(user: str | None) -> Callable[[Value, Fields], BridgeEvent]:
    """Return how to read a message of the chat with `user`; the writer is that person, or our number."""

    def read(value: Value, raw: Fields) -> BridgeEvent:
        if "to" in raw or value.is_own(raw.short("from")):
            chat = _recipient(value, raw) if "to" in raw else person(user, user)
            return _parse_content(value, raw, chat=chat, sender=value.own(), outbound=True)
        return _message(value, raw)

    return read


def _contacts(value: Value) -> Iterable[BridgeEvent]:  # noqa: ARG001
    return [Ignored("contact details")]


ACCOUNT_FIELDS = frozenset({"account_update", "account_alerts", "account_review_update", "phone_number_quality_update"})
FIELDS: dict[str, Callable[[Value], Iterable[BridgeEvent]]] = {
    "messages": _messages,
    "standby": _messages,
    "smb_message_echoes": _messages,
    "messaging_handovers": _handover,
    "calls": _calls,
    "history": _history,
    "smb_app_state_sync": _contacts,
}
