"""Parse WhatsApp addresses, and the phone numbers in them."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import phonenumbers

from agent.bridges.events import AliasKind, ChatAddress
from agent.bridges.parsing import WrongShape
from whatsapp_agent.text.phones import owner_spellings, phone_spellings
from whatsapp_agent.text.single_line import without_marks

_JID = re.compile(r"([0-9A-Za-z.-]{1,64})(?:_[0-9]{1,4})?(?::[0-9]{1,5})?@([a-z.]{1,32})")
_DIGITS = re.compile(r"\+?([0-9]{5,20})")
_MENTION = re.compile(r"(?<!\w)@([0-9]{5,20})(?![0-9@])")
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
_REACHABLE = re.compile(r"\+?([1-9][0-9]{7,14})(?:@(?:s\.whatsapp\.net|c\.us))?")

MAX_CALLED = 50  # of one message


def read_address(raw: str, *, name: str | None = None) -> ChatAddress | None:
    """Parse an address and drop its device suffix; return None for stories, broadcast lists and channels.

    Takes persons (`…@s.whatsapp.net`, `…@c.us`, digits alone), hidden persons (`…@lid`), both also as devices that
    Meta hosts for a business (`…:99@hosted`, `…:99@hosted.lid`), and groups (`…@g.us`).
    Raises WrongShape if it is not an address.
    """
    if bare := _DIGITS.fullmatch(raw):
        return _person(bare[1], bare[1], name)
    jid = _JID.fullmatch(raw)
    if jid is None:
        raise WrongShape("an address is not one")
    user, domain = jid.groups()
    address = f"{user}@{domain}"
    match domain:
        case "broadcast" | "newsletter":
            return None
        case "lid" | "hosted.lid":
            return ChatAddress(f"{user}@lid", AliasKind.LID, name=name)
        case "g.us":
            return ChatAddress(address, AliasKind.JID, name=name, is_group=True)
        case "s.whatsapp.net" | "c.us":
            return _person(address, user, name)
        case "hosted":
            return _person(f"{user}@s.whatsapp.net", user, name)
    return ChatAddress(address, AliasKind.JID, name=name)


def with_alternate(
    address: ChatAddress, other: ChatAddress | None, *, own_phone: str | None, own_lid: str | None
) -> ChatAddress:
    """Return a person's address with the phone, or the hidden address, that the bridge names beside it."""
    if other is None or address.is_group or other.is_group:
        return address
    if address.kind == AliasKind.LID:
        joined = replace(address, phone=other.phone) if other.phone else address
    else:
        joined = replace(address, alternates=(other,)) if other.kind == AliasKind.LID else address
    return separate_from_us(joined, own_phone=own_phone, own_lid=own_lid)


def separate_from_us(address: ChatAddress, *, own_phone: str | None, own_lid: str | None) -> ChatAddress:
    """Return the address without what ties somebody else's hidden address to our phone, or ours to another phone.

    Bridges name our own number beside a customer's hidden address at times; the customer would get the owner's rights.
    """
    hidden = [each.address for each in (address, *address.alternates) if each.kind == AliasKind.LID]
    if not (own_phone and address.phone and hidden):
        return address
    has_our_phone = address.phone in owner_spellings(own_phone)
    if all((each == own_lid) == has_our_phone for each in hidden):
        return address
    if address.kind == AliasKind.LID:
        return replace(address, phone=None)
    return replace(address, alternates=tuple(each for each in address.alternates if each.kind != AliasKind.LID))


def is_own(address: ChatAddress, *, phone: str | None, lid: str | None) -> bool:
    """Return whether this is the address of our own number, by phone or hidden."""
    if lid and address.kind == AliasKind.LID:
        return address.address == lid
    return bool(phone and address.phone) and address.phone in owner_spellings(phone or "")


def called_persons(jids: Iterable[Any], *, text: str = "") -> tuple[str, ...]:
    """Return who is mentioned: phones where they are known, else addresses. What is no address is left out.

    A text names whom it mentions by the digits of their address, phone or LID alike: `@5511999990000`.
    """
    named = [jid for jid in jids if isinstance(jid, str)][:MAX_CALLED]
    found: list[str] = []
    for jid in named:
        with suppress(WrongShape):
            if (address := read_address(jid)) is not None and not address.is_group:
                found.append(address.phone or address.address)
    for digits in _MENTION.findall(text)[:MAX_CALLED]:
        found += [f"+{digits}", f"{digits}@lid"]
    return tuple(dict.fromkeys(found))


def _person(address: str, digits: str, name: str | None) -> ChatAddress:
    phone = phone_of_digits(digits)
    return ChatAddress(address, AliasKind.PHONE if phone else AliasKind.JID, phone=phone, name=name)


@lru_cache(maxsize=10_000)
def phone_of_digits(digits: str) -> str | None:
    """Return `+` and the digits, as WhatsApp has them, if they begin with a country code; else None.

    Lenient on purpose: WhatsApp knows numbers that numbering plans no longer do (with or without a ninth digit).
    """
    phone = f"+{digits}"
    return phone if _E164.fullmatch(phone) and _has_country(phone) else None


def _has_country(phone: str) -> bool:
    try:
        phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return False
    return True


def phone_as_written(text: str) -> str | None:
    """Parse a phone number with its country code, as a person wrote it, to E.164; None if it is not one.

    Digits without a `+` are taken where they are a valid number, in whichever spelling.
    """
    text = without_marks(text).strip()
    has_plus = not text.isdecimal()
    try:
        number = phonenumbers.parse(text if has_plus else f"+{text}")
    except phonenumbers.NumberParseException:
        return None
    phone = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if not _E164.fullmatch(phone):
        return None
    is_valid = has_plus or any(
        phonenumbers.is_valid_number(phonenumbers.parse(each)) for each in phone_spellings(phone)
    )
    return phone if is_valid else None


def reachable_digits(address: str) -> str | None:
    """Return the digits of a person's phone if `address` is one, without a device suffix; else None."""
    found = _REACHABLE.fullmatch(address)
    return found[1] if found else None
