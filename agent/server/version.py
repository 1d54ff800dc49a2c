"""Which versions are installed, and whether the database fits them."""

import platform
from typing import Any

import django
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from whatsapp_agent.version import VERSION


def newest_migrations() -> dict[str, str]:
    """Return the newest migration of each app in this version of the code."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return dict(sorted(loader.graph.leaf_nodes()))


def versions() -> dict[str, Any]:
    """Return the versions of the project and of what it runs on; without a database, why there is none."""
    report: dict[str, Any] = {
        "version": VERSION,
        "python": platform.python_version(),
        "django": django.get_version(),
        "postgresql": None,
        "pending_migrations": None,
        "database_error": None,
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version')")
            report["postgresql"] = cursor.fetchone()[0]
        executor = MigrationExecutor(connection)
        report["pending_migrations"] = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError as exc:
        report["database_error"] = " ".join(str(exc).split())
    return report
