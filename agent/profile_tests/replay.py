"""Repeat a turn with the draft of its profile: one request to the model; no tool runs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Prefetch
from django.utils.translation import gettext as _

from agent.llm.base import ModelError, Usage
from agent.turns.model_run import ask
from agent.turns.prompt import build_prompt, to_lines
from commands.registry import tools_named
from messaging.history.conversation import load_conversation
from messaging.history.prompt_marks import strip_prompt_marks
from messaging.history.transcript import MAX_MESSAGES, latest
from messaging.history.visibility import visible
from messaging.models import Message, Turn
from sessions_app.models import AgentProfile
from whatsapp_agent.errors import NotFound

MAX_QUESTIONS = 20
DEFAULT_QUESTIONS = 5


@dataclass(frozen=True, slots=True)
class Question:
    """A burst that the live profile answered, and its answer."""

    turn: Turn
    asked: str
    answered: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the draft answers. `cost` is None where the model has no price."""

    text: str
    tool_calls: Sequence[tuple[str, str]]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None
    error: str = ""


def recent_questions(profile: AgentProfile, *, limit: int = DEFAULT_QUESTIONS) -> list[Question]:
    """Return what the profile answered last, newest first."""
    messages = Prefetch("messages", queryset=Message.objects.order_by("said_at", "id"))
    turns = Turn.objects.filter(agent_profile=profile, outcome=Turn.Outcome.ANSWERED).order_by("-created_at")
    return [_question(turn) for turn in turns.prefetch_related(messages)[: min(limit, MAX_QUESTIONS)]]


def _question(turn: Turn) -> Question:
    texts: dict[str, list[str]] = {"inbound": [], "outbound": []}
    for message in turn.messages.all():
        if message.revoked_at is None:
            texts[message.direction].append(message.text or f"[{message.kind}]")
    return Question(turn=turn, asked="\n".join(texts["inbound"]), answered="\n".join(texts["outbound"]))


def replay(*, turn: Turn, draft: AgentProfile) -> Replayed:
    """Ask the model as it was asked in this turn, with the draft's instructions, model and tools.

    Raises NotFound when the question is no longer stored. A failure of the model is in `error`.
    """
    burst = list(turn.messages.filter(direction=Message.Direction.INBOUND, revoked_at=None).order_by("said_at", "id"))
    if not burst:
        raise NotFound(_("The question is no longer stored."))
    conversation = load_conversation(turn.conversation_id)
    conversation.session.agent_profile = draft
    if conversation.summary_until is None or conversation.summary_until >= burst[0].said_at:
        conversation.summary, conversation.summary_until = "", None  # it may contain the answer
    rows = visible(Message.objects.filter(conversation=conversation, said_at__lte=burst[-1].said_at))
    if conversation.summary_until is not None:
        rows = rows.filter(said_at__gt=conversation.summary_until)
    history = latest(rows.exclude(turn=turn, direction=Message.Direction.OUTBOUND), limit=MAX_MESSAGES)
    built = build_prompt(
        conversation=conversation,
        lines=to_lines(history, is_group=conversation.contact.is_group, zone=conversation.session.zone),
        burst=[message.pk for message in burst],
        default_model=settings.OPENAI_MODEL,
        now=turn.started_at,
    )
    specs = (command.tool_spec_for(conversation) for command in tools_named(draft.tools).values())
    tools = tuple(spec for spec in specs if spec is not None)
    try:
        completion, model_ms = ask(dataclasses.replace(built.prompt, tools=tools))
    except ModelError as exc:
        return Replayed("", [], exc.usage.prompt_tokens, exc.usage.completion_tokens, 0.0, None, error=str(exc))
    usage = completion.usage
    return Replayed(
        text=strip_prompt_marks(completion.text),
        tool_calls=[(request.name, str(request.arguments)) for request in completion.tool_requests],
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=model_ms / 1000,
        cost=_cost(built.prompt.model, usage),
    )


def _cost(model: str, usage: Usage) -> float | None:
    price = settings.MODEL_PRICES.get(model)
    if price is None:
        return None
    fresh = max(usage.prompt_tokens - usage.cached_tokens, 0)
    total = (
        fresh * price["prompt"] + usage.cached_tokens * price["cached"] + usage.completion_tokens * price["completion"]
    )
    return float(total / 1_000_000)
