from django.db import migrations, models

# Nothing writes this outcome: a turn that loses its conversation to a person is not stored. Rows that still have it keep
# its meaning as the reason why the burst was ignored.
SILENCED_TO_IGNORED = """
UPDATE messaging_turn SET outcome = 'ignored', reason = COALESCE(NULLIF(reason, ''), 'silenced: a person took over')
 WHERE outcome = 'silenced'
"""


class Migration(migrations.Migration):

    dependencies = [
        ("messaging", "0016_attention_model"),
    ]

    operations = [
        migrations.RunSQL(SILENCED_TO_IGNORED, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="turn",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("answered", "Answered"),
                    ("command", "Command"),
                    ("ignored", "Ignored"),
                    ("failed", "Failed"),
                ],
                max_length=8,
            ),
        ),
    ]
