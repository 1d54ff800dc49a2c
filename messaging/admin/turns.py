"""Turns: prompt, tool calls and outcome."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin
from messaging.admin.shared import EXCERPT_LENGTH, ContactSearchAdmin, format_time, link_to, message_links, paragraphs
from messaging.history.prompt_parts import load_facts, load_knowledge, load_profile_values, load_summary
from messaging.leases import answer_again
from messaging.models import Message, ToolCall, Turn
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.truncate import truncate

USAGE_FIELDS = ["model_ms", "prompt_tokens", "completion_tokens", "cached_tokens"]


OUTCOME_COLOURS = {
    Turn.Outcome.ANSWERED: "success",
    Turn.Outcome.COMMAND: "info",
    Turn.Outcome.IGNORED: "warning",
    Turn.Outcome.FAILED: "danger",
}


# The parts of a prompt, in its order.
PROMPT_FIELDS = [
    "shown_tools", "shown_instructions", "shown_summary", "shown_messages", "shown_facts", "shown_knowledge",
    "shown_memories",
]  # fmt: skip


class ToolCallInline(ReadOnlyAdmin, TabularInline):
    model = ToolCall
    fields = readonly_fields = ["name", "arguments", "status", "result", "error", "duration_ms"]
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the turn's page has checked it


@admin.register(Turn)
class TurnAdmin(ContactSearchAdmin, OperatorAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
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
    ordering = ["-id"]  # ids grow with time and are indexed
    actions = ["answer_again"]
    change_form_outer_before_template = "messaging/number_of_row.html"
    inlines = [ToolCallInline]
    fieldsets = [
        (None, {"fields": ["conversation", "outcome", "reason", "handled_messages"]}),
        (gettext_lazy("Model"), {"fields": [
            "agent_profile", "profile_version", "model", "steps", "tries", *USAGE_FIELDS, "whole_time",
        ]}),
        (gettext_lazy("Prompt"), {"fields": PROMPT_FIELDS}),
        (gettext_lazy("Times"), {"fields": ["started_at", "created_at"]}),
    ]  # fmt: skip
    readonly_fields = ["handled_messages", "whole_time", *PROMPT_FIELDS]

    @admin.action(description=gettext_lazy("Run failed turns again"), permissions=["operate"])
    def answer_again(self, request: HttpRequest, queryset: QuerySet[Turn]) -> None:
        queued = 0
        for turn in queryset:
            try:
                answer_again(turn=turn)
                self.log_change(request, turn, "Ran again.")
                queued += 1
            except AppError as exc:
                self.message_user(request, f"{turn.pk}: {exc}", messages.ERROR)
        if queued:
            self.message_user(
                request,
                ngettext("Queued %(count)s turn to run again.", "Queued %(count)s turns to run again.", queued)
                % {"count": queued},
            )

    @display(description=gettext_lazy("conversation"))
    def conversation_link(self, turn: Turn) -> str:
        return link_to(turn.conversation, turn.conversation.contact)

    @display(description=gettext_lazy("at"), ordering="id")
    def ended_at(self, turn: Turn) -> str:
        return format_time(turn.created_at)

    @display(description=gettext_lazy("outcome"), ordering="outcome", label=OUTCOME_COLOURS)
    def turn_outcome(self, turn: Turn) -> tuple[str, str]:
        return turn.outcome, turn.get_outcome_display()

    @display(description=gettext_lazy("messages"))
    def handled_messages(self, turn: Turn) -> str:
        return message_links(Message.objects.filter(turn=turn).order_by("said_at", "id"))

    @display(description=gettext_lazy("tools"))
    def shown_tools(self, turn: Turn) -> str:
        return ", ".join(map(str, load_profile_values(turn).get("tools") or ())) or "-"

    @display(description=gettext_lazy("instructions"))
    def shown_instructions(self, turn: Turn) -> str:
        return paragraphs(load_profile_values(turn).get("instructions") or "-")

    @display(description=gettext_lazy("summary"))
    def shown_summary(self, turn: Turn) -> str:
        return paragraphs(load_summary(turn) or "-")

    @display(description=gettext_lazy("messages"))
    def shown_messages(self, turn: Turn) -> str:
        return message_links(self._used_messages(turn, "messages"))

    @display(description=gettext_lazy("facts"))
    def shown_facts(self, turn: Turn) -> str:
        return format_html_join("", "<p>{}</p>", ((link_to(fact, fact.text),) for fact in load_facts(turn))) or "-"

    @display(description=gettext_lazy("knowledge"))
    def shown_knowledge(self, turn: Turn) -> str:
        parts = load_knowledge(turn)
        rows = ((link_to(part.knowledge), truncate(part.text, EXCERPT_LENGTH)) for part in parts)
        return format_html_join("", "<p>{}: {}</p>", rows) or "-"

    @display(description=gettext_lazy("whole time"))
    def whole_time(self, turn: Turn) -> str:
        return f"{turn.whole_ms} ms"

    @display(description=gettext_lazy("memories"))
    def shown_memories(self, turn: Turn) -> str:
        return message_links(self._used_messages(turn, "memories"))

    def _used_messages(self, turn: Turn, part: str) -> QuerySet[Message]:
        ids = turn.used.get(part, [])[-100:]
        return Message.objects.filter(conversation=turn.conversation, pk__in=ids).order_by("said_at", "id")
