"""Move, change and delete rows in a way that can be taken back exactly."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models

JsonRow = dict[str, Any]

SELECT_ROWS = "SELECT to_jsonb(row)::text FROM {table} row WHERE {key} = ANY(%s::{key_type}[]) ORDER BY {key}"
INSERT_ROW = "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_record(NULL::{table}, %s::jsonb)"
UPDATE_ROW = """
UPDATE {table} SET ({columns}) = (SELECT {columns} FROM jsonb_populate_record(NULL::{table}, %s::jsonb))
 WHERE {key} = %s
"""


class Journal:
    """Changes rows and records what they were. `record` is JSON; `undo` takes it."""

    def __init__(self) -> None:
        self.record: dict[str, list[Any]] = {"deleted": [], "changed": [], "moved": [], "watched": []}
        self._watched: list[tuple[type[models.Model], Any]] = []

    def watch(self, *rows: models.Model) -> None:
        """Record these rows before they are changed in whatever way; `finish` records them afterwards."""
        for row in rows:
            (before,) = select_rows(type(row), [row.pk])
            self._watched.append((type(row), row.pk))
            self.record["watched"].append({"model": row._meta.label, "before": before, "after": None})

    def finish(self) -> dict[str, list[Any]]:
        """Return the record, as JSON."""
        for entry, (model, key) in zip(self.record["watched"], self._watched, strict=True):
            entry["after"] = next(iter(select_rows(model, [key])), None)
        return self.record

    def move(self, rows: models.QuerySet, field: str, *, to: models.Model) -> None:
        """Point a foreign key of all these rows, which have the same value there, at `to`."""
        found = list(rows.values_list("pk", field))
        if not found:
            return
        name = rows.model._meta.get_field(field).attname
        rows.model._default_manager.filter(pk__in=[key for key, _ in found]).update(**{field: to})
        self.record["moved"].append(
            {
                "model": rows.model._meta.label,
                "field": name,
                "before": str(found[0][1]),
                "after": str(to.pk),
                "ids": [str(key) for key, _ in found],
            }
        )

    def move_references(
        self, lose: models.Model, *, to: models.Model, but: tuple[type[models.Model], ...] = ()
    ) -> None:
        """Point every foreign key to `lose`, in any app, at `to`; leave out the models in `but`.

        Where `to` has such a row already and may have one only, that of `lose` is deleted.
        """
        for relation in _references_to(type(lose)):
            if relation.related_model not in but:
                rows = relation.related_model._default_manager.filter(**{relation.field.name: lose})
                self._delete_clashing(rows, relation.field, to=to)
                self.move(rows, relation.field.name, to=to)

    def _delete_clashing(self, rows: models.QuerySet, field: models.Field, *, to: models.Model) -> None:
        unique: list[tuple[set[str], models.Q]] = [(set(), models.Q())] if field.unique else []
        for constraint in rows.model._meta.constraints:
            if isinstance(constraint, models.UniqueConstraint) and field.name in constraint.fields:
                unique.append(({*constraint.fields} - {field.name}, constraint.condition or models.Q()))
        for others, condition in unique:
            same = {name: models.OuterRef(name) for name in others}
            taken = rows.model._default_manager.filter(condition, **{field.name: to}, **same)
            self.delete(rows.filter(condition).filter(models.Exists(taken)))

    def change(self, rows: models.QuerySet, **values: Any) -> None:
        """Set columns of these rows."""
        found = list(rows.values("pk", *values))
        rows.model._default_manager.filter(pk__in=[row["pk"] for row in found]).update(**values)
        self.record["changed"] += [
            {
                "model": rows.model._meta.label,
                "id": str(row.pop("pk")),
                "before": {name: _as_json(value) for name, value in row.items()},
                "after": {name: _as_json(value) for name, value in values.items()},
            }
            for row in found
        ]

    def delete(self, rows: models.QuerySet) -> None:
        """Delete these rows, and those that cannot be without them."""
        keys = list(rows.values_list("pk", flat=True))
        if not keys:
            return
        for relation in _references_to(rows.model):
            referring = relation.related_model._default_manager.filter(**{f"{relation.field.name}__in": keys})
            if relation.on_delete is models.SET_NULL:
                self.change(referring, **{relation.field.attname: None})
            elif relation.on_delete is not models.DO_NOTHING:
                self.delete(referring)
        found = select_rows(rows.model, keys)
        self.record["deleted"] += [{"model": rows.model._meta.label, "row": row} for row in found]
        doomed = rows.model._base_manager.filter(pk__in=keys)
        doomed._raw_delete(doomed.db)


def undo(record: dict[str, list[Any]], *, counters: frozenset[str] = frozenset()) -> None:
    """Bring back what a journal recorded. What was changed again since then stays as it is; of `counters` what was
    added since stays added.

    A reference to a row that was deleted since becomes null; a row that cannot be without it stays deleted.
    """
    for entry in reversed(record["deleted"]):
        _insert_row(apps.get_model(entry["model"]), entry["row"])
    for entry in reversed(record["moved"]):
        model = apps.get_model(entry["model"])
        moved = model._default_manager.filter(pk__in=entry["ids"], **{entry["field"]: entry["after"]})
        moved.update(**{entry["field"]: entry["before"]})
    for entry in reversed(record["changed"]):
        model = apps.get_model(entry["model"])
        model._default_manager.filter(pk=entry["id"], **entry["after"]).update(**entry["before"])
    for entry in record["watched"]:
        if entry["after"] is not None:
            _restore_row(apps.get_model(entry["model"]), entry["before"], entry["after"], counters=counters)


def select_rows(model: type[models.Model], keys: Sequence[Any]) -> list[JsonRow]:
    """Return rows by primary key, each as the JSON that PostgreSQL makes of it."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_ROWS.format(**_names(model)), [[str(key) for key in keys]])
        return [json.loads(row) for (row,) in cursor.fetchall()]


