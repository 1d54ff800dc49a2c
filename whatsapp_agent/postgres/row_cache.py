"""A cache of rows that rarely change. A row is used only while the database has the same version of it."""

from typing import Any, Generic, TypeVar

from django.db import models

Row = TypeVar("Row", bound=models.Model)


class VersionedRowCache(Generic[Row]):
    """Objects of one model, shared by all threads: nobody may change them.

    The version of a row is where PostgreSQL keeps it and who put it there, which every change changes:
    `SELECT id, ROW(xmin, ctid)::text`, https://www.postgresql.org/docs/18/ddl-system-columns.html

    A row is never out of date: the caller has just read its version, along with other columns.
    """

    def __init__(self, model: type[Row]) -> None:
        self._model = model
        self._kept: dict[Any, tuple[str, Row]] = {}

    def get(self, pk: Any, version: str) -> Row:
        version_kept, row = self._kept.get(pk, ("", None))
        if row is None or version_kept != version:
            row = self._model._default_manager.get(pk=pk)
            self._kept[pk] = (version, row)
        return row
