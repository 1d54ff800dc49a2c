"""The chat as a door to the commands: `/help` in a message is run, not answered by the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from commands import run
from commands.callers import caller_writing, conversation_named
from commands.models import CommandRun
from commands.parsing import Typed, read_command, split_addressee
from commands.registry import By, Caller, ChatCommand, nearest
from messaging.history.transcript import HistoryMessage
from messaging.models import Contact, Conversation, Message, Turn
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.split import split_text

Perform = Callable[[Turn], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a typed command comes to: `perform` does it and returns what to say, `reason` is kept on the turn."""

    reason: str
    perform: Perform


def first_command(history: Sequence[HistoryMessage]) -> tuple[HistoryMessage, Typed] | None:
    """The oldest unanswered message that is a command."""
    for said in history:
        if (
            said.status == Message.Status.RECEIVED
            and said.kind == Message.Kind.TEXT
            and (typed := read_command(said.text))
        ):
            return said, typed
    return None


def answer(*, conversation: Conversation, said: HistoryMessage, typed: Typed) -> Answer:
    """What to do about it. One that asks the model is run now; any other when `perform` is called, with the turn.

    The key is the message's: however often its turn is begun again, the command takes effect once.
    """
    caller = caller_writing(session=conversation.session, contact=_writer(conversation, said))
    if typed.command is None:
        return Answer(reason="unknown command", perform=lambda turn: [_hint(typed.word, caller)])  # noqa: ARG005
    place, rest = conversation, typed.rest
    if caller.by == By.OWNER:
        who, left = split_addressee(rest)
        if who:
            rest = left
            try:
                place = conversation_named(session=conversation.session, who=who)
            except AppError as exc:
                told = str(exc)
                return Answer(reason=f"/{typed.command.name}: {exc.code}", perform=lambda turn: [told])  # noqa: ARG005
    runner = _Runner(command=typed.command, rest=rest, caller=caller, place=place, said=said)
    if typed.command.asks_model:
        runner.run()
    return Answer(reason=f"/{typed.command.name}", perform=runner)


@dataclass(slots=True)
class _Runner:
    command: ChatCommand
    rest: str
    caller: Caller
    place: Conversation
    said: HistoryMessage

    def run(self) -> CommandRun:
        return run.run(
            self.command,
            arguments=self.rest,
            caller=self.caller,
            conversation=self.place,
            surface=CommandRun.Surface.CHAT,
            message=Message.objects.select_related("conversation").get(pk=self.said.id),
            key=f"chat:{self.said.id}",
        )

    def __call__(self, turn: Turn) -> Sequence[str]:
        done = self.run()  # or the run there was already
        CommandRun.objects.filter(pk=done.pk).update(turn=turn)
        return split_text(done.text)


def _writer(conversation: Conversation, said: HistoryMessage) -> Contact:
    if said.sender_id in {None, conversation.contact_id}:
        return conversation.contact
    return Contact.objects.get(pk=said.sender_id)


def _hint(word: str, caller: Caller) -> str:
    meant = nearest(word, by=caller.by)
    if meant is not None:
        return f"I know no /{word}. Did you mean /{meant.name}? /help shows what can be asked for."
    return f"I know no /{word}. /help shows what can be asked for."
