"""Ask the model within a turn: run its tool calls and ask again until it answers."""

import time
from dataclasses import dataclass, replace

import structlog

from agent import llm
from agent.llm.base import Completion, ModelError, ModelRefused, Prompt, PromptMessage, Role
from agent.turns.tools import Toolbox
from commands.library.handover import A_PERSON_COMES
from messaging import leases
from messaging.leases import Lease, LeaseLost
from whatsapp_agent import postgres

log = structlog.get_logger(__name__)

MAX_STEPS = 6  # model calls in one turn
NO_MORE_TOOLS = "No more tools can be used now: answer with what you have."


@dataclass(slots=True)
class ModelRun:
    """The model's answer, and the usage of all steps together."""

    text: str = ""
    model: str = ""
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    model_ms: int = 0


def run_model(prompt: Prompt, *, toolbox: Toolbox, lease: Lease) -> ModelRun:
    """Ask the model and run its tool calls until it answers. Raises ModelError or LeaseLost."""
    run = ModelRun()
    while True:
        try:
            completion, model_ms = ask(prompt)
        except ModelError as exc:
            if run.steps == 0 and prompt.tools and exc.code == "bad_request":
                log.warning("tools_refused", conversation=str(lease.conversation_id), model=prompt.model)
                prompt = replace(prompt, tools=())
                continue
            if toolbox.defers_handoff:
                run.text = A_PERSON_COMES  # the contact asked for a person and need not wait for the model
                return run
            raise
        run.steps += 1
        run.text, run.model = completion.text, completion.model
        run.prompt_tokens += completion.usage.prompt_tokens
        run.completion_tokens += completion.usage.completion_tokens
        run.cached_tokens += completion.usage.cached_tokens
        run.model_ms += model_ms
        if not completion.tool_requests:
            return run
        if run.steps == MAX_STEPS:
            if not completion.text and not toolbox.defers_handoff:
                raise ModelRefused("The model asked for tools and never answered.", code="too_many_steps")
            run.text = completion.text or A_PERSON_COMES
            return run
        if not leases.renew(lease):
            raise LeaseLost()
        results = toolbox.run_calls(completion.tool_requests)
        if run.steps == MAX_STEPS - 1:
            results[-1] = replace(results[-1], text=f"{results[-1].text}\n{NO_MORE_TOOLS}")
        call_message = PromptMessage(role=Role.ASSISTANT, text=completion.text, tool_requests=completion.tool_requests)
        prompt = replace(prompt, messages=(*prompt.messages, call_message, *results))


def ask(prompt: Prompt) -> tuple[Completion, int]:
    """Ask the model without holding a database connection; return the answer and the milliseconds it took."""
    postgres.release()
    started = time.monotonic()
    completion = llm.model_for_settings().complete(prompt)
    return completion, round((time.monotonic() - started) * 1000)
