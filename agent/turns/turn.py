"""Take a turn: lease the conversation, load the unanswered burst, decide, ask the model, queue the reply."""

import random
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_noop
from structlog.contextvars import bind_contextvars, unbind_contextvars

from agent.bridges.base import Menu
from agent.bridges.capabilities import Capability
from agent.llm.base import ContentFiltered, ModelError, ModelRefused
from agent.monitoring.instruments import TURN_SECONDS, TURNS
from agent.turns import commands as typed_commands
from agent.turns import outage, summary
from agent.turns.filtered import withhold_filtered
from agent.turns.model_run import ModelRun, run_model
from agent.turns.presence import end_typing, show_presence
from agent.turns.prompt import BuiltPrompt, Line, build_prompt, to_lines
from agent.turns.tools import Toolbox
from agent.turns.voice import speak_answer
from commands.library.handover import HANDOFF_REPLY
from commands.parsing import Typed
from messaging import leases
from messaging.attention import withdraw_attention
from messaging.history.conversation import load_conversation
from messaging.history.transcript import MAX_MESSAGES, HistoryMessage, load_history
from messaging.history.withheld import withhold
from messaging.leases import Lease, LeaseLost, TurnResult
from messaging.media.fetching import PENDING
from messaging.menus.limits import MAX_TEXT_LENGTH
from messaging.menus.service import as_text
from messaging.models import Conversation, Message, Turn
from messaging.outbound import split_for
from sessions_app.bridges import adapter_for
from whatsapp_agent.backoff import backoff_s
from whatsapp_agent.periodic import periodic
from whatsapp_agent.telemetry import tracing
from whatsapp_agent.text.markdown import to_whatsapp

log = structlog.get_logger(__name__)
Attention = Conversation.Attention

MAX_RESTARTS = 2  # drafts dropped because messages arrived meanwhile; the next one is sent
MAX_PAUSE_S = 60.0
MEDIA_POLL_S = 0.5

_held_leases: dict[UUID, Lease] = {}
_held_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class TurnInput:
    """A conversation as a turn finds it."""

    conversation: Conversation
    history: Sequence[HistoryMessage]
    lines: Sequence[Line]  # the history as the prompt shows it
    burst: Sequence[UUID]  # unanswered messages, also those older than the loaded history


def take_turn(conversation_id: UUID) -> datetime | None:
    """Answer a conversation if it is due. Does nothing if it is not due or another worker holds the lease.

    Returns when to try again, None when nothing is left to do.
    """
    lease = leases.take(conversation_id)
    if lease is None:
        return None
    with _held_lock:
        _held_leases[lease.token] = lease
    bind_contextvars(conversation=str(conversation_id))
    try:
        return None if leases.pause_if_looping(lease) else answer(lease)
    finally:
        unbind_contextvars("conversation", "turn")
        with _held_lock:
            _held_leases.pop(lease.token, None)
        end_typing(lease, is_answered=False)


def answer(lease: Lease) -> datetime | None:
    """Answer the leased conversation; return as `take_turn`."""
    with ExitStack() as trace:
        return _answer(lease, trace)


