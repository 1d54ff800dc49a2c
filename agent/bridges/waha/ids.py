"""WAHA's ids of messages, and its form of addresses: `…@c.us`."""

import re
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import quote

from agent.bridges.addresses import read_address
from agent.bridges.base import MessageRef
from agent.bridges.common import quote_name
from agent.bridges.events import AliasKind, ChatAddress
from agent.bridges.exchange import Refused
from agent.bridges.parsing import WrongShape

_SERIALIZED = re.compile(r"(true|false)_([^_@]{1,70}(?:_[0-9]{1,4})?@[a-z.]{1,32})_([^_]{1,200})(?:_(.{1,100}))?")


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
    return MessageId(found[3], chat=found[2], participant=found[4], from_me=found[1] == "true")


def read_person(raw: str, *, alternate: str | None = None, name: str | None = None) -> ChatAddress | None:
    """Parse an address to the form `…@c.us`, together with the other address of the same person.

    None for stories, broadcast lists and channels.
    """
    address = read_address(raw, name=name)
    if address is None:
        return None
    if address.phone:
        address = replace(address, address=f"{address.phone.removeprefix('+')}@c.us")
    other = maybe_person(alternate)
    if other is None or address.is_group or other.is_group:
        return address
    if address.kind == AliasKind.LID:
        return replace(address, phone=other.phone)
    return replace(address, alternates=(other,)) if other.kind == AliasKind.LID else address


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
