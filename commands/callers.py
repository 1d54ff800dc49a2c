"""Find out who runs a command: from the sender of a message or the login, never from what a text claims."""

from functools import reduce
from operator import or_

from django.db.models import Q, QuerySet

from accounts.models import Role, User
from agent.bridges.events import AliasKind
from commands.registry import By, Caller
from messaging.models import Contact, ContactAlias, Conversation
from messaging.search.people import contact_matches
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import InvalidInput, NotFound
from whatsapp_agent.text.phones import is_typed_phone, owner_spellings, parse_phone, phone_spellings, search_digits

MAX_NAMED_CONTACTS = 5
MIN_PHONE_DIGITS = 6
MIN_LOCAL_DIGITS = 8  # with an area code, or nearly so


def caller_of_message(*, session: WhatsAppSession, contact: Contact) -> Caller:
    """Return the sender as a caller: the owner if they write from `owner_phone` or from the number itself."""
    return Caller(by=By.OWNER if is_owner(session=session, contact=contact) else By.CONTACT, contact=contact)


def is_owner(*, session: WhatsAppSession, contact: Contact) -> bool:
    owners = {
        spelling for phone in (session.owner_phone, session.phone) if phone for spelling in owner_spellings(phone)
    }
    if not owners or contact.is_group or contact.session_id != session.pk:
        return False
    return (
        contact.phone in owners
        or ContactAlias.objects.filter(contact=contact, kind=AliasKind.PHONE, value__in=owners).exists()
    )


def caller_of_user(user: User, *, as_administrator: bool = True) -> Caller:
    """Return a user as a caller. `as_administrator` False: as staff, whatever the role."""
    return Caller(by=By.ADMIN if user.role == Role.ADMIN and as_administrator else By.STAFF, user=user)


def find_conversation(*, session: WhatsAppSession, who: str) -> Conversation:
    """Return the conversation with the contact of this phone or name. Raises NotFound or InvalidInput."""
    rows = Conversation.objects.filter(session=session).select_related("contact")
    if is_typed_phone(who, min_digits=MIN_PHONE_DIGITS):
        found = _by_phone(rows, who)
    else:
        found = list(rows.filter(contact__name__folded__exact=who)[: MAX_NAMED_CONTACTS + 1])
        found = found or list(
            rows.filter(contact_matches(who, path="contact__")).order_by("contact__name")[: MAX_NAMED_CONTACTS + 1]
        )
    if not found:
        raise NotFound(f"There is no contact {who[:60]} here.")
    if len(found) > 1:
        names = ", ".join(
            f"{row.contact} ({row.contact.phone or 'hidden number'})" for row in found[:MAX_NAMED_CONTACTS]
        )
        raise InvalidInput(f"Several contacts match: {names}. Write the phone number.")
    return found[0]


def _by_phone(rows: QuerySet[Conversation], who: str) -> list[Conversation]:
    try:
        phone = parse_phone(who)
    except InvalidInput:  # without its country code, it may still mean one contact alone
        ends = [Q(contact__phone__endswith=digits) for digits in search_digits(who) if len(digits) >= MIN_LOCAL_DIGITS]
        if not ends:
            raise
        return list(rows.filter(reduce(or_, ends))[: MAX_NAMED_CONTACTS + 1])
    spellings = phone_spellings(phone)
    by_alias = Q(contact__aliases__kind=AliasKind.PHONE, contact__aliases__value__in=spellings)
    found = list(rows.filter(Q(contact__phone__in=spellings) | by_alias).distinct()[:2])
    return [row for row in found if row.contact.phone == phone] or found
