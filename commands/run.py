"""The one way to run a command, whichever door it came through: rights, arguments, effect, and the record of it."""

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
MAX_RECORDED_CHARS = 2000  # characters of one argument that the record keeps
MODEL_IS_SILENT = "The model does not answer at the moment. Please try again in a minute."


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
    """Run a command and record it. What is refused, invalid or fails is a run too, and raises nothing; only
    ConversationGone is raised, where nothing is left to record it in.

    `arguments` by name, or as somebody typed them; `message` is the one that asked. What was done under a `key` is not
    done again: its run is returned. `guard` is called in the transaction of the effect and may raise to undo it.
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
        return _end(record, Status.REFUSED, text=_why_refused(command, caller), code="permission_denied")
    try:
        given = parse_arguments(command, arguments) if isinstance(arguments, str) else validated(command, arguments)
    except InvalidInput as exc:
        return _end(record, Status.INVALID, text=str(exc), code=exc.code, data={"fields": getattr(exc, "fields", {})})
    record.arguments = _kept(given)
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
        return _end(record, Status.FAILED, text=MODEL_IS_SILENT, code=exc.code)


def denial_reason(command: ChatCommand, *, arguments: Mapping[str, Any], caller: Caller) -> CommandRun.Status | None:
    """How a run would end before it begins; None when nothing stands in its way."""
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


def _why_refused(command: ChatCommand, caller: Caller) -> str:
    if caller.by == By.CONTACT:
        return f"/{command.name} is not for you: only {_who_may(command)} may use it."
    return f"Only {_who_may(command)} may use {command.name}."


def _who_may(command: ChatCommand) -> str:
    names = {
        By.CONTACT: "contacts",
        By.OWNER: "the owner of this number",
        By.STAFF: "staff",
        By.ADMIN: "administrators",
    }
    return " and ".join(name for by, name in names.items() if by in command.allowed)


def _kept(given: BaseModel) -> dict[str, Any]:
    values = given.model_dump(mode="json", exclude_defaults=True)
    return {name: value[:MAX_RECORDED_CHARS] if isinstance(value, str) else value for name, value in values.items()}
