"""Filters of lists."""

from collections.abc import Iterable, Mapping
from datetime import UTC
from functools import cache
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
PAGING = frozenset({"cursor", "page_size"})
MAX_SEARCH_LENGTH = 500  # percent-encoded in UTF-8 it still fits into a request line


class StrictFilters(DjangoFilterBackend):
    """Refuses unknown and empty parameters: ignoring them would return every row."""

    def filter_queryset(self, request: Request, queryset: QuerySet, view: Any) -> QuerySet:
        return queryset if getattr(view, "detail", False) else self.apply(request, queryset, view)

    def apply(self, request: Request, queryset: QuerySet, view: Any) -> QuerySet:
        """Filter a list, also one that is nested in a detail route."""
        filterset = self.get_filterset_class(view, queryset)
        known = filterset.base_filters if filterset else {}
        if unknown := sorted(set(request.query_params) - PAGING - set(known)):
            raise ValidationError({name: ["Unknown parameter."] for name in unknown})
        given = {name: value for name, value in request.query_params.items() if name in known}
        if empty := sorted(name for name, value in given.items() if not value and not isinstance(known[name], Search)):
            raise ValidationError({name: ["This parameter may not be empty. Omit it instead."] for name in empty})
        if not given:
            return queryset
        filters_by = _filters_of(filterset, queryset.model)  # type: ignore[arg-type]
        return _filtered(queryset, filters_by, given, request)


def _filtered(
    queryset: QuerySet, filters_by: Mapping[str, filters.Filter], names: Iterable[str], request: Request
) -> QuerySet:
    """Apply the named filters. Raises ValidationError with the errors of each."""
    values, errors = {}, {}
    for name in names:
        field = filters_by[name].field
        try:
            values[name] = field.clean(field.widget.value_from_datadict(request.query_params, {}, name))
        except DjangoValidationError as exc:
            errors[name] = exc.messages
    if errors:
        raise ValidationError(errors)
    for name, value in values.items():
        filter_ = filters_by[name]
        if isinstance(filter_, UserFilter):
            queryset = filter_.filter_for(queryset, value, request.user)
        else:
            queryset = filter_.filter(queryset, value)
    return queryset


FilterSet = filters.FilterSet


@cache
def _filters_of(filterset: Any, model: Any) -> Mapping[str, filters.Filter]:
    """Return a filterset's filters, built once; django-filter builds them and a form for each request."""
    made: Mapping[str, filters.Filter] = filterset(queryset=model._default_manager.none()).filters
    return made


def _set_schema(filter_: filters.Filter, **schema: Any) -> None:
    """Set a parameter's schema with the filter's label as its description, which drf-spectacular would drop."""
    label = filter_._label
    extend_schema_field(schema | ({"description": label} if label else {}))(filter_)


def repeatable_parameters(view: Any, initkwargs: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters of a view (a class, and what `as_view` was given) that may be given more than once."""
    filterset = initkwargs.get("filterset_class", getattr(view, "filterset_class", None))
    known = filterset.base_filters if filterset else {}
    return frozenset(name for name, filter_ in known.items() if isinstance(filter_, AnyOf))


class Flag(filters.TypedChoiceFilter):
    """`true` or `false`. BooleanFilter takes any other value as null and then filters nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        choices = [("true", "true"), ("false", "false")]
        super().__init__(*args, choices=choices, coerce=lambda value: value == "true", empty_value=None, **kwargs)
        _set_schema(self, type="boolean")


class SearchField(forms.CharField):
    def to_python(self, value: Any) -> str | None:
        self.run_validators(value)  # before the whitespace around it is removed, as the schema counts
        return super().to_python(value)


class Search(filters.CharFilter):
    """Words to search for. Empty does not filter: an empty search field in a form sends it."""

    field_class = SearchField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, max_length=MAX_SEARCH_LENGTH, **kwargs)
        _set_schema(self, type="string", maxLength=MAX_SEARCH_LENGTH)


class Exactly(filters.CharFilter):
    """The exact text, without trimming whitespace."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, strip=False, **kwargs)
        _set_schema(self, type="string", minLength=1)


class AnyOf(filters.MultipleChoiceFilter):
    """One of several values; repeated, any of them."""

    def __init__(self, *args: Any, choices: Any, **kwargs: Any) -> None:
        super().__init__(*args, choices=choices, **kwargs)
        self.distinct = False  # it filters a column of the row itself, without a join


class UserField(forms.CharField):
    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if text in {"", "me", "none"}:
            return text
        try:
            return UUID(text)
        except ValueError as exc:
            raise DjangoValidationError("Must be `me`, `none` or the id of a user.", code="invalid") from exc


class UserFilter(filters.Filter):
    """A user: `me`, `none` or an id. A subclass says in `filter_for` which rows are the user's."""

    field_class = UserField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, strip=False, **kwargs)
        _set_schema(self, type="string", pattern=f"^(me|none|{UUID_PATTERN})$")

    def filter_for(self, queryset: QuerySet, value: Any, user: Any) -> QuerySet:
        raise NotImplementedError


class TimeField(IsoDateTimeField):
    def clean(self, value: Any) -> Any:
        try:
            time = super().clean(value.upper() if isinstance(value, str) else value)  # RFC 3339 allows z and t
            return time.astimezone(UTC) if time else time
        except OverflowError as exc:  # year 9999 in a zone where UTC is in the next year
            raise DjangoValidationError(self.error_messages["invalid"], code="invalid") from exc


class TimeFilter(filters.IsoDateTimeFilter):
    field_class = TimeField


class Since(TimeFilter):
    def __init__(self, field_name: str, **kwargs: Any) -> None:
        super().__init__(field_name=field_name, lookup_expr="gte", **kwargs)


class Before(TimeFilter):
    def __init__(self, field_name: str, **kwargs: Any) -> None:
        super().__init__(field_name=field_name, lookup_expr="lt", **kwargs)
