"""Names of models and fields that people read, to be translated."""

from django.db import migrations

from whatsapp_agent.postgres.names import SetVerboseNames

NAMES = {
    "apikey": {
        "": ("API key", "API keys"), "created_at": "created at", "expires_at": "expires at",
        "last_used_at": "last used at", "name": "name", "prefix": "prefix", "revoked_at": "revoked at",
        "scopes": "scopes", "session_ids": "session ids", "user": "user",
    },
}  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_preferences")]

    operations = [SetVerboseNames(NAMES)]
