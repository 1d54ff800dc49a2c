"""SQL that is run for every message: planned once by each connection, not again at each call."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.db import DatabaseError, connection
from psycopg2.errors import DuplicatePreparedStatement, InvalidSqlStatementName
from psycopg2.extensions import TRANSACTION_STATUS_INERROR

log = structlog.get_logger(__name__)

# A plan made for an empty table reads all of it when it has grown. So the first plan is made as for large tables, and
# kept until there are statistics (`messaging.maintenance.statistics`); then PostgreSQL makes another one by itself.
PLAN_FOR_LARGE_TABLES = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; "
    "SET enable_mergejoin = off"
)
PLAN_AS_USUAL = "RESET enable_seqscan; RESET enable_hashjoin; RESET enable_mergejoin"
_PARAMETER = re.compile(r"%\((\w+)\)s")


class Statement:
    """One SQL statement with `%(name)s` parameters. Planning a join of six tables takes longer than running it.

    PostgreSQL has to know a parameter's type beforehand: where nothing beside it says so, write `%(name)s::type`.
    Behind a pooler that lends a connection for one transaction only, what was prepared is not found again: then it is
    run as it is, by all statements of this process from then on.
    """

    prepares = True

    def __init__(self, sql: str) -> None:
        names = list(dict.fromkeys(_PARAMETER.findall(sql)))
        numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
        self.sql = sql
        self.name = f"agent_{hashlib.sha256(sql.encode()).hexdigest()[:16]}"
        self._prepare = f"PREPARE {self.name} AS {numbered}"
        self.execute = f"EXECUTE {self.name}" + (f" ({', '.join(f'%({name})s' for name in names)})" if names else "")

    def rows(self, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run it; returns what it gives back."""
        return self.rows_after((), **parameters)

    def rows_after(self, others: "Sequence[Call]", **parameters: Any) -> list[tuple[Any, ...]]:
        """Run it after others, in one round trip; returns what this one gives back.

        Outside a transaction all of them are one: either everything is committed or nothing.
        """
        calls: list[Call] = [*others, (self, parameters)]
        if Statement.prepares:
            try:
                return _run_prepared(calls)
            except DatabaseError as exc:
                if not isinstance(exc.__cause__, (InvalidSqlStatementName, DuplicatePreparedStatement)):
                    raise
                Statement.prepares = False
                log.warning("statements_not_prepared", why="a connection pooler seems to be in front of the database")
                if connection.in_atomic_block:
                    raise  # the transaction is lost; its caller tries again
        with connection.cursor() as cursor:
            return _run(cursor, [(statement.sql, values) for statement, values in calls])

    def prepare(self, cursor: Any, parameters: Mapping[str, Any]) -> None:
        """Prepare it, if the cursor's connection has not."""
        known: set[str] = cursor.connection.prepared
        if self.name not in known:
            cursor.execute(f"{PLAN_FOR_LARGE_TABLES}; {self._prepare}")
            known.add(self.name)
            try:
                cursor.execute(f"EXPLAIN {self.execute}", parameters)
            finally:
                if cursor.connection.info.transaction_status != TRANSACTION_STATUS_INERROR:  # a rollback resets
                    cursor.execute(PLAN_AS_USUAL)


Call = tuple[Statement, Mapping[str, Any]]  # with its parameters


def _run_prepared(calls: Sequence[Call]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        for statement, parameters in calls:
            statement.prepare(cursor, parameters)
        return _run(cursor, [(statement.execute, parameters) for statement, parameters in calls])


def _run(cursor: Any, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[tuple[Any, ...]]:
    if len(statements) == 1:
        cursor.execute(*statements[0])
    else:
        cursor.execute("; ".join(cursor.mogrify(sql, parameters).decode() for sql, parameters in statements))
    return cursor.fetchall() if cursor.description else []
