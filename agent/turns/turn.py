"""A turn: lease the conversation, gather what is unanswered, decide, ask the model, leave the answer in the outbox."""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from django.conf import settings
from django.utils import timezone

from agent import llm
from agent.llm.base import Completion, ModelError, ModelRefused, Prompt, PromptMessage, Role
from agent.turns import commands as typed_commands
from agent.turns.prompt import Line, build, lines_of
from agent.turns.summary import EARLY, fold, is_due, soon
from agent.turns.tools import Toolbox
from commands.library.handover import A_PERSON_COMES
from commands.parsing import Typed
from messaging import leases
from messaging.history.conversation import load_conversation
from messaging.history.transcript import MAX_MESSAGES, HistoryMessage, load_history
from messaging.leases import Lease, LeaseLost, Settlement
from messaging.models import Conversation, Message, Turn
from sessions_app.services import adapter_for
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic
from whatsapp_agent.text.markdown import to_whatsapp
from whatsapp_agent.text.split import split_text

log = structlog.get_logger(__name__)

MAX_RESTARTS = 2  # how often a draft is dropped because more was said; then it answers what it has
MAX_STEPS = 6  # how often the model is asked in one turn
NO_MORE_TOOLS = "No more tools can be used now: answer with what you have."
MAX_PAUSE_S = 60.0

_held: dict[UUID, Lease] = {}
_held_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class TurnInput:
    """A conversation as a turn finds it."""

    conversation: Conversation
    history: Sequence[HistoryMessage]
    lines: Sequence[Line]  # the history in the words the model is shown
    burst: Sequence[UUID]  # the messages to answer; some may be older than what the history holds


def take_turn(conversation_id: UUID) -> datetime | None:
    """Answer what is due in one conversation. Does nothing when nothing is, or when someone else is at it.

    Returns when the conversation wants to be looked at again, None when it is settled.
    """
    lease = leases.take(conversation_id)
    if lease is None:
        return None
    with _held_lock:
        _held[lease.token] = lease
    try:
        return _answer(lease)
    finally:
        with _held_lock:
            _held.pop(lease.token, None)


def _answer(lease: Lease) -> datetime | None:
    started_at = timezone.now()
    for restart in range(MAX_RESTARTS + 1):
        try:
            situation = _load_input(lease)
            toolbox = Toolbox(
                conversation=situation.conversation,
                lease=lease,
                burst=situation.burst,
                is_again=lease.tries > 1 or restart > 0,
            )
            settlement = _decide(situation, lease=lease, toolbox=toolbox, started_at=started_at)
        except LeaseLost:
            log.info("turn_lost", conversation=str(lease.conversation_id))
            return None
        except ModelError as exc:
            if lease.tries < settings.AGENT_MAX_TRIES and not isinstance(exc, ModelRefused):
                log.warning("model_failed", conversation=str(lease.conversation_id), code=exc.code, tries=lease.tries)
                return leases.postpone(lease, delay_s=_pause_s(lease.tries, exc.retry_after_s))
            settlement = _with_tools(_give_up(situation, started_at=started_at, reason=f"{exc.code}: {exc}"), toolbox)
        settled = leases.settle(
            lease,
            settlement,
            even_if_stale=restart == MAX_RESTARTS or settlement.outcome in {Turn.Outcome.FAILED, Turn.Outcome.COMMAND},
        )
        if settled is not None:
            log.info(
                "turn_settled",
                conversation=str(lease.conversation_id),
                turn=str(settled.pk),
                outcome=settled.outcome,
                model_ms=settled.model_ms,
            )
            # What was said beside a command is a turn of its own, and need not wait for the sweep.
            return timezone.now() if len(settlement.burst) < len(situation.burst) else None
        if not leases.renew(lease):
            log.info("turn_lost", conversation=str(lease.conversation_id))
            return None  # a person took over, or another worker did after we were thought dead
    return None


