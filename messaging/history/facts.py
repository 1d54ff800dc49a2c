"""Facts about a contact: short sentences with their source, corrected and forgotten on request."""

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from messaging.models import Contact, Fact, Message
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.postgres.advisory import lock

MAX_FACTS = 200  # of one contact
MAX_FACT_CHARS = 300


def facts_about(contact: Contact) -> list[Fact]:
    """Return the facts that are not forgotten, oldest first."""
    return list(Fact.objects.filter(contact=contact, forgotten_at=None).order_by("created_at", "id")[:MAX_FACTS])


@transaction.atomic
def remember(
    *,
    contact: Contact,
    text: str,
    proposed_by: Fact.Source,
    message: Message | None = None,
    by: User | None = None,
    corrects: Fact | None = None,
) -> Fact:
    """Store a fact; the same text is stored once. Raises InvalidInput, NotFound or Conflict.

    `corrects` is the fact that this one replaces. `message` is its source, in the contact's own conversation.
    """
    text = " ".join(text.split())
    if not text:
        raise InvalidInput(_("There is nothing to remember."))
    if len(text) > MAX_FACT_CHARS:
        raise InvalidInput(_("A fact has at most %(limit)s characters.") % {"limit": MAX_FACT_CHARS})
    lock(f"facts:{contact.pk}")  # concurrent calls must not exceed MAX_FACTS; a turn has its conversation locked by now
    if message is not None and message.conversation.contact_id != contact.pk:
        raise NotFound(_("Message not found in this conversation."))
    if corrects is not None:
        _facts_with_id(contact=contact, fact_id=corrects.pk).update(forgotten_at=timezone.now())
    known = facts_about(contact)
    same = next((fact for fact in known if fact.text.casefold() == text.casefold()), None)
    if same is not None:
        return same
    if len(known) >= MAX_FACTS:
        raise Conflict(_("%(limit)s facts are stored already; forget some first.") % {"limit": MAX_FACTS})
    return Fact.objects.create(
        contact=contact, text=text, proposed_by=proposed_by, message=message, noted_by=by, corrects=corrects
    )


def forget(*, contact: Contact, fact_id: UUID) -> None:
    """Forget a fact. Raises NotFound unless it is a fact about this contact."""
    _facts_with_id(contact=contact, fact_id=fact_id).update(forgotten_at=timezone.now())


def forget_all(*, contact: Contact) -> int:
    """Forget all facts; return how many there were."""
    return Fact.objects.filter(contact=contact, forgotten_at=None).update(forgotten_at=timezone.now())


def _facts_with_id(*, contact: Contact, fact_id: UUID) -> QuerySet[Fact]:
    rows = Fact.objects.filter(pk=fact_id, contact=contact, forgotten_at=None)
    if not rows.exists():
        raise NotFound(_("Fact not found for this contact."))
    return rows
