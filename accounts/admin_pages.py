"""Base classes of the admin pages: access, read-only pages, stale forms, and change lists that stay fast."""

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, cast

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.choices import flatten_choices
from django.utils.functional import cached_property
from django.utils.text import Truncator, get_text_list
from django.utils.translation import gettext as _

from accounts.models import Role, User
from whatsapp_agent.api.etags import digest_of
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


Action = Callable[[Any, HttpRequest, QuerySet], Any]


def asks_first(
    question: Any, *, about: Callable[[QuerySet], Iterable[Any]] | None = None, label: Callable[[Any], str] = str
) -> Callable[[Action], Action]:
    """Have an action of a list show a page with the question and the rows; it acts once that is confirmed.

    What was sent with the action is sent again by the page.

    `about`: the rows that are asked about, by default all; where there is none, the action acts at once. `label`: how
    the page names a row. It stands beneath `admin.action`, whose description is the page's title and button.
    """

    def decorate(action: Action) -> Action:
        @wraps(action)
        def asked(self: Any, request: HttpRequest, queryset: QuerySet) -> Any:
            rows = list(queryset if about is None else about(queryset))
            if request.POST.get("confirmed") or not rows:
                return action(self, request, queryset)
            context = self.admin_site.each_context(request) | {
                "title": getattr(asked, "short_description", ""),
                "question": question,
                "rows": [label(row) for row in rows],
                "fields": [
                    (name, value)
                    for name, values in request.POST.lists()
                    if name not in {"csrfmiddlewaretoken", "confirmed"}
                    for value in values
                ],
                "opts": self.opts,
                "media": self.media,
            }
            return TemplateResponse(request, "accounts/question.html", context)

        return asked

    return decorate


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


MAX_SHOWN_LENGTH = 300  # of a value that somebody else has saved meanwhile


class StaleForm:
    """A model form that is refused once if somebody has changed meanwhile what it shows.

    Its page carries a digest of each value that it was opened with. What the person at this form has not touched shows
    the new value then; what they typed stays, beside what it would replace, and is saved when they save again.
    """

    @property
    def seen(self: Any) -> str:
        """Return the digests of what is stored, by field, for the page to send back."""
        return json.dumps({name: digest_of(value) for name, value in self._stored_values().items()})

    def clean(self: Any) -> Any:
        cleaned = super().clean()  # type: ignore[misc]
        seen = self._digests_seen()
        if not seen or not self.instance.pk:
            return cleaned
        changed = []
        for name, stored in self._stored_values().items():
            field = self.fields[name]
            if name in self.errors or seen.get(name, digest_of(stored)) == digest_of(stored):
                continue
            typed = _as_text(field, cleaned.get(name))
            if typed == stored:
                continue
            changed.append(str(self[name].label))
            if seen[name] == digest_of(typed):
                self._show(name)
            elif isinstance(field.widget, forms.PasswordInput):
                self.add_error(name, _("Somebody else has changed this meanwhile."))
            else:
                now = Truncator(_as_shown(field, stored)).chars(MAX_SHOWN_LENGTH)
                self.add_error(
                    name, _("Somebody else has changed this meanwhile to: %(value)s") % {"value": now or "-"}
                )
        if changed:
            self.add_error(
                None,
                _(
                    "Nothing was saved: somebody else has changed this meanwhile (%(fields)s). What you typed is still "
                    "here. Compare, and save again to replace what they saved."
                )
                % {"fields": get_text_list(changed, _("and"))},
            )
        return cleaned

    def _digests_seen(self: Any) -> dict[str, str]:
        try:
            seen = json.loads(self.data.get("seen", ""))
        except ValueError:
            return {}
        return seen if isinstance(seen, dict) else {}

    def _stored_values(self: Any) -> dict[str, str]:
        return {
            name: _as_text(field, self.get_initial_for_field(field, name))
            for name, field in self.fields.items()
            if not field.disabled and not isinstance(field, forms.FileField)
        }

    def _show(self: Any, name: str) -> None:
        """Show the stored value of a field instead of what was sent."""
        field, key = self.fields[name], self.add_prefix(name)
        if isinstance(field.widget, forms.MultiWidget):
            return
        self.data = self.data.copy()
        self.data.pop(key, None)
        value = field.prepare_value(self.get_initial_for_field(field, name))
        if isinstance(value, list | tuple):
            self.data.setlist(key, [str(each) for each in value])
        elif value is not None and value is not False:  # 0 is a value
            self.data[key] = "on" if value is True else str(value)


def _as_text(field: forms.Field, value: Any) -> str:
    """Return a field's value as text that is the same for what is stored and for what a browser sends of it."""
    value = field.prepare_value(value)
    if value is None:
        return ""
    if isinstance(value, list | tuple | set | QuerySet):
        return ", ".join(sorted(_as_text(field, each) for each in value))
    return str(getattr(value, "pk", value)).replace("\r\n", "\n").strip()


def _as_shown(field: forms.Field, stored: str) -> str:
    """Return what people know a stored value as: the labels of choices."""
    choices: Any = flatten_choices(getattr(field, "choices", ()))
    labels = {str(value): str(label) for value, label in choices}
    return ", ".join(labels.get(value, value) for value in stored.split(", ")) if labels else stored


class StaleFormAdmin:
    """Says that a row was changed or deleted since its page was opened. What was typed is not lost by it."""

    change_form_before_template = "accounts/seen.html"

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(*args, **kwargs)  # type: ignore[misc]
        return type(form)(form.__name__, (StaleForm, form), {})

    def changeform_view(self: Any, request: Any, object_id: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Lock the row before it is compared with what the form was opened with: of two at once, the second waits."""
        if request.method != "POST" or object_id is None:
            return super().changeform_view(request, object_id, *args, **kwargs)  # type: ignore[misc]
        with transaction.atomic():
            self.lock(object_id)
            if self.has_change_permission(request) and self.get_object(request, unquote(object_id)) is None:
                return self._gone(request)
            return super().changeform_view(request, object_id, *args, **kwargs)  # type: ignore[misc]

    def _gone(self: Any, request: HttpRequest) -> HttpResponse:
        """Show what was typed in the form of a row that is not there any more; no passwords."""
        fields = self.get_form(request, self.model(), change=True).base_fields
        typed = [
            (field.label, request.POST[name])
            for name, field in fields.items()
            if isinstance(field, forms.CharField)
            and not isinstance(field.widget, forms.PasswordInput)
            and request.POST.get(name)
        ]
        context = self.admin_site.each_context(request) | {"title": self.opts.verbose_name, "opts": self.opts}
        return TemplateResponse(request, "accounts/gone.html", context | {"typed": typed}, status=404)

    def lock(self: Any, object_id: str) -> None:
        """Lock the row that is about to be changed. Pages whose service locks something else first, lock that first."""
        try:
            pk = self.model._meta.pk.to_python(unquote(object_id))
        except (ValidationError, ValueError):
            return  # there is no such row, which the page says
        self.model._base_manager.select_for_update(no_key=True).filter(pk=pk).first()


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


class SingleLineAdmin(RefusalAdmin, StaleFormAdmin):
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


def log_change(request: HttpRequest, row: models.Model, change: str) -> None:
    """Write to Django's log, at the row, what its user did; never what was written."""
    LogEntry.objects.log_actions(staff_user(request).pk, [row], CHANGE, change_message=change, single_object=True)
