from django.db import migrations

from whatsapp_agent.postgres.triggers import TriggerFunction, install

# The functions and triggers that write events get the name of what they do: (name before, name, body, triggers), and of
# each trigger (name before, name, table, rest).
RENAMED = [
    (
        "messaging_tell_of_message",
        "messaging_write_message_event",
        """
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('message.' || COALESCE(TG_ARGV[0], CASE NEW.direction WHEN 'inbound' THEN 'received' ELSE NEW.status END),
            NEW.session_id, NEW.conversation_id,
            jsonb_build_object('message', NEW.id, 'direction', NEW.direction, 'author', NEW.author, 'kind', NEW.kind,
                               'status', NEW.status, 'unanswered', NEW.unanswered, 'error_code', NEW.error_code,
                               'turn', NEW.turn_id));
    RETURN NULL;
END """,
        [
            (
                "tell_of_new_message",
                "write_message_event",
                "messaging_message",
                """AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()""",
            ),
            (
                "tell_of_message_status",
                "write_message_status_event",
                "messaging_message",
                """AFTER UPDATE OF status ON {table}
FOR EACH ROW WHEN (NEW.direction = 'outbound' AND NEW.status IS DISTINCT FROM OLD.status AND NEW.status <> 'sending'
                   AND NOT (OLD.status = 'sending' AND NEW.status = 'queued'))
EXECUTE FUNCTION {function}()""",
            ),
            (
                "tell_of_message_edit",
                "write_message_edit_event",
                "messaging_message",
                """AFTER UPDATE OF edited_at ON {table}
FOR EACH ROW WHEN (NEW.edited_at IS DISTINCT FROM OLD.edited_at) EXECUTE FUNCTION {function}('edited')""",
            ),
            (
                "tell_of_message_revocation",
                "write_message_revocation_event",
                "messaging_message",
                """AFTER UPDATE OF revoked_at ON {table}
FOR EACH ROW WHEN (NEW.revoked_at IS NOT NULL AND OLD.revoked_at IS NULL) EXECUTE FUNCTION {function}('revoked')""",
            ),
        ],
    ),
    (
        "messaging_tell_of_control",
        "messaging_write_control_event",
        """
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('conversation.control_changed', NEW.session_id, NEW.id,
            jsonb_build_object('control', NEW.control, 'previous', OLD.control, 'until', NEW.control_until,
                               'by', NEW.controlled_by_id));
    RETURN NULL;
END """,
        [
            (
                "tell_of_control",
                "write_control_event",
                "messaging_conversation",
                """AFTER UPDATE OF control, control_until, controlled_by_id ON {table}
FOR EACH ROW WHEN ((NEW.control, NEW.control_until, NEW.controlled_by_id)
                   IS DISTINCT FROM (OLD.control, OLD.control_until, OLD.controlled_by_id))
EXECUTE FUNCTION {function}()""",
            ),
        ],
    ),
    (
        "messaging_notify_of_attention",
        "messaging_write_attention_event",
        """
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('conversation.needs_attention', NEW.session_id, NEW.id, jsonb_build_object('reason', NEW.attention_reason));
    RETURN NULL;
END """,
        [
            (
                "notify_of_attention",
                "write_attention_event",
                "messaging_conversation",
                """AFTER UPDATE OF needs_attention ON {table}
FOR EACH ROW WHEN (NEW.needs_attention
                   AND NEW.attention_reason IN ('unanswered', 'bridge_key', 'model_refuses', 'loop', 'other_program',
                                                'clock')
                   AND (NOT OLD.needs_attention OR NEW.attention_reason IS DISTINCT FROM OLD.attention_reason))
EXECUTE FUNCTION {function}()""",
            ),
        ],
    ),
    (
        "messaging_tell_of_turn",
        "messaging_write_turn_event",
        """
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    SELECT 'turn.finished', session_id, NEW.conversation_id,
           jsonb_build_object('turn', NEW.id, 'outcome', NEW.outcome)
      FROM messaging_conversation WHERE id = NEW.conversation_id;
    RETURN NULL;
END """,
        [
            (
                "tell_of_turn",
                "write_turn_event",
                "messaging_turn",
                """AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()""",
            ),
        ],
    ),
    (
        "messaging_tell_of_session",
        "messaging_write_session_event",
        """
BEGIN
    INSERT INTO messaging_event (type, session_id, data)
    VALUES ('session.status_changed', NEW.id,
            jsonb_build_object('status', NEW.status, 'reason', NEW.status_reason,
                               'previous', CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END));
    RETURN NULL;
END """,
        [
            (
                "tell_of_new_session",
                "write_session_event",
                "sessions_app_whatsappsession",
                """AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()""",
            ),
            (
                "tell_of_session_status",
                "write_session_status_event",
                "sessions_app_whatsappsession",
                """AFTER UPDATE OF status ON {table}
FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE FUNCTION {function}()""",
            ),
        ],
    ),
]


def _rename(before, name, body, triggers):
    old = TriggerFunction(before, body, {each[0]: each[2:] for each in triggers})
    new = TriggerFunction(name, body, {each[1]: each[2:] for each in triggers})
    return [migrations.RunSQL(old.drop_sql, migrations.RunSQL.noop), install(new, previous=old)]


class Migration(migrations.Migration):

    dependencies = [
        ("messaging", "0017_no_silenced_turns"),
    ]

    operations = [operation for each in RENAMED for operation in _rename(*each)]
