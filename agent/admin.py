"""The processes that take turns and send, and alerts, in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin

from accounts.admin_pages import AdministratorOnlyAdmin, FastChangeList, ReadOnlyAdmin
from agent import heartbeats
from agent.models import STALLED_S, Alert, EngineProcess, EngineProcessQuerySet
from agent.monitoring.alert_rules import title_of
from whatsapp_agent.text.stored import translate_stored


@admin.register(EngineProcess)
class EngineProcessAdmin(ReadOnlyAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    """Read only: each process writes its own row."""

    list_display = ["__str__", "works", "seen_at", "woken_at", "turns_running", "turns_waiting", "started_at"]
    ordering = ["-seen_at"]
    readonly_fields = [*list_display[1:], "kind", "host", "pid", "stalled_s"]
    fields = readonly_fields

    def get_queryset(self, request: HttpRequest) -> EngineProcessQuerySet:  # noqa: ARG002
        return EngineProcess.objects.with_state()

    @admin.display(boolean=True, description=gettext_lazy("works"))
    def works(self, row: Any) -> bool:
        return bool(row.is_alive) and row.stalled_s < STALLED_S

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        works, text = heartbeats.describe()
        if not works:
            messages.warning(request, f"{text[:1].upper()}{text[1:]}. {heartbeats.remedy()}")
        return super().changelist_view(request, extra_context)


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    """Read only: `agent.monitoring.alerts` writes them."""

    list_display = ["rule_title", "subject", "text", "fired_at", "lasts", "recovered_at"]
    list_filter = ["rule"]
    ordering = ["-fired_at"]
    fields = ["rule_title", "subject", "text", "fired_at", "last_seen_at", "recovered_at"]
    readonly_fields = fields

    @admin.display(description=gettext_lazy("rule"), ordering="rule")
    def rule_title(self, row: Alert) -> str:
        return title_of(row.rule)

    @admin.display(description=gettext_lazy("detail"))
    def text(self, row: Alert) -> str:
        return translate_stored(row.detail)

    @admin.display(boolean=True, description=gettext_lazy("lasts"))
    def lasts(self, row: Alert) -> bool:
        return row.recovered_at is None
