"""Trigger functions as the code declares them, and how a migration installs one.

A feature declares its triggers in its `triggers.py`; tests compare them with the database. To change one, edit the
declaration and add a migration with `install(...)` of a literal copy: a migration must not change when the code does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.migrations import RunSQL


@dataclass(frozen=True, slots=True)
class TriggerFunction:
    """A PL/pgSQL function without parameters, and the triggers that call it.

    `triggers` is `{name: (table, rest)}`; `rest` is what follows the name in CREATE TRIGGER, with `{table}` and
    `{function}` in it.
    """

    name: str
    body: str
    triggers: Mapping[str, tuple[str, str]]

    @property
    def sql(self) -> str:
        """Create or replace the function and its triggers. May run twice."""
        function = f"CREATE OR REPLACE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS $${self.body}$$;"
        created = [
            f"DROP TRIGGER IF EXISTS {trigger} ON {table};\nCREATE TRIGGER {trigger} "
            f"{rest.format(table=table, function=self.name)};"
            for trigger, (table, rest) in self.triggers.items()
        ]
        return "\n".join([function, *created])

    @property
    def drop_sql(self) -> str:
        return f"DROP FUNCTION IF EXISTS {self.name} CASCADE;"


def install(function: TriggerFunction, *, previous: TriggerFunction | None = None) -> RunSQL:
    """Return the migration operation that installs `function`; reversed, it installs `previous` or drops it."""
    return RunSQL(function.sql, function.drop_sql + (previous.sql if previous else ""))
