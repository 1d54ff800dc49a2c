"""Keep the status with which a push service refused our last notification to a browser."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("agent", "0005_verbose_names")]

    operations = [
        migrations.AddField(
            model_name="pushsubscription",
            name="refused_status",
            field=models.PositiveSmallIntegerField(null=True),
        ),
    ]
