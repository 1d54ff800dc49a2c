"""What the admin pages of every app share: who gets in, what cannot be written, and lists that stay quick."""

from typing import Any, cast

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import Role, User


class BoundedPaginator(Paginator):
    """Counts no further than `MOST`: to say how many a million rows are would take longer than to show a page."""

    MOST = 5000
    template_name = "accounts/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        rows = cast(QuerySet, self.object_list)
        return rows.order_by()[: self.MOST].count()

    @property
    def is_cut_off(self) -> bool:
        return self.count >= self.MOST


class FastChangeList:
    """A list page that asks the same few queries however many rows there are."""

    paginator: Any = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 50
    list_disable_select_all = True  # an action changes what the page shows, never rows nobody looked at


class StaffOnlyAdmin:
    """Every staff member gets in; the queryset says what each of them finds there."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_staff(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return _is_staff(request)


class AdministratorOnlyAdmin:
    """Only those who see everything get in."""

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
    """What operators may do on a page whose rows they see, and viewers may not; an action asks for it as `operate`."""

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_operator(request)


class ReadOnlyAdmin:
    """What happened: to be read, and by no page to be written or deleted."""

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
    """Whether who is at the page may write, take over and run again, as `accounts.permissions` has it for the API."""
    return _is_staff(request) and staff_user(request).role >= Role.OPERATOR


def staff_user(request: HttpRequest) -> User:
    """Who is at a page of the admin, which lets nobody in who has not logged in."""
    return cast(User, request.user)
