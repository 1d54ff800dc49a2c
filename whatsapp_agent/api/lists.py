"""What lists show: rows that leave the database as JSON, in the shape a serializer declares.

A page comes from two statements: which rows, as the filters have it; and what they hold, by one that every page of this
serializer shares and each connection plans once. Making objects of fifty rows and their neighbours, only to take them
apart again, takes several times as long as both.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import BooleanField, Case, F, Func, Model, OuterRef, Subquery, TextField, When
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Cast
from orjson import Fragment
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from whatsapp_agent.postgres.prepared import Statement

Form = type[serializers.ModelSerializer]


class Excerpt(serializers.CharField):
    """How a text begins: its first `longest` characters."""

    def __init__(self, *, longest: int, **kwargs: Any) -> None:
        super().__init__(read_only=True, help_text=f"The first {longest} characters.", **kwargs)
        self.longest = longest

    def to_representation(self, value: Any) -> str:
        return super().to_representation(value)[: self.longest]


class FastListMixin(ListModelMixin):
    """A list whose rows are read as its serializer declares them; see `read_rows`."""

    def list(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002
        keys = self.paginator.choose(self.filter_queryset(self.get_queryset()), request, view=self)
        return self.get_paginated_response(read_rows(self.get_serializer_class(), keys))


def read_rows(form: Form, keys: Sequence[UUID | str]) -> list[Fragment]:
    """The rows with these primary keys, each as JSON, in this order; without those that are no longer there.

    Nobody is asked who may see them. The fields of `form` may be columns, and serializers: of a row that a column
    refers to, with `many=True` of those that refer to this one, by their ids, or of the first of a query that
    `Meta.subqueries` has by the field's name.
    """
    found = rows_by_key(form, keys)
    return [found[key] for key in map(str, keys) if key in found]


def rows_by_key(form: Form, keys: Iterable[UUID | str]) -> dict[str, Fragment]:
    """As `read_rows`, by the text of the primary key."""
    wanted = ",".join(map(str, keys))
    if not wanted:
        return {}
    return {key: Fragment(shown) for key, shown in _statement_for(form).rows(keys=f"{{{wanted}}}")}


@cache
def _statement_for(form: Form) -> Statement:
    model: type[Model] = form.Meta.model
    key = f'"{model._meta.db_table}"."{model._meta.pk.column}"'
    is_wanted = RawSQL(f"{key} = ANY(%s::uuid[])", ["keys"], BooleanField())  # noqa: S611  our own names
    rows = model._default_manager.order_by().filter(is_wanted)
    sql, _ = rows.values_list(Cast("pk", TextField()), _object(form())).query.sql_with_params()
    return Statement(sql % "%(keys)s")  # its only parameter


# --- JSON as text: JSON_BUILD_OBJECT would look up the type of each value anew in every row ------------------------


def _object(form: Any, path: str = "") -> Func:
    """One row, whose columns are at `path`."""
    parts: list[Any] = []
    for name, field in form.fields.items():
        if field.write_only:
            continue
        parts += [_literal(f'{"," if parts else "{"}"{name}":'), _value(field, form, path)]
    return _sql("CONCAT(%(expressions)s)", *parts, _literal("}"))


def _value(field: Any, form: Any, path: str) -> Combinable:
    """What stands in the JSON for a field. Raises TypeError for one that takes an object to show it."""
    source = path + str(field.source).replace(".", "__")
    subqueries = getattr(form.Meta, "subqueries", {})
    if isinstance(field, serializers.ListSerializer):
        relation = form.Meta.model._meta.get_field(field.source)
        rows = relation.related_model._default_manager.filter(**{relation.field.name: OuterRef(f"{path}pk")})
        each = ArraySubquery(rows.order_by("pk").values(shown=_object(field.child)))
        return _sql("CONCAT('[', ARRAY_TO_STRING(%(expressions)s, ','), ']')", each)
    if field.source in subqueries:
        return _or_null(Subquery(subqueries[field.source].values(shown=_object(field))[:1]))
    if isinstance(field, serializers.ModelSerializer):
        shown = _object(field, f"{source}__")
        return Case(When(**{f"{source}__isnull": False}, then=shown), default=_literal("null"))
    if isinstance(field, Excerpt):
        return _as_json(_sql(f"LEFT(%(expressions)s, {field.longest})", F(source)))
    if isinstance(field, serializers.PrimaryKeyRelatedField):
        return _quoted(F(f"{source}_id"))
    for kinds, show in SHOWN_BY:
        if isinstance(field, kinds):
            return show(F(source))
    raise TypeError(f"{type(form).__name__}.{field.field_name} cannot be read as a column")


def _sql(template: str, *parts: Any) -> Func:
    return Func(*parts, template=template, output_field=TextField())


def _literal(text: str) -> RawSQL:
    return RawSQL(f"'{text}'", [], TextField())  # noqa: S611  names of our own fields


def _or_null(value: Any) -> Func:
    return _sql("COALESCE(%(expressions)s, 'null')", value)


def _as_json(value: Any) -> Func:
    return _or_null(_sql("TO_JSON(%(expressions)s)::text", value))


def _as_it_is(value: Any) -> Func:
    return _or_null(_sql("%(expressions)s::text", value))


def _quoted(value: Any) -> Func:
    return _or_null(_sql("""'"' || %(expressions)s::text || '"'""", value))


def _moment(value: Any) -> Func:
    """The connection's time zone is UTC."""
    return _quoted(_sql("""TO_CHAR(%(expressions)s, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""", value))


SHOWN_BY: tuple[tuple[Any, Callable[[Any], Func]], ...] = (
    (serializers.UUIDField, _quoted),
    (serializers.DateTimeField, _moment),
    ((serializers.BooleanField, serializers.IntegerField, serializers.JSONField), _as_it_is),
    ((serializers.CharField, serializers.ChoiceField, serializers.FloatField, serializers.ListField), _as_json),
)
