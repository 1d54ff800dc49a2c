"""A note may be shown to the model; its events say so."""

from django.db import migrations, models
from django.db.models import Q

from whatsapp_agent.postgres.triggers import TriggerFunction, install

BEFORE = TriggerFunction(
    name="messaging_write_note_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    SELECT 'conversation.note_added', session_id, NEW.conversation_id,
           jsonb_build_object('note', NEW.id, 'by', NEW.author_id)
      FROM messaging_conversation WHERE id = NEW.conversation_id;
    RETURN NULL;
END """,
    triggers={
        "write_note_event": ("messaging_note", "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"),
    },
)
NOTE = TriggerFunction(
    name="messaging_write_note_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    SELECT 'conversation.' || COALESCE(TG_ARGV[0], 'note_added'), session_id, NEW.conversation_id,
           jsonb_build_object('note', NEW.id, 'by', NEW.author_id, 'is_shown_to_model', NEW.is_shown_to_model)
      FROM messaging_conversation WHERE id = NEW.conversation_id;
    RETURN NULL;
END """,
    triggers={
        "write_note_event": ("messaging_note", "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"),
        "write_note_change_event": (
            "messaging_note",
            """AFTER UPDATE OF is_shown_to_model ON {table}
FOR EACH ROW WHEN (NEW.is_shown_to_model IS DISTINCT FROM OLD.is_shown_to_model)
EXECUTE FUNCTION {function}('note_changed')""",
        ),
    },
)


class Migration(migrations.Migration):
    dependencies = [("messaging", "0033_number_words")]

    operations = [
        migrations.AddField("note", "is_shown_to_model", models.BooleanField(default=False, db_default=False)),
        migrations.AddIndex(
            "note",
            models.Index(
                fields=["conversation", "-created_at"], condition=Q(is_shown_to_model=True), name="note_shown_to_model"
            ),
        ),
        install(NOTE, previous=BEFORE),
    ]
