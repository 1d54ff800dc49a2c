"""Messages and their media."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin, asks_first, is_administrator
from messaging.admin.shared import EXCERPT_LENGTH, format_time, link_to, searchable_sessions
from messaging.models import Media, Message
from messaging.outbound import SENDABLE_AGAIN, send_again
from messaging.search.find import matching_messages
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.stored import translate_stored
from whatsapp_agent.text.truncate import truncate

STATUS_COLOURS = {
    Message.Status.RECEIVED: "warning",
    Message.Status.QUEUED: "info",
    Message.Status.SENDING: "info",
    Message.Status.SENT: "success",
    Message.Status.DELIVERED: "success",
    Message.Status.READ: "success",
    Message.Status.FAILED: "danger",
    Message.Status.UNCONFIRMED: "danger",
    Message.Status.CANCELLED: "warning",
}


TIMESTAMP_FIELDS = ["sending_at", "sent_at", "delivered_at", "read_at", "edited_at", "revoked_at"]


class MediaInline(ReadOnlyAdmin, TabularInline):
    model = Media
    fields = readonly_fields = ["mime_type", "filename", "size_bytes", "status", "transcript", "extract", "error"]
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the message's page has checked it


@admin.register(Message)
class MessageAdmin(OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    list_display = ["received_at", "conversation_link", "author", "content", "message_status", "explanation", "session"]
    list_display_links = ["received_at"]
    list_select_related = ["conversation__contact", "session"]
    list_filter = [
        ("session", VisibleSessionsFilter), "direction", "author", "kind", "status", "unanswered",
        ("created_at", admin.DateFieldListFilter),
    ]  # fmt: skip
    search_fields = ["text"]  # shows the search box; get_search_results decides
    search_help_text = gettext_lazy("Text of a message, name or phone of a contact, id of a message.")
    ordering = ["-said_at", "-id"]
    actions = ["send_again"]
    change_form_outer_before_template = "messaging/number_of_row.html"
    inlines = [MediaInline]
    fieldsets = [
        (None, {"fields": ["conversation", "direction", "author", "sent_by", "sender", "kind", "text", "details"]}),
        (gettext_lazy("Status"), {"fields": ["status", "unanswered", "error_code", "error", "tries", "next_try_at"]}),
        (gettext_lazy("Turn"), {"fields": ["turn"]}),
        (gettext_lazy("Times"), {"fields": ["said_at", "written_at", "created_at", *TIMESTAMP_FIELDS]}),
        (gettext_lazy("Bridge"), {"fields": ["session", "provider_message_id", "quoted", "quoted_provider_id"]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        # A text may have 100,000 characters. Lists show an excerpt; a message's page loads the deferred text.
        return super().get_queryset(request).defer("text").annotate(excerpt=Left("text", EXCERPT_LENGTH + 2))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        text = storable(search_term).strip()
        if text:
            queryset = queryset.filter(matching_messages(text, sessions=searchable_sessions(request)))
        return queryset, False

    @admin.action(description=gettext_lazy("Send again"), permissions=["operate"])
    @asks_first(
        gettext_lazy("These may have arrived: then the contact gets them twice. Look on the phone first."),
        about=lambda rows: rows.filter(status=Message.Status.UNCONFIRMED),
        label=lambda message: f"{message.conversation.contact}: {message.excerpt or message.kind}",
    )
    def send_again(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        queued = 0
        for message in queryset.filter(status__in=SENDABLE_AGAIN):
            try:
                send_again(message=message)
                self.log_change(request, message, "Sent again.")
                queued += 1
            except AppError as exc:
                self.message_user(request, f"{message.pk}: {exc}", messages.ERROR)
        self.message_user(
            request,
            ngettext("Queued %(count)s message again.", "Queued %(count)s messages again.", queued) % {"count": queued},
            messages.SUCCESS if queued else messages.WARNING,
        )

    @display(description=gettext_lazy("conversation"))
    def conversation_link(self, message: Message) -> str:
        return link_to(message.conversation, message.conversation.contact)

    @display(description=gettext_lazy("at"), ordering="created_at")
    def received_at(self, message: Message) -> str:
        return format_time(message.created_at)

    @display(description=gettext_lazy("content"))
    def content(self, message: Any) -> str:
        excerpt = truncate(message.excerpt, EXCERPT_LENGTH + 1)
        if message.kind != Message.Kind.TEXT:
            excerpt = " ".join(f"[{message.kind}] {excerpt}".split())
        return format_html('<span dir="auto" style="overflow-wrap: anywhere">{}</span>', excerpt)

    @display(description=gettext_lazy("status"), ordering="status", label=STATUS_COLOURS)
    def message_status(self, message: Message) -> tuple[str, str]:
        return message.status, message.get_status_display()

    @display(description=gettext_lazy("explanation"))
    def explanation(self, message: Message) -> str:
        return translate_stored(message.error) or message.get_unanswered_display() or "-"


@admin.register(Media)
class MediaAdmin(ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    session_path = "message__session"
    list_display = ["created_at", "filename", "mime_type", "size_bytes", "status", "conversation_link"]
    list_select_related = ["message__conversation__contact"]
    list_filter = ["status", ("message__session", VisibleSessionsFilter)]
    search_fields = ["filename", "mime_type"]
    ordering = ["-id"]
    change_form_outer_before_template = "messaging/number_of_row.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        fields = ["message", "filename", "mime_type", "size_bytes", "status", "transcript", "extract", "error"]
        fields += ["created_at", "expires_at"]
        return [*fields, "ref"] if is_administrator(request) else fields  # a URL at the bridge may hold a key

    @display(description=gettext_lazy("conversation"))
    def conversation_link(self, media: Media) -> str:
        return link_to(media.message.conversation, media.message.conversation.contact)
