"""Lock contacts and conversations in the order that every writer follows: contacts, then conversations, by their ids.

The reverse order deadlocks. An inbound message locks its conversation alone: the foreign keys that are checked when it
is committed share the row of a contact whose key does not change (`FOR NO KEY UPDATE`).
"""

from uuid import UUID

from django.db.models import Q
from django.utils.translation import gettext_lazy

from messaging.models import Contact, Conversation, Message
from whatsapp_agent.errors import Conflict


class ContactGone(Conflict):
    code = "contact_gone"
    detail = gettext_lazy("One of the contacts was merged or deleted, or is being deleted. Look them up again.")


def lock_contacts(*ids: UUID) -> dict[UUID, Contact]:
    """Lock these contacts before their conversations, and return those that exist. New rows may still refer to them."""
    return {row.pk: row for row in Contact.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")}


def close_contacts(*ids: UUID) -> None:
    """Wait until no other transaction is adding a row that refers to these locked contacts, and let none begin.

    Call it with their conversations locked: who adds a message has locked its conversation first.
    """
    list(Contact.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))


def lock_conversations(*contact_ids: UUID) -> dict[UUID, Conversation]:
    """Lock every conversation that these contacts have written in, groups too; return their own, by contact."""
    written_in = Message.objects.filter(sender__in=contact_ids).values("conversation")
    rows = Conversation.objects.select_for_update().filter(Q(contact__in=contact_ids) | Q(pk__in=written_in))
    return {row.contact_id: row for row in rows.order_by("pk") if row.contact_id in contact_ids}
