"""Migrations run while the previous version still works: what would break it, or stop it for long, is refused."""

from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pkgutil import iter_modules
from typing import Any

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.models.fields import NOT_PROVIDED

from whatsapp_agent.postgres.names import SetVerboseNames

APPS = ("accounts", "sessions_app", "messaging", "commands", "agent")
# The migrations of the first version: it is installed, not upgraded to.
FIRST_VERSION = {"accounts": 3, "sessions_app": 8, "messaging": 14, "commands": 1, "agent": 0}
# Tables with a row for each message or more: an index that is built on them at once stops writing for its time.
LARGE = {"message", "event", "turn", "toolcall", "media", "webhookdelivery", "searchentry", "messageembedding"}
HARMLESS = (
    SetVerboseNames,
    migrations.CreateModel,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
    migrations.AddConstraint,  # on a table of the same migration, see `problems`
    AddIndexConcurrently,
    RemoveIndexConcurrently,
)
TRIGGERS = "It replaces triggers in one transaction: a row of the old version is written with the old or the new event."
SETTING = "While both run, the old version cannot create a row of this table of settings; messages need none."
# Why it is safe nevertheless.
EXPLAINED: dict[tuple[str, str], str] = {
    ("accounts", "0004_role_groups"): "It creates groups that the old version does not look for.",
    ("sessions_app", "0009_bridge_signing_key"): SETTING,
    ("sessions_app", "0012_voice_fallback_text"): SETTING,
    ("sessions_app", "0013_presence"): SETTING,
    ("sessions_app", "0015_drafts"): SETTING,
    ("sessions_app", "0016_group_policy"): "The old version reads a column that is gone, until it is restarted: "
    "webhooks are answered 503 and sent again, turns are tried again by the new version.",
    ("messaging", "0015_attention_reason"): TRIGGERS,
    ("messaging", "0016_attention_model"): TRIGGERS,
    ("messaging", "0017_no_silenced_turns"): "It renames a value that the old version no longer writes.",
    ("messaging", "0018_event_trigger_names"): TRIGGERS,
    ("messaging", "0019_bridge_pricing"): "A receipt that comes before its message is refused by the old version for "
    "these seconds: 503, and the bridge sends it again.",
    ("messaging", "0023_received_media"): "A table of files: thousands of rows, an index in milliseconds.",
    ("messaging", "0024_teamwork"): TRIGGERS,
    ("messaging", "0025_earlier_texts"): TRIGGERS,
    ("messaging", "0026_calls"): "It widens a choice; the old version shows the new kind as it is.",
    ("messaging", "0034_note_shown_to_model"): TRIGGERS,
    ("commands", "0002_finished_events"): TRIGGERS,
}


def later_migrations() -> Iterator[tuple[str, str, Any]]:
    for app in APPS:
        package = import_module(f"{app}.migrations")
        for module in iter_modules(package.__path__):
            if module.name[:4].isdigit() and int(module.name[:4]) > FIRST_VERSION[app]:
                yield app, module.name, import_module(f"{app}.migrations.{module.name}").Migration


def problems(operations: list[Any], *, models_made: set[str] | None = None) -> list[str]:
    """Return what of these operations would break the version that runs beside them."""
    made = models_made if models_made is not None else set()
    found = []
    for operation in operations:
        name = type(operation).__name__
        table = str(getattr(operation, "model_name", getattr(operation, "name", ""))).lower()
        if isinstance(operation, migrations.CreateModel):
            made.add(operation.name.lower())
        elif table in made:
            continue  # nobody uses it yet
        elif isinstance(operation, migrations.SeparateDatabaseAndState):
            found += problems(operation.database_operations, models_made=made)
        elif isinstance(operation, migrations.AddField):
            field = operation.field
            if not (field.null or field.db_default is not NOT_PROVIDED or isinstance(field, models.ManyToManyField)):
                found.append(
                    f"AddField {table}.{operation.name}: the old version inserts rows without it; set db_default"
                )
        elif isinstance(operation, migrations.AlterField):
            found.append(f"AlterField {table}.{operation.name}: explain that the column stays as it is, or gets wider")
        elif isinstance(operation, migrations.AddIndex) and not isinstance(operation, AddIndexConcurrently):
            if table in LARGE:
                found.append(f"AddIndex {table}: writing waits for it; use AddIndexConcurrently with atomic = False")
        elif not isinstance(operation, HARMLESS) or isinstance(operation, migrations.AddConstraint):
            found.append(f"{name} {table}: explain why the old version works beside it")
    return found


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("app", "name", "migration"), [pytest.param(*each, id=f"{each[0]}.{each[1]}") for each in later_migrations()]
)
def test_a_migration_lets_the_previous_version_work(app: str, name: str, migration: Any) -> None:
    found = problems(migration.operations)
    found = [each for each in found if not each.startswith("AlterField ") or changes_columns(app, name)]
    assert not found or EXPLAINED.get((app, name)), "\n".join(found)


def changes_columns(app: str, name: str) -> bool:
    """Return whether a migration's AlterField operations have any SQL: most change a text for people alone."""
    state = MigrationLoader(None).project_state((app, name), at_end=False)
    operations = import_module(f"{app}.migrations.{name}").Migration.operations
    for kind, group in groupby(operations, type):
        after, together = state.clone(), list(group)
        for operation in together:
            operation.state_forwards(app, after)
        if issubclass(kind, migrations.AlterField):
            with connection.schema_editor(collect_sql=True, atomic=False) as editor:
                for operation in together:
                    operation.database_forwards(app, editor, state, after)
            if any(not line.startswith("--") for line in editor.collected_sql):
                return True
        state = after
    return False


def test_only_migrations_that_need_it_are_explained() -> None:
    with_problems = {(app, name) for app, name, migration in later_migrations() if problems(migration.operations)}
    assert set(EXPLAINED) <= with_problems


@pytest.mark.parametrize(
    ("operation", "is_safe"),
    [
        (migrations.AddField("message", "mood", models.TextField(null=True)), True),
        (migrations.AddField("message", "mood", models.TextField(db_default="")), True),
        (migrations.AddField("message", "mood", models.TextField(default="")), False),
        (migrations.RemoveField("message", "text"), False),
        (migrations.RenameField("message", "text", "body"), False),
        (migrations.RenameModel("Message", "Letter"), False),
        (migrations.DeleteModel("Message"), False),
        (migrations.AlterField("message", "text", models.CharField(max_length=10)), False),
        (migrations.AddIndex("message", models.Index(fields=["text"], name="x")), False),
        (AddIndexConcurrently("message", models.Index(fields=["text"], name="x")), True),
        (migrations.AddConstraint("message", models.UniqueConstraint(fields=["text"], name="y")), False),
        (migrations.RunSQL("DROP TABLE messaging_message"), False),
        (migrations.RunPython(migrations.RunPython.noop), False),
        (migrations.SeparateDatabaseAndState([migrations.RemoveField("message", "text")]), False),
        (migrations.CreateModel("Letter", [("id", models.AutoField(primary_key=True))]), True),
        (migrations.AlterModelOptions("message", {"verbose_name": "letter"}), True),
    ],
)
def test_the_check_knows_what_breaks_a_running_version(operation: Any, is_safe: bool) -> None:
    assert (problems([operation]) == []) is is_safe


def test_what_a_migration_does_to_its_own_new_table_is_safe() -> None:
    create = migrations.CreateModel("Letter", [("id", models.AutoField(primary_key=True))])
    assert problems([create, migrations.AddField("letter", "text", models.TextField())]) == []
