"""The triggers that write events, as the database has them. A test compares the two.

Each table writes the events of its own changes, whichever statement makes them. Conditions stand in WHEN, so that an
update that is no event does not call a function. Migrations install them (0018_event_trigger_names, 0024_teamwork).
"""

from whatsapp_agent.postgres.triggers import TriggerFunction

MESSAGE = TriggerFunction(
    name="messaging_write_message_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('message.' || COALESCE(TG_ARGV[0], CASE NEW.direction WHEN 'inbound' THEN 'received' ELSE NEW.status END),
            NEW.session_id, NEW.conversation_id,
            jsonb_build_object('message', NEW.id, 'direction', NEW.direction, 'author', NEW.author, 'kind', NEW.kind,
                               'status', NEW.status, 'unanswered', NEW.unanswered, 'error_code', NEW.error_code,
                               'turn', NEW.turn_id));
    RETURN NULL;
END """,
    triggers={
        "write_message_event": (
            "messaging_message",
            "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
        ),
        "write_message_status_event": (  # sending, then queued again (a retry) is no event
            "messaging_message",
            """AFTER UPDATE OF status ON {table}
FOR EACH ROW WHEN (NEW.direction = 'outbound' AND NEW.status IS DISTINCT FROM OLD.status AND NEW.status <> 'sending'
                   AND NOT (OLD.status = 'sending' AND NEW.status = 'queued'))
EXECUTE FUNCTION {function}()""",
        ),
        "write_message_edit_event": (
            "messaging_message",
            """AFTER UPDATE OF edited_at ON {table}
FOR EACH ROW WHEN (NEW.edited_at IS DISTINCT FROM OLD.edited_at) EXECUTE FUNCTION {function}('edited')""",
        ),
        "write_message_revocation_event": (
            "messaging_message",
            """AFTER UPDATE OF revoked_at ON {table}
FOR EACH ROW WHEN (NEW.revoked_at IS NOT NULL AND OLD.revoked_at IS NULL) EXECUTE FUNCTION {function}('revoked')""",
        ),
    },
)
CONTROL = TriggerFunction(
    name="messaging_write_control_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('conversation.control_changed', NEW.session_id, NEW.id,
            jsonb_build_object('control', NEW.control, 'previous', OLD.control, 'until', NEW.control_until,
                               'by', NEW.controlled_by_id));
    RETURN NULL;
END """,
    triggers={
        "write_control_event": (
            "messaging_conversation",
            """AFTER UPDATE OF control, control_until, controlled_by_id ON {table}
FOR EACH ROW WHEN ((NEW.control, NEW.control_until, NEW.controlled_by_id)
                   IS DISTINCT FROM (OLD.control, OLD.control_until, OLD.controlled_by_id))
EXECUTE FUNCTION {function}()""",
        ),
    },
)
ATTENTION = TriggerFunction(
    name="messaging_write_attention_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('conversation.needs_attention', NEW.session_id, NEW.id, jsonb_build_object('reason', NEW.attention_reason));
    RETURN NULL;
END """,
    triggers={
        "write_attention_event": (
            "messaging_conversation",
            """AFTER UPDATE OF needs_attention ON {table}
FOR EACH ROW WHEN (NEW.needs_attention
                   AND (NOT OLD.needs_attention OR NEW.attention_reason IS DISTINCT FROM OLD.attention_reason))
EXECUTE FUNCTION {function}()""",
        ),
    },
)
# `status`: as in `messaging.models.conversations.STATUSES`.
TEAMWORK = TriggerFunction(
    name="messaging_write_teamwork_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    VALUES ('conversation.' || TG_ARGV[0], NEW.session_id, NEW.id, CASE TG_ARGV[0]
        WHEN 'assigned' THEN jsonb_build_object('assigned_to', NEW.assigned_to_id, 'previous', OLD.assigned_to_id)
        WHEN 'labels_changed' THEN jsonb_build_object('labels', NEW.labels, 'previous', OLD.labels)
        ELSE jsonb_build_object(
            'status', CASE WHEN NEW.done_at IS NOT NULL THEN 'done'
                           WHEN NEW.snoozed_until IS NOT NULL THEN 'snoozed' ELSE 'open' END,
            'previous', CASE WHEN OLD.done_at IS NOT NULL THEN 'done'
                             WHEN OLD.snoozed_until IS NOT NULL THEN 'snoozed' ELSE 'open' END,
            'until', NEW.snoozed_until) END);
    RETURN NULL;
END """,
    triggers={
        "write_assignment_event": (
            "messaging_conversation",
            """AFTER UPDATE OF assigned_to_id ON {table}
FOR EACH ROW WHEN (NEW.assigned_to_id IS DISTINCT FROM OLD.assigned_to_id) EXECUTE FUNCTION {function}('assigned')""",
        ),
        "write_labels_event": (
            "messaging_conversation",
            """AFTER UPDATE OF labels ON {table}
FOR EACH ROW WHEN (NEW.labels IS DISTINCT FROM OLD.labels) EXECUTE FUNCTION {function}('labels_changed')""",
        ),
        "write_conversation_status_event": (
            "messaging_conversation",
            """AFTER UPDATE OF done_at, snoozed_until ON {table}
FOR EACH ROW WHEN ((NEW.done_at, NEW.snoozed_until) IS DISTINCT FROM (OLD.done_at, OLD.snoozed_until))
EXECUTE FUNCTION {function}('status_changed')""",
        ),
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
TURN = TriggerFunction(
    name="messaging_write_turn_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, conversation_id, data)
    SELECT 'turn.finished', session_id, NEW.conversation_id,
           jsonb_build_object('turn', NEW.id, 'outcome', NEW.outcome)
      FROM messaging_conversation WHERE id = NEW.conversation_id;
    RETURN NULL;
END """,
    triggers={
        "write_turn_event": ("messaging_turn", "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"),
    },
)
SESSION = TriggerFunction(
    name="messaging_write_session_event",
    body="""
BEGIN
    INSERT INTO messaging_event (type, session_id, data)
    VALUES ('session.status_changed', NEW.id,
            jsonb_build_object('status', NEW.status, 'reason', NEW.status_reason,
                               'previous', CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END));
    RETURN NULL;
END """,
    triggers={
        "write_session_event": (
            "sessions_app_whatsappsession",
            "AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()",
        ),
        "write_session_status_event": (
            "sessions_app_whatsappsession",
            """AFTER UPDATE OF status ON {table}
FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE FUNCTION {function}()""",
        ),
    },
)
TRIGGERS = (MESSAGE, CONTROL, ATTENTION, TEAMWORK, NOTE, TURN, SESSION)
