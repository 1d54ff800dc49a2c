"""Compare the database with the record of the bridge: what must be true of every message, whatever happened."""

from collections import Counter
from typing import Any

from benchmarks.drill.world import Check, Drill


def promises(drill: Drill) -> list[Check]:
    """What must be true of every message, whatever happened."""
    stored_ids = Counter(
        provider_id
        for (provider_id,) in drill.rows(
            "SELECT provider_message_id FROM messaging_message WHERE direction = 'inbound'"
        )
    )
    inbound = dict(drill.rows("SELECT status, count(*) FROM messaging_message WHERE direction = 'inbound' GROUP BY 1"))
    outbound = dict(
        drill.rows("SELECT status, count(*) FROM messaging_message WHERE direction = 'outbound' GROUP BY 1")
    )
    turns = dict(drill.rows("SELECT outcome, count(*) FROM messaging_turn GROUP BY 1"))
    without_turn = drill.rows(
        "SELECT count(*) FROM messaging_message WHERE direction = 'inbound' AND unanswered = '' AND turn_id IS NULL"
    )[0][0]
    twice_answered = drill.rows(
        "SELECT count(*) FROM messaging_turn turn WHERE outcome <> 'ignored' AND NOT EXISTS ("
        "SELECT 1 FROM messaging_message burst WHERE burst.turn_id = turn.id AND burst.direction = 'inbound')"
    )[0][0]
    silent_failures = drill.rows(
        "SELECT count(*) FROM messaging_turn turn JOIN messaging_conversation conversation"
        " ON conversation.id = turn.conversation_id"
        " WHERE turn.outcome = 'failed' AND (turn.reason = '' OR NOT conversation.needs_attention)"
    )[0][0]
    known = "SELECT provider_message_id, text FROM messaging_message WHERE direction = 'outbound'"
    rows = dict(drill.rows(f"{known} AND provider_message_id IS NOT NULL"))
    texts = Counter((entry["to"], entry["text"]) for entry in drill.sent())
    ours = {
        (phone.removeprefix("+"), text): status
        for phone, text, status in drill.rows(
            "SELECT contact.phone, message.text, message.status FROM messaging_message message"
            " JOIN messaging_conversation conversation ON conversation.id = message.conversation_id"
            " JOIN messaging_contact contact ON contact.id = conversation.contact_id"
            " WHERE message.direction = 'outbound'"
        )
    }
    echoes = drill.rows("SELECT count(*) FROM messaging_message WHERE author IN ('phone', 'api')")[0][0]
    done_twice = drill.rows(
        "SELECT split_part(key, ':', 2), split_part(key, ':', 3), name FROM commands_commandrun"
        " WHERE key LIKE 'tool:%%' AND status = 'done' GROUP BY 1, 2, 3 HAVING count(*) > 1"
    )
    [(facts, runs, unrecorded)] = drill.rows(
        "SELECT (SELECT count(*) FROM messaging_fact), count(*) FILTER (WHERE name = 'remember' AND status = 'done'),"
        " count(*) FILTER (WHERE turn_id IS NULL) FROM commands_commandrun"
    )
    by_id = {entry["id"]: entry["text"] for entry in drill.sent()}
    lost = [message_id for message_id in drill.acknowledged if not stored_ids[message_id]]
    order = is_in_order(drill)
    wrong_way = [entry for entry in drill.sent() if not is_for(entry)]
    return [
        Check(
            "every acknowledged message is stored",
            not lost,
            f"{len(drill.acknowledged)} acknowledged, {len(lost)} lost",
        ),
        Check("and stored once", max(stored_ids.values(), default=0) <= 1, f"{sum(stored_ids.values())} rows"),
        Check(
            "no message is left unanswered", inbound.keys() <= {"handled"} and not without_turn, format_counts(inbound)
        ),
        Check("no burst is answered twice", not twice_answered, format_counts(turns)),
        Check("a failed turn says why, and asks for a person", not silent_failures, f"{turns.get('failed', 0)} failed"),
        Check("nothing waits and nothing hangs", not outbound.keys() & {"queued", "sending"}, format_counts(outbound)),
        Check("nothing is sent twice", max(texts.values(), default=0) <= 1, f"{len(drill.sent())} sends at the bridge"),
        Check("everything sent is stored", texts.keys() <= ours.keys()),
        Check("as sent, or as unconfirmed", {ours.get(one) for one in texts} <= {"sent", "delivered", "unconfirmed"}),
        Check("no echo is taken for another's message", not echoes, f"{echoes} taken so"),
        Check(
            "what is marked sent was sent", all(by_id.get(one) == text for one, text in rows.items()), f"{len(rows)}"
        ),
        Check("what tools do for a burst they do once", not done_twice and facts == runs, f"{facts} facts"),
        Check("and a turn has it on record", not unrecorded, f"{unrecorded} without one"),
        Check("every message goes to its recipient", not wrong_way),
        Check("and in order", order),
    ]


def format_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def is_for(entry: dict[str, Any]) -> bool:
    text = str(entry["text"])
    return not text.startswith("Answer") or f" to {entry['to']}." in text


def is_in_order(drill: Drill) -> bool:
    """Of each conversation, the bridge has the replies in the order in which they were written."""
    position = {
        (phone.removeprefix("+"), text): number
        for number, (phone, text) in enumerate(
            drill.rows(
                "SELECT contact.phone, message.text FROM messaging_message message"
                " JOIN messaging_conversation conversation ON conversation.id = message.conversation_id"
                " JOIN messaging_contact contact ON contact.id = conversation.contact_id"
                " WHERE message.direction = 'outbound' ORDER BY message.created_at, message.id"
            )
        )
    }
    last: dict[str, int] = {}
    for entry in drill.sent():
        number = position.get((entry["to"], entry["text"]), -1)
        if number < last.get(entry["to"], -1):
            return False
        last[entry["to"]] = number
    return True
