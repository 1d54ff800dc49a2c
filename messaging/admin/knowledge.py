"""The admin page of what agent profiles know."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminFileFieldWidget

from accounts.admin_pages import FastChangeList, SingleLineAdmin, StaffOnlyAdmin, is_administrator, staff_user
from messaging.knowledge import entries
from messaging.models import Knowledge
from sessions_app.admin import VisibleProfilesFilter
from sessions_app.models import AgentProfile
from sessions_app.profiles import lock_profiles
from whatsapp_agent.errors import AppError


class KnowledgeForm(forms.ModelForm):
    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        label=_("File"),
        help_text=_("PDF, DOCX, XLSX or plain text: its text is read now and stored below."),
    )

    class Meta:
        model = Knowledge
        fields = ["agent_profile", "kind", "title", "text", "is_enabled"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in {"title", "text"} & self.fields.keys():
            self.fields[name].required = False  # a file has both

    def clean(self) -> Any:
        cleaned: Any = super().clean()
        upload = self.cleaned_data.get("file")
        if upload:
            try:
                cleaned["text"] = entries.read_document(upload, name=upload.name, size_bytes=upload.size)
            except AppError as exc:
                self.add_error("file", str(exc))
                return cleaned
            cleaned["kind"] = Knowledge.Kind.DOCUMENT
            cleaned["title"] = cleaned.get("title") or entries.title_of_file(upload.name)
        for name in ("title", "text"):
            if not (cleaned.get(name) or "").strip() and name not in self.errors:
                self.add_error(name, _("This field is required."))
        if len(cleaned.get("text") or "") > entries.MAX_TEXT_LENGTH:
            self.add_error("text", _("The text is too long."))
        return cleaned


@admin.register(Knowledge)
class KnowledgeAdmin(SingleLineAdmin, StaffOnlyAdmin, FastChangeList, ModelAdmin):
    """Staff see what their profiles know; administrators write it, as they write the profiles."""

    form = KnowledgeForm
    list_display = ["title", "kind", "agent_profile", "is_enabled", "updated_at"]
    list_select_related = ["agent_profile"]
    list_filter = [("agent_profile", VisibleProfilesFilter), "kind", "is_enabled"]
    search_fields = ["title", "text"]
    ordering = ["-updated_at"]

    def lock(self, object_id: str) -> None:
        lock_profiles()
        super().lock(object_id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Knowledge]:
        return super().get_queryset(request).visible_to(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        return ["agent_profile"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "agent_profile":
            kwargs["queryset"] = AgentProfile.objects.live().order_by("-is_default", "name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Knowledge, form: Any, change: bool) -> None:
        """Save through the service, which indexes the text."""
        values = {name: form.cleaned_data[name] for name in ("kind", "title", "text", "is_enabled")}
        if change:
            entries.change_knowledge(obj, by=staff_user(request), **values)
        else:
            profile = form.cleaned_data["agent_profile"]
            obj.pk = entries.create_knowledge(agent_profile=profile, by=staff_user(request), **values).pk

    def delete_model(self, request: HttpRequest, obj: Knowledge) -> None:  # noqa: ARG002
        entries.delete_knowledge(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Knowledge]) -> None:  # noqa: ARG002
        for knowledge in queryset:
            entries.delete_knowledge(knowledge)