def _answer(lease: Lease, trace: ExitStack) -> datetime | None:
    started_at = timezone.now()
    for restart in range(MAX_RESTARTS + 1):
        try:
            turn_input = _load_input(lease, as_taken=restart == 0)
            if _waits_for_media(turn_input):
                return leases.postpone(lease, delay_s=MEDIA_POLL_S, forgive=True)
            run = ModelRun(_new_turn(turn_input, started_at=started_at))
            bind_contextvars(turn=str(run.turn.pk))
            _trace(trace, turn_input, run.turn)
            toolbox = Toolbox(
                conversation=turn_input.conversation,
                lease=lease,
                burst=turn_input.burst,
                is_again=lease.tries > 1 or restart > 0,
            )
            result = _decide(turn_input, lease=lease, toolbox=toolbox, run=run)
        except LeaseLost:
            log.info("turn_lost", conversation=str(lease.conversation_id))
            return None
        except ModelError as exc:
            if exc.needs_operator and (delay_s := outage.pause_s(turn_input.conversation, exc)) is not None:
                return _wait_for_operator(lease, turn_input.conversation, exc, delay_s=delay_s)
            may_pass = not isinstance(exc, ModelRefused) and not exc.needs_operator
            if may_pass and lease.tries < settings.AGENT_MAX_TRIES:
                log.warning("model_failed", conversation=str(lease.conversation_id), code=exc.code, tries=lease.tries)
                return leases.postpone(lease, delay_s=_pause_s(lease.tries, exc.retry_after_s))
            result = _failed(turn_input, run.turn, reason=f"{exc.code}: {exc}")
            if isinstance(exc, ContentFiltered):
                withhold(turn_input.burst)
                toolbox.defer_handoff(reason="the model's provider filtered what was written last")
                result = replace(result, replies=[HANDOFF_REPLY])
            result = _with_tool_calls(result, toolbox)
        completed = leases.complete_turn(
            lease,
            result,
            even_if_stale=restart == MAX_RESTARTS or run.turn.outcome in {Turn.Outcome.FAILED, Turn.Outcome.COMMAND},
        )
        if completed is not None:
            end_typing(lease, is_answered=completed.outcome == Turn.Outcome.ANSWERED)
            TURNS.add(completed.outcome)
            TURN_SECONDS.observe((timezone.now() - started_at).total_seconds(), completed.outcome)
            log.info(
                "turn_settled",
                conversation=str(lease.conversation_id),
                turn=str(completed.pk),
                outcome=completed.outcome,
                model_ms=completed.model_ms,
            )
            if completed.outcome == Turn.Outcome.ANSWERED:
                withdraw_attention(turn_input.conversation, reason=Attention.MODEL_REFUSES, note=outage.ATTENTION_NOTE)
            # The rest of the burst beside a command is a turn of its own and need not wait for the sweep.
            return timezone.now() if len(result.burst) < len(turn_input.burst) else None
        if not leases.renew(lease):
            log.info("turn_lost", conversation=str(lease.conversation_id))
            return None  # a person took over, or the lease expired and another worker took it
    return None


def _trace(trace: ExitStack, turn_input: TurnInput, turn: Turn) -> None:
    """Continue the trace of the burst's first message, and end the draft before this one, if there was one."""
    trace.close()
    if turn_input.burst:
        first = turn_input.burst[0]
        add = trace.enter_context(
            tracing.part(
                "turn",
                trace=first,
                own=turn.pk,
                parent=first,
                started_at=turn.started_at,
                conversation=turn.conversation_id,
                turn=turn.pk,
                messages=len(turn_input.burst),
            )
        )
        trace.callback(lambda: add(outcome=turn.outcome or "dropped"))


def _waits_for_media(turn_input: TurnInput) -> bool:
    """Return whether a file of the burst is being fetched or read, and not for too long; a command never waits."""
    since = timezone.now() - timedelta(seconds=settings.MEDIA_WAIT_S)
    is_waiting = any(
        message.media_status in PENDING and message.said_at > since
        for message in turn_input.history
        if message.status == Message.Status.RECEIVED
    )
    return is_waiting and typed_commands.first_command(turn_input.history) is None


def _is_untranscribed_voice(turn_input: TurnInput) -> bool:
    """Return whether the burst is nothing but voice notes whose words are not known."""
    burst = [message for message in turn_input.history if message.status == Message.Status.RECEIVED]
    return bool(burst) and all(
        message.kind in {Message.Kind.VOICE, Message.Kind.AUDIO} and not (message.media_text or message.text)
        for message in burst
    )


def _pause_s(tries: int, retry_after_s: float | None) -> float:
    """Return an exponential pause with jitter, at least what the server asked for by Retry-After."""
    pause_s = backoff_s(tries, base_s=settings.AGENT_RETRY_BASE_S, max_s=MAX_PAUSE_S)
    return max(pause_s * random.uniform(0.8, 1.2), min(retry_after_s or 0.0, 3600.0))  # noqa: S311


def _wait_for_operator(lease: Lease, conversation: Conversation, exc: ModelError, *, delay_s: float) -> datetime | None:
    try:
        return outage.wait(lease, conversation=conversation, exc=exc, delay_s=delay_s)
    except LeaseLost:
        log.info("turn_lost", conversation=str(lease.conversation_id))
        return None  # a person took over