def _pause_s(tries: int, retry_after_s: float | None) -> float:
    """Doubling with each try, a little apart from others who failed at the same moment; longer if the model says so."""
    pause_s = min(settings.AGENT_RETRY_BASE_S * 2 ** (tries - 1), MAX_PAUSE_S)
    return max(pause_s * random.uniform(0.8, 1.2), min(retry_after_s or 0.0, 3600.0))  # noqa: S311


def _load_input(lease: Lease) -> TurnInput:
    """Raises LeaseLost when the conversation has become part of another one."""
    # The count is read before the messages: one that comes in between is seen, and only makes the draft look stale.
    try:
        conversation = load_conversation(lease.conversation_id)
    except Conversation.DoesNotExist as exc:
        raise LeaseLost() from exc
    history = load_history(conversation)
    burst = [said.id for said in history if said.status == Message.Status.RECEIVED]
    if len(history) == MAX_MESSAGES:
        unanswered = Message.objects.filter(conversation=conversation, status=Message.Status.RECEIVED)
        burst = list(unanswered.order_by("said_at", "id").values_list("pk", flat=True))
    lines = lines_of(history, is_group=conversation.contact.is_group)
    return TurnInput(conversation=conversation, history=history, lines=lines, burst=burst)


def _decide(situation: TurnInput, *, lease: Lease, toolbox: Toolbox, started_at: datetime) -> Settlement:
    """What to do about the burst: ignore it with a reason, give up, or answer. Raises ModelError."""
    conversation = situation.conversation
    blank = _blank(situation, started_at=started_at)
    if not situation.burst:
        return replace(blank, outcome=Turn.Outcome.IGNORED, reason="nothing left to answer")
    if not conversation.is_answered:
        return replace(blank, outcome=Turn.Outcome.IGNORED, reason="this contact is no longer answered")
    why_unreachable = adapter_for(conversation.session.bridge).why_unreachable(
        address=conversation.address, is_group=conversation.contact.is_group
    )
    if why_unreachable:
        return replace(blank, outcome=Turn.Outcome.IGNORED, reason=why_unreachable, needs_attention=True)
    if lease.tries > settings.AGENT_MAX_TRIES:
        reason = "interrupted: begun too often without coming to an end"
        return _with_tools(_give_up(situation, started_at=started_at, reason=reason), toolbox)
    if (found := typed_commands.first_command(situation.history)) is not None:
        return _command(situation, *found, settlement=blank)
    profile = conversation.session.agent_profile
    if is_due(situation.lines, budget=profile.history_tokens) and fold(conversation, situation.lines):
        situation = _load_input(lease)
        conversation = situation.conversation
    built = build(
        conversation=conversation,
        lines=situation.lines,
        burst=situation.burst,
        default_model=settings.OPENAI_MODEL,
        now=timezone.now(),
        done=toolbox.completed_calls(),
    )
    if is_due(situation.lines, budget=profile.history_tokens, share=EARLY):
        soon(conversation.pk)
    said = _run_model(replace(built.prompt, tools=toolbox.specs), toolbox=toolbox, lease=lease)
    answered = replace(
        blank,
        outcome=Turn.Outcome.ANSWERED,
        replies=split_text(to_whatsapp(said.text)),
        model=said.model or built.prompt.model,
        steps=said.steps,
        used=built.used,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=said.completion_tokens,
        cached_tokens=said.cached_tokens,
        model_ms=said.model_ms,
    )
    return _with_tools(answered, toolbox)


def _with_tools(settlement: Settlement, toolbox: Toolbox) -> Settlement:
    """What the tools did is part of the turn, also of one that failed."""
    perform = toolbox.perform if toolbox.has_effects else None
    return replace(settlement, tool_calls=toolbox.calls, perform=perform)


def _command(situation: TurnInput, said: HistoryMessage, typed: Typed, *, settlement: Settlement) -> Settlement:
    """A command is a turn of its own, whatever else the burst holds: that stays due."""
    answer = typed_commands.answer(conversation=situation.conversation, said=said, typed=typed)
    return replace(
        settlement,
        outcome=Turn.Outcome.COMMAND,
        reason=answer.reason,
        burst=[said.id],
        seen=settlement.seen - (len(situation.burst) - 1),
        perform=answer.perform,
    )


