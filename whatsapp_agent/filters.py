"""What lists may be filtered by, shared by every app."""

from datetime import UTC
from functools import lru_cache
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from django_filters.utils import translate_validation
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

PAGING = frozenset({"cursor", "page_size"})
LONGEST_SEARCH = 500  # characters: in UTF-8 and percent-encoded they fit into the address of a request


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
        filtering = _with_only(filterset, frozenset(said))(request.query_params, queryset=queryset, request=request)
        if not filtering.is_valid():
            raise translate_validation(filtering.errors)
        return filtering.qs


class FilterSet(filters.FilterSet):
    """What a list may be filtered by. The form its parameters are checked with is made once."""

    def get_form_class(self) -> Any:
        mine = type(self)
        if "form_class" not in mine.__dict__:
            mine.form_class = super().get_form_class()
        return mine.form_class


@lru_cache(maxsize=512)
def _with_only(filterset: Any, names: frozenset[str]) -> Any:
    """The filters that were named. The library makes each anew at every request, also those nobody asked for."""
    only: Any = type(filterset.__name__, (filterset,), {})
    only.base_filters = {name: filter_ for name, filter_ in only.base_filters.items() if name in names}
    return only


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
        super().__init__(*args, max_length=LONGEST_SEARCH, **kwargs)
        _shown(self, type="string", maxLength=LONGEST_SEARCH)


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
