"""Base classes of the admin pages: access, read-only pages, and change lists that stay fast."""

from typing import Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import Role, User


class BoundedPaginator(Paginator):
    """Counts up to `MAX_COUNT` rows: counting a million takes longer than showing a page."""

    MAX_COUNT = 5000
    template_name = "accounts/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        rows = cast(QuerySet, self.object_list)
        return rows.order_by()[: self.MAX_COUNT].count()

    @property
    def is_cut_off(self) -> bool:
        return self.count >= self.MAX_COUNT


class FastChangeList:
    """A change list with the same few queries for any number of rows."""

    paginator: Any = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 50
    list_disable_select_all = True  # an action changes only rows on the page


class StaffOnlyAdmin:
    """Open to all staff; the queryset restricts the rows."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_staff(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return _is_staff(request)


class AdministratorOnlyAdmin:
    """Open to users who see everything."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)


class OperatorAdmin:
    """Adds the permission `operate` for actions that operators may run and viewers may not."""

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_operator(request)


class ReadOnlyAdmin:
    """Records that no page may add, change or delete."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


def _is_staff(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_staff)


def is_administrator(request: HttpRequest) -> bool:
    return _is_staff(request) and bool(getattr(request.user, "sees_everything", False))


def is_operator(request: HttpRequest) -> bool:
    """Return whether the user may send, take over and retry, as in `accounts.permissions` for the API."""
    return _is_staff(request) and staff_user(request).role >= Role.OPERATOR


def staff_user(request: HttpRequest) -> User:
    """Return the user, who is logged in on every admin page."""
    return cast(User, request.user)
