from django.db import migrations, models

from whatsapp_agent.postgres.triggers import TriggerFunction, install

UNINDEXED_MEDIA = TriggerFunction(
    name="messaging_list_unindexed_media",
    body="""
BEGIN
    INSERT INTO messaging_unindexedmessage (message_id, conversation_id)
    SELECT id, conversation_id FROM messaging_message WHERE id = NEW.message_id
    ON CONFLICT (message_id) DO NOTHING;
    RETURN NULL;
END """,
    triggers={
        "messaging_media_was_read": (
            "messaging_media",
            """AFTER UPDATE OF filename, transcript, extract ON {table}
FOR EACH ROW WHEN (OLD.transcript <> NEW.transcript OR OLD.extract <> NEW.extract OR OLD.filename <> NEW.filename)
EXECUTE FUNCTION {function}()""",
        ),
    },
)
# What was read before this migration is found, too.
LIST_READ_MEDIA = """
INSERT INTO messaging_unindexedmessage (message_id, conversation_id)
SELECT message.id, message.conversation_id
  FROM messaging_media media JOIN messaging_message message ON message.id = media.message_id
 WHERE media.transcript <> '' OR media.extract <> ''
ON CONFLICT (message_id) DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("messaging", "0024_teamwork")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="earlier_texts",
            field=models.JSONField(blank=True, db_default=[], default=list, editable=False),
        ),
        install(UNINDEXED_MEDIA),
        migrations.RunSQL(LIST_READ_MEDIA, migrations.RunSQL.noop),
    ]
