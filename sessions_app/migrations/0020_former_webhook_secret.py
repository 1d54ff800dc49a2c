from django.db import migrations, models

import sessions_app.encryption


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0019_number_words")]

    operations = [
        migrations.AddField(
            "bridge",
            "former_webhook_secret",
            sessions_app.encryption.EncryptedTextField(blank=True, db_default="", default="", editable=False),
        ),
        migrations.AddField(
            "bridge", "former_webhook_secret_until", models.DateTimeField(blank=True, editable=False, null=True)
        ),
    ]
