"""WAHA's ids of messages, and its form of addresses: `…@c.us`."""

import re
from dataclasses import replace
from typing import NamedTuple

from agent.bridges.addresses import read_address
from agent.bridges.events import AliasKind, ChatAddress
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
