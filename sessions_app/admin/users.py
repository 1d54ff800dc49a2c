"""The numbers of a user, on the user's own page."""

from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from accounts.admin import UserAdmin
from accounts.admin_pages import is_administrator
from accounts.models import User
from sessions_app.models import Membership


class NumberInline(TabularInline):
    model = Membership
    fk_name = "user"
    extra = 1
    autocomplete_fields = ["session"]
    verbose_name = _("number")
    verbose_name_plural = _("numbers that this person sees; administrators see all")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


def inlines_of(self: UserAdmin, request: HttpRequest, obj: User | None) -> list[type[NumberInline]]:  # noqa: ARG001
    """Return the numbers; a form that does not have them leaves them as they are."""
    is_left_out = request.method == "POST" and "memberships-TOTAL_FORMS" not in request.POST
    return [] if is_left_out else [NumberInline]


UserAdmin.get_inlines = inlines_of  # type: ignore[assignment]
