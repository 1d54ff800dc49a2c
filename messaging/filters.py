"""What contacts, conversations, messages and turns may be filtered by."""

from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q, QuerySet
from django_filters import UUIDFilter

from messaging.models import (
    STATUSES,
    ContactMerge,
    Conversation,
    Knowledge,
    Message,
    Turn,
    WebhookDelivery,
)
from messaging.receipts import without_receipt
from messaging.search.people import contact_matches, filter_by_phone
from messaging.search.ranking import filter_by_words
from whatsapp_agent.api.filters import AnyOf, Before, Exactly, FilterSet, Flag, Search, Since, UserFilter


class Assignee(UserFilter):
    """Conversations of a user: `me`, `none` or an id."""

    def filter_for(self, conversations: QuerySet, value: Any, user: Any) -> QuerySet:
        if value == "none":
            return conversations.filter(assigned_to=None)
        return conversations.filter(assigned_to=user.pk if value == "me" else value)


class ContactFilters(FilterSet):
    session = UUIDFilter(field_name="session_id")
    phone = Exactly(method="filter_phone", label="With its country code, in any spelling: `+5511988887777`.")
    is_group = Flag()
    is_blocked = Flag()
    is_allowed = Flag()
    search = Search(method="filter_search", label="In name and phone.")

    def filter_search(self, contacts: QuerySet, name: str, words: str) -> QuerySet:  # noqa: ARG002
        return contacts.filter(contact_matches(words))

    def filter_phone(self, contacts: QuerySet, name: str, phone: str) -> QuerySet:  # noqa: ARG002
        return filter_by_phone(contacts, phone)


class ContactMergeFilters(FilterSet):
    session = UUIDFilter(field_name="session_id")
    contact = UUIDFilter(field_name="contact_id", label="The contact that is kept.")
    status = AnyOf(choices=ContactMerge.Status.choices)


class TemplateFilters(FilterSet):
    session = UUIDFilter(field_name="session_id")


class ConversationFilters(FilterSet):
    session = UUIDFilter(field_name="session_id")
    contact = UUIDFilter(field_name="contact_id")
    phone = Exactly(method="filter_phone", label="Of the contact, with its country code, in any spelling.")
    control = AnyOf(choices=Conversation.Control.choices)
    controlled_by = UUIDFilter(field_name="controlled_by_id")
    unread = Flag(method="filter_unread", label="Whether something in it has not been read.")
    needs_attention = Flag()
    attention_reason = AnyOf(choices=Conversation.Attention.choices, label="Why staff is asked to look.")
    assignee = Assignee(label="`me`, `none`, or the id of the user it is assigned to.")
    label = Exactly(method="filter_label", label="With this label.")
    status = AnyOf(
        choices=[(name, name) for name in STATUSES],
        method="filter_status",
        label="Whether it waits for later (`snoozed`), is `done`, or neither (`open`).",
    )
    is_group = Flag(field_name="contact__is_group")
    latest_since = Since("latest_at", label="The last message was sent at this time or later.")
    latest_before = Before("latest_at", label="The last message was sent before this time.")
    search = Search(method="filter_search", label="In name and phone of the contact.")

    def filter_label(self, conversations: QuerySet, name: str, label: str) -> QuerySet:  # noqa: ARG002
        return conversations.filter(~Q(labels=[]), labels__contains=[label])  # as the index has it

    def filter_status(self, conversations: QuerySet, name: str, statuses: list[str]) -> QuerySet:  # noqa: ARG002
        return conversations.filter(reduce(or_, (STATUSES[status] for status in statuses)))

    def filter_unread(self, conversations: QuerySet, name: str, is_unread: bool) -> QuerySet:  # noqa: ARG002
        return conversations.filter(unread_count__gt=0) if is_unread else conversations.filter(unread_count=0)

    def filter_search(self, conversations: QuerySet, name: str, words: str) -> QuerySet:  # noqa: ARG002
        return conversations.filter(contact_matches(words, path="contact__"))

    def filter_phone(self, conversations: QuerySet, name: str, phone: str) -> QuerySet:  # noqa: ARG002
        return filter_by_phone(conversations, phone, path="contact__")


class LibraryFilters(FilterSet):
    agent_profile = UUIDFilter(field_name="agent_profile_id")


class KnowledgeFilters(FilterSet):
    agent_profile = UUIDFilter(field_name="agent_profile_id")
    kind = AnyOf(choices=Knowledge.Kind.choices)
    is_enabled = Flag()


class MessageFilters(FilterSet):
    session = UUIDFilter(field_name="session_id")
    conversation = UUIDFilter(field_name="conversation_id")
    contact = UUIDFilter(field_name="conversation__contact_id", label="The contact of the conversation.")
    turn = UUIDFilter(field_name="turn_id")
    direction = AnyOf(choices=Message.Direction.choices)
    author = AnyOf(choices=Message.Author.choices)
    kind = AnyOf(choices=Message.Kind.choices)
    status = AnyOf(choices=Message.Status.choices)
    without_receipt = Flag(
        method="filter_receipt",
        label="Whether it was sent over five minutes ago and not reported as delivered, by a bridge that reports it.",
    )
    since = Since("said_at", label="Arrived or queued at this time or later; imported history: written.")
    before = Before("said_at", label="Arrived or queued before this time; imported history: written.")
    search = Search(method="filter_search", label="With all of these words, in any of their forms.")

    def filter_receipt(self, messages: QuerySet, name: str, is_missing: bool) -> QuerySet:  # noqa: ARG002
        return messages.filter(without_receipt()) if is_missing else messages.exclude(without_receipt())

    def filter_search(self, messages: QuerySet, name: str, words: str) -> QuerySet:  # noqa: ARG002
        return filter_by_words(messages, words)


class TurnFilters(FilterSet):
    session = UUIDFilter(field_name="conversation__session_id")
    conversation = UUIDFilter(field_name="conversation_id")
    contact = UUIDFilter(field_name="conversation__contact_id")
    agent_profile = UUIDFilter(field_name="agent_profile_id")
    outcome = AnyOf(choices=Turn.Outcome.choices)
    since = Since("created_at", label="Ended at this time or later.")
    before = Before("created_at", label="Ended before this time.")


class DeliveryFilters(FilterSet):  # names no model: the view it narrows a list of shows endpoints
    type = Exactly(label="The type of the event.")
    status = AnyOf(choices=WebhookDelivery.Status.choices)
    since = Since("created_at", label="Queued at this time or later.")
    before = Before("created_at", label="Queued before this time.")