def _load_input(lease: Lease, *, as_taken: bool = False) -> TurnInput:
    """Load conversation, history and burst; `as_taken`: use those that came with the lease, once.

    Raises LeaseLost when the conversation was merged into another.
    """
    if as_taken and lease.conversation is not None:
        conversation, history = lease.conversation, lease.history
    else:
        # Read the inbound count before the messages: one in between is loaded, and only makes the draft look stale.
        try:
            conversation = load_conversation(lease.conversation_id)
        except Conversation.DoesNotExist as exc:
            raise LeaseLost() from exc
        history = load_history(conversation)
    burst = [message.id for message in history if message.status == Message.Status.RECEIVED]
    if len(history) == MAX_MESSAGES:
        waiting = Message.objects.filter(conversation=conversation, status=Message.Status.RECEIVED)
        burst = list(waiting.order_by("said_at", "id").values_list("pk", flat=True))
        if len(burst) > len({message.id for message in history}.intersection(burst)):
            history = load_history(conversation, limit=MAX_MESSAGES + len(burst))
    lines = to_lines(history, is_group=conversation.contact.is_group, zone=conversation.session.zone)
    return TurnInput(conversation=conversation, history=history, lines=lines, burst=burst)


def _decide(turn_input: TurnInput, *, lease: Lease, toolbox: Toolbox, run: ModelRun) -> TurnResult:
    """Decide about the burst: ignore it with a reason, fail, run a command, or answer. Raises ModelError."""
    conversation, turn = turn_input.conversation, run.turn
    if not turn_input.burst:
        return _ignored(turn_input, turn, reason=gettext_noop("nothing left to answer"))
    if not conversation.is_answered:
        return _ignored(turn_input, turn, reason=gettext_noop("this contact is no longer answered"))
    unreachable_reason = adapter_for(conversation.session.bridge).unreachable_reason(
        address=conversation.address, is_group=conversation.contact.is_group
    )
    if unreachable_reason:
        return replace(_ignored(turn_input, turn, reason=unreachable_reason), needs_attention=True)
    if lease.tries > settings.AGENT_MAX_TRIES:
        reason = gettext_noop("interrupted: begun too often without coming to an end")
        return _with_tool_calls(_failed(turn_input, turn, reason=reason), toolbox)
    if (found := typed_commands.first_command(turn_input.history)) is not None:
        return _decide_command(turn_input, *found, turn=turn)
    profile = conversation.session.agent_profile
    if profile.voice_fallback_text and _is_untranscribed_voice(turn_input):
        turn.outcome, turn.reason = Turn.Outcome.ANSWERED, gettext_noop("voice: it could not be transcribed")
        return replace(_result(turn_input, turn), replies=split_for(conversation, profile.voice_fallback_text))
    if summary.exceeds_budget(turn_input.lines, budget=profile.history_tokens) and summary.compact(
        conversation, turn_input.lines
    ):
        turn_input = _load_input(lease)
        conversation = turn_input.conversation
    now = timezone.now()

    def build(history_share: float, burst_share: float) -> BuiltPrompt:
        return build_prompt(
            conversation=conversation,
            lines=turn_input.lines,
            burst=turn_input.burst,
            default_model=settings.OPENAI_MODEL,
            now=now,
            completed_calls=toolbox.completed_calls(),
            history_share=history_share,
            burst_share=burst_share,
        )

    if summary.exceeds_budget(turn_input.lines, budget=profile.history_tokens, share=summary.EARLY_SHARE):
        summary.schedule(conversation.pk, conversation.session_id)
    show_presence(conversation, last=turn_input.burst[-1], lease=lease)
    run_model(run, build=build, toolbox=toolbox, lease=lease)
    if run.filtered is not None:
        withhold_filtered(conversation, shown=run.filtered["messages"], burst=turn_input.burst)
    turn.outcome = Turn.Outcome.ANSWERED
    if run.was_cut_off:
        turn.reason = gettext_noop("length: the answer reached the model's length limit")
        turn.used = turn.used | {"was_cut_off": True}
    result = replace(_result(turn_input, turn), replies=split_for(conversation, to_whatsapp(run.text)))
    if choices := toolbox.choices:
        result = _with_choices(result, conversation, choices)
    elif (voice := speak_answer(conversation, history=turn_input.history, text=run.text)) is not None:
        result = replace(result, replies=(), voice=voice)
    return _with_tool_calls(result, toolbox)


