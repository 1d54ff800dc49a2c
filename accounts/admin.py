"""Admin pages of users, groups and API keys."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.admin_pages import AdministratorOnlyAdmin, FastChangeList, SingleLineAdmin, asks_first, is_administrator
from accounts.credentials.keys import create_key
from accounts.models import ApiKey, Role, Scope, User, names_of_groups
from whatsapp_agent.api.fields import LAST_YEAR

admin.site.unregister(Group)
# Their pages show refresh tokens, which are as good as passwords.
admin.site.unregister(OutstandingToken)
admin.site.unregister(BlacklistedToken)


ROLES = {
    Role.VIEWER: gettext_lazy("viewer"),
    Role.OPERATOR: gettext_lazy("operator"),
    Role.ADMIN: gettext_lazy("admin"),
}


@admin.register(User)
class UserAdmin(SingleLineAdmin, AdministratorOnlyAdmin, FastChangeList, DjangoUserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = [
        "username",
        "first_name",
        "last_name",
        "email",
        "may",
        "is_staff",
        "is_active",
        "last_login",
    ]
    list_filter = ["is_staff", "is_superuser", "is_active", "groups"]
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = []
    # Without single permissions: nothing checks them.
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (gettext_lazy("Personal info"), {"fields": ["first_name", "last_name", "email"]}),
        (
            gettext_lazy("Preferences"),
            {"fields": ["language", "time_zone", "theme", "alerts_waiting", "alerts_assigned", "mails_digest"]},
        ),
        (gettext_lazy("Permissions"), {"fields": ["is_active", "is_staff", "groups", "is_superuser"]}),
        (gettext_lazy("Important dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (
            None,
            {
                "classes": ["wide"],
                "fields": ["username", "is_staff", "groups", "usable_password", "password1", "password2"],
            },
        )
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).annotate(group_names=names_of_groups())

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Whoever is added here is to log in here."""
        return {"is_staff": True} | super().get_changeform_initial_data(request)

    @display(description=gettext_lazy("role"))
    def may(self, user: User) -> str:
        return str(ROLES[user.role])

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs["widget"] = UnfoldAdminCheckboxSelectMultipleWidget()
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field and db_field.name == "groups":
            field.label = _("Role")
            field.help_text = _(
                "A viewer reads, an operator also answers and takes over, an admin does everything. Default: viewer. "
                "Viewers and operators see the numbers they are members of."
            )
        return field

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Only superusers make superusers: a superuser may do more than the role admin."""
        return [*super().get_readonly_fields(request, obj), *([] if _is_superuser(request) else ["is_superuser"])]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        is_above = obj is not None and obj.is_superuser and not _is_superuser(request)
        return super().has_change_permission(request, obj) and not is_above

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody deletes themselves. Deactivate users who left, so that their messages keep an author."""
        return self.has_change_permission(request, obj) and obj is not None and obj.pk != request.user.pk


def _is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_superuser)


@admin.register(Group)
class GroupAdmin(SingleLineAdmin, AdministratorOnlyAdmin, FastChangeList, DjangoGroupAdmin, ModelAdmin):
    """Groups. The groups viewer, operator and admin are the roles and cannot be changed."""

    fields = ["name"]

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        is_role = obj is not None and obj.name.upper() in Role.__members__
        return super().has_change_permission(request, obj) and not is_role

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return obj is not None and self.has_change_permission(request, obj)


# --- API keys -----------------------------------------------------------------------------------------------------


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"), choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    class Meta:
        model = ApiKey
        fields = ["user", "name", "scopes", "expires_at"]

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError(_("Must be in the future."))
        if expires_at is not None and expires_at.year > LAST_YEAR:
            raise ValidationError(_("Datetime value out of range."))
        return expires_at


class ApiKeyAdmin(SingleLineAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    """Create, read and revoke keys. A key is shown once. Registered in sessions_app, which knows the sessions."""

    form = ApiKeyForm
    list_display = ["name", "prefix", "user", "scopes", "expires_at", "revoked_at", "last_used_at"]
    list_select_related = ["user"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter), "user"]
    search_fields = ["name", "prefix", "user__username"]
    ordering = ["-id"]
    actions = ["revoke"]

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:  # noqa: ARG002
        if obj is None:
            return ["user", "name", "scopes", "session_ids", "expires_at"]
        return [
            "user",
            "name",
            "prefix",
            "scopes",
            "sessions",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "created_at",
        ]

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:  # noqa: ARG002
        return False  # revoke instead; the record stays

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:  # noqa: ARG002
        key, text = create_key(**form.cleaned_data)
        obj.pk, obj.prefix = key.pk, key.prefix
        self.message_user(
            request,
            format_html('{} <code style="user-select: all">{}</code>', _("The key. It is shown only once:"), text),
            messages.WARNING,
        )

    @admin.action(description=gettext_lazy("Revoke"), permissions=["revoke"])
    @asks_first(gettext_lazy("Programs that use the key are refused at once. A revoked key cannot be used again."))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        revoked = 0
        for key in queryset:
            if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
                self.log_change(request, key, "Revoked.")
                revoked += 1
        self.message_user(
            request,
            ngettext("%(count)s key was revoked.", "%(count)s keys were revoked.", revoked) % {"count": revoked},
        )
