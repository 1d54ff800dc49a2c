"""One worker migrates its test database, and the others copy it: the migrations take seven seconds of CPU time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from whatsapp_agent.postgres import base as postgres

NAME = "test_template"


@contextmanager
def template_database(folder: Path) -> Iterator[None]:
    """Create the test database within this context; only one worker does at a time. `folder` is shared by all."""
    template = folder / NAME  # exists while the database does
    with (folder / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if template.exists():
            connection.settings_dict["TEST"]["TEMPLATE"] = NAME
        yield
        if template.exists():
            return
        connection.close()
        postgres.close_idle()  # a database that is in use cannot be copied
        source = connection.ops.quote_name(connection.settings_dict["NAME"])
        _execute(f"DROP DATABASE IF EXISTS {NAME}", f"CREATE DATABASE {NAME} TEMPLATE {source}")
        template.touch()


def drop_template_database(folder: Path) -> None:
    """Drop it. A worker that begins to need a database afterwards migrates its own."""
    with (folder / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / NAME).unlink(missing_ok=True)
        _execute(f"DROP DATABASE IF EXISTS {NAME}")


def _execute(*statements: str) -> None:
    with connection._nodb_cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
