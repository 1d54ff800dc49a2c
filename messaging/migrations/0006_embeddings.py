import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import messaging.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0005_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="UnembeddedMessage",
            fields=[
                ("message_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("not_before", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name="EmbeddingModel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                ("dimension", models.PositiveSmallIntegerField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("name", "dimension"), name="embedding_model_once")],
            },
        ),
        migrations.CreateModel(
            name="Embedding",
            fields=[
                (
                    "message",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="embedding",
                        serialize=False,
                        to="messaging.message",
                    ),
                ),
                ("conversation_id", models.UUIDField(db_index=True, editable=False)),
                (
                    "vector",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=messaging.models.Real(), editable=False, size=None
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="messaging.embeddingmodel",
                    ),
                ),
            ],
        ),
    ]
