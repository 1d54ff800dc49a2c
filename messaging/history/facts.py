"""What is known about a contact: small sentences with their source, corrected and forgotten on request."""

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from messaging.models import Contact, Fact, Message
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound

MAX_FACTS = 200  # of one contact
MAX_FACT_CHARS = 300


def facts_about(contact: Contact) -> list[Fact]:
    """What is known now, oldest first."""
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
    """Keep a fact; the same words are kept once. Raises InvalidInput, NotFound or Conflict.

    `corrects` is then known no more. `message` is where it was said and must be of the contact's own conversation.
    """
    text = " ".join(text.split())
    if not text:
        raise InvalidInput("There is nothing to remember.")
    if len(text) > MAX_FACT_CHARS:
        raise InvalidInput(f"A fact has at most {MAX_FACT_CHARS} characters.")
    Contact.objects.select_for_update().get(pk=contact.pk)  # so that two who remember at once count rightly
    if message is not None and message.conversation.contact_id != contact.pk:
        raise NotFound("There is no such message in this conversation.")
    if corrects is not None:
        _known(contact=contact, fact_id=corrects.pk).update(forgotten_at=timezone.now())
    known = facts_about(contact)
    same = next((fact for fact in known if fact.text.casefold() == text.casefold()), None)
    if same is not None:
        return same
    if len(known) >= MAX_FACTS:
        raise Conflict(f"{MAX_FACTS} facts are known already; forget some first.")
    return Fact.objects.create(
        contact=contact, text=text, proposed_by=proposed_by, message=message, noted_by=by, corrects=corrects
    )


def forget(*, contact: Contact, fact_id: UUID) -> None:
    """Raises NotFound for what is not known about this very contact."""
    _known(contact=contact, fact_id=fact_id).update(forgotten_at=timezone.now())


def forget_all(*, contact: Contact) -> int:
    """Returns how many there were."""
    return Fact.objects.filter(contact=contact, forgotten_at=None).update(forgotten_at=timezone.now())


def _known(*, contact: Contact, fact_id: UUID) -> QuerySet[Fact]:
    rows = Fact.objects.filter(pk=fact_id, contact=contact, forgotten_at=None)
    if not rows.exists():
        raise NotFound("There is no such fact about this contact.")
    return rows
