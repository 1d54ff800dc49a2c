"""What models were found not to take, in the admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin

from accounts.admin_pages import AdministratorOnlyAdmin, FastChangeList
from agent.llm import capabilities
from sessions_app.models import ModelLimit
from whatsapp_agent.text.stored import translate_stored


@admin.register(ModelLimit)
class ModelLimitAdmin(AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    """Read only. A limit that is deleted is tried again, within a minute."""

    list_display = ["model", "limit", "address", "found_at"]
    search_fields = ["model", "address"]
    ordering = ["model", "address", "name"]
    readonly_fields = ["model", "limit", "address", "found_at"]
    fields = readonly_fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    @admin.display(description=gettext_lazy("found out: it"))
    def limit(self, row: ModelLimit) -> str:
        return translate_stored(capabilities.describe_limit(row.name, row.value))
