"""Basic commands: help, status, reset."""

from django.utils import timezone
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
    command: str = Field(default="", max_length=64, description="The command to explain; empty lists all.")


@chat_command(
    "help",
    "List the commands.",
    allowed=PEOPLE,
    aliases=("ajuda", "ayuda", "hilfe", "aide", "commands", "start", "menu"),
    examples=("/help summarize",),
    reads_only=True,
)
def show_help(call: Call, arguments: HelpArguments) -> Result:
    by = call.caller.by
    if arguments.command:
        command = get(arguments.command.lstrip("/#"))
        also = f"\nAlso: {', '.join(f'/{alias}' for alias in command.aliases)}" if command.aliases else ""
        fields = "".join(
            f"\n• {name}: {info.description}"
            for name, info in command.arguments.model_fields.items()
            if info.description
        )
        not_you = "" if command.may_be_run_by(by) else "\n(Not for you.)"
        return Result(
            f"*/{command.name}* {command.description}\n{usage(command)}{fields}{also}{not_you}",
            {"commands": [{"name": command.name, "description": command.description}]},
        )
    known = [command for command in all_commands() if command.may_be_run_by(by)]
    lines = "\n".join(f"*/{command.name}* {command.description}" for command in known)
    about_others = "\nName a contact to act in that conversation: /pause @Ana" if by == By.OWNER else ""
    return Result(
        f"You can write:\n{lines}{about_others}",
        {"commands": [{"name": command.name, "description": command.description} for command in known]},
    )


CONTROL = {
    Conversation.Control.AGENT: "The assistant answers here.",
    Conversation.Control.HUMAN: "A person answers here.",
    Conversation.Control.MUTED: "The agent is paused in this conversation.",
}


@chat_command(
    "status", "Show who answers here, and the status.", allowed=PEOPLE, aliases=("estado", "info"), reads_only=True
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
    lines = [CONTROL[Conversation.Control(conversation.control)]]
    if conversation.control_until:
        lines.append(f"Until {format_minute_with_zone(conversation.control_until, zone=call.zone)}.")
    lines.append(f"{data['messages']} messages are stored, {data['unanswered']} wait for an answer.")
    if conversation.context_from:
        since = format_minute_with_zone(conversation.context_from, zone=call.zone)
        lines.append(f"Messages before {since} are not used.")
    if call.caller.by != By.CONTACT:
        failed = Turn.objects.filter(conversation=conversation, outcome=Turn.Outcome.FAILED).count()
        data |= {"failed_turns": failed, "needs_attention": conversation.needs_attention}
        lines.append(f"Who answers: {data['agent_profile']}. The number is {data['session_status']}.")
        if failed:
            lines.append(f"{failed} turns have failed.")
        if conversation.needs_attention:
            lines.append("Staff is asked to look.")
    return Result("\n".join(lines), data)


@chat_command(
    "reset",
    "Start afresh: the assistant forgets the conversation so far.",
    allowed=PEOPLE,
    aliases=("new", "clear", "reiniciar", "novo", "nuevo"),
)
def reset(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    """Hide the past from the model. Nothing is deleted, and facts stay."""
    now = timezone.now()
    Conversation.objects.filter(pk=call.conversation.pk).start_afresh(now)
    return Result("Done: we start afresh.", {"context_from": call.data_time(now)})