def _insert_row(model: type[models.Model], row: JsonRow) -> None:
    """Insert a row as it was. Columns that a later version added get their defaults."""
    fields = {str(field.column): field for field in model._meta.concrete_fields}
    whole = {name: row[name] if name in row else _as_json(field.get_default()) for name, field in fields.items()}
    for field in _dangling(model, whole):
        if not field.null:
            return
        whole[str(field.column)] = None
    statement = INSERT_ROW.format(columns=_columns(whole), **_names(model))
    with connection.cursor() as cursor:
        cursor.execute(statement, [json.dumps(whole)])


def _restore_row(model: type[models.Model], before: JsonRow, after: JsonRow, *, counters: frozenset[str]) -> None:
    key = before[str(model._meta.pk.column)]
    now = next(iter(select_rows(model, [key])), None)
    if now is None:
        return
    values = {name: before[name] for name in before if name in now and now[name] == after[name] != before[name]}
    for field in _dangling(model, values):
        if field.null:
            values[field.column] = None
        else:
            del values[field.column]
    for name in counters & now.keys() & before.keys():
        values[name] = max(0, before[name] + now[name] - after[name])
    if not values:
        return
    statement = UPDATE_ROW.format(columns=_columns(values), **_names(model))
    with connection.cursor() as cursor:
        cursor.execute(statement, [json.dumps(values), key])


def _dangling(model: type[models.Model], row: JsonRow) -> Iterator[models.ForeignKey]:
    """Yield the foreign keys of a row whose target does not exist."""
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey) and row.get(str(field.column)) is not None:
            target = {field.target_field.attname: row[str(field.column)]}
            if not field.remote_field.model._base_manager.filter(**target).exists():
                yield field


def _references_to(model: type[models.Model]) -> Iterator[models.ManyToOneRel]:
    for relation in model._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ManyToOneRel):
            yield relation


def _names(model: type[models.Model]) -> dict[str, str]:
    key = model._meta.pk
    key_type = str(key.rel_db_type(connection))
    return {"table": f'"{model._meta.db_table}"', "key": f'"{key.column}"', "key_type": key_type}


def _columns(row: JsonRow) -> str:
    return ", ".join(f'"{name}"' for name in row)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))
