import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

# Whoever writes a message, and with whichever statement, notes here that its words are to be indexed.
NOTE = """
CREATE FUNCTION messaging_note_unindexed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO messaging_unindexedmessage (message_id, conversation_id) VALUES (NEW.id, NEW.conversation_id)
    ON CONFLICT (message_id) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER messaging_message_is_new AFTER INSERT ON messaging_message
    FOR EACH ROW EXECUTE FUNCTION messaging_note_unindexed();
CREATE TRIGGER messaging_message_was_changed AFTER UPDATE OF text, details, said_at ON messaging_message
    FOR EACH ROW WHEN (OLD.text <> NEW.text OR OLD.details <> NEW.details OR OLD.said_at <> NEW.said_at)
    EXECUTE FUNCTION messaging_note_unindexed();
INSERT INTO messaging_unindexedmessage (message_id, conversation_id) SELECT id, conversation_id FROM messaging_message;
"""
FORGET = """
DROP TRIGGER messaging_message_is_new ON messaging_message;
DROP TRIGGER messaging_message_was_changed ON messaging_message;
DROP FUNCTION messaging_note_unindexed();
"""


class Migration(migrations.Migration):
    dependencies = [("messaging", "0002_events")]

    operations = [
        migrations.CreateModel(
            name="UnindexedMessage",
            fields=[
                ("message_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("conversation_id", models.UUIDField(db_index=True, editable=False)),
            ],
        ),
        migrations.CreateModel(
            name="SearchEntry",
            fields=[
                (
                    "message",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="search_entry",
                        serialize=False,
                        to="messaging.message",
                    ),
                ),
                ("conversation_id", models.UUIDField(editable=False)),
                ("said_at", models.DateTimeField(editable=False)),
                ("word_count", models.PositiveSmallIntegerField(editable=False)),
                ("terms", django.contrib.postgres.search.SearchVectorField(editable=False)),
            ],
            options={
                "verbose_name_plural": "search entries",
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(fastupdate=False, fields=["terms"], name="search_terms")
                ],
            },
        ),
        migrations.RunSQL(NOTE, FORGET),
    ]
