"""What the admin pages of conversations have in common: links, times, excerpts and the search by contact."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy

from accounts.admin_pages import is_administrator
from messaging.models import ContactAlias, Message
from messaging.search.find import matching_conversations
from messaging.search.people import contact_matches
from sessions_app.models import WhatsAppSession
from whatsapp_agent.text.sanitize import storable

EXCERPT_LENGTH = 80


def link_to(row: Any, label: Any = None) -> str:
    """Return a link to the admin page of a row."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, label or row)


def link_to_inbox(conversation: Any, label: Any) -> str:
    """Return a link to where a conversation is read and answered."""
    return format_html(
        '<a class="text-link" href="{}">{}</a>', reverse("inbox-conversation", args=[conversation.pk]), label
    )


def format_time(at: datetime | None) -> str:
    """Return a time in TIME_ZONE for a list: to the second, without a line break."""
    if at is None:
        return "-"
    return format_html('<span class="whitespace-nowrap">{}</span>', f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}")


def list_link(name: str, label: str, **lookups: Any) -> str:
    """Return a link to the list page `name` (`app_model`), filtered by these lookups."""
    url = reverse(f"admin:{name}_changelist")
    return format_html('<a class="text-link" href="{}?{}">{}</a>', url, urlencode(lookups), label)


def searchable_sessions(request: HttpRequest) -> list[UUID] | None:
    """Return the ids of the sessions a search may look in; None means all."""
    if is_administrator(request):
        return None
    return list(WhatsAppSession.objects.visible_to(request.user).values_list("pk", flat=True))


class ContactSearchAdmin:
    """Search a list by contact, in two queries: joining a million rows to their contacts takes seconds."""

    search_fields = ["conversation"]  # shows the search box; get_search_results decides
    search_help_text = gettext_lazy("A contact's name or phone.")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        text = storable(search_term).strip()
        if not text:
            return queryset, False
        return queryset.filter(
            conversation__in=matching_conversations(text, sessions=searchable_sessions(request))
        ), False


class ContactMatchAdmin:
    """Search rows that are contacts, or belong to one, by name, phone and alias, and by `text_fields` of their own."""

    contact_path = ""
    text_fields: Sequence[str] = ()
    search_fields = ["pk"]  # shows the search box; get_search_results decides
    search_help_text = gettext_lazy("A contact's name, phone or WhatsApp id.")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:  # noqa: ARG002
        text = storable(search_term).strip()
        if not text:
            return queryset, False
        aliases = ContactAlias.objects.filter(value__icontains=text).values("contact")
        matches = contact_matches(text, path=self.contact_path) | Q(**{f"{self.contact_path}pk__in": aliases})
        for field in self.text_fields:
            matches |= Q(**{f"{field}__icontains": text})
        return queryset.filter(matches), False


def paragraphs(text: str) -> str:
    """Return a text as HTML, a paragraph a line."""
    return format_html_join("", "<p>{}</p>", ((line,) for line in text.splitlines()))


def message_links(rows: QuerySet[Message]) -> str:
    """Return links to the first 100 messages, each with its author and the beginning of its text."""
    shown = rows.defer("text").annotate(excerpt=Left("text", EXCERPT_LENGTH))[:100]
    return format_html_join("", "<p>{}: {}</p>", ((link_to(m, m.author), m.excerpt or m.kind) for m in shown)) or "-"
