"""Run a command, from whichever surface: rights, arguments, effect, and the record of it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
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
MODEL_UNAVAILABLE = gettext_noop("The model does not answer at the moment. Please try again in a minute.")


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
    instead. `guard`: called in the transaction of the effect; may raise to undo it. Staff are answered in the language
    of their page; contacts, the owner of the number and the model in English.
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
    with _language_for(caller):
        return _run(record, command, arguments=arguments, caller=caller, message=message, guard=guard)


def _language_for(caller: Caller) -> AbstractContextManager[None]:
    return nullcontext() if caller.by in {By.STAFF, By.ADMIN} else translation.override(settings.LANGUAGE_CODE)


def _run(
    record: CommandRun,
    command: ChatCommand,
    *,
    arguments: Mapping[str, Any] | str,
    caller: Caller,
    message: Message | None,
    guard: Callable[[], None] | None,
) -> CommandRun:
    if not command.may_be_run_by(caller.by):
        log.warning(
            "command_refused", command=command.name, caller=str(caller.by), conversation=str(record.conversation_id)
        )
        return _end(record, Status.REFUSED, text=_refusal(command, caller), code="permission_denied")
    try:
        given = parse_arguments(command, arguments) if isinstance(arguments, str) else validated(command, arguments)
    except InvalidInput as exc:
        return _end(record, Status.INVALID, text=str(exc), code=exc.code, data={"fields": getattr(exc, "fields", {})})
    record.arguments = _recorded_arguments(given)
    call = Call(
        caller=caller,
        conversation=record.conversation,
        surface=CommandRun.Surface(record.surface),
        message=message,
    )
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
        log.warning(
            "command_without_model", command=command.name, code=exc.code, conversation=str(record.conversation_id)
        )
        return _end(record, Status.FAILED, text=_(MODEL_UNAVAILABLE), code=exc.code)


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
    return _("Only %(who)s may use %(command)s.") % {"who": _allowed_callers(command), "command": command.name}


def _allowed_callers(command: ChatCommand) -> str:
    names = {
        By.CONTACT: _("contacts"),
        By.OWNER: _("the owner of this number"),
        By.STAFF: _("staff"),
        By.ADMIN: _("administrators"),
    }
    conjunction = _("and")
    return f" {conjunction} ".join(name for by, name in names.items() if by in command.allowed)


def _recorded_arguments(given: BaseModel) -> dict[str, Any]:
    values = given.model_dump(mode="json", exclude_defaults=True)
    return {name: value[:MAX_RECORDED_CHARS] if isinstance(value, str) else value for name, value in values.items()}
