"""Find the contacts that an operator means."""

from uuid import UUID

from messaging.contacts.lookup import find_contact_by_phone
from messaging.models import Contact
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import NotFound
from whatsapp_agent.text.phones import parse_phone

UNKNOWN = "Contact not found. Give the id that the admin and GET /api/v1/contacts/ show, or a phone number."


def find_contacts(text: str, *, session: WhatsAppSession | None = None) -> list[Contact]:
    """Return the contact with this id, or those with this phone: one for each session that knows it.

    Raises NotFound, or InvalidInput for what is neither.
    """
    try:
        contact_id = UUID(text.strip())
    except ValueError:
        return _by_phone(parse_phone(text, field="contact"), session=session)
    rows = Contact.objects.select_related("session").filter(pk=contact_id)
    found = list(rows.filter(session=session) if session else rows)
    if not found:
        raise NotFound(UNKNOWN)
    return found


def _by_phone(phone: str, *, session: WhatsAppSession | None) -> list[Contact]:
    sessions = [session] if session else list(WhatsAppSession.objects.order_by("created_at"))
    found = [contact for each in sessions if (contact := find_contact_by_phone(session=each, phone=phone))]
    if not found:
        raise NotFound(UNKNOWN)
    return found
