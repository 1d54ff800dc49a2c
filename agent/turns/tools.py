"""Run the tools a model calls in a turn: the commands that its profile enables, for the contact it talks to."""

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

MAX_CALLS_PER_STEP = 8
MAX_ARGUMENTS_CHARS = 20_000
MAX_RESULT_CHARS = 6_000
MAX_RECORDED_CHARS = 2_000  # of one argument, in the record

Status = ToolCall.Status
STATUS_OF = {
    CommandRun.Status.DONE: Status.DONE,
    CommandRun.Status.REFUSED: Status.REFUSED,
    CommandRun.Status.INVALID: Status.FAILED,
    CommandRun.Status.FAILED: Status.FAILED,
}
CHOICES = "choices"  # the command
DEFERRED = "It is done as soon as you have answered. Tell the contact now."


class Toolbox:
    """The tools of one turn, and the result of each call.

    A tool acts in this one conversation, whatever the model writes. An effect happens once for a burst: it is keyed by
    burst, tool and arguments, so a turn that is begun again finds the earlier run, also where the model words the
    arguments differently.
    """

    def __init__(self, *, conversation: Conversation, lease: Lease, burst: Sequence[UUID], is_again: bool) -> None:
        """`burst`: what the turn answers, newest last. `is_again`: a turn for this burst was begun before."""
        self._conversation = conversation
        self._lease = lease
        self._asked_by = burst[-1] if burst else None
        self._prefix = f"tool:{min(burst, default=None)}:"  # the oldest message: a growing burst keeps its prefix
        self._is_again = is_again
        self._earlier: list[CommandRun] | None = None  # None: not loaded yet
        self._claimed: set[UUID] = set()
        self._caller = Caller(by=By.MODEL, contact=conversation.contact)
        self._commands = tools_named(conversation.session.agent_profile.tools)
        self._runs: list[CommandRun] = []
        self._deferred: dict[str, tuple[ChatCommand, dict[str, Any], str]] = {}  # by the command's name
        self.calls: list[ToolCall] = []

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        specs = (command.tool_spec_for(self._conversation) for command in self._commands.values())
        return tuple(spec for spec in specs if spec is not None)

    @property
    def defers_handoff(self) -> bool:
        """Whether a call takes effect only together with the answer."""
        return bool(self._deferred)

    def run_calls(self, requests: Sequence[ToolRequest]) -> list[PromptMessage]:
        """Run the calls in order; return their results as messages. Raises LeaseLost."""
        return [self._run_call(request, position=position) for position, request in enumerate(requests)]

    def defer_handoff(self, *, reason: str) -> None:
        """Hand the conversation to a person together with the answer, as if the model had asked for it."""
        command, arguments = get("human"), {"reason": reason}
        self._deferred[command.name] = command, arguments, self._key(command, arguments)

    @property
    def has_effects(self) -> bool:
        """Whether `apply_effects` has anything to do."""
        return bool(self.calls) or bool(self._deferred) or bool(self.prior_runs())

    def prior_runs(self) -> list[CommandRun]:
        """Return what an interrupted turn has already run for this burst, oldest first."""
        return [done for done in self._earlier_runs() if done.turn_id is None] if self._is_again else []

    def completed_calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the prior runs that succeeded, as tool names with arguments."""
        done = (run for run in self.prior_runs() if run.status == CommandRun.Status.DONE)
        return [(get(run.name).tool_name, run.arguments) for run in done]

    @property
    def choices(self) -> list[str]:
        """Return what the contact is offered below the answer, by the last call that did so; empty if none did."""
        offered = [run.data["choices"] for run in self._runs if run.name == CHOICES and "choices" in run.data]
        return offered[-1] if offered else []

    def apply_effects(self, turn: Turn) -> Sequence[str]:
        """Apply deferred calls and record all runs, in the transaction that settles the turn."""
        for command, arguments, key in self._deferred.values():
            self._runs.append(self._run(command, arguments, key=key, guard=None))
        unrepeated = [done for done in self.prior_runs() if done.pk not in self._claimed]
        ToolCall.objects.bulk_create(
            _as_tool_call(done, turn=turn, position=position)
            for position, done in enumerate(unrepeated, len(self.calls))
        )
        done_now = CommandRun.objects.filter(pk__in=[done.pk for done in (*self._runs, *unrepeated)], turn=None)
        done_now.update(turn=turn)
        sent = [done.data["message"] for done in (*self._runs, *unrepeated) if done.data.get("message")]
        if sent:  # what a tool sent belongs to this answer
            Message.objects.filter(pk__in=sent, conversation=self._conversation, turn=None).update(turn=turn)
        return []

    def _run_call(self, request: ToolRequest, *, position: int) -> PromptMessage:
        began = time.monotonic()
        arguments = _read_arguments(request.arguments)
        if position >= MAX_CALLS_PER_STEP:
            status, result = Status.REFUSED, _error(f"At most {MAX_CALLS_PER_STEP} tools in one step; ask again.")
        elif (command := self._commands.get(request.name)) is None:
            names = ", ".join(self._commands) or "none"
            status, result = Status.REFUSED, _error(f"Unknown tool. Tools: {names}.")
        elif arguments is None:
            status, result = Status.FAILED, _error("The arguments are not a valid JSON object.")
        else:
            status, result = self._call(command, arguments)
        result = _truncate(result)
        self.calls.append(
            ToolCall(
                position=len(self.calls),
                call_id=request.id[:100],
                name=request.name[:64] or "(none)",
                arguments=_recorded_arguments({"malformed": request.arguments} if arguments is None else arguments),
                result=result,
                status=status,
                error="" if status == Status.DONE else result[:300],
                duration_ms=round((time.monotonic() - began) * 1000),
                created_at=timezone.now(),
            )
        )
        return PromptMessage(role=Role.TOOL, text=result, tool_call_id=request.id)

    def _call(self, command: ChatCommand, arguments: dict[str, Any]) -> tuple[ToolCall.Status, str]:
        key = None if command.reads_only else self._key(command, arguments)
        is_fine = run.denial_reason(command, arguments=arguments, caller=self._caller) is None
        if key is not None and command.changes_control and is_fine:
            self._deferred[command.name] = command, arguments, key
            return Status.DONE, _json({"text": DEFERRED})
        try:
            done = self._find_earlier_run(command, key) if key is not None else None
            done = done or self._run(command, arguments, key=key, guard=lambda: leases.ensure_held(self._lease))
        except (LeaseLost, OperationalError, InterfaceError):
            raise
        except Exception:  # a bug in one tool: the model may still answer without it
            log.exception("tool_failed", tool=command.tool_name, conversation=str(self._conversation.pk))
            return Status.FAILED, _error("The tool failed.")
        self._runs.append(done)
        if done.status != CommandRun.Status.DONE:
            return STATUS_OF[CommandRun.Status(done.status)], _error(done.text)
        return Status.DONE, _result_text(done)

    def _earlier_runs(self) -> list[CommandRun]:
        if self._earlier is None:
            self._earlier = list(CommandRun.objects.filter(key__startswith=self._prefix).order_by("created_at", "id"))
        return self._earlier

    def _find_earlier_run(self, command: ChatCommand, key: str) -> CommandRun | None:
        """Return the run of this call by an interrupted turn, None when there was none.

        The same call, or else another successful one of the same command for the same burst.
        """
        prefix, _, digest = key.rpartition(":")
        runs = [done for done in self._earlier_runs() if done.name == command.name and done.key is not None]
        same = (done for done in runs if str(done.key).endswith(f":{digest}"))
        reworded = (
            done
            for done in runs
            if done.pk not in self._claimed
            and done.status == CommandRun.Status.DONE
            and str(done.key).startswith(f"{prefix}:")
        )
        found = next(same, None) or next(reworded, None)
        if found is not None:
            self._claimed.add(found.pk)
        return found

    def _run(
        self, command: ChatCommand, arguments: dict[str, Any], *, key: str | None, guard: Callable[[], None] | None
    ) -> CommandRun:
        asked_by = None if command.reads_only else self._asked_by
        return run.run(
            command,
            arguments=arguments,
            caller=self._caller,
            conversation=self._conversation,
            surface=CommandRun.Surface.TOOL,
            message=Message.objects.select_related("conversation").get(pk=asked_by) if asked_by else None,
            key=key,
            guard=None if command.reads_only else guard,
        )

    def _key(self, command: ChatCommand, arguments: dict[str, Any]) -> str:
        digest = hashlib.sha256(_json(arguments, sort_keys=True).encode()).hexdigest()[:32]
        return f"{self._prefix}{self._asked_by}:{command.name}:{digest}"


def _as_tool_call(done: CommandRun, *, turn: Turn, position: int) -> ToolCall:
    """Convert a run of an interrupted turn for the record of the turn that completed."""
    status = STATUS_OF[CommandRun.Status(done.status)]
    return ToolCall(
        turn=turn,
        position=position,
        name=get(done.name).tool_name,
        arguments=done.arguments,
        result=_truncate(_result_text(done)),
        status=status,
        error="" if status == Status.DONE else done.text[:300],
        created_at=done.created_at,
    )


def _result_text(done: CommandRun) -> str:
    return _json(done.data or {"text": done.text})


def _read_arguments(text: str) -> dict[str, Any] | None:
    """Parse arguments into JSON that the database takes; None when they are malformed."""
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
        raise ValueError(f"{number[:20]} is not a JSON number")
    return value


def _recorded_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: clean(value, MAX_RECORDED_CHARS) if isinstance(value, str) else value for name, value in arguments.items()
    }


def _error(reason: str) -> str:
    return _json({"error": reason})


def _json(value: Any, **how: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), **how)


def _truncate(text: str) -> str:
    text = escape_fences(text)
    return truncate(text, MAX_RESULT_CHARS, ending=f"… [cut: {len(text):,} characters in all]")
