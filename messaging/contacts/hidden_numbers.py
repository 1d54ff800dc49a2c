"""Ask the bridge for the phones of people who are known by a hidden number (LID) alone."""

from contextlib import suppress

import structlog
from django.db import transaction
from django.utils import timezone

from agent.bridges import ADAPTERS
from agent.bridges.events import AliasKind, ChatAddress
from agent.bridges.exchange import BridgeError
from messaging.contacts.locks import ContactGone, lock_contacts
from messaging.contacts.lookup import find_contact_by_phone, lock_phones, resolve_contact
from messaging.models import Contact
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_AT_ONCE = 20
KINDS = [kind for kind, adapter in ADAPTERS.items() if adapter.resolves_lids]


@periodic(every_s=60, may_block=True)
def look_up_phones() -> int:
    """Ask for the phones of up to MAX_AT_ONCE contacts, of each once; return how many were found.

    A phone that another contact has makes the two one person, as when a message names both addresses.
    """
    hidden = Contact.objects.filter(phone="", is_group=False, phone_looked_up_at=None, forget_requested_at=None)
    asked = hidden.filter(
        aliases__kind=AliasKind.LID,
        session__bridge__kind__in=KINDS,
        session__status=WhatsAppSession.Status.CONNECTED,
        session__ended_at=None,
    )
    found, failing = 0, set()
    for contact in list(asked.select_related("session__bridge").order_by("pk").distinct()[:MAX_AT_ONCE]):
        if contact.session.bridge_id in failing or not hidden.filter(pk=contact.pk).update(
            phone_looked_up_at=timezone.now()
        ):
            continue  # another process asks
        try:
            found += _look_up(contact)
        except BridgeError as exc:
            failing.add(contact.session.bridge_id)
            Contact.objects.filter(pk=contact.pk).update(phone_looked_up_at=None)
            log.info("phone_not_looked_up", contact=str(contact.pk), code=exc.code)
    return found


def _look_up(contact: Contact) -> bool:
    """Return whether the bridge knows the contact's phone. Raises BridgeError."""
    session = contact.session
    for lid in list(contact.aliases.filter(kind=AliasKind.LID).values_list("value", flat=True)):
        postgres.release()
        phone = call_bridge(session.bridge, adapter_for(session.bridge).phone_of_lid(session=session.name, lid=lid))
        if phone is not None:
            with suppress(ContactGone):  # it is being merged
                return _store_phone(contact, lid=lid, phone=phone)
    return False


@transaction.atomic
def _store_phone(contact: Contact, *, lid: str, phone: str) -> bool:
    """Return whether the contact is still there to have the phone. Raises ContactGone.

    Who was forgotten while the bridge was asked is not created again.
    """
    address = ChatAddress(lid, AliasKind.LID, phone=phone)
    lock_phones(session_id=contact.session_id, address=address)  # which comes before contacts
    other = find_contact_by_phone(session=contact.session, phone=phone)  # which may be merged: both are locked at once
    locked = lock_contacts(contact.pk, other.pk if other else contact.pk).get(contact.pk)
    if locked is None or locked.forget_requested_at is not None:
        return False
    resolve_contact(session=contact.session, address=address)
    return True
