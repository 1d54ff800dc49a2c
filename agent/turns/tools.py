"""What the model may do in a turn: the commands its profile enables, run for the contact it talks to."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from agent.llm.answers import clean
from agent.llm.base import PromptMessage, Role, ToolRequest, ToolSpec
from commands import run
from commands.models import CommandRun
from commands.registry import By, Caller, ChatCommand, get, tools_named
from messaging import leases
from messaging.history.transcript import escape_fences
from messaging.leases import Lease, LeaseLost
from messaging.models import Conversation, Message, ToolCall, Turn
from whatsapp_agent.text.sanitize import storable_json
from whatsapp_agent.text.truncate import truncate

log = structlog.get_logger(__name__)

MAX_CALLS = 8  # in one step
MAX_ARGUMENTS_CHARS = 20_000  # characters
MAX_RESULT_CHARS = 6_000
MAX_RECORDED_CHARS = 2_000  # of one text among the arguments that the record keeps

Status = ToolCall.Status
STATUS_OF = {
    CommandRun.Status.DONE: Status.DONE,
    CommandRun.Status.REFUSED: Status.REFUSED,
    CommandRun.Status.INVALID: Status.FAILED,
    CommandRun.Status.FAILED: Status.FAILED,
}
WITH_THE_ANSWER = "It is done as soon as you have answered. Tell the contact now."


class Toolbox:
    """The tools of one turn, and what came of each call.

    Whatever the model writes, a tool sees this one conversation: which one is not among its arguments. An effect is had
    once for a burst, by a key of the burst, the tool and its arguments, however often the turn is begun again; and a
    model that is asked the very same again may word it otherwise, without having it twice.
    """

    def __init__(self, *, conversation: Conversation, lease: Lease, burst: Sequence[UUID], is_again: bool) -> None:
        """`burst`, the latest last, is what the turn answers; `is_again`: it is known to have been begun before."""
        self._conversation = conversation
        self._lease = lease
        self._asked_in = burst[-1] if burst else None
        self._prefix = f"tool:{min(burst, default=None)}:"  # what came first stays so, whatever else comes
        self._is_again = is_again
        self._earlier: list[CommandRun] | None = None  # None: not looked for
        self._claimed: set[UUID] = set()
        self._caller = Caller(by=By.MODEL, contact=conversation.contact)
        self._commands = tools_named(conversation.session.agent_profile.tools)
        self._runs: list[CommandRun] = []
        self._with_the_answer: dict[str, tuple[ChatCommand, dict[str, Any], str]] = {}  # by the command's name
        self.calls: list[ToolCall] = []

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(command.tool_spec() for command in self._commands.values())

    @property
    def defers_handoff(self) -> bool:
        """Whether something was asked for that happens together with the answer."""
        return bool(self._with_the_answer)

    def answer(self, requests: Sequence[ToolRequest]) -> list[PromptMessage]:
        """Run what the model asks for, in its order, and tell it what came of each. Raises LeaseLost."""
        return [self._answer(request, position=position) for position, request in enumerate(requests)]

    @property
    def has_effects(self) -> bool:
        """Whether `perform` has anything to do."""
        return bool(self.calls) or bool(self.prior_runs())

    def prior_runs(self) -> list[CommandRun]:
        """What was run for this burst when its turn was begun before and came to no end, the oldest first."""
        return [done for done in self._runs_before() if done.turn_id is None] if self._is_again else []

    def completed_calls(self) -> list[tuple[str, dict[str, Any]]]:
        """What of it had its effect, as the model knows it: the names of tools, with their arguments."""
        done = (run for run in self.prior_runs() if run.status == CommandRun.Status.DONE)
        return [(get(run.name).tool_name, run.arguments) for run in done]

    def perform(self, turn: Turn) -> Sequence[str]:
        """In the transaction that settles the turn: what happens together with the answer, and the record of it all."""
        for command, arguments, key in self._with_the_answer.values():
            self._runs.append(self._run(command, arguments, key=key, guard=None))
        unrepeated = [done for done in self.prior_runs() if done.pk not in self._claimed]
        ToolCall.objects.bulk_create(
            _recorded(done, turn=turn, position=position) for position, done in enumerate(unrepeated, len(self.calls))
        )
        done_now = CommandRun.objects.filter(pk__in=[done.pk for done in (*self._runs, *unrepeated)], turn=None)
        done_now.update(turn=turn)
        return []

    def _answer(self, request: ToolRequest, *, position: int) -> PromptMessage:
        began = time.monotonic()
        arguments = _read_arguments(request.arguments)
        if position >= MAX_CALLS:
            status, told = Status.REFUSED, _error(f"At most {MAX_CALLS} tools in one step; ask again.")
        elif (command := self._commands.get(request.name)) is None:
            names = ", ".join(self._commands) or "none"
            status, told = Status.REFUSED, _error(f"There is no tool of this name. Tools: {names}.")
        elif arguments is None:
            status, told = Status.FAILED, _error("The arguments are no JSON object that can be read.")
        else:
            status, told = self._call(command, arguments)
        told = _bounded(told)
        self.calls.append(
            ToolCall(
                position=len(self.calls),
                call_id=request.id[:100],
                name=request.name[:64] or "(none)",
                arguments=_kept({"malformed": request.arguments} if arguments is None else arguments),
                result=told,
                status=status,
                error="" if status == Status.DONE else told[:300],
                duration_ms=round((time.monotonic() - began) * 1000),
                created_at=timezone.now(),
            )
        )
        return PromptMessage(role=Role.TOOL, text=told, tool_call_id=request.id)

    def _call(self, command: ChatCommand, arguments: dict[str, Any]) -> tuple[ToolCall.Status, str]:
        key = None if command.reads_only else self._key(command, arguments)
        is_fine = run.denial_reason(command, arguments=arguments, caller=self._caller) is None
        if key is not None and command.changes_control and is_fine:
            self._with_the_answer[command.name] = command, arguments, key
            return Status.DONE, _json({"text": WITH_THE_ANSWER})
        try:
            done = self._run_before(command, key) if key is not None else None
            done = done or self._run(command, arguments, key=key, guard=lambda: leases.ensure_held(self._lease))
        except (LeaseLost, OperationalError, InterfaceError):
            raise
        except Exception:  # a mistake of ours in one tool: the model may still answer without it
            log.exception("tool_failed", tool=command.tool_name, conversation=str(self._conversation.pk))
            return Status.FAILED, _error("The tool failed.")
        self._runs.append(done)
        if done.status != CommandRun.Status.DONE:
            return STATUS_OF[CommandRun.Status(done.status)], _error(done.text)
        return Status.DONE, _told(done)

    def _runs_before(self) -> list[CommandRun]:
        if self._earlier is None:
            self._earlier = list(CommandRun.objects.filter(key__startswith=self._prefix).order_by("created_at", "id"))
        return self._earlier

    def _run_before(self, command: ChatCommand, key: str) -> CommandRun | None:
        """What this call came to when the turn was begun before.

        The same call was asked for then, or else another one of the same command, when no more had been said than now.
        """
        place, _, words = key.rpartition(":")
        runs = [done for done in self._runs_before() if done.name == command.name and done.key is not None]
        same = (done for done in runs if str(done.key).endswith(f":{words}"))
        reworded = (
            done
            for done in runs
            if done.pk not in self._claimed
            and done.status == CommandRun.Status.DONE
            and str(done.key).startswith(f"{place}:")
        )
        found = next(same, None) or next(reworded, None)
        if found is not None:
            self._claimed.add(found.pk)
        return found

    def _run(
        self, command: ChatCommand, arguments: dict[str, Any], *, key: str | None, guard: Callable[[], None] | None
    ) -> CommandRun:
        asked_in = None if command.reads_only else self._asked_in
        return run.run(
            command,
            arguments=arguments,
            caller=self._caller,
            conversation=self._conversation,
            surface=CommandRun.Surface.TOOL,
            message=Message.objects.select_related("conversation").get(pk=asked_in) if asked_in else None,
            key=key,
            guard=None if command.reads_only else guard,
        )

    def _key(self, command: ChatCommand, arguments: dict[str, Any]) -> str:
        digest = hashlib.sha256(_json(arguments, sort_keys=True).encode()).hexdigest()[:32]
        return f"{self._prefix}{self._asked_in}:{command.name}:{digest}"


def _recorded(done: CommandRun, *, turn: Turn, position: int) -> ToolCall:
    """A call of a turn that came to no end, as the record of the one that did."""
    status = STATUS_OF[CommandRun.Status(done.status)]
    return ToolCall(
        turn=turn,
        position=position,
        name=get(done.name).tool_name,
        arguments=done.arguments,
        result=_bounded(_told(done)),
        status=status,
        error="" if status == Status.DONE else done.text[:300],
        created_at=done.created_at,
    )


def _told(done: CommandRun) -> str:
    return _json(done.data or {"text": done.text})


def _read_arguments(text: str) -> dict[str, Any] | None:
    """The arguments as JSON that the database takes too; None when they are none."""
    if len(text) > MAX_ARGUMENTS_CHARS:
        return None
    try:
        value = json.loads(text or "{}", parse_constant=_finite, parse_float=_finite)
        return storable_json(value, nul="") if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def _finite(number: str) -> float:
    """Raises ValueError for NaN, Infinity and what is as large, like 1e400: PostgreSQL has no such numbers in JSON."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:20]} is no number that JSON has")
    return value


def _kept(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: clean(value, MAX_RECORDED_CHARS) if isinstance(value, str) else value for name, value in arguments.items()
    }


def _error(why: str) -> str:
    return _json({"error": why})


def _json(value: Any, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), **how)


def _bounded(text: str) -> str:
    text = escape_fences(text)
    return truncate(text, MAX_RESULT_CHARS, ending=f"… [cut: {len(text):,} characters in all]")
