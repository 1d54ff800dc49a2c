"""Contacts, conversations, messages and turns in the admin; a conversation's page is where a person steps in."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_GET, require_POST
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import (
    AdministratorOnlyAdmin,
    FastChangeList,
    OperatorAdmin,
    ReadOnlyAdmin,
    StaffOnlyAdmin,
    is_administrator,
    is_operator,
    staff_user,
)
from messaging import control
from messaging.history.facts import forget
from messaging.history.prompt_parts import facts_then, profile_then, summary_then
from messaging.history.timeline import Activity, activity_of, beside_text, excerpt_of, read_timeline
from messaging.leases import answer_again
from messaging.models import (
    Contact,
    ContactAlias,
    Conversation,
    EarlyReceipt,
    Event,
    Fact,
    Media,
    Message,
    Summary,
    ToolCall,
    Turn,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from messaging.outbound import SENDABLE_AGAIN, mark_read, send_again, send_text
from messaging.search.find import conversations_called, matching
from messaging.webhooks import endpoints
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.truncate import truncate

TRANSCRIPT_LIMIT = 50
EXCERPT = 80
CONTROL_COLOURS = {
    Conversation.Control.AGENT.label: "success",
    Conversation.Control.HUMAN.label: "warning",
    Conversation.Control.MUTED.label: "danger",
}
STATUS_COLOURS = {
    Message.Status.RECEIVED.label: "warning",
    Message.Status.QUEUED.label: "info",
    Message.Status.SENDING.label: "info",
    Message.Status.SENT.label: "success",
    Message.Status.DELIVERED.label: "success",
    Message.Status.READ.label: "success",
    Message.Status.FAILED.label: "danger",
    Message.Status.UNCONFIRMED.label: "danger",
    Message.Status.CANCELLED.label: "warning",
}
MOMENTS = ["sending_at", "sent_at", "delivered_at", "read_at", "edited_at", "revoked_at"]
PROGRESS = ["failing_since", "failures", "next_try_at", "last_success_at", "created_at"]
DELIVERY_COLOURS = {
    WebhookDelivery.Status.PENDING.label: "info",
    WebhookDelivery.Status.DELIVERED.label: "success",
    WebhookDelivery.Status.FAILED.label: "danger",
}
FIGURES = ["model_ms", "prompt_tokens", "completion_tokens", "cached_tokens"]
OUTCOME_COLOURS = {
    Turn.Outcome.ANSWERED.label: "success",
    Turn.Outcome.COMMAND.label: "info",
    Turn.Outcome.IGNORED.label: "warning",
    Turn.Outcome.SILENCED.label: "warning",
    Turn.Outcome.FAILED.label: "danger",
}


def link_to(row: Any, words: Any = None) -> str:
    """A link to the page of a row."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, words or row)


def moment(at: datetime | None) -> str:
    """A time for a list: to the second, in one line."""
    return format_html('<span class="whitespace-nowrap">{}</span>', f"{at:%Y-%m-%d %H:%M:%S}") if at else "-"


def _list_link(name: str, words: str, **lookups: Any) -> str:
    url = reverse(f"admin:{name}_changelist")
    return format_html('<a class="text-link" href="{}?{}">{}</a>', url, urlencode(lookups), words)


def _searched(request: HttpRequest) -> list[UUID] | None:
    """The sessions to look in; None for all."""
    if is_administrator(request):
        return None
    return list(WhatsAppSession.objects.visible_to(request.user).values_list("pk", flat=True))


class FoundByContact:
    """A list that is searched by its contacts, in two steps: joining a million rows to their contacts takes seconds."""

    search_fields = ["conversation"]  # that there is a box to search in
    search_help_text = "A contact's name or phone."

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        text = storable(search_term).strip()
        if not text:
            return queryset, False
        return queryset.filter(conversation__in=conversations_called(text, sessions=_searched(request))), False


# --- contacts -----------------------------------------------------------------------------------------------------


