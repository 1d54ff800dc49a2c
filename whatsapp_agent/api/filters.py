"""What lists may be filtered by, shared by every app."""

from collections.abc import Iterable, Mapping
from datetime import UTC
from functools import cache
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

PAGING = frozenset({"cursor", "page_size"})
MAX_SEARCH_LENGTH = 500  # characters: in UTF-8 and percent-encoded they fit into the address of a request


class StrictFilters(DjangoFilterBackend):
    """Refuses parameters a list does not have, or that say nothing: neither must answer with everything."""

    def filter_queryset(self, request: Request, queryset: QuerySet, view: Any) -> QuerySet:
        return queryset if getattr(view, "detail", False) else self.narrow(request, queryset, view)

    def narrow(self, request: Request, queryset: QuerySet, view: Any) -> QuerySet:
        """A list, also one that belongs to a single row."""
        filterset = self.get_filterset_class(view, queryset)
        known = filterset.base_filters if filterset else {}
        if unknown := sorted(set(request.query_params) - PAGING - set(known)):
            raise ValidationError({name: ["There is no such parameter."] for name in unknown})
        said = {name: word for name, word in request.query_params.items() if name in known}
        if empty := sorted(name for name, word in said.items() if not word and not isinstance(known[name], Search)):
            raise ValidationError({name: ["This must not be empty. Leave it out instead."] for name in empty})
        if not said:
            return queryset
        filters_by = _filters_of(filterset, queryset.model)  # type: ignore[arg-type]
        return _narrowed(queryset, filters_by, said, request)


def _narrowed(
    queryset: QuerySet, filters_by: Mapping[str, filters.Filter], names: Iterable[str], request: Request
) -> QuerySet:
    """Only what all of the named filters let through. Raises ValidationError that says what is wrong with each."""
    wanted, errors = {}, {}
    for name in names:
        field = filters_by[name].field
        try:
            wanted[name] = field.clean(field.widget.value_from_datadict(request.query_params, {}, name))
        except DjangoValidationError as exc:
            errors[name] = exc.messages
    if errors:
        raise ValidationError(errors)
    for name, value in wanted.items():
        queryset = filters_by[name].filter(queryset, value)
    return queryset


FilterSet = filters.FilterSet


@cache
def _filters_of(filterset: Any, model: Any) -> Mapping[str, filters.Filter]:
    """The filters of a list, made once: the library makes all of them anew with each request, and a form of them."""
    made: Mapping[str, filters.Filter] = filterset(queryset=model._default_manager.none()).filters
    return made


def _shown(filter_: filters.Filter, **schema: Any) -> None:
    """Say what the schema shows for a filter; the library would leave out its label then."""
    label = filter_._label
    extend_schema_field(schema | ({"description": label} if label else {}))(filter_)


class Flag(filters.TypedChoiceFilter):
    """`true` or `false`. The library's own takes any other word for neither, and then filters nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        words = [("true", "true"), ("false", "false")]
        super().__init__(*args, choices=words, coerce=lambda word: word == "true", empty_value=None, **kwargs)
        _shown(self, type="boolean")


class Search(filters.CharFilter):
    """Words to look for; none, as an empty field of a form has it, look for nothing in particular."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, max_length=MAX_SEARCH_LENGTH, **kwargs)
        _shown(self, type="string", maxLength=MAX_SEARCH_LENGTH)


class Exactly(filters.CharFilter):
    """The whole text, as it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, strip=False, **kwargs)
        _shown(self, type="string", minLength=1)


class AnyOf(filters.MultipleChoiceFilter):
    """One of several words; said more than once, any of them."""

    def __init__(self, *args: Any, choices: Any, **kwargs: Any) -> None:
        super().__init__(*args, choices=choices, **kwargs)
        self.distinct = False  # one column of one row: nothing can come twice


class MomentField(IsoDateTimeField):
    def clean(self, value: Any) -> Any:
        try:
            moment = super().clean(value)
            return moment.astimezone(UTC) if moment else moment
        except OverflowError as exc:  # the end of time, in a zone where it is later
            raise DjangoValidationError(self.error_messages["invalid"], code="invalid") from exc


class Moment(filters.IsoDateTimeFilter):
    field_class = MomentField


class Since(Moment):
    def __init__(self, field_name: str, **kwargs: Any) -> None:
        super().__init__(field_name=field_name, lookup_expr="gte", **kwargs)


class Before(Moment):
    def __init__(self, field_name: str, **kwargs: Any) -> None:
        super().__init__(field_name=field_name, lookup_expr="lt", **kwargs)
