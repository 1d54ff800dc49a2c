"""The prompt of a past turn, rebuilt from the ids that the turn stores."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from messaging.history.transcript import HistoryMessage, describe, latest
from messaging.models import Fact, KnowledgePart, Message, Note, Summary, Turn
from sessions_app.models import AgentProfileVersion


def prompt_parts(turn: Turn) -> dict[str, Any]:
    """Return `{"tools", "instructions", "summary", "messages", "facts", "notes", "memories", "knowledge", "now"}`.

    `tools` and `instructions` are those of the profile version, null if it was deleted; `summary` replaced older
    messages. `messages` and `memories` are `[{"id", "direction", "said_at", "text"}]`, `facts` and `notes` (of staff)
    are `[{"id", "text"}]`,
    `knowledge` is `[{"id", "title", "text"}]`: parts of texts, with their source.
    What was edited or deleted since is shown as it is now.
    """
    used = turn.used
    conversation_id = turn.conversation_id
    profile = load_profile_values(turn)
    return {
        "tools": profile.get("tools"),
        "instructions": profile.get("instructions"),
        "summary": load_summary(turn),
        "messages": _messages(conversation_id, used.get("messages", ())),
        "facts": [{"id": str(fact.pk), "text": fact.text} for fact in load_facts(turn)],
        "notes": [{"id": str(note.pk), "text": note.text} for note in _load_notes(turn)],
        "memories": _messages(conversation_id, used.get("memories", ())),
        "knowledge": [
            {"id": str(part.knowledge_id), "title": part.knowledge.title, "text": part.text}
            for part in load_knowledge(turn)
        ],
        "now": used.get("now"),
    }


def load_profile_values(turn: Turn) -> dict[str, Any]:
    """Return the values of the turn's version of the agent profile; {} if it was deleted."""
    stored = AgentProfileVersion.objects.filter(profile_id=turn.agent_profile_id, version=turn.profile_version).first()
    if stored is not None:
        return stored.values
    profile = turn.agent_profile
    if profile is None or profile.version != turn.profile_version:
        return {}
    return {"tools": profile.tools, "instructions": profile.instructions}


def load_summary(turn: Turn) -> str:
    """Return the text of the summary in the prompt; empty if there was none."""
    version = turn.used.get("summary_version")
    if version is None:
        return ""
    texts = Summary.objects.filter(conversation_id=turn.conversation_id, version=version).values_list("text", flat=True)
    return texts.first() or ""


def load_facts(turn: Turn) -> QuerySet[Fact]:
    """Return the facts in the prompt; only those of the turn's contact, whatever the ids are."""
    facts = Fact.objects.filter(contact__conversation=turn.conversation_id, pk__in=turn.used.get("facts", ()))
    return facts.order_by("created_at", "id")


def _load_notes(turn: Turn) -> QuerySet[Note]:
    """Return the notes of staff in the prompt; only those of the turn's conversation, whatever the ids are."""
    notes = Note.objects.filter(conversation=turn.conversation_id, pk__in=turn.used.get("notes", ()))
    return notes.order_by("created_at", "id")


def load_knowledge(turn: Turn) -> list[KnowledgePart]:
    """Return the parts of texts in the prompt, with their source; those that were changed since are gone."""
    ids: Sequence[int] = turn.used.get("knowledge", ())
    parts = KnowledgePart.objects.select_related("knowledge").in_bulk(list(ids)) if ids else {}
    return [parts[each] for each in ids if each in parts]


def _messages(conversation_id: UUID, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return messages in the order of the ids; only those of the turn's conversation, whatever the ids are."""
    rows = Message.objects.filter(conversation_id=conversation_id, pk__in=ids)
    found: dict[str, HistoryMessage] = (
        {str(message.id): message for message in latest(rows, limit=len(ids))} if ids else {}
    )
    messages = [found[pk] for pk in ids if pk in found]
    return [
        {
            "id": str(message.id),
            "direction": message.direction,
            "said_at": message.said_at.isoformat(),
            "text": describe(message),
        }
        for message in messages
    ]
