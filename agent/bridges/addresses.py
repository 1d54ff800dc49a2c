"""WhatsApp addresses: whose they are, and which phone is behind them, if any."""

import re
from functools import lru_cache

import phonenumbers

from agent.bridges.events import Address, AliasKind
from agent.bridges.parsing import WrongShape

PERSON_DOMAINS = frozenset({"s.whatsapp.net", "c.us"})  # the same person under both
_JID = re.compile(r"([0-9A-Za-z.-]{1,64})(?:_[0-9]{1,4})?(?::[0-9]{1,5})?@([a-z.]{1,32})")
_DIGITS = re.compile(r"\+?([0-9]{5,20})")
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
_REACHABLE = re.compile(r"\+?([1-9][0-9]{7,14})(?:@(?:s\.whatsapp\.net|c\.us))?")


def read_address(raw: str, *, name: str | None = None) -> Address | None:
    """Who `raw` is, the device dropped; None for stories, broadcast lists and channels, which are nobody.

    Takes persons (`…@s.whatsapp.net`, `…@c.us`, digits alone), hidden persons (`…@lid`) and groups (`…@g.us`).
    Raises WrongShape when it is no address.
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
        case "lid":
            return Address(address, AliasKind.LID, name=name)
        case "g.us":
            return Address(address, AliasKind.JID, name=name, is_group=True)
        case "s.whatsapp.net" | "c.us":
            return _person(address, user, name)
    return Address(address, AliasKind.JID, name=name)


def _person(address: str, digits: str, name: str | None) -> Address:
    phone = phone_of_digits(digits)
    return Address(address, AliasKind.PHONE if phone else AliasKind.JID, phone=phone, name=name)


@lru_cache(maxsize=10_000)
def phone_of_digits(digits: str) -> str | None:
    """`+` and the digits, exactly as WhatsApp has them, when they begin with a country's code; else None.

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
    """E.164 of a phone that a person wrote, with its country's code; None when it is not one."""
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return None
    phone = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return phone if _E164.fullmatch(phone) else None


def reachable_digits(address: str) -> str | None:
    """The digits of a person's phone when `address` is one, whole and without a device; None for all else."""
    found = _REACHABLE.fullmatch(address)
    return found[1] if found else None