def _with_choices(result: TurnResult, conversation: Conversation, choices: list[str]) -> TurnResult:
    """Show choices below the last part of an answer: as its buttons, or as lines where the bridge has none."""
    *others, last = result.replies or [""]
    menu = Menu(last, buttons=choices)
    has_buttons = Capability.SEND_BUTTONS in adapter_for(conversation.session.bridge).capabilities
    if has_buttons and 0 < len(last) <= MAX_TEXT_LENGTH:
        return replace(result, menu=menu)
    return replace(result, replies=[*others, *split_for(conversation, as_text(menu).strip())])


def _with_tool_calls(result: TurnResult, toolbox: Toolbox) -> TurnResult:
    """Add the tool calls, also to a failed turn."""
    apply_effects = toolbox.apply_effects if toolbox.has_effects else None
    return replace(result, tool_calls=toolbox.calls, apply_effects=apply_effects)


def _decide_command(turn_input: TurnInput, message: HistoryMessage, typed: Typed, *, turn: Turn) -> TurnResult:
    """Settle a typed command alone; the rest of the burst stays due."""
    command = typed_commands.prepare(conversation=turn_input.conversation, message=message, typed=typed)
    turn.outcome, turn.reason = Turn.Outcome.COMMAND, command.reason
    result = _result(turn_input, turn)
    seen = result.seen - (len(turn_input.burst) - 1)
    quotable = result.quotable and message.id
    return replace(result, burst=[message.id], seen=seen, quotable=quotable, apply_effects=command.apply_effects)


def _new_turn(turn_input: TurnInput, *, started_at: datetime) -> Turn:
    profile = turn_input.conversation.session.agent_profile
    return Turn(
        conversation=turn_input.conversation,
        agent_profile=profile,
        profile_version=profile.version,
        started_at=started_at,
    )


def _result(turn_input: TurnInput, turn: Turn) -> TurnResult:
    turn.created_at = timezone.now()
    conversation, burst = turn_input.conversation, turn_input.burst
    can_quote = bool(burst) and Capability.QUOTE in adapter_for(conversation.session.bridge).capabilities
    return TurnResult(
        turn=turn,
        burst=burst,
        seen=conversation.inbound_count,
        quotable=burst[-1] if can_quote else None,
        quotes=conversation.contact.is_group or _was_written_since(turn_input),
    )


def _was_written_since(turn_input: TurnInput) -> bool:
    """Return whether somebody here wrote after the last message of the burst, so that a reply needs its question."""
    written_at = {message.id: message.said_at for message in turn_input.history}
    asked_at = written_at.get(turn_input.burst[-1]) if turn_input.burst else None
    return asked_at is not None and any(
        message.said_at > asked_at for message in turn_input.history if not message.is_inbound
    )


def _ignored(turn_input: TurnInput, turn: Turn, *, reason: str) -> TurnResult:
    turn.outcome, turn.reason = Turn.Outcome.IGNORED, reason
    return _result(turn_input, turn)


def _failed(turn_input: TurnInput, turn: Turn, *, reason: str) -> TurnResult:
    """Return a failed turn that needs attention. In an outage the fallback text is sent once."""
    turn.outcome, turn.reason = Turn.Outcome.FAILED, reason
    fallback = outage.new_fallback(turn_input.conversation)
    return replace(_result(turn_input, turn), replies=fallback, needs_attention=True)


# --- leases held by this process ----------------------------------------------------------------------------------


@periodic(every_s=lambda: settings.AGENT_LEASE_S / 3, may_block=True)
def renew_held() -> None:
    """Renew the leases of the turns under way in this process."""
    with _held_lock:
        held = list(_held_leases.values())
    if held:
        leases.renew(*held)


def release_held_leases() -> int:
    """Release every lease, so that another process need not wait for its expiry; return how many."""
    with _held_lock:
        held = list(_held_leases.values())
        _held_leases.clear()
    for lease in held:
        leases.postpone(lease, delay_s=0, forgive=True)
    return len(held)
