"""What a model was shown in a turn, put together again from what the turn says it used."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from messaging.history.transcript import HistoryMessage, describe, latest
from messaging.models import Fact, Message, Summary, Turn
from sessions_app.models import AgentProfileVersion


def prompt_parts(turn: Turn) -> dict[str, Any]:
    """`{"tools", "instructions", "summary", "messages", "facts", "memories", "now"}`, as they follow in the prompt.

    `tools` and `instructions` are those of the profile's version then, null when that is kept no more; `summary` is
    what stood for older messages. `messages` and `memories` are `[{"id", "direction", "said_at", "text"}]`, `facts` are
    `[{"id", "text"}]`. What was edited or deleted since is as it is now.
    """
    used = turn.used
    conversation_id = turn.conversation_id
    profile = load_profile_values(turn)
    return {
        "tools": profile.get("tools"),
        "instructions": profile.get("instructions"),
        "summary": load_summary(turn),
        "messages": _said(conversation_id, used.get("messages", ())),
        "facts": [{"id": str(fact.pk), "text": fact.text} for fact in load_facts(turn)],
        "memories": _said(conversation_id, used.get("memories", ())),
        "now": used.get("now"),
    }


def load_profile_values(turn: Turn) -> dict[str, Any]:
    """The values of the agent profile in the turn's version; {} when that is kept no more."""
    kept = AgentProfileVersion.objects.filter(profile_id=turn.agent_profile_id, version=turn.profile_version).first()
    if kept is not None:
        return kept.values
    profile = turn.agent_profile
    if profile is None or profile.version != turn.profile_version:
        return {}
    return {"tools": profile.tools, "instructions": profile.instructions}


def load_summary(turn: Turn) -> str:
    version = turn.used.get("summary_version")
    if version is None:
        return ""
    texts = Summary.objects.filter(conversation_id=turn.conversation_id, version=version).values_list("text", flat=True)
    return texts.first() or ""


def load_facts(turn: Turn) -> QuerySet[Fact]:
    """Only of the contact of the turn, whatever the ids are."""
    about = Fact.objects.filter(contact__conversation=turn.conversation_id, pk__in=turn.used.get("facts", ()))
    return about.order_by("created_at", "id")


def _said(conversation_id: UUID, ids: Sequence[str]) -> list[dict[str, Any]]:
    """In the order of the ids; only of the turn's own conversation, whatever the ids are."""
    rows = Message.objects.filter(conversation_id=conversation_id, pk__in=ids)
    found: dict[str, HistoryMessage] = {str(said.id): said for said in latest(rows, limit=len(ids))} if ids else {}
    told = [found[pk] for pk in ids if pk in found]
    return [
        {"id": str(said.id), "direction": said.direction, "said_at": said.said_at.isoformat(), "text": describe(said)}
        for said in told
    ]
