"""Basic commands: help, status, reset."""

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from commands.models import CommandRun
from commands.parsing import usage
from commands.registry import PEOPLE, Arguments, By, Call, Result, all_commands, chat_command, get
from messaging.history.transcript import visible_messages
from messaging.models import Conversation, Message, Turn
from whatsapp_agent.text.times import format_minute_with_zone


class NoArguments(Arguments):
    """No arguments."""


class HelpArguments(Arguments):
    command: str = Field(
        default="", max_length=64, description=gettext_noop("The command to explain; empty lists all.")
    )


@chat_command(
    "help",
    gettext_noop("List the commands."),
    allowed=PEOPLE,
    aliases=("ajuda", "ayuda", "hilfe", "aide", "commands", "start", "menu"),
    examples=("/help summarize",),
    reads_only=True,
)
def show_help(call: Call, arguments: HelpArguments) -> Result:
    by = call.caller.by
    if arguments.command:
        command = get(arguments.command.lstrip("/#"))
        lines = [f"*/{command.name}* {_(command.description)}", usage(command)]
        lines += [
            f"• {name}: {_(info.description)}"
            for name, info in command.arguments.model_fields.items()
            if info.description
        ]
        if command.aliases:
            lines.append(_("Also: %(names)s") % {"names": ", ".join(f"/{alias}" for alias in command.aliases)})
        if not command.may_be_run_by(by):
            lines.append(_("(Not for you.)"))
        return Result(
            "\n".join(lines),
            {"commands": [{"name": command.name, "description": command.description}]},
        )
    known = [command for command in all_commands() if command.may_be_run_by(by)]
    lines = [_("You can write:"), *(f"*/{command.name}* {_(command.description)}" for command in known)]
    if by == By.OWNER:
        lines.append(_("Name a contact to act in that conversation: /pause @Ana"))
    return Result(
        "\n".join(lines),
        {"commands": [{"name": command.name, "description": command.description} for command in known]},
    )


CONTROL = {
    Conversation.Control.AGENT: gettext_noop("The assistant answers here."),
    Conversation.Control.HUMAN: gettext_noop("A person answers here."),
    Conversation.Control.MUTED: gettext_noop("The agent is paused in this conversation."),
}


@chat_command(
    "status",
    gettext_noop("Show who answers here, and the status."),
    allowed=PEOPLE,
    aliases=("estado", "info"),
    reads_only=True,
)
def show_status(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    conversation = call.conversation
    messages = visible_messages(conversation)
    if call.message is not None and call.surface == CommandRun.Surface.CHAT:
        messages = messages.exclude(pk=call.message.pk)
    waiting = Message.objects.filter(conversation=conversation, status=Message.Status.RECEIVED)
    if call.message is not None:
        waiting = waiting.exclude(pk=call.message.pk)
    data = {
        "control": conversation.control,
        "control_until": call.data_time(conversation.control_until) if conversation.control_until else None,
        "context_from": call.data_time(conversation.context_from) if conversation.context_from else None,
        "messages": messages.count(),
        "unanswered": waiting.count(),
        "agent_profile": conversation.session.agent_profile.name,
        "session_status": conversation.session.status,
    }
    lines = [_(CONTROL[Conversation.Control(conversation.control)])]
    if conversation.control_until:
        until = format_minute_with_zone(conversation.control_until, zone=call.zone)
        lines.append(_("Until %(time)s.") % {"time": until})
    lines.append(_("%(messages)s messages are stored, %(unanswered)s wait for an answer.") % data)
    if conversation.context_from:
        since = format_minute_with_zone(conversation.context_from, zone=call.zone)
        lines.append(_("Messages before %(time)s are not used.") % {"time": since})
    if call.caller.by != By.CONTACT:
        failed = Turn.objects.filter(conversation=conversation, outcome=Turn.Outcome.FAILED).count()
        data |= {"failed_turns": failed, "needs_attention": conversation.needs_attention}
        lines.append(
            _("Who answers: %(profile)s. The number is %(status)s.")
            % {"profile": data["agent_profile"], "status": conversation.session.get_status_display().lower()}
        )
        if failed:
            lines.append(_("%(count)s turns have failed.") % {"count": failed})
        if conversation.needs_attention:
            lines.append(_("Staff is asked to look."))
    return Result("\n".join(lines), data)


@chat_command(
    "reset",
    gettext_noop("Start afresh: the assistant forgets the conversation so far."),
    allowed=PEOPLE,
    aliases=("new", "clear", "reiniciar", "novo", "nuevo"),
)
def reset(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    """Hide the past from the model. Nothing is deleted, and facts stay."""
    now = timezone.now()
    Conversation.objects.filter(pk=call.conversation.pk).start_afresh(now)
    return Result(_("Done: we start afresh."), {"context_from": call.data_time(now)})
