"""Lists whose rows the database returns as JSON, in the shape that a serializer declares.

A page takes two statements: one selects the ids, with the filters; the other reads these rows. The second is the
same for every page of a serializer, so each connection plans it once. Building fifty model instances with their
relations, only to serialize them, takes several times as long as both (`make bench-api`). So does Django's
`JSONObject`, whose query is compiled anew for each page (docs/benchmarks.md).
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
    """The first `max_chars` characters of a text."""

    def __init__(self, *, max_chars: int, **kwargs: Any) -> None:
        super().__init__(read_only=True, help_text=f"The first {max_chars} characters.", **kwargs)
        self.max_chars = max_chars

    def to_representation(self, value: Any) -> str:
        return super().to_representation(value)[: self.max_chars]


class FastListMixin(ListModelMixin):
    """List through `read_rows`, in the shape of the view's serializer."""

    def list(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:  # noqa: ARG002
        keys = self.paginator.page_ids(self.filter_queryset(self.get_queryset()), request, view=self)
        return self.get_paginated_response(read_rows(self.get_serializer_class(), keys))


def read_rows(form: Form, keys: Sequence[UUID | str]) -> list[Fragment]:
    """Return the rows with these primary keys as JSON, in this order; deleted ones are left out.

    No access check: pass ids that the caller may see. A field of `form` may be a column, or a serializer of a foreign
    key's row, with `many=True` of a reverse relation's rows by id, or of the first row of a query in `Meta.subqueries`.
    """
    rows = rows_by_key(form, keys)
    return [rows[key] for key in map(str, keys) if key in rows]


def rows_by_key(form: Form, keys: Iterable[UUID | str]) -> dict[str, Fragment]:
    """Like `read_rows`, but a dict by primary key as text."""
    ids = ",".join(map(str, keys))
    if not ids:
        return {}
    return {key: Fragment(row) for key, row in _statement_for(form).rows(keys=f"{{{ids}}}")}


@cache
def _statement_for(form: Form) -> Statement:
    model: type[Model] = form.Meta.model
    key = f'"{model._meta.db_table}"."{model._meta.pk.column}"'
    has_key = RawSQL(f"{key} = ANY(%s::uuid[])", ["keys"], BooleanField())  # noqa: S611  names of our tables and columns
    rows = model._default_manager.order_by().filter(has_key)
    sql, _ = rows.values_list(Cast("pk", TextField()), _object(form())).query.sql_with_params()
    return Statement(sql % "%(keys)s")  # its only parameter


# --- JSON is concatenated: JSON_BUILD_OBJECT looks up the type of each value again in every row --------------------


def _object(form: Any, path: str = "") -> Func:
    """Return the expression of a row's JSON; its columns are reached through `path`."""
    _refuse_own_representation(form, type(form).__name__)
    parts: list[Any] = []
    for name, field in form.fields.items():
        if field.write_only:
            continue
        parts += [_literal(f'{"," if parts else "{"}"{name}":'), _value(field, form, path)]
    return _sql("CONCAT(%(expressions)s)", *parts, _literal("}"))


def _value(field: Any, form: Any, path: str) -> Combinable:
    """Return the expression of a field's JSON. Raises TypeError for a field that needs a Python object."""
    _refuse_own_representation(field, f"{type(form).__name__}.{field.field_name}")
    source = path + str(field.source).replace(".", "__")
    subqueries = getattr(form.Meta, "subqueries", {})
    if isinstance(field, serializers.ListSerializer):
        relation = form.Meta.model._meta.get_field(field.source)
        rows = relation.related_model._default_manager.filter(**{relation.field.name: OuterRef(f"{path}pk")})
        each = ArraySubquery(rows.order_by("pk").values(json=_object(field.child)))
        return _sql("CONCAT('[', ARRAY_TO_STRING(%(expressions)s, ','), ']')", each)
    if field.source in subqueries:
        return _or_null(Subquery(subqueries[field.source].values(json=_object(field))[:1]))
    if isinstance(field, serializers.ModelSerializer):
        nested = _object(field, f"{source}__")
        return Case(When(**{f"{source}__isnull": False}, then=nested), default=_literal("null"))
    if isinstance(field, Excerpt):
        return _as_json(_sql(f"LEFT(%(expressions)s, {field.max_chars})", F(source)))
    if isinstance(field, serializers.PrimaryKeyRelatedField):
        return _quoted(F(f"{source}_id"))
    for kinds, to_json in EXPRESSIONS:
        if isinstance(field, kinds):
            return to_json(F(source))
    raise TypeError(f"{type(form).__name__}.{field.field_name} cannot be read as a column")


def _refuse_own_representation(field: Any, name: str) -> None:
    """Raises TypeError where Python code shapes the value: lists come from SQL and would show it differently."""
    for method in ("to_representation", "get_attribute"):
        owner = next(cls for cls in type(field).__mro__ if method in vars(cls))
        if owner is not Excerpt and not owner.__module__.startswith("rest_framework."):
            raise TypeError(f"{name} has its own {method}() in {owner.__name__}, which lists do not call")
    if isinstance(child := getattr(field, "child", None), serializers.Field):
        _refuse_own_representation(child, name)


def _sql(template: str, *parts: Any) -> Func:
    return Func(*parts, template=template, output_field=TextField())


def _literal(text: str) -> RawSQL:
    return RawSQL(f"'{text}'", [], TextField())  # noqa: S611  names of our own fields


def _or_null(value: Any) -> Func:
    return _sql("COALESCE(%(expressions)s, 'null')", value)


def _as_json(value: Any) -> Func:
    return _or_null(_sql("TO_JSON(%(expressions)s)::text", value))


def _unquoted(value: Any) -> Func:
    return _or_null(_sql("%(expressions)s::text", value))


def _quoted(value: Any) -> Func:
    return _or_null(_sql("""'"' || %(expressions)s::text || '"'""", value))


def _time(value: Any) -> Func:
    """Correct because connections have the time zone UTC."""
    return _quoted(_sql("""TO_CHAR(%(expressions)s, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""", value))


EXPRESSIONS: tuple[tuple[Any, Callable[[Any], Func]], ...] = (
    (serializers.UUIDField, _quoted),
    (serializers.DateTimeField, _time),
    ((serializers.BooleanField, serializers.IntegerField, serializers.JSONField), _unquoted),
    ((serializers.CharField, serializers.ChoiceField, serializers.FloatField, serializers.ListField), _as_json),
)
