from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("messaging", "0035_event_of_session")]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="external_controller",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="The other program that holds the chat at the platform, as that calls it. Empty: none does.",
                max_length=100,
            ),
        ),
        migrations.AddField(
            model_name="conversation",
            name="external_controller_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