@dataclass(slots=True)
class ModelRun:
    """What the model came to say, and what it took: the steps together."""

    text: str = ""
    model: str = ""
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    model_ms: int = 0


def _run_model(prompt: Prompt, *, toolbox: Toolbox, lease: Lease) -> ModelRun:
    """Ask the model, run the tools it asks for, and ask again, until it answers. Raises ModelError or LeaseLost."""
    said = ModelRun()
    while True:
        try:
            completion, model_ms = _ask(prompt)
        except ModelError as exc:
            if said.steps == 0 and prompt.tools and exc.code == "bad_request":
                log.warning("tools_refused", conversation=str(lease.conversation_id), model=prompt.model)
                prompt = replace(prompt, tools=())
                continue
            if toolbox.defers_handoff:
                said.text = A_PERSON_COMES  # whoever asked for a person need not wait for the model
                return said
            raise
        said.steps += 1
        said.text, said.model = completion.text, completion.model
        said.prompt_tokens += completion.usage.prompt_tokens
        said.completion_tokens += completion.usage.completion_tokens
        said.cached_tokens += completion.usage.cached_tokens
        said.model_ms += model_ms
        if not completion.tool_requests:
            return said
        if said.steps == MAX_STEPS:
            if not completion.text and not toolbox.defers_handoff:
                raise ModelRefused("The model asked for tools and never answered.", code="too_many_steps")
            said.text = completion.text or A_PERSON_COMES
            return said
        if not leases.renew(lease):
            raise LeaseLost()
        told = toolbox.answer(completion.tool_requests)
        if said.steps == MAX_STEPS - 1:
            told[-1] = replace(told[-1], text=f"{told[-1].text}\n{NO_MORE_TOOLS}")
        asking = PromptMessage(role=Role.ASSISTANT, text=completion.text, tool_requests=completion.tool_requests)
        prompt = replace(prompt, messages=(*prompt.messages, asking, *told))


def _ask(prompt: Prompt) -> tuple[Completion, int]:
    """Ask the model, holding nothing of the database meanwhile; the answer and the milliseconds it took."""
    postgres.release()
    began = time.monotonic()
    completion = llm.model_for_settings().complete(prompt)
    return completion, round((time.monotonic() - began) * 1000)


def _blank(situation: TurnInput, *, started_at: datetime) -> Settlement:
    profile = situation.conversation.session.agent_profile
    return Settlement(
        outcome=Turn.Outcome.ANSWERED,
        burst=situation.burst,
        seen=situation.conversation.inbound_count,
        started_at=started_at,
        agent_profile_id=profile.pk,
        profile_version=profile.version,
    )


def _give_up(situation: TurnInput, *, started_at: datetime, reason: str) -> Settlement:
    """A failed turn that staff can see. The fallback text is said once, not after every failure of an outage."""
    fallback = situation.conversation.session.agent_profile.fallback_text.strip()
    last_words = next((said.text for said in reversed(situation.history) if said.direction == "outbound"), "")
    return replace(
        _blank(situation, started_at=started_at),
        outcome=Turn.Outcome.FAILED,
        reason=reason,
        replies=split_text(fallback) if fallback and fallback != last_words else (),
        needs_attention=True,
    )


# --- leases held by this process ----------------------------------------------------------------------------------


@periodic(every_s=lambda: settings.AGENT_LEASE_S / 3, may_block=True)
def renew_held() -> None:
    """Prolong the leases of the turns that are under way in this process."""
    with _held_lock:
        held = list(_held.values())
    if held:
        leases.renew(*held)


def give_back_held() -> int:
    """Give every lease back at once, so that another process need not wait for it to expire; returns how many."""
    with _held_lock:
        held = list(_held.values())
        _held.clear()
    for lease in held:
        leases.postpone(lease, delay_s=0, forgive=True)
    return len(held)
