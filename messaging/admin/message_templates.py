"""Templates of the Cloud API's numbers."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin

from accounts.admin_pages import FastChangeList, ReadOnlyAdmin, is_administrator
from messaging.models import MessageTemplate
from messaging.whatsapp_templates.service import sync_templates
from sessions_app.admin import SessionScopedAdmin, VisibleSessionsFilter
from whatsapp_agent.errors import AppError


@admin.register(MessageTemplate)
class MessageTemplateAdmin(ReadOnlyAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    list_display = ["name", "language", "status", "category", "session", "placeholders", "unsupported", "synced_at"]
    list_select_related = ["session"]
    list_filter = [("session", VisibleSessionsFilter), "status"]
    search_fields = ["name"]
    ordering = ["name", "language"]
    fields = readonly_fields = [
        "name", "language", "status", "category", "header", "header_text", "body", "placeholders", "unsupported",
        "session", "account", "synced_at",
    ]  # fmt: skip
    actions = ["sync_again"]
    change_form_outer_before_template = "messaging/number_of_row.html"

    def has_administer_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    @admin.action(description=gettext_lazy("Sync the templates of these numbers again"), permissions=["administer"])
    def sync_again(self, request: HttpRequest, queryset: QuerySet[MessageTemplate]) -> None:
        sessions = {template.session for template in queryset.select_related("session__bridge")}
        for session in sessions:
            try:
                count = len(sync_templates(session=session))
            except AppError as exc:
                self.message_user(request, f"{session}: {exc}", messages.ERROR)
            else:
                self.log_change(request, session, "Synced its message templates.")
                self.message_user(
                    request,
                    ngettext("%(session)s: %(count)s template.", "%(session)s: %(count)s templates.", count)
                    % {"session": session, "count": count},
                )