class AliasInline(ReadOnlyAdmin, TabularInline):
    model = ContactAlias
    fields = readonly_fields = ["kind", "value", "created_at"]
    ordering = ["created_at"]
    extra = 0
    verbose_name_plural = "seen as"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # whoever may see the contact


class FactInline(ReadOnlyAdmin, TabularInline):
    model = Fact
    fields = readonly_fields = ["text", "proposed_by", "noted_by", "message", "forgotten_at", "created_at"]
    ordering = ["-created_at"]
    extra = 0
    per_page = 50
    show_change_link = True
    verbose_name_plural = "what is known about them"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # whoever may see the contact

    def get_queryset(self, request: HttpRequest) -> QuerySet[Fact]:
        return super().get_queryset(request).select_related("noted_by").defer("message__text")


@admin.register(Contact)
class ContactAdmin(OperatorAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    list_display = ["__str__", "phone", "session", "is_group", "is_blocked", "is_allowed", "created_at"]
    list_select_related = ["session"]
    list_filter = [("session", VisibleSessionsFilter), "is_group", "is_blocked", "is_allowed"]
    search_fields = ["name", "phone", "aliases__value"]
    ordering = ["-id"]  # their ids grow with time, and have an index
    fields = [
        "is_blocked", "is_allowed", "conversation_link", "name", "phone", "is_group", "session", "created_at",
    ]  # fmt: skip
    readonly_fields = ["conversation_link", "name", "phone", "is_group", "session", "created_at"]
    inlines = [AliasInline, FactInline]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    @display(description="conversation")
    def conversation_link(self, contact: Contact) -> str:
        conversation = getattr(contact, "conversation", None)
        return link_to(conversation, "What was said") if conversation else "-"


@admin.register(Fact)
class FactAdmin(OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    session_path = "contact__session"
    list_display = ["created_at", "text", "contact_link", "proposed_by", "noted_by", "forgotten_at"]
    list_display_links = ["created_at"]
    list_select_related = ["contact", "noted_by"]
    list_filter = [
        ("contact__session", VisibleSessionsFilter), "proposed_by", ("forgotten_at", admin.EmptyFieldListFilter),
    ]  # fmt: skip
    search_fields = ["text", "contact__name", "=contact__phone"]
    ordering = ["-id"]  # their ids grow with time, and have an index
    actions = ["forget"]

    @display(description="contact")
    def contact_link(self, fact: Fact) -> str:
        return link_to(fact.contact)

    @admin.action(description="Forget", permissions=["operate"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Fact]) -> None:
        forgotten = 0
        for fact in queryset.filter(forgotten_at=None):
            forget(contact=fact.contact, fact_id=fact.pk)
            forgotten += 1
        self.message_user(request, f"{forgotten} facts are forgotten: the agent is not told them any more.")


# --- conversations ------------------------------------------------------------------------------------------------


class SummaryInline(ReadOnlyAdmin, TabularInline):
    model = Summary
    fields = readonly_fields = ["version", "text", "until", "is_plain", "created_at"]
    ordering = ["-version"]
    extra = 0
    per_page = 3
    verbose_name_plural = "what the agent is told of the older part"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # whoever may see the conversation


@admin.register(Conversation)
class ConversationAdmin(OperatorAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    """Whoever sees a conversation may step in there; what it is, the messages made it."""

    list_display = [
        "contact_name", "session", "last_said", "speaker", "attention", "unread_count", "next_answer", "control_until",
    ]  # fmt: skip
    list_select_related = ["contact", "session"]
    list_filter = [
        ("session", VisibleSessionsFilter), "control", "needs_attention", ("due_at", admin.EmptyFieldListFilter),
        ("last_message_at", admin.DateFieldListFilter),
    ]  # fmt: skip
    search_fields = ["contact__name", "contact__phone", "contact__aliases__value"]
    ordering = ["-last_message_at", "-id"]
    actions = ["take_over", "release", "mute"]
    inlines = [SummaryInline]
    fieldsets = [  # who speaks is not among them: the transcript says it, and follows it while the page stands open
        (None, {"fields": ["contact", "session", "messages_link", "turns_link"]}),
        (
            "What is to be done",
            {"fields": ["due_at", "tries", "retry_at", "lease_expires_at", "needs_attention", "unread_count"]},
        ),
        ("More", {"fields": ["address", "summary", "context_from", "last_message_at", "created_at"]}),
    ]  # fmt: skip
    readonly_fields = [name for _, options in fieldsets for name in options["fields"]]
    change_form_outer_before_template = "messaging/conversation.html"

    class Media:
        css = {"all": ["messaging/transcript.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    # --- the pages ------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path(
                "<uuid:object_id>/transcript/", view(require_GET(self.transcript_view)), name="conversation-transcript"
            ),
            path("<uuid:object_id>/write/", view(require_POST(self.write_view)), name="conversation-write"),
            path("<uuid:object_id>/control/", view(require_POST(self.control_view)), name="conversation-control"),
            path(
                "<uuid:object_id>/again/<slug:what>/<uuid:row_id>/",
                view(require_POST(self.again_view)),
                name="conversation-again",
            ),
        ]
        return own + super().get_urls()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        conversation = self.get_object(request, object_id)
        context = (extra_context or {}) | {"show_save": False, "show_save_and_continue": False}
        if conversation is not None:
            context |= _transcript_context(conversation, may_operate=is_operator(request))
            if conversation.unread_count and request.method == "GET" and is_operator(request):
                mark_read(conversation=conversation)
        return super().change_view(request, object_id, form_url, context)

    def transcript_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """The part of the page that changes by itself; 204 while it is as the page has `seen` it."""
        conversation = self.visible_or_404(request, object_id)
        context = _transcript_context(conversation, may_operate=is_operator(request))
        if request.GET.get("seen") == context["fingerprint"]:
            return HttpResponse(status=204)
        return render(request, "messaging/transcript.html", context)

    def write_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Say something as staff, which takes the conversation over. To htmx it answers with the box to write in."""
        conversation = self._to_operate(request, object_id)
        text, error = request.POST.get("text", "").replace("\r\n", "\n"), ""
        try:
            send_text(conversation=conversation, text=text, by=staff_user(request))
        except AppError as exc:
            error = str(exc)
        if request.headers.get("HX-Request"):
            context = {"conversation": conversation, "text": text if error else "", "error": error}
            response = render(request, "messaging/write.html", context)
            response["HX-Trigger"] = "said"
            return response
        if error:
            self.message_user(request, error, messages.ERROR)
        return _to_page(conversation)

    def control_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Take over, mute or release; `hours` until it is given back by itself, empty: until released by hand."""
        conversation = self._to_operate(request, object_id)
        to, hours = request.POST.get("to", ""), request.POST.get("hours", "")
        if to not in Conversation.Control.values or (hours and hours not in HOURS):
            raise Http404
        until = timezone.now() + timedelta(hours=int(hours)) if hours else None
        by = staff_user(request)
        try:
            if to == Conversation.Control.AGENT:
                control.release(conversation=conversation, reason=f"released by {by}")
            elif to == Conversation.Control.HUMAN:
                control.take_over(conversation=conversation, by=by, until=until, reason=f"taken over by {by}")
            else:
                control.mute(conversation=conversation, by=by, until=until, reason=f"muted by {by}")
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return _to_page(conversation)
        self.log_change(request, conversation, f"Control: {conversation.control}.")
        return _to_page(conversation)

    def again_view(self, request: HttpRequest, object_id: UUID, what: str, row_id: UUID) -> HttpResponse:
        """Run a failed turn of this conversation again, or send a message that failed or may not have gone."""
        conversation = self._to_operate(request, object_id)
        try:
            if what == "turn":
                answer_again(turn=get_object_or_404(conversation.turns, pk=row_id))
            elif what == "message":
                send_again(message=get_object_or_404(conversation.messages, pk=row_id))
            else:
                raise Http404
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        return _to_page(conversation)

    def _to_operate(self, request: HttpRequest, object_id: UUID) -> Conversation:
        conversation: Conversation = self.visible_or_404(request, object_id)
        if not is_operator(request):
            raise PermissionDenied
        return conversation

    # --- actions --------------------------------------------------------------------------------------------------
    @admin.action(description="Take over", permissions=["operate"])
    def take_over(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        by = staff_user(request)
        count = _in_each(queryset, partial(control.take_over, by=by, reason=f"taken over by {by}"))
        self.message_user(request, f"The agent is silent in {count} conversations until you release them.")

    @admin.action(description="Release to the agent", permissions=["operate"])
    def release(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        count = _in_each(queryset, partial(control.release, reason=f"released by {request.user}"))
        self.message_user(request, f"The agent speaks again in {count} conversations.")

    @admin.action(description="Mute: nobody answers", permissions=["operate"])
    def mute(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        by = staff_user(request)
        count = _in_each(queryset, partial(control.mute, by=by, reason=f"muted by {by}"))
        self.message_user(request, f"Nobody answers in {count} conversations until you release them.")

    # --- what is shown --------------------------------------------------------------------------------------------
    @display(description="contact", ordering="contact__name")
    def contact_name(self, conversation: Conversation) -> str:
        return str(conversation.contact)

    @display(description="last message", ordering="last_message_at")
    def last_said(self, conversation: Conversation) -> str:
        return moment(conversation.last_message_at)

    @display(description="attention", ordering="needs_attention", label="danger")
    def attention(self, conversation: Conversation) -> str:
        return "needs attention" if conversation.needs_attention else ""

    @display(description="speaks", ordering="control", label=CONTROL_COLOURS)
    def speaker(self, conversation: Conversation) -> str:
        return conversation.get_control_display()

    @display(description="next answer", ordering="due_at")
    def next_answer(self, conversation: Conversation) -> str:
        return _answer_now(conversation)

    @display(description="messages")
    def messages_link(self, conversation: Conversation) -> str:
        return _list_link("messaging_message", "All messages", conversation__id__exact=conversation.pk)

    @display(description="turns")
    def turns_link(self, conversation: Conversation) -> str:
        return _list_link("messaging_turn", "All turns", conversation__id__exact=conversation.pk)


HOURS = {"1", "8", "24"}


def _in_each(conversations: QuerySet[Conversation], act: Callable[..., object]) -> int:
    """Do it in each; returns in how many. One that has just become part of another is left out."""
    count = 0
    for conversation in conversations:
        with suppress(control.ConversationGone):
            act(conversation=conversation)
            count += 1
    return count


def _to_page(conversation: Conversation) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:messaging_conversation_change", args=[conversation.pk]))


ACTIVITY_WORDS = {Activity.IDLE: "-", Activity.DUE: "is due", Activity.WRITING: "is being written"}


def _answer_now(conversation: Conversation) -> str:
    """How the next answer stands, in words."""
    activity = activity_of(conversation)
    return ACTIVITY_WORDS.get(activity) or f"from {conversation.due_at:%H:%M:%S} on"


def _transcript_context(conversation: Conversation, *, may_operate: bool) -> dict[str, Any]:
    timeline = read_timeline(conversation, limit=TRANSCRIPT_LIMIT)
    answer_now = _answer_now(conversation)
    c = conversation
    return {
        "fingerprint": timeline.fingerprint(
            c.control, c.control_until, c.control_reason, c.needs_attention, c.attention_note, may_operate, answer_now
        ),
        "conversation": conversation,
        "may_operate": may_operate,
        "entries": [_entry(entry) for entry in timeline.entries],
        "is_cut_off": timeline.is_cut_off,
        "answer_now": answer_now,
    }


def _entry(entry: Message | Turn) -> dict[str, Any]:
    if isinstance(entry, Turn):
        return {"turn": entry, "at": entry.created_at, "is_failed": entry.outcome == Turn.Outcome.FAILED}
    return {
        "message": entry,
        "at": entry.said_at,
        "words": "" if entry.revoked_at else excerpt_of(entry),
        "beside": beside_text(entry),
        "is_trouble": entry.status in {Message.Status.FAILED, Message.Status.UNCONFIRMED},
        "can_go_again": entry.direction == Message.Direction.OUTBOUND and entry.status in SENDABLE_AGAIN,
    }


# --- messages -----------------------------------------------------------------------------------------------------


class MediaInline(ReadOnlyAdmin, TabularInline):
    model = Media
    fields = readonly_fields = ["mime_type", "filename", "size_bytes", "downloadable"]
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # whoever may see the message


@admin.register(Message)
class MessageAdmin(OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    list_display = ["came_at", "conversation_link", "author", "words", "message_status", "why", "session"]
    list_display_links = ["came_at"]
    list_select_related = ["conversation__contact", "session"]
    list_filter = [
        ("session", VisibleSessionsFilter), "direction", "author", "kind", "status", "unanswered",
        ("created_at", admin.DateFieldListFilter),
    ]  # fmt: skip
    search_fields = ["text"]  # that there is a box to search in; what is found is decided below
    search_help_text = "Words of a message, a contact's name or phone, a message's id."
    ordering = ["-said_at", "-id"]
    actions = ["send_again"]
    inlines = [MediaInline]
    fieldsets = [
        (None, {"fields": ["conversation", "direction", "author", "sent_by", "sender", "kind", "text", "details"]}),
        ("How far it came", {"fields": ["status", "unanswered", "error_code", "error", "tries", "next_try_at"]}),
        ("Turn", {"fields": ["turn"]}),
        ("When", {"fields": ["said_at", "created_at", *MOMENTS]}),
        ("At the bridge", {"fields": ["session", "provider_message_id", "quoted", "quoted_provider_id"]}),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        # A text may have 100,000 characters: a list shows the beginning of each, and a message's page asks for its own.
        return super().get_queryset(request).defer("text").annotate(excerpt=Left("text", EXCERPT + 2))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        text = storable(search_term).strip()
        return (queryset.filter(matching(text, sessions=_searched(request))) if text else queryset), False

    @admin.action(description="Send again", permissions=["operate"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        queued = 0
        for message in queryset.filter(status__in=SENDABLE_AGAIN):
            try:
                send_again(message=message)
                queued += 1
            except AppError as exc:
                self.message_user(request, f"{message.pk}: {exc}", messages.ERROR)
        self.message_user(
            request, f"{queued} messages are queued again.", messages.SUCCESS if queued else messages.WARNING
        )

    @display(description="conversation")
    def conversation_link(self, message: Message) -> str:
        return link_to(message.conversation, message.conversation.contact)

    @display(description="at", ordering="created_at")
    def came_at(self, message: Message) -> str:
        return moment(message.created_at)

    @display(description="said")
    def words(self, message: Any) -> str:
        excerpt = truncate(message.excerpt, EXCERPT + 1)
        if message.kind != Message.Kind.TEXT:
            excerpt = " ".join(f"[{message.kind}] {excerpt}".split())
        return format_html('<span dir="auto" style="overflow-wrap: anywhere">{}</span>', excerpt)

    @display(description="status", ordering="status", label=STATUS_COLOURS)
    def message_status(self, message: Message) -> str:
        return message.get_status_display()

    @display(description="why")
    def why(self, message: Message) -> str:
        return message.error or message.get_unanswered_display() or "-"


@admin.register(Media)
class MediaAdmin(ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    session_path = "message__session"
    list_display = ["created_at", "filename", "mime_type", "size_bytes", "downloadable", "conversation_link"]
    list_select_related = ["message__conversation__contact"]
    list_filter = ["downloadable", ("message__session", VisibleSessionsFilter)]
    search_fields = ["filename", "mime_type"]
    ordering = ["-id"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        fields = ["message", "filename", "mime_type", "size_bytes", "downloadable", "created_at"]
        return [*fields, "ref"] if is_administrator(request) else fields  # an address at the bridge may hold a key

    @display(description="conversation")
    def conversation_link(self, media: Media) -> str:
        return link_to(media.message.conversation, media.message.conversation.contact)


@admin.register(EarlyReceipt)
class EarlyReceiptAdmin(ReadOnlyAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    list_display = ["created_at", "session", "provider_message_id", "status", "at"]
    list_select_related = ["session"]
    ordering = ["-id"]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    list_display = ["id", "at", "type", "session_id", "conversation_id"]
    ordering = ["-id"]


# --- webhooks of others -------------------------------------------------------------------------------------------


class OwnEndpoints(StaffOnlyAdmin):
    """Rows of endpoints the user may see; `endpoint_path` is the way from a row to its endpoint."""

    endpoint_path = "pk"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows: QuerySet = super().get_queryset(request)  # type: ignore[misc]
        return rows.filter(**{f"{self.endpoint_path}__in": WebhookEndpoint.objects.visible_to(request.user)})


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(OperatorAdmin, ReadOnlyAdmin, OwnEndpoints, FastChangeList, ModelAdmin):
    """Made and changed by the API, which shows the secret; here one sees how it goes, and stops or starts it."""

    list_display = ["__str__", "url", "owner", "is_enabled", "failing_since", "last_success_at"]
    list_select_related = ["owner"]
    list_filter = ["is_enabled", ("failing_since", admin.EmptyFieldListFilter)]
    search_fields = ["url", "description"]
    ordering = ["-id"]
    actions = ["enable", "disable", "send_test"]
    fieldsets = [
        (None, {"fields": ["url", "description", "owner", "types", "all_sessions", "sessions"]}),
        ("How it goes", {"fields": ["is_enabled", "disabled_reason", "disabled_at", *PROGRESS]}),
    ]

    @admin.action(description="Enable", permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        self._each(request, queryset, endpoints.enable, "enabled")

    @admin.action(description="Disable", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        stop = partial(endpoints.disable, reason=f"disabled by {request.user}")
        self._each(request, queryset, stop, "disabled")

    @admin.action(description="Send a test event", permissions=["operate"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        self._each(request, queryset, endpoints.send_test, "sent a test event")

    def _each(self, request: HttpRequest, rows: QuerySet, act: Callable[[Any], Any], done: str) -> None:
        for endpoint in rows:
            try:
                act(endpoint)
            except AppError as exc:
                self.message_user(request, f"{endpoint}: {exc}", messages.ERROR)
            else:
                self.message_user(request, f"{endpoint}: {done}.")


class AttemptInline(ReadOnlyAdmin, TabularInline):
    model = WebhookAttempt
    fields = readonly_fields = ["at", "status_code", "error", "answer", "duration_ms"]
    ordering = ["-at", "-id"]
    extra = 0
    per_page = 20

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # whoever may see the delivery


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OperatorAdmin, ReadOnlyAdmin, OwnEndpoints, FastChangeList, ModelAdmin):
    endpoint_path = "endpoint"
    list_display = ["queued_at", "endpoint", "type", "delivery_status", "tries", "next_try_at", "delivered_at"]
    list_select_related = ["endpoint"]
    list_filter = ["status", "type"]
    ordering = ["-id"]
    actions = ["redeliver"]
    inlines = [AttemptInline]

    @display(description="at", ordering="id")
    def queued_at(self, delivery: WebhookDelivery) -> str:
        return moment(delivery.created_at)

    @display(description="status", ordering="status", label=DELIVERY_COLOURS)
    def delivery_status(self, delivery: WebhookDelivery) -> str:
        return delivery.get_status_display()

    @admin.action(description="Deliver again", permissions=["operate"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        again = 0
        for delivery in queryset.select_related("endpoint"):
            try:
                endpoints.redeliver(delivery)
                again += 1
            except AppError as exc:
                self.message_user(request, f"{delivery.pk}: {exc}", messages.ERROR)
        if again:
            self.message_user(request, f"{again} events are delivered again.")


# --- turns --------------------------------------------------------------------------------------------------------


class ToolCallInline(ReadOnlyAdmin, TabularInline):
    model = ToolCall
    fields = readonly_fields = ["name", "arguments", "status", "result", "error", "duration_ms"]
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # whoever may see the turn


# Of a prompt, in their order.
PARTS = [
    "shown_tools", "shown_instructions", "shown_summary", "shown_messages", "shown_facts", "shown_memories",
]  # fmt: skip


@admin.register(Turn)
class TurnAdmin(FoundByContact, OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    session_path = "conversation__session"
    list_display = [
        "ended_at", "conversation_link", "turn_outcome", "reason", "model", "tries", "model_ms", "prompt_tokens",
        "completion_tokens",
    ]  # fmt: skip
    list_display_links = ["ended_at"]
    list_select_related = ["conversation__contact"]
    list_filter = [
        "outcome", ("conversation__session", VisibleSessionsFilter), ("created_at", admin.DateFieldListFilter),
    ]  # fmt: skip
    ordering = ["-id"]  # their ids grow with time, and have an index
    actions = ["answer_again"]
    inlines = [ToolCallInline]
    fieldsets = [
        (None, {"fields": ["conversation", "outcome", "reason", "dealt_with"]}),
        ("Model", {"fields": ["agent_profile", "profile_version", "model", "steps", "tries", *FIGURES]}),
        ("What it was shown", {"fields": PARTS}),
        ("When", {"fields": ["started_at", "created_at"]}),
    ]  # fmt: skip
    readonly_fields = ["dealt_with", *PARTS]

    @admin.action(description="Run failed turns again", permissions=["operate"])
    def answer_again(self, request: HttpRequest, queryset: QuerySet[Turn]) -> None:
        again = 0
        for turn in queryset:
            try:
                answer_again(turn=turn)
                again += 1
            except AppError as exc:
                self.message_user(request, f"{turn.pk}: {exc}", messages.ERROR)
        if again:
            self.message_user(request, f"{again} turns are run again.")

    @display(description="conversation")
    def conversation_link(self, turn: Turn) -> str:
        return link_to(turn.conversation, turn.conversation.contact)

    @display(description="at", ordering="id")
    def ended_at(self, turn: Turn) -> str:
        return moment(turn.created_at)

    @display(description="outcome", ordering="outcome", label=OUTCOME_COLOURS)
    def turn_outcome(self, turn: Turn) -> str:
        return turn.get_outcome_display()

    @display(description="messages")
    def dealt_with(self, turn: Turn) -> str:
        return _lines(Message.objects.filter(turn=turn).order_by("said_at", "id"))

    @display(description="tools")
    def shown_tools(self, turn: Turn) -> str:
        return ", ".join(map(str, profile_then(turn).get("tools") or ())) or "-"

    @display(description="instructions")
    def shown_instructions(self, turn: Turn) -> str:
        return _paragraphs(profile_then(turn).get("instructions") or "-")

    @display(description="summary")
    def shown_summary(self, turn: Turn) -> str:
        return _paragraphs(summary_then(turn) or "-")

    @display(description="messages")
    def shown_messages(self, turn: Turn) -> str:
        return _lines(self._used(turn, "messages"))

    @display(description="facts")
    def shown_facts(self, turn: Turn) -> str:
        return format_html_join("", "<p>{}</p>", ((link_to(fact, fact.text),) for fact in facts_then(turn))) or "-"

    @display(description="said before")
    def shown_memories(self, turn: Turn) -> str:
        return _lines(self._used(turn, "memories"))

    def _used(self, turn: Turn, part: str) -> QuerySet[Message]:
        ids = turn.used.get(part, [])[-100:]
        return Message.objects.filter(conversation=turn.conversation, pk__in=ids).order_by("said_at", "id")


def _paragraphs(text: str) -> str:
    return format_html_join("", "<p>{}</p>", ((line,) for line in text.splitlines()))


def _lines(rows: QuerySet[Message]) -> str:
    """Messages as links with the beginning of what they say, a line each."""
    found = rows.defer("text").annotate(excerpt=Left("text", EXCERPT))[:100]
    return format_html_join("", "<p>{}: {}</p>", ((link_to(m, m.author), m.excerpt or m.kind) for m in found)) or "-"
