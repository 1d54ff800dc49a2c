"""What a model was shown in a turn, put together again from what the turn says it used."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from messaging.models import Fact, Message, Summary, Turn
from messaging.transcript import Said, latest, words_of
from sessions_app.models import AgentProfileVersion


def parts_of(turn: Turn) -> dict[str, Any]:
    """`{"instructions", "summary", "messages", "facts", "memories", "now"}`: the prompt's parts in their order.

    `instructions` are those of the profile's version then, null when that is kept no more; `summary` is what stood for
    older messages. `messages` and `memories` are `[{"id", "direction", "said_at", "text"}]`, `facts` are
    `[{"id", "text"}]`. What was edited or deleted since is as it is now.
    """
    used = turn.used
    conversation_id = turn.conversation_id
    return {
        "instructions": _instructions(turn),
        "summary": _summary(turn, used.get("summary_version")),
        "messages": _said(conversation_id, used.get("messages", ())),
        "facts": [
            {"id": str(fact.pk), "text": fact.text}
            for fact in Fact.objects.filter(pk__in=used.get("facts", ())).order_by("created_at", "id")
        ],
        "memories": _said(conversation_id, used.get("memories", ())),
        "now": used.get("now"),
    }


def _instructions(turn: Turn) -> str | None:
    kept = AgentProfileVersion.objects.filter(profile_id=turn.agent_profile_id, version=turn.profile_version).first()
    if kept is not None:
        return kept.values.get("instructions")
    profile = turn.agent_profile
    return profile.instructions if profile is not None and profile.version == turn.profile_version else None


def _summary(turn: Turn, version: int | None) -> str:
    if version is None:
        return ""
    texts = Summary.objects.filter(conversation_id=turn.conversation_id, version=version).values_list("text", flat=True)
    return texts.first() or ""


def _said(conversation_id: UUID, ids: Sequence[str]) -> list[dict[str, Any]]:
    """In the order of the ids; only of the turn's own conversation, whatever the ids are."""
    rows = Message.objects.filter(conversation_id=conversation_id, pk__in=ids)
    found: dict[str, Said] = {str(said.id): said for said in latest(rows, limit=len(ids))} if ids else {}
    told = [found[pk] for pk in ids if pk in found]
    return [
        {"id": str(said.id), "direction": said.direction, "said_at": said.said_at.isoformat(), "text": words_of(said)}
        for said in told
    ]
