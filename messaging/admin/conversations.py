"""Conversations: their list, who answers, and what the inbox does not show of one."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin, staff_user
from messaging import control
from messaging.admin.shared import ContactMatchAdmin, format_time, link_to_inbox, list_link
from messaging.history.timeline import Activity, activity_of
from messaging.imports.admin import ImportPage
from messaging.models import Conversation, Summary
from messaging.people.admin import ConversationExport
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from whatsapp_agent.text.stored import translate_stored

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
    ImportPage,
    ConversationExport,
    ContactMatchAdmin,
    OperatorAdmin,
    ReadOnlyAdmin,
    SessionScopedAdmin,
    FastChangeList,
    ModelAdmin,
):
    """Operators change control in the list. A conversation is read and answered in the inbox."""

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
    fieldsets = [
        (None, {"fields": ["inbox_link", "contact", "session", "messages_link", "turns_link"]}),
        (
            gettext_lazy("Who answers"),
            {"fields": ["control", "controlled_by", "control_until", "control_reason_shown"]},
        ),
        (
            gettext_lazy("Pending work"),
            {
                "fields": ["due_at", "tries", "retry_at", "lease_expires_at", "attention", "attention_note_shown",
                           "unread_count"],
            },
        ),
        (gettext_lazy("More"), {"fields": ["address", "summary", "context_from", "last_message_at", "created_at"]}),
    ]  # fmt: skip
    readonly_fields = [name for _, options in fieldsets for name in options["fields"]]
    change_form_outer_before_template = "messaging/number_of_row.html"

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

    @display(description=gettext_lazy("attention"), ordering="needs_attention", label={"attention": "danger"})
    def attention(self, conversation: Conversation) -> tuple[str, str]:
        reason = conversation.get_attention_reason_display() or _("needs attention")
        return "attention", str(reason) if conversation.needs_attention else ""

    @display(description=gettext_lazy("control"), ordering="control", label=CONTROL_COLOURS)
    def control_status(self, conversation: Conversation) -> tuple[str, str]:
        return conversation.control, conversation.get_control_display()

    @display(description=gettext_lazy("next answer"), ordering="due_at")
    def next_answer(self, conversation: Conversation) -> str:
        return _next_answer(conversation)

    @display(description=gettext_lazy("transcript"))
    def inbox_link(self, conversation: Conversation) -> str:
        return link_to_inbox(conversation, _("Read and answer in the inbox"))

    @display(description=gettext_lazy("control reason"))
    def control_reason_shown(self, conversation: Conversation) -> str:
        return translate_stored(conversation.control_reason)

    @display(description=gettext_lazy("attention note"))
    def attention_note_shown(self, conversation: Conversation) -> str:
        return translate_stored(conversation.attention_note)

    @display(description=gettext_lazy("messages"))
    def messages_link(self, conversation: Conversation) -> str:
        return list_link("messaging_message", _("All messages"), **_lookups(conversation))

    @display(description=gettext_lazy("turns"))
    def turns_link(self, conversation: Conversation) -> str:
        return list_link("messaging_turn", _("All turns"), **_lookups(conversation))


def _lookups(conversation: Conversation) -> dict[str, Any]:
    """Return what limits a list to this conversation; lists leave test chats out unless they are asked for."""
    is_test = conversation.session.agent_profile.draft_of_id is not None
    return {"conversation__id__exact": conversation.pk} | ({"test_chats": "only"} if is_test else {})


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
