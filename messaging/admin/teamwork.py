"""The admin page of saved replies."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from unfold.admin import ModelAdmin

from accounts.admin_pages import (
    FastChangeList,
    SingleLineAdmin,
    StaffOnlyAdmin,
    is_administrator,
    is_operator,
    staff_user,
)
from messaging.models import SavedReply
from messaging.teamwork import saved_replies
from sessions_app.admin import VisibleSessionsFilter
from sessions_app.models import WhatsAppSession


class SavedReplyForm(forms.ModelForm):
    """What the service `messaging.teamwork.saved_replies` is given."""

    class Meta:
        model = SavedReply
        fields = ["session", "shortcut", "text"]

    def _get_validation_exclusions(self) -> set[str]:
        """The service says beside its field that a shortcut is taken; the constraint would only say its own name."""
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return exclusions | {"shortcut"}

    def clean_shortcut(self) -> str:
        return cast(str, self.cleaned_data["shortcut"]).removeprefix("/")


@admin.register(SavedReply)
class SavedReplyAdmin(SingleLineAdmin, StaffOnlyAdmin, FastChangeList, ModelAdmin):
    """Operators keep the replies of their sessions; only administrators those for all sessions."""

    form = SavedReplyForm
    list_display = ["__str__", "text", "session", "updated_at"]
    search_fields = ["shortcut", "text"]
    list_filter = [("session", VisibleSessionsFilter)]
    ordering = ["shortcut"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SavedReply]:
        return super().get_queryset(request).visible_to(request.user).select_related("session")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_operator(request)

    def has_change_permission(self, request: HttpRequest, obj: SavedReply | None = None) -> bool:
        return is_operator(request) and (obj is None or saved_replies.may_change(staff_user(request), obj))

    def has_delete_permission(self, request: HttpRequest, obj: SavedReply | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:  # noqa: ARG002
        return ["session"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "session":
            kwargs["queryset"] = WhatsAppSession.objects.visible_to(request.user).live()
            if not is_administrator(request):
                kwargs["required"] = True
                kwargs["help_text"] = _("One of your numbers. Replies for all numbers are kept by administrators.")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: SavedReply, form: Any, change: bool) -> None:
        """Save through the service, which refuses a shortcut that is taken."""
        values = {name: form.cleaned_data[name] for name in ("shortcut", "text")}
        if change:
            saved_replies.change_reply(obj, by=staff_user(request), **values)
        else:
            session = form.cleaned_data["session"]
            obj.pk = saved_replies.create_reply(by=staff_user(request), session=session, **values).pk
