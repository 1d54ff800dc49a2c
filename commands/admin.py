"""Runs of commands in the admin."""

from django.contrib import admin
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, ReadOnlyAdmin
from commands.models import CommandRun
from messaging.admin.shared import ContactSearchAdmin, link_to
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter

STATUS_COLOURS = {
    CommandRun.Status.DONE.label: "success",
    CommandRun.Status.INVALID.label: "warning",
    CommandRun.Status.REFUSED.label: "warning",
    CommandRun.Status.FAILED.label: "danger",
}


@admin.register(CommandRun)
class CommandRunAdmin(ContactSearchAdmin, ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    session_path = "conversation__session"
    list_display = ["created_at", "name", "caller", "surface", "run_status", "conversation_link", "error"]
    list_select_related = ["conversation__contact"]
    list_filter = [
        "name", "status", "caller", "surface", ("conversation__session", VisibleSessionsFilter),
        ("created_at", admin.DateFieldListFilter),
    ]  # fmt: skip
    ordering = ["-created_at", "-id"]
    fieldsets = [
        (None, {"fields": ["name", "conversation", "turn", "arguments", "status", "text", "data"]}),
        ("Who", {"fields": ["caller", "surface", "user", "contact"]}),
        ("When", {"fields": ["started_at", "created_at"]}),
        ("What went wrong", {"fields": ["error_code", "error"]}),
    ]

    @display(description="status", ordering="status", label=STATUS_COLOURS)
    def run_status(self, run: CommandRun) -> str:
        return run.get_status_display()

    @display(description="conversation")
    def conversation_link(self, run: CommandRun) -> str:
        return link_to(run.conversation, run.conversation.contact)
