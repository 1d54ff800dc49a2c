"""The admin page of the files that agent profiles may send."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminFileFieldWidget

from accounts.admin_pages import FastChangeList, SingleLineAdmin, StaffOnlyAdmin, is_administrator, staff_user
from messaging.library import entries
from messaging.media.files import take
from messaging.models import LibraryFile
from sessions_app.admin import VisibleProfilesFilter
from sessions_app.models import AgentProfile
from whatsapp_agent.errors import AppError


class LibraryFileForm(forms.ModelForm):
    upload = forms.FileField(widget=UnfoldAdminFileFieldWidget, label=_("File"))

    class Meta:
        model = LibraryFile
        fields = ["agent_profile", "name", "description"]

    def _get_validation_exclusions(self) -> set[str]:
        """The service says beside its field that a name is taken; the constraint would only say its own name."""
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return exclusions | {"name"}

    def clean_upload(self) -> Any:
        upload = self.cleaned_data["upload"]
        try:
            return take(upload, name=upload.name, size_bytes=upload.size)
        except AppError as exc:
            raise forms.ValidationError(str(exc)) from exc


class LibraryFileChangeForm(forms.ModelForm):
    class Meta:
        model = LibraryFile
        fields = ["name", "description"]


@admin.register(LibraryFile)
class LibraryFileAdmin(SingleLineAdmin, StaffOnlyAdmin, FastChangeList, ModelAdmin):
    """Staff see what their profiles may send; administrators change it, as they change the profiles."""

    list_display = ["name", "agent_profile", "filename", "mime_type", "size_bytes", "created_at"]
    list_select_related = ["agent_profile"]
    list_filter = [("agent_profile", VisibleProfilesFilter)]
    search_fields = ["name", "description", "filename"]
    ordering = ["name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LibraryFile]:
        return super().get_queryset(request).visible_to(request.user)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = LibraryFileChangeForm if change else LibraryFileForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        if obj is None:
            return ["agent_profile", "name", "description", "upload"]
        return ["agent_profile", "name", "description", "filename", "mime_type", "size_bytes", "created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        return ["agent_profile", "filename", "mime_type", "size_bytes", "created_at"] if obj else []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "agent_profile":
            kwargs["queryset"] = AgentProfile.objects.live().order_by("-is_default", "name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: LibraryFile, form: Any, change: bool) -> None:
        """Save through the service, which turns the tool on."""
        values = {name: form.cleaned_data[name] for name in ("name", "description")}
        if change:
            entries.change_file(obj, by=staff_user(request), **values)
        else:
            profile, file = form.cleaned_data["agent_profile"], form.cleaned_data["upload"]
            obj.pk = entries.add_file(agent_profile=profile, file=file, by=staff_user(request), **values).pk

    def delete_model(self, request: HttpRequest, obj: LibraryFile) -> None:  # noqa: ARG002
        entries.delete_file(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[LibraryFile]) -> None:  # noqa: ARG002
        for row in queryset:
            entries.delete_file(row)
