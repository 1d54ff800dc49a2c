from django.db import migrations, models

MOVE = """
UPDATE sessions_app_whatsappsession session SET group_policy = 'all'
  FROM sessions_app_agentprofile profile
 WHERE profile.id = session.agent_profile_id AND profile.answers_groups
"""
MOVE_BACK = """
UPDATE sessions_app_agentprofile profile SET answers_groups = true
 WHERE EXISTS (SELECT FROM sessions_app_whatsappsession session
                WHERE session.agent_profile_id = profile.id AND session.group_policy <> 'off')
"""


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0015_drafts")]

    operations = [
        migrations.AddField(
            model_name="whatsappsession",
            name="group_policy",
            field=models.CharField(
                choices=[
                    ("off", "groups are not answered"),
                    ("mention", "answered where it is mentioned or replied to"),
                    ("all", "every message of a group is answered"),
                ],
                db_default="off",
                default="off",
                help_text="What the agent answers in groups.",
                max_length=7,
            ),
        ),
        migrations.AddField(
            model_name="whatsappsession",
            name="lid",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=64),
        ),
        migrations.RunSQL(MOVE, MOVE_BACK),
        migrations.RemoveField(model_name="agentprofile", name="answers_groups"),
    ]
