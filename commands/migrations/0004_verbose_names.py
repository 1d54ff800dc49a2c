"""Names of models and fields that people read, to be translated."""

from django.db import migrations

from whatsapp_agent.postgres.names import SetVerboseNames

NAMES = {
    "commandrun": {
        "": ("command run", "command runs"), "arguments": "arguments", "caller": "caller", "contact": "contact",
        "conversation": "conversation", "created_at": "created at", "data": "data", "error": "error",
        "error_code": "error code", "key": "key", "name": "name", "started_at": "started at", "status": "status",
        "surface": "surface", "text": "text", "turn": "turn", "user": "user",
    },
}  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("commands", "0003_texts")]

    operations = [SetVerboseNames(NAMES)]
