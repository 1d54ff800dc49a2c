"""Conversations: the transcript, a box to write in as staff, and who answers."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_POST
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin, is_operator, staff_user
from messaging import control
from messaging.admin.shared import ContactMatchAdmin, format_time, list_link
from messaging.history.timeline import Activity, activity_of, describe_content, excerpt_of, read_timeline
from messaging.imports.admin import ImportPage
from messaging.leases import answer_again
from messaging.models import Conversation, Message, Summary, Turn
from messaging.outbound import SENDABLE_AGAIN, mark_read, send_again, send_text
from messaging.people.admin import ConversationExport
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from whatsapp_agent.errors import AppError

TRANSCRIPT_LIMIT = 50
CONTROL_HOURS = {"1", "8", "24"}

CONTROL_COLOURS = {
    Conversation.Control.AGENT: "success",
    Conversation.Control.HUMAN: "warning",
    Conversation.Control.MUTED: "danger",
}


class SummaryInline(ReadOnlyAdmin, TabularInline):
    model = Summary
    fields = readonly_fields = ["version", "text", "until", "is_plain", "created_at"]
    ordering = ["-version"]
    extra = 0
    per_page = 3
    verbose_name_plural = gettext_lazy("summaries of older messages")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the conversation's page has checked it


@admin.register(Conversation)
class ConversationAdmin(
    ImportPage, ConversationExport, ContactMatchAdmin, OperatorAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin
):
    """Operators write and change control here; the other fields are read-only."""

    list_display = [
        "contact_name", "session", "last_message", "control_status", "attention", "unread_count", "next_answer",
        "control_until",
    ]  # fmt: skip
    list_select_related = ["contact", "session"]
    list_filter = [
        ("session", VisibleSessionsFilter), "control", "needs_attention", "attention_reason",
        ("due_at", admin.EmptyFieldListFilter), ("last_message_at", admin.DateFieldListFilter),
    ]  # fmt: skip
    contact_path = "contact__"
    ordering = ["-last_message_at", "-id"]
    actions = ["take_over", "release", "mute"]
    inlines = [SummaryInline]
    fieldsets = [  # control is not among them: the transcript shows it and refreshes
        (None, {"fields": ["contact", "session", "messages_link", "turns_link"]}),
        (
            gettext_lazy("Pending work"),
            {"fields": ["due_at", "tries", "retry_at", "lease_expires_at", "attention", "unread_count"]},
        ),
        (gettext_lazy("More"), {"fields": ["address", "summary", "context_from", "last_message_at", "created_at"]}),
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

    # --- pages ------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        urls = [
            path(
                "<uuid:object_id>/transcript/", view(require_GET(self.transcript_view)), name="conversation-transcript"
            ),
            path("<uuid:object_id>/write/", view(require_POST(self.write_view)), name="conversation-write"),
            path("<uuid:object_id>/control/", view(require_POST(self.control_view)), name="conversation-control"),
            path(
                "<uuid:object_id>/again/<slug:kind>/<uuid:row_id>/",
                view(require_POST(self.retry_view)),
                name="conversation-retry",
            ),
        ]
        return urls + super().get_urls()

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
        """Return the transcript and the control bar; 204 while their fingerprint is still `seen`."""
        conversation = self.visible_or_404(request, object_id)
        context = _transcript_context(conversation, may_operate=is_operator(request))
        if request.GET.get("seen") == context["fingerprint"]:
            return HttpResponse(status=204)
        return render(request, "messaging/transcript.html", context)

    def write_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Send a text as staff, which takes the conversation over. htmx gets the form, others a redirect."""
        conversation = self._operable_or_404(request, object_id)
        text, error = request.POST.get("text", "").replace("\r\n", "\n"), ""
        try:
            send_text(conversation=conversation, text=text, by=staff_user(request))
        except AppError as exc:
            error = str(exc)
        else:
            self.log_change(request, conversation, "Wrote as staff.")
        if request.headers.get("HX-Request"):
            context = {"conversation": conversation, "text": text if error else "", "error": error}
            response = render(request, "messaging/compose.html", context)
            response["HX-Trigger"] = "transcriptChanged"
            return response
        if error:
            self.message_user(request, error, messages.ERROR)
        return _redirect_to_page(conversation)

    def control_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Take over, mute or release. After `hours` the agent answers again by itself; empty means never."""
        conversation = self._operable_or_404(request, object_id)
        to, hours = request.POST.get("to", ""), request.POST.get("hours", "")
        if to not in Conversation.Control.values or (hours and hours not in CONTROL_HOURS):
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
            return _redirect_to_page(conversation)
        self.log_change(request, conversation, f"Control: {conversation.control}.")
        return _redirect_to_page(conversation)

    def retry_view(self, request: HttpRequest, object_id: UUID, kind: str, row_id: UUID) -> HttpResponse:
        """Run a failed turn of this conversation again, or send a failed or unconfirmed message again."""
        conversation = self._operable_or_404(request, object_id)
        try:
            if kind == "turn":
                answer_again(turn=get_object_or_404(conversation.turns, pk=row_id))
            elif kind == "message":
                send_again(message=get_object_or_404(conversation.messages, pk=row_id))
            else:
                raise Http404
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        else:
            self.log_change(request, conversation, f"Tried the {kind} {row_id} again.")
        return _redirect_to_page(conversation)

    def _operable_or_404(self, request: HttpRequest, object_id: UUID) -> Conversation:
        """Raises Http404 where the user sees no such conversation, PermissionDenied where they may only read."""
        conversation: Conversation = self.visible_or_404(request, object_id)
        if not is_operator(request):
            raise PermissionDenied
        return conversation

    # --- actions --------------------------------------------------------------------------------------------------
    @admin.action(description=gettext_lazy("Take over"), permissions=["operate"])
    def take_over(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        by = staff_user(request)
        count = self._apply_to_each(request, queryset, partial(control.take_over, by=by, reason=f"taken over by {by}"))
        self.message_user(
            request,
            ngettext(
                "You took over %(count)s conversation. The agent is silent there until you release it.",
                "You took over %(count)s conversations. The agent is silent there until you release them.",
                count,
            )
            % {"count": count},
        )

    @admin.action(description=gettext_lazy("Release to the agent"), permissions=["operate"])
    def release(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        count = self._apply_to_each(request, queryset, partial(control.release, reason=f"released by {request.user}"))
        self.message_user(
            request,
            ngettext(
                "Released %(count)s conversation to the agent.", "Released %(count)s conversations to the agent.", count
            )
            % {"count": count},
        )

    @admin.action(description=gettext_lazy("Mute: nobody answers"), permissions=["operate"])
    def mute(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        by = staff_user(request)
        count = self._apply_to_each(request, queryset, partial(control.mute, by=by, reason=f"muted by {by}"))
        self.message_user(
            request,
            ngettext(
                "Muted %(count)s conversation. Nobody answers there until you release it.",
                "Muted %(count)s conversations. Nobody answers there until you release them.",
                count,
            )
            % {"count": count},
        )

    def _apply_to_each(
        self, request: HttpRequest, conversations: QuerySet[Conversation], act: Callable[..., Conversation]
    ) -> int:
        """Call `act` for each; return for how many. One that was merged into another meanwhile is left out."""
        count = 0
        for conversation in conversations:
            with suppress(control.ConversationGone):
                changed = act(conversation=conversation)
                self.log_change(request, changed, f"Control: {changed.control}.")
                count += 1
        return count

    # --- columns --------------------------------------------------------------------------------------------
    @display(description=gettext_lazy("contact"), ordering="contact__name")
    def contact_name(self, conversation: Conversation) -> str:
        return str(conversation.contact)

    @display(description=gettext_lazy("last message"), ordering="last_message_at")
    def last_message(self, conversation: Conversation) -> str:
        return format_time(conversation.last_message_at)

    @display(description=gettext_lazy("attention"), ordering="needs_attention", label="danger")
    def attention(self, conversation: Conversation) -> str:
        return (
            (conversation.get_attention_reason_display() or _("needs attention"))
            if conversation.needs_attention
            else ""
        )

    @display(description=gettext_lazy("control"), ordering="control", label=CONTROL_COLOURS)
    def control_status(self, conversation: Conversation) -> tuple[str, str]:
        return conversation.control, conversation.get_control_display()

    @display(description=gettext_lazy("next answer"), ordering="due_at")
    def next_answer(self, conversation: Conversation) -> str:
        return _next_answer(conversation)

    @display(description=gettext_lazy("messages"))
    def messages_link(self, conversation: Conversation) -> str:
        return list_link("messaging_message", _("All messages"), conversation__id__exact=conversation.pk)

    @display(description=gettext_lazy("turns"))
    def turns_link(self, conversation: Conversation) -> str:
        return list_link("messaging_turn", _("All turns"), conversation__id__exact=conversation.pk)


def _redirect_to_page(conversation: Conversation) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:messaging_conversation_change", args=[conversation.pk]))


ACTIVITY_LABELS = {
    Activity.IDLE: "-",
    Activity.DUE: gettext_lazy("due now"),
    Activity.WRITING: gettext_lazy("being written"),
}


def _next_answer(conversation: Conversation) -> str:
    """Describe when the agent answers next."""
    activity = activity_of(conversation)
    if activity in ACTIVITY_LABELS:
        return str(ACTIVITY_LABELS[activity])
    return _("due at %(time)s") % {"time": f"{timezone.localtime(conversation.due_at):%H:%M:%S}"}


def _transcript_context(conversation: Conversation, *, may_operate: bool) -> dict[str, Any]:
    timeline = read_timeline(conversation, limit=TRANSCRIPT_LIMIT)
    next_answer = _next_answer(conversation)
    c = conversation
    return {
        "fingerprint": timeline.fingerprint(
            c.control,
            c.control_until,
            c.control_reason,
            c.needs_attention,
            c.attention_reason,
            c.attention_note,
            may_operate,
            next_answer,
        ),
        "conversation": conversation,
        "may_operate": may_operate,
        "entries": [_entry(entry) for entry in timeline.entries],
        "is_cut_off": timeline.is_cut_off,
        "next_answer": next_answer,
    }


def _entry(entry: Message | Turn) -> dict[str, Any]:
    if isinstance(entry, Turn):
        return {"turn": entry, "at": entry.created_at, "is_failed": entry.outcome == Turn.Outcome.FAILED}
    return {
        "message": entry,
        "at": entry.said_at,
        "text": "" if entry.revoked_at else excerpt_of(entry),
        "content": describe_content(entry),
        "has_failed": entry.status in {Message.Status.FAILED, Message.Status.UNCONFIRMED},
        "can_be_resent": entry.direction == Message.Direction.OUTBOUND and entry.status in SENDABLE_AGAIN,
    }
