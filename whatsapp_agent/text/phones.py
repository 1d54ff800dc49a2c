"""Parse phone numbers that people type, and list the spellings under which WhatsApp knows one number.

Two spellings belong together only where numbering plans leave no room for a second subscriber:
- Brazil put a 9 before mobile numbers (eight digits that begin with 6 to 9). A landline with a 9 before it is somebody
  else's mobile number.
- Mexico dropped the 1 that stood after 52 before mobile numbers; the ten digits behind it are unique.
- Argentina writes a 9 after 54 before mobile numbers. The ten digits are unique by plan, yet both forms are in use, for
  landlines too: enough to find a contact, not enough to give rights.
"""

import re
from collections.abc import Iterable
from contextlib import suppress

import phonenumbers
from django.utils.translation import gettext as _

from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.single_line import without_marks

# Area codes that Brazil has assigned. A number in no known area has no second spelling.
_BRAZILIAN_AREA = r"(1[1-9]|2[12478]|3[1-578]|4[1-9]|5[1345]|6[1-9]|7[134579]|8[1-9]|9[1-9])"
_BRAZIL_WITH_9 = re.compile(rf"{_BRAZILIAN_AREA}9([6-9][0-9]{{7}})")
_BRAZIL_WITHOUT_9 = re.compile(rf"{_BRAZILIAN_AREA}([6-9][0-9]{{7}})")
_BRAZIL_WITHOUT_AREA = re.compile(r"9([6-9][0-9]{7})")
_MEXICO = re.compile(r"\+52(1?)([2-9][0-9]{9})")
_ARGENTINA = re.compile(r"\+54(9?)((?:11|[23][0-9])[0-9]{8})")

_TYPED_PHONE = re.compile(r"(?:tel:)?[\s\d+().\-\u2010-\u2015\u202a-\u202e\u2066-\u2069/\u200e\u200f]+", re.IGNORECASE)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def _is_possible(number: phonenumbers.PhoneNumber) -> bool:
    """Return whether it has as many digits as its country's numbers; one without its area code has not."""
    reason = phonenumbers.is_possible_number_with_reason(number)
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE)


def parse_phone(text: str, *, field: str = "to") -> str:
    """Return E.164 of a phone number typed with its country code. Raises InvalidInput for `field`.

    Without a `+` only a valid number is taken: `11 98888-7777` lacks its country code, and would be one of another
    country. Numbers that WhatsApp knows under an older spelling are stored in that spelling.
    """
    text = without_marks(text).strip().removeprefix("tel:")
    has_plus = text.startswith(("+", "\uff0b"))
    try:
        number = phonenumbers.parse(text if has_plus else f"+{text}")
    except phonenumbers.NumberParseException as exc:
        raise InvalidInput(
            _("Invalid phone number. Write it with its country code, like +5511988887777."), field=field
        ) from exc
    if number.extension:
        raise InvalidInput(_("WhatsApp has no extensions: leave it out."), field=field)
    phone = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    spellings = [phonenumbers.parse(spelling) for spelling in phone_spellings(phone)]
    if not any(map(_is_possible, spellings)):
        raise InvalidInput(_("This phone number has too many or too few digits for its country."), field=field)
    if not has_plus and (
        not text[:1].isdecimal() or text.startswith("0") or not any(map(phonenumbers.is_valid_number, spellings))
    ):
        raise InvalidInput(
            _("Is the country code missing? Write the phone number with it, like +5511988887777."), field=field
        )
    return phone


def phone_spellings(phone: str) -> list[str]:
    """Return an E.164 phone and the other spelling of the same subscriber's number, if it has one."""
    return list(dict.fromkeys([*owner_spellings(phone), *_argentine_spellings(phone)]))


def owner_spellings(phone: str) -> list[str]:
    """Return the spellings of an E.164 phone that cannot be anybody else's number: what rights are bound to."""
    if phone.startswith("+55") and (other := _other_brazilian(phone[3:])):
        return [phone, f"+55{other}"]
    if found := _MEXICO.fullmatch(phone):
        return [phone, f"+52{'' if found[1] else '1'}{found[2]}"]
    return [phone]


def _other_brazilian(national: str) -> str | None:
    """The same mobile number with or without its ninth digit; None for any other number."""
    if found := _BRAZIL_WITH_9.fullmatch(national):
        return f"{found[1]}{found[2]}"
    found = _BRAZIL_WITHOUT_9.fullmatch(national)
    return f"{found[1]}9{found[2]}" if found else None


def _argentine_spellings(phone: str) -> list[str]:
    found = _ARGENTINA.fullmatch(phone)
    return [f"+54{'' if found[1] else '9'}{found[2]}"] if found else []


def canonical_phone(phone: str) -> str:
    """Return one spelling that all spellings of a phone share."""
    return min(phone_spellings(phone))


def is_typed_phone(text: str, *, min_digits: int = 1) -> bool:
    """Return whether a text consists of what phone numbers are written with."""
    return _TYPED_PHONE.fullmatch(text) is not None and len(_digits(text)) >= min_digits


def search_digits(text: str) -> list[str]:
    """Return the runs of digits of which a phone has to contain one to be what `text` means: a whole number or a part
    of one, with or without country code, trunk zeros and Brazil's ninth digit. Empty when `text` is no phone number.
    """
    if not is_typed_phone(text):
        return []
    digits = _digits(text)
    typed = [digits, digits.lstrip("0")]
    if _E164.fullmatch(f"+{typed[-1]}") and (text.strip().startswith("+") or digits.startswith("00")):
        with suppress(phonenumbers.NumberParseException):  # +55 (0) 11: without what is dialled only within the country
            number = phonenumbers.parse(f"+{typed[-1]}")
            typed.append(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:])
    return list(dict.fromkeys(spelling for each in typed for spelling in _search_spellings(each) if spelling))


def _search_spellings(digits: str) -> Iterable[str]:
    yield from (spelling[1:] for spelling in phone_spellings(f"+{digits}"))
    if other := _other_brazilian(digits):
        yield other
    if found := _BRAZIL_WITHOUT_AREA.fullmatch(digits):
        yield found[1]


def _digits(text: str) -> str:
    return "".join(str(int(sign)) for sign in text if sign.isdecimal())
