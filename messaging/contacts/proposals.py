"""Merges that a person decides: the two contacts have two phone numbers."""

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy

from accounts.models import User
from messaging.contacts.locks import ContactGone
from messaging.contacts.merging import merge_contacts, write_merge_event
from messaging.events.types import CONTACT_MERGE_PROPOSED
from messaging.models import Contact, ContactMerge, Conversation
from whatsapp_agent.errors import Conflict
from whatsapp_agent.postgres.advisory import lock
from whatsapp_agent.text.phones import canonical_phone

log = structlog.get_logger(__name__)

Status, Reason = ContactMerge.Status, ContactMerge.Reason


class AlreadyDecided(Conflict):
    code, detail = "already_decided", gettext_lazy("This was decided already.")


def join(*, keep: Contact, other: Contact) -> None:
    """Merge two contacts whose addresses the bridge names together, or propose it if they have two phone numbers.

    Does nothing if a person has said that they are two people.
    """
    if ContactMerge.objects.of_pair(keep.pk, other.pk).filter(status__in=[Status.UNDONE, Status.REFUSED]).exists():
        return
    if keep.phone and other.phone and canonical_phone(keep.phone) != canonical_phone(other.phone):
        propose_merge(keep=keep, lose=other, reason=Reason.PHONES)
    else:
        merge_contacts(keep=keep, lose=other, reason=Reason.ADDRESSES)


@transaction.atomic
def propose_merge(*, keep: Contact, lose: Contact, reason: str) -> ContactMerge | None:
    """Propose to merge two contacts; return the proposal, or None if this pair was proposed or decided before."""
    lock(":".join(["merge", *sorted([str(keep.pk), str(lose.pk)])]))
    if ContactMerge.objects.of_pair(keep.pk, lose.pk).exists():
        return None
    proposal = ContactMerge.objects.create(
        session_id=keep.session_id,
        contact=keep,
        merged_id=lose.pk,
        merged_name=lose.name,
        merged_phone=lose.phone,
        status=Status.PROPOSED,
        reason=reason,
    )
    write_merge_event(CONTACT_MERGE_PROPOSED, proposal, conversation=Conversation.objects.filter(contact=keep).first())
    log.info("contact_merge_proposed", contact=str(keep.pk), other=str(lose.pk), reason=reason)
    return proposal


@transaction.atomic
def accept_merge(*, proposal: ContactMerge, by: User | None = None) -> ContactMerge:
    """Merge two contacts whose merge was proposed. Raises AlreadyDecided or ContactGone."""
    if ContactMerge.objects.get(pk=proposal.pk).status != Status.PROPOSED:
        raise AlreadyDecided()
    lose = Contact.objects.filter(pk=proposal.merged_id).first()
    merge = merge_contacts(keep=proposal.contact, lose=lose, by=by, reason=proposal.reason) if lose else None
    if merge is None:
        raise ContactGone()
    return merge


@transaction.atomic
def refuse_merge(*, proposal: ContactMerge, by: User | None = None) -> ContactMerge:
    """Say that two contacts are two people; they are not proposed again. Raises AlreadyDecided."""
    proposals = ContactMerge.objects.filter(pk=proposal.pk, status=Status.PROPOSED)
    if not proposals.update(status=Status.REFUSED, decided_by=by, decided_at=timezone.now()):
        raise AlreadyDecided()
    proposal.refresh_from_db()
    return proposal
