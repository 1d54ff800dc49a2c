"""Find contacts by name or phone: what staff, API clients and the owner of a number type to look for somebody."""

from django.db.models import CharField, Q, QuerySet, Transform

from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.phones import is_typed_phone, parse_phone, phone_spellings, search_digits

MAX_WORDS = 10

# Combining marks: accents, and the vowel points of Hebrew and Arabic.
_MARKS = (
    r"[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)


@CharField.register_lookup
class Folded(Transform):
    """A text without case, accents and compatibility forms, as `messaging.search.words.strip_accents` has words.

    `name__folded__contains="joao"` folds both sides in the database.
    """

    lookup_name = "folded"
    bilateral = True
    template = (
        "replace(replace(lower(regexp_replace(normalize(replace(%(expressions)s, 'ẞ', 'ss'), NFKD),"
        f" '{_MARKS}', '', 'g')), 'ß', 'ss'), 'ς', 'σ')"
    )


def contact_matches(text: str, *, path: str = "", min_digits: int = 1) -> Q:
    """Return what a contact has to be for `text` to mean it: every word in the name, or the digits in the phone.

    `path` leads from the queried rows to the contact (`contact__`). Fewer than `min_digits` digits are no phone.
    """
    words = text.split()[:MAX_WORDS]
    matches = Q(**{f"{path}pk__in": []}) if not words else Q()
    for word in words:
        matches &= Q(**{f"{path}name__folded__contains": word}) | Q(**{f"{path}bridge_name__folded__contains": word})
    if is_typed_phone(text, min_digits=min_digits):
        is_whole = text.strip().startswith("+")  # from its beginning; what lacks it may be any part
        for digits in search_digits(text):
            part = {f"{path}phone__startswith": f"+{digits}"} if is_whole else {f"{path}phone__contains": digits}
            matches |= Q(**part)
    return matches


def filter_by_phone(rows: QuerySet, text: str, *, path: str = "") -> QuerySet:
    """Return the rows of the contact with this phone, in any of its spellings. Raises InvalidInput for `phone`."""
    try:
        phone = parse_phone(text, field="phone")
    except InvalidInput:
        phone = "+" + text.strip().removeprefix("+")  # numbers that WhatsApp knows, and numbering plans do not
        if not rows.filter(**{f"{path}phone": phone}).exists():
            raise
    return rows.filter(**{f"{path}phone__in": phone_spellings(phone)})
