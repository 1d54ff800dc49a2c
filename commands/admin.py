"""Runs of commands in the admin."""

from django.contrib import admin
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, ReadOnlyAdmin
from commands.models import CommandRun
from messaging.admin.shared import ContactSearchAdmin, link_to
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter

STATUS_COLOURS = {
    CommandRun.Status.DONE: "success",
    CommandRun.Status.INVALID: "warning",
    CommandRun.Status.REFUSED: "warning",
    CommandRun.Status.FAILED: "danger",
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
        (gettext_lazy("Who"), {"fields": ["caller", "surface", "user", "contact"]}),
        (gettext_lazy("When"), {"fields": ["started_at", "created_at"]}),
        (gettext_lazy("What went wrong"), {"fields": ["error_code", "error"]}),
    ]

    @display(description=gettext_lazy("status"), ordering="status", label=STATUS_COLOURS)
    def run_status(self, run: CommandRun) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @display(description=gettext_lazy("conversation"))
    def conversation_link(self, run: CommandRun) -> str:
        return link_to(run.conversation, run.conversation.contact)
