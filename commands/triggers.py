"""The trigger that writes `command.finished` events, as the database has it. A test compares them."""

from whatsapp_agent.postgres.triggers import TriggerFunction

COMMAND_RUN = TriggerFunction(
    name="commands_write_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    SELECT 'command.finished', session_id, NEW.conversation_id,
           jsonb_build_object('run', NEW.id, 'name', NEW.name, 'status', NEW.status, 'surface', NEW.surface)
      FROM messaging_conversation WHERE id = NEW.conversation_id;
    RETURN NULL;
END """,
    triggers={
        "write_command_event": (
            "commands_commandrun",
            "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
        ),
    },
)
TRIGGERS = (COMMAND_RUN,)
