"""Run commands typed in a chat: `/help` in a message is run, not answered by the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commands import run
from commands.callers import caller_of_message, find_conversation
from commands.models import CommandRun
from commands.parsing import Typed, read_command, split_addressee
from commands.registry import By, Caller, ChatCommand, nearest
from messaging.history.transcript import HistoryMessage
from messaging.models import Contact, Conversation, Message, Turn
from messaging.outbound import split_for
from whatsapp_agent.errors import AppError

ApplyEffects = Callable[[Turn], Sequence[str]]


@dataclass(frozen=True, slots=True)
class PreparedCommand:
    """A typed command: `apply_effects` runs it and returns its replies; `reason` is stored on the turn."""

    reason: str
    apply_effects: ApplyEffects


def first_command(history: Sequence[HistoryMessage]) -> tuple[HistoryMessage, Typed] | None:
    """Return the oldest unanswered message that is a command, with the command."""
    for message in history:
        if (
            message.status == Message.Status.RECEIVED
            and message.kind == Message.Kind.TEXT
            and (typed := read_command(message.text))
        ):
            return message, typed
    return None


def prepare(*, conversation: Conversation, message: HistoryMessage, typed: Typed) -> PreparedCommand:
    """Prepare a typed command. One that asks the model runs now, any other when `apply_effects` is called.

    The run is keyed by the message: it takes effect once, however often its turn is begun again.
    """
    caller = caller_of_message(session=conversation.session, contact=_writer(conversation, message))
    if typed.command is None:
        return PreparedCommand(reason="unknown command", apply_effects=lambda turn: [_hint(typed.word, caller)])  # noqa: ARG005
    target, rest = conversation, typed.rest
    if caller.by == By.OWNER:
        who, left = split_addressee(rest)
        if who:
            rest = left
            try:
                target = find_conversation(session=conversation.session, who=who)
            except AppError as exc:
                error_text = str(exc)
                return PreparedCommand(
                    reason=f"/{typed.command.name}: {exc.code}",
                    apply_effects=lambda turn: [error_text],  # noqa: ARG005
                )
    runner = _Runner(
        command=typed.command, rest=rest, caller=caller, target=target, conversation=conversation, message=message
    )
    if typed.command.asks_model:
        runner.run()
    return PreparedCommand(reason=f"/{typed.command.name}", apply_effects=runner)


@dataclass(slots=True)
class _Runner:
    command: ChatCommand
    rest: str
    caller: Caller
    target: Conversation
    conversation: Conversation  # in which it was typed
    message: HistoryMessage

    def run(self) -> CommandRun:
        return run.run(
            self.command,
            arguments=self.rest,
            caller=self.caller,
            conversation=self.target,
            surface=CommandRun.Surface.CHAT,
            message=Message.objects.select_related("conversation").get(pk=self.message.id),
            key=f"chat:{self.message.id}",
        )

    def __call__(self, turn: Turn) -> Sequence[str]:
        run = self.run()  # or the earlier run with this key
        CommandRun.objects.filter(pk=run.pk).update(turn=turn)
        return split_for(self.conversation, run.text)


def _writer(conversation: Conversation, message: HistoryMessage) -> Contact:
    if message.sender_id in {None, conversation.contact_id}:
        return conversation.contact
    return Contact.objects.get(pk=message.sender_id)


def _hint(word: str, caller: Caller) -> str:
    meant = nearest(word, by=caller.by)
    if meant is not None:
        return f"Unknown command /{word}. Did you mean /{meant.name}? Send /help for a list."
    return f"Unknown command /{word}. Send /help for a list."
