"""Base classes of the admin pages: access, read-only pages, and change lists that stay fast."""

from typing import Any, cast

from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import Role, User
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.single_line import single_line_error
from whatsapp_agent.text.stored import translate_stored


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


class TranslatedHistory:
    """Shows what was logged about a row in the language of the reader: it is stored in English."""

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        response = super().history_view(request, object_id, extra_context)  # type: ignore[misc]
        for entry in (getattr(response, "context_data", None) or {}).get("action_list", ()):
            entry.change_message = translate_stored(entry.change_message)
        return response


class StaffOnlyAdmin(TranslatedHistory):
    """Open to all staff; the queryset restricts the rows."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_staff(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return _is_staff(request)


class AdministratorOnlyAdmin(TranslatedHistory):
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


class RefusedForm:
    """A model form that is not valid, because a service refused what it holds."""

    refusal: AppError

    def clean(self: Any) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        self.add_error(self.refusal.field if self.refusal.field in self.fields else None, str(self.refusal))
        return cleaned


class RefusalAdmin:
    """Shows the page again, with what was typed and the reason, when a service refuses to save it.

    The transaction of the first try is over by then, and nothing of it is left.
    """

    def changeform_view(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)  # type: ignore[misc]
        except AppError as exc:
            if request.method != "POST":
                raise
            request.refusal = exc
            return super().changeform_view(request, *args, **kwargs)  # type: ignore[misc]

    def get_form(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)  # type: ignore[misc]
        refusal = getattr(request, "refusal", None)
        return type(form)(form.__name__, (RefusedForm, form), {"refusal": refusal}) if refusal else form


class SingleLineForm:
    """A model form that takes a text of one line as the API does. What is not changed is not checked."""

    def clean(self: Any) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        for name in self.changed_data:
            value = self.cleaned_data.get(name)
            if isinstance(value, str) and isinstance(_model_field(self._meta.model, name), models.CharField):
                error = single_line_error(value)
                if error and name not in self.errors:
                    self.add_error(name, error)
        return cleaned


def _model_field(model: type[models.Model], name: str) -> Any:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


class SingleLineAdmin(RefusalAdmin):
    """Checks texts of one line by the rule of the API. Every admin page with fields to write has it."""

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(*args, **kwargs)
        return type(form)(form.__name__, (SingleLineForm, form), {})


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
