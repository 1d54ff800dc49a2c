"""What a query finds, as the driver has it: to read only ids and times, the ORM takes twice as long as the database."""

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet
from psycopg2.extensions import UNICODE, new_type, register_type

# 2950 is the type uuid, https://www.postgresql.org/docs/18/catalog-pg-type.html
ID_AS_TEXT = new_type((2950,), "ID_AS_TEXT", UNICODE)


def values_of(queryset: QuerySet[Any, Any]) -> list[tuple[Any, ...]]:
    """The rows of a `values_list`, with ids as text. For columns that Django would not convert either."""
    try:
        sql, parameters = queryset.query.sql_with_params()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        register_type(ID_AS_TEXT, cursor.cursor)
        cursor.execute(sql, parameters)
        return cursor.fetchall()
