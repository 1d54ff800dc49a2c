"""WAHA's ids of messages, and its form of addresses: `…@c.us`."""

import re
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import quote

from agent.bridges.addresses import read_address, with_alternate
from agent.bridges.base import MessageRef
from agent.bridges.common import quote_name
from agent.bridges.events import AliasKind, ChatAddress
from agent.bridges.exchange import Refused
from agent.bridges.parsing import Fields, WrongShape

_SERIALIZED = re.compile(r"(true|false)_([^_@]{1,70}(?:_[0-9]{1,4})?@[a-z.]{1,32})_(.{1,250})")
_IN_GROUP = re.compile(r"([^_]{1,200})(?:_(.{1,100}))?")
_TO_SELF = re.compile(r"(.+)_(?:in|out)")  # WEBJS names both sides of a message to ourselves


class MessageId(NamedTuple):
    """A message id of WAHA, taken apart. `stanza_id` is WhatsApp's own id; `chat` is missing in a bare id."""

    stanza_id: str
    chat: str | None = None
    participant: str | None = None
    from_me: bool = False


def split_id(raw: str) -> MessageId:
    """Parse `true_5511988887777@c.us_3EB0…`, in groups with the participant as a fourth part, or a bare id."""
    found = _SERIALIZED.fullmatch(raw)
    if found is None:
        return MessageId(raw)
    from_me, chat, stanza_id = found[1] == "true", found[2], found[3]
    if not chat.endswith(("@g.us", "@broadcast")):  # programs make up ids with `_`
        to_self = _TO_SELF.fullmatch(stanza_id)
        return MessageId(to_self[1] if to_self else stanza_id, chat=chat, from_me=from_me)
    parts = _IN_GROUP.fullmatch(stanza_id)
    if parts is None:
        return MessageId(raw)
    return MessageId(parts[1], chat=chat, participant=parts[2], from_me=from_me)


def read_person(
    raw: str, *, alternate: str | None = None, name: str | None = None, me: Fields | None = None
) -> ChatAddress | None:
    """Parse an address to the form `…@c.us`, together with the other address of the same person; `me` is our number.

    None for stories, broadcast lists and channels.
    """
    address = read_address(raw, name=name)
    if address is None:
        return None
    if address.phone:
        address = replace(address, address=f"{address.phone.removeprefix('+')}@c.us")
    if (other := maybe_person(alternate)) is None:
        return address
    own = read_own(me)
    return with_alternate(address, other, own_phone=own.phone if own else None, own_lid=read_own_lid(me))


def read_own(me: Fields | None) -> ChatAddress | None:
    return maybe_person(me.short("id")) if me else None


def read_own_lid(me: Fields | None) -> str | None:
    own = maybe_person(me.short("lid")) if me else None
    return own.address if own and own.kind == AliasKind.LID else None


def maybe_person(raw: str | None) -> ChatAddress | None:
    try:
        return read_person(raw) if raw else None
    except WrongShape:
        return None


# --- in requests ------------------------------------------------------------------------------------------------------
def chat_id(address: str) -> str:
    """Return the address in the form that WAHA sends to. Raises Refused."""
    parsed = maybe_person(address)
    if parsed is None:
        raise Refused("Nobody can be written to there.", code="unsupported_recipient")
    return parsed.address


def full_id(address: str, message: MessageRef) -> str:
    """Return the id in the form that WAHA takes; made up from its parts where it is not known."""
    if message.full_id:
        return message.full_id
    chat = chat_id(address)
    parts = ["true" if message.is_ours else "false", chat, message.provider_message_id]
    sender = maybe_person(message.sender) if chat.endswith("@g.us") else None
    return "_".join([*parts, sender.address] if sender else parts)


def message_path(session: str, address: str, message: MessageRef) -> str:
    """Return the path of a message in a chat. Raises Refused."""
    chat, message_id = quote(chat_id(address), safe=""), quote(full_id(address, message), safe="")
    return f"/api/{quote_name(session)}/chats/{chat}/messages/{message_id}"
