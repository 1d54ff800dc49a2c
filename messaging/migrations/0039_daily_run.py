"""Remember when the daily deletion of old rows is due again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("messaging", "0038_verbose_names")]

    operations = [
        migrations.CreateModel(
            name="DailyRun",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("due_at", models.DateTimeField()),
            ],
        ),
    ]
