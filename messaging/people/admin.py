"""What the admin exports and forgets: a person, by the contact; one conversation. For administrators."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods
from unfold.decorators import display

from accounts.admin_pages import is_administrator
from messaging.maintenance.export import FORMATS
from messaging.models import Contact, Conversation, Message
from messaging.people.forgetting import request_forgetting
from messaging.people.views import contact_zip, conversation_zip
from whatsapp_agent.errors import AppError


class PersonPages:
    """The part of the contacts' admin by which people's data is exported and forgotten."""

    def get_urls(self: Any) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<uuid:object_id>/export/", view(require_GET(self.export_view)), name="contact-export"),
            path(
                "<uuid:object_id>/forget/",
                view(require_http_methods(["GET", "POST"])(self.forget_view)),
                name="contact-forget",
            ),
            *super().get_urls(),  # type: ignore[misc]
        ]

    def get_fields(self: Any, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_fields(request, obj)  # type: ignore[misc]
        return [*fields, "personal_data"] if is_administrator(request) else fields

    @display(description=gettext_lazy("personal data"))
    def personal_data(self, contact: Contact) -> str:
        if contact.forget_requested_at:
            return _("is being deleted")
        return format_html(
            '<a href="{}">{}</a> · <a href="{}">{}</a>',
            reverse("admin:contact-export", args=[contact.pk]),
            _("Export everything"),
            reverse("admin:contact-forget", args=[contact.pk]),
            _("Forget this person"),
        )

    def export_view(self: Any, request: HttpRequest, object_id: UUID) -> Any:
        contact = self._contact_of_administrator(request, object_id)
        self.log_change(request, contact, "Exported everything.")
        return contact_zip(contact)

    def forget_view(self: Any, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Ask, then forget: there is no undo."""
        contact = self._contact_of_administrator(request, object_id)
        if request.method == "POST":
            try:
                request_forgetting(contact=contact)
            except AppError as exc:
                self.message_user(request, str(exc), messages.ERROR)
            else:
                self.message_user(request, _("The person is being forgotten. A long history takes minutes."))
            return HttpResponseRedirect(reverse("admin:messaging_contact_changelist"))
        count = Message.objects.filter(conversation__contact=contact)[:10000].count()
        context = {
            **self.admin_site.each_context(request),
            "title": _("Forget this person"),
            "contact": contact,
            "count": f"{count:,}" if count < 10000 else _("10,000 or more"),
        }
        return render(request, "messaging/forget.html", context)

    def _contact_of_administrator(self: Any, request: HttpRequest, object_id: UUID) -> Contact:
        """Raises Http404 where the user sees no such contact, PermissionDenied for all but administrators."""
        contact: Contact = self.visible_or_404(request, object_id)
        if not is_administrator(request):
            raise PermissionDenied
        return contact


class ConversationExport:
    """The part of the conversations' admin by which one is exported, with its files."""

    def get_urls(self: Any) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_GET(self.export_view))
        return [
            path("<uuid:object_id>/export/<slug:format>/", view, name="conversation-export"),
            *super().get_urls(),  # type: ignore[misc]
        ]

    def get_fieldsets(self: Any, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        if is_administrator(request):
            return [*fieldsets, (gettext_lazy("Export"), {"fields": ["download"]})]
        return fieldsets

    def get_readonly_fields(self: Any, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), "download"]  # type: ignore[misc]

    @display(description=gettext_lazy("messages and files, as a .zip"))
    def download(self, conversation: Conversation) -> str:
        links = [
            (reverse("admin:conversation-export", args=[conversation.pk, format]), format.upper()) for format in FORMATS
        ]
        return format_html_join(" · ", '<a href="{}">{}</a>', links)

    def export_view(self: Any, request: HttpRequest, object_id: UUID, format: str) -> HttpResponseBase:
        """Raises Http404 where the user sees no such conversation, PermissionDenied for all but administrators."""
        conversation: Conversation = self.visible_or_404(request, object_id)
        if not is_administrator(request):
            raise PermissionDenied
        if format not in FORMATS:
            raise Http404
        self.log_change(request, conversation, f"Exported the conversation ({format}).")
        return conversation_zip(conversation, format=format)
