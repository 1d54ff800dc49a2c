from django.db import migrations, models

# Only for reasons that no other event tells: message.failed, turn.finished and the like stand for the rest.
NOTIFY_OF_ATTENTION = """
CREATE FUNCTION messaging_notify_of_attention() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('conversation.needs_attention', NEW.session_id, NEW.id, jsonb_build_object('reason', NEW.attention_reason));
    RETURN NULL;
END $$;

CREATE TRIGGER notify_of_attention AFTER UPDATE OF needs_attention ON messaging_conversation
FOR EACH ROW WHEN (NEW.needs_attention AND NEW.attention_reason IN ('unanswered', 'bridge_key', 'loop', 'other_program')
                   AND (NOT OLD.needs_attention OR NEW.attention_reason IS DISTINCT FROM OLD.attention_reason))
EXECUTE FUNCTION messaging_notify_of_attention();
"""
DROP = "DROP FUNCTION messaging_notify_of_attention CASCADE"


class Migration(migrations.Migration):

    dependencies = [
        ('messaging', '0009_alias_order'),
    ]

    operations = [
        migrations.AddField(
            model_name='conversation',
            name='attention_reason',
            field=models.CharField(blank=True, choices=[('handoff', 'a person was asked for'), ('turn_failed', 'the agent could not answer'), ('unanswered', 'a takeover ended with an old question'), ('not_sent', 'a message was not sent'), ('unconfirmed', 'a message may not have been sent'), ('bridge_key', 'the bridge refuses its key'), ('loop', 'the other side seems to be a machine'), ('other_program', 'another program answers on this number')], db_default='', default='', max_length=20),
        ),
        migrations.RunSQL(NOTIFY_OF_ATTENTION, DROP),
    ]
