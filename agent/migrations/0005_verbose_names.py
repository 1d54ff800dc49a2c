"""Names of models and fields that people read, to be translated."""

from django.db import migrations

from whatsapp_agent.postgres.names import SetVerboseNames

NAMES = {
    "alert": {
        "": ("alert", "alerts"), "detail": "detail", "fired_at": "fired at", "last_seen_at": "last seen at",
        "recovered_at": "recovered at", "rule": "rule", "session_id": "session id", "subject": "subject",
    },
    "engineprocess": {
        "": ("engine process", "engine processes"), "host": "host", "kind": "kind", "seen_at": "seen at",
        "started_at": "started at", "turns_running": "turns running", "turns_waiting": "turns waiting",
        "woken_at": "woken at",
    },
}  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("agent", "0004_push")]

    operations = [SetVerboseNames(NAMES)]
