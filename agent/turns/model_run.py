"""Ask the model within a turn: run its tool calls, ask again where its answer is unusable, and collect the answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from django.conf import settings

from agent import llm
from agent.llm.base import (
    Completion,
    ContentFiltered,
    ContextTooLong,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    Prompt,
    PromptMessage,
    Role,
    Usage,
)
from agent.monitoring.instruments import STEP_SECONDS, STEPS, TOKENS
from agent.turns.prompt import BuiltPrompt
from agent.turns.tools import Toolbox
from commands.library.handover import HANDOFF_REPLY
from messaging import leases
from messaging.history.prompt_marks import strip_prompt_marks
from messaging.leases import Lease, LeaseLost
from messaging.models import Turn
from whatsapp_agent import postgres
from whatsapp_agent.telemetry import tracing
from whatsapp_agent.text.split import end_at_sentence, join_continuation

log = structlog.get_logger(__name__)

MAX_STEPS = 6  # model calls with tool calls in one turn
NO_MORE_TOOLS = "No more tools can be used now: answer with what you have."
UNUSABLE = (
    "Your last answer could not be used: it held nothing but notes, or a tool call that is not offered. Answer the "
    "contact in plain text; call a tool only if it is offered to you, and only through the tool interface."
)
CONTINUE = "Your answer was cut off by its length limit. Repeat its last three words and go on, briefly; no comment."
NOTHING_USABLE = frozenset({"empty", "length", "dropped_tool_call"})  # codes: the model answered, but with no text
# Shares of the history and of the burst that are shown, one after the other, to a model whose context is too small.
REDUCTIONS = ((1.0, 1.0), (0.5, 1.0), (0.25, 1.0), (0.125, 1.0), (0.0, 1.0), (0.0, 0.25))
BURST_ALONE = 4

BuildPrompt = Callable[[float, float], BuiltPrompt]


@dataclass(slots=True)
class ModelRun:
    """The model's answer. What all requests together used, also those that failed, is written into `turn`."""

    turn: Turn
    text: str = ""
    was_cut_off: bool = False  # the answer reached the length limit
    filtered: dict[str, Any] | None = None  # `used` of a prompt that the provider filtered

    def add_usage(self, usage: Usage, *, model_ms: int) -> None:
        self.turn.steps += 1
        self.turn.prompt_tokens += usage.prompt_tokens
        self.turn.completion_tokens += usage.completion_tokens
        self.turn.cached_tokens += usage.cached_tokens
        self.turn.model_ms += model_ms


def run_model(run: ModelRun, *, build: BuildPrompt, toolbox: Toolbox, lease: Lease) -> None:
    """Ask the model and run its tool calls until it answers; leave the answer and the usage in `run`.

    `build` returns the prompt with these shares of the history and of the burst. Raises ModelError or LeaseLost.
    """
    _Dialogue(run, build=build, toolbox=toolbox, lease=lease).run()


