"""The trigger that lists new and changed messages for the search index. A test compares it with the database."""

from whatsapp_agent.postgres.triggers import TriggerFunction

UNINDEXED_MESSAGE = TriggerFunction(
    name="messaging_note_unindexed",
    body="""
BEGIN
    INSERT INTO messaging_unindexedmessage (message_id, conversation_id) VALUES (NEW.id, NEW.conversation_id)
    ON CONFLICT (message_id) DO NOTHING;
    RETURN NULL;
END """,
    triggers={
        "messaging_message_is_new": (
            "messaging_message",
            "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
        ),
        "messaging_message_was_changed": (
            "messaging_message",
            """AFTER UPDATE OF text, details, said_at ON {table}
FOR EACH ROW WHEN (OLD.text <> NEW.text OR OLD.details <> NEW.details OR OLD.said_at <> NEW.said_at)
EXECUTE FUNCTION {function}()""",
        ),
    },
)
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
TRIGGERS = (UNINDEXED_MESSAGE, UNINDEXED_MEDIA)
