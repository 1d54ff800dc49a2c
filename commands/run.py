"""Run a command, from whichever surface: rights, arguments, effect, and the record of it."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone
from pydantic import BaseModel

from agent.llm.base import ModelError
from commands.models import CommandRun
from commands.parsing import parse_arguments, validated
from commands.registry import By, Call, Caller, ChatCommand
from messaging.control import ConversationGone
from messaging.models import Conversation, Message
from whatsapp_agent.errors import AppError, InvalidInput

log = structlog.get_logger(__name__)

Status = CommandRun.Status
MAX_RECORDED_CHARS = 2000  # of one argument, in the record
MODEL_UNAVAILABLE = "The model does not answer at the moment. Please try again in a minute."


def run(
    command: ChatCommand,
    *,
    arguments: Mapping[str, Any] | str,
    caller: Caller,
    conversation: Conversation,
    surface: CommandRun.Surface,
    message: Message | None = None,
    key: str | None = None,
    guard: Callable[[], None] | None = None,
) -> CommandRun:
    """Run a command and record it, also when it is refused, invalid or fails. Raises only ConversationGone, where
    nothing is left to record it in.

    `arguments`: by name, or as typed. `message`: the one that asked. `key`: an earlier run with this key is returned
    instead. `guard`: called in the transaction of the effect; may raise to undo it.
    """
    if key is not None and (earlier := CommandRun.objects.filter(key=key).first()) is not None:
        return earlier
    record = CommandRun(
        conversation=conversation,
        name=command.name,
        surface=surface,
        caller=caller.by,
        user=caller.user,
        contact=caller.contact,
        key=key,
        started_at=timezone.now(),
    )
    if not command.may_be_run_by(caller.by):
        log.warning("command_refused", command=command.name, caller=str(caller.by), conversation=str(conversation.pk))
        return _end(record, Status.REFUSED, text=_refusal(command, caller), code="permission_denied")
    try:
        given = parse_arguments(command, arguments) if isinstance(arguments, str) else validated(command, arguments)
    except InvalidInput as exc:
        return _end(record, Status.INVALID, text=str(exc), code=exc.code, data={"fields": getattr(exc, "fields", {})})
    record.arguments = _recorded_arguments(given)
    call = Call(caller=caller, conversation=conversation, surface=surface, message=message)
    try:
        if command.asks_model:
            result = command.function(call, given)
            return _end(record, Status.DONE, text=result.text, data=result.data)
        with transaction.atomic():
            if guard is not None:
                guard()
            result = command.function(call, given)
            return _end(record, Status.DONE, text=result.text, data=result.data)
    except ConversationGone:
        raise
    except AppError as exc:
        return _end(record, Status.FAILED, text=str(exc), code=exc.code)
    except ModelError as exc:
        log.warning("command_without_model", command=command.name, code=exc.code, conversation=str(conversation.pk))
        return _end(record, Status.FAILED, text=MODEL_UNAVAILABLE, code=exc.code)


def denial_reason(command: ChatCommand, *, arguments: Mapping[str, Any], caller: Caller) -> CommandRun.Status | None:
    """Return the status with which a run would end before it begins, None when it would run."""
    if not command.may_be_run_by(caller.by):
        return Status.REFUSED
    try:
        validated(command, arguments)
    except InvalidInput:
        return Status.INVALID
    return None


def _end(
    record: CommandRun, status: CommandRun.Status, *, text: str, code: str = "", data: dict[str, Any] | None = None
) -> CommandRun:
    record.status = status
    record.text = text
    record.data = data or {}
    record.error_code = code[:50]
    record.error = text[:300] if code else ""
    record.created_at = timezone.now()
    record.save(force_insert=True)
    return record


def _refusal(command: ChatCommand, caller: Caller) -> str:
    if caller.by == By.CONTACT:
        return f"/{command.name} is not for you: only {_allowed_callers(command)} may use it."
    return f"Only {_allowed_callers(command)} may use {command.name}."


def _allowed_callers(command: ChatCommand) -> str:
    names = {
        By.CONTACT: "contacts",
        By.OWNER: "the owner of this number",
        By.STAFF: "staff",
        By.ADMIN: "administrators",
    }
    return " and ".join(name for by, name in names.items() if by in command.allowed)


def _recorded_arguments(given: BaseModel) -> dict[str, Any]:
    values = given.model_dump(mode="json", exclude_defaults=True)
    return {name: value[:MAX_RECORDED_CHARS] if isinstance(value, str) else value for name, value in values.items()}