class _Dialogue:
    """The requests of one turn. Each kind of repetition happens a bounded number of times."""

    def __init__(self, run: ModelRun, *, build: BuildPrompt, toolbox: Toolbox, lease: Lease) -> None:
        self._run = run
        self._build = build
        self._toolbox = toolbox
        self._lease = lease
        self._tools = toolbox.specs
        self._level = 0  # of REDUCTIONS
        self._built = build(*REDUCTIONS[0])
        self._messages: list[PromptMessage] = []  # tool calls and results, after the prompt
        self._texts: list[str] = []  # beside tool calls: part of the answer
        self._hint = ""
        self._too_long: Prompt | None = None  # a prompt that the model's context was too small for
        run.turn.used, run.turn.model = self._built.used, self._built.prompt.model

    def run(self) -> None:
        tool_steps = 0
        while not llm.fits(self._prompt()) and self._reduce():
            pass
        while True:
            try:
                completion = self._ask(self._prompt())
            except ModelError as exc:
                if self._recover(exc):
                    continue
                if not self._texts and not self._toolbox.defers_handoff:
                    raise
                # The contact was answered beside a tool call, or asked for a person: no need to wait for the model.
                self._run.text = _join(self._texts) or HANDOFF_REPLY
                return
            text = strip_prompt_marks(completion.text)
            if completion.tool_requests:
                self._texts += [text] if text else []
                tool_steps += 1
                if tool_steps == MAX_STEPS:
                    if not self._texts and not self._toolbox.defers_handoff:
                        raise ModelRefused("The model only called tools and never answered.", code="too_many_steps")
                    self._run.text = _join(self._texts) or HANDOFF_REPLY
                    return
                self._run_tools(completion, is_last=tool_steps == MAX_STEPS - 1)
                continue
            if not self._hint and (completion.dropped_tool_call or not text) and not self._texts:
                self._ask_differently()
                continue
            if text and completion.was_cut_off:
                text = self._complete(completion, text)
            if not text and not self._texts:
                raise ModelUnavailable("The model's answer is empty.", code="empty")
            self._run.text = _join([*self._texts, *([text] if text else [])])
            return

    def _prompt(self) -> Prompt:
        prompt = self._built.prompt
        notes = f"{prompt.notes}\n{self._hint}" if self._hint else prompt.notes
        return replace(prompt, messages=(*prompt.messages, *self._messages), notes=notes, tools=self._tools)

    def _ask(self, prompt: Prompt) -> Completion:
        started = time.monotonic()
        try:
            completion, model_ms = ask(prompt)
        except ModelError as exc:
            self._run.add_usage(exc.usage, model_ms=round((time.monotonic() - started) * 1000))
            if isinstance(exc, ContextTooLong):
                self._too_long = prompt
            raise
        if self._too_long is not None:
            llm.remember_too_long(self._too_long, taken=prompt)
            self._too_long = None
        self._run.add_usage(completion.usage, model_ms=model_ms)
        self._run.turn.model = completion.model or self._run.turn.model
        return completion

    def _recover(self, exc: ModelError) -> bool:
        """Prepare another request after a failure; return whether there is one to make."""
        if isinstance(exc, ContextTooLong | ContentFiltered):
            if isinstance(exc, ContentFiltered) and self._run.filtered is None:
                self._run.filtered = self._built.used
            return self._reduce(to_burst=isinstance(exc, ContentFiltered))
        if exc.code in NOTHING_USABLE and not self._texts:
            if self._messages and self._tools:  # tools were run without an answer to the contact
                self._tools = ()
                self._renew()
                return True
            if exc.code == "dropped_tool_call" and not self._hint:
                self._ask_differently()
                return True
        if self._run.turn.steps == 1 and self._tools and exc.code == "bad_request":
            log.warning("tools_refused", conversation=str(self._lease.conversation_id), model=self._run.turn.model)
            self._tools = ()
            return True
        # Perhaps the history is too long or filtered, in words that no server has used so far.
        is_last_try = self._lease.tries >= settings.AGENT_MAX_TRIES
        if exc.code == "bad_request" or (exc.code == "server_error" and is_last_try):
            return self._reduce(to_burst=True)
        return False

    def _reduce(self, *, to_burst: bool = False) -> bool:
        """Show less: half of the history, until the burst alone, or the burst alone at once."""
        last_level = BURST_ALONE if to_burst else len(REDUCTIONS) - 1
        while self._level < last_level:
            self._level = BURST_ALONE if to_burst else self._level + 1
            before, self._built = self._built, self._build(*REDUCTIONS[self._level])
            if self._built.prompt.messages != before.prompt.messages:
                log.info("prompt_reduced", conversation=str(self._lease.conversation_id), to_burst=to_burst)
                self._run.turn.used = self._built.used
                self._renew()
                return True
        return False

    def _run_tools(self, completion: Completion, *, is_last: bool) -> None:
        self._renew()
        results = self._toolbox.run_calls(completion.tool_requests)
        if is_last:
            results[-1] = replace(results[-1], text=f"{results[-1].text}\n{NO_MORE_TOOLS}")
        self._messages += [completion.as_message(), *results]

    def _ask_differently(self) -> None:
        self._hint = UNUSABLE
        self._renew()

    def _complete(self, completion: Completion, text: str) -> str:
        """Ask once for the rest of an answer that was cut off; what is still cut ends at its last sentence."""
        self._run.was_cut_off = True
        self._renew()
        prompt = self._prompt()
        request = PromptMessage(role=Role.USER, text=CONTINUE)
        prompt = replace(prompt, tools=(), messages=(*prompt.messages, completion.as_message(), request))
        try:
            rest = self._ask(prompt)
        except ModelError:
            return end_at_sentence(text)
        joined = join_continuation(text, strip_prompt_marks(rest.text))
        return end_at_sentence(joined) if rest.was_cut_off or joined == text else joined

    def _renew(self) -> None:
        if not leases.renew(self._lease):
            raise LeaseLost()


def ask(prompt: Prompt) -> tuple[Completion, int]:
    """Ask the model without holding a database connection; return the answer and the milliseconds it took."""
    postgres.release()
    started = time.monotonic()
    try:
        with tracing.span("model", model=prompt.model) as add:
            completion = llm.model_for_settings().complete(prompt)
            add(prompt_tokens=completion.usage.prompt_tokens, completion_tokens=completion.usage.completion_tokens)
    except ModelError as exc:
        _count_step(prompt, result=exc.code, seconds=time.monotonic() - started, usage=exc.usage)
        raise
    seconds = time.monotonic() - started
    _count_step(prompt, result="ok", seconds=seconds, usage=completion.usage)
    return completion, round(seconds * 1000)


def _count_step(prompt: Prompt, *, result: str, seconds: float, usage: Usage) -> None:
    """Count a request under the model that was asked for: what a server calls it may be anything."""
    STEPS.add(prompt.model, result)
    STEP_SECONDS.observe(seconds, prompt.model)
    TOKENS.add(prompt.model, "prompt", value=max(usage.prompt_tokens - usage.cached_tokens, 0))
    TOKENS.add(prompt.model, "cached", value=usage.cached_tokens)
    TOKENS.add(prompt.model, "completion", value=usage.completion_tokens)


def _join(texts: Sequence[str]) -> str:
    """Join what the model wrote in several steps; a text that another one contains is left out."""
    plain = [" ".join(text.split()).casefold() for text in texts]
    kept = [
        text
        for at, text in enumerate(texts)
        if not any(
            plain[at] in other and (plain[at] != other or before < at)
            for before, other in enumerate(plain)
            if before != at
        )
    ]
    return "\n\n".join(kept)
