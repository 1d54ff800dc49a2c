"""Control commands: ask for a person, give back to the agent, pause."""

from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from commands.library.basics import NoArguments
from commands.registry import MANAGERS, READERS, Arguments, By, Call, Result, chat_command
from messaging import control
from messaging.history.transcript import describe, latest, visible_messages
from messaging.models import Conversation
from messaging.models.conversations import NO_ATTENTION
from whatsapp_agent.errors import Conflict
from whatsapp_agent.text.times import format_minute_with_zone
from whatsapp_agent.text.truncate import truncate

MAX_NOTE_LINE_CHARS = 200
HANDOFF_REPLY = gettext_noop("I have asked a person to answer you. Please wait a moment.")


class HandoffArguments(Arguments):
    reason: str = Field(default="", max_length=200, description=gettext_noop("Why a person is needed, in a few words."))
    summary: str = Field(
        default="",
        max_length=600,
        description=gettext_noop("Two lines for the person who takes over: who wants what, what was done."),
    )


@chat_command(
    "human",
    gettext_noop("Request a person to answer."),
    allowed=READERS,
    aliases=(
        "person",
        "humano",
        "persona-real",
        "pessoa",
        "atendente",
        "agente-humano",
        "mensch",
        "humain",
        "operator",
    ),
    tool="hand_off",
    tool_description=(
        "Hand the conversation over to a person: when the contact asks for one, is upset, or needs what you cannot do. "
        "Tell the contact in your answer that a person will write; you are silent afterwards."
    ),
    examples=("/human I want to cancel my order",),
    changes_control=True,
)
def ask_for_person(call: Call, arguments: HandoffArguments) -> Result:
    """Give control to a person, with a note of two lines for staff."""
    conversation = call.conversation
    note = _note(conversation, reason=arguments.reason, summary=arguments.summary)
    by_model = call.caller.by == By.MODEL
    control.take_over(
        conversation=conversation,
        by=call.caller.user,
        reason=f"{'handed off by the agent' if by_model else 'a person was requested'}: {arguments.reason}".rstrip(
            ": "
        ),
    )
    Conversation.objects.filter(pk=conversation.pk).update(
        needs_attention=True, attention_reason=Conversation.Attention.HANDOFF, attention_note=note
    )
    return Result(_(HANDOFF_REPLY), {"control": Conversation.Control.HUMAN.value, "note": note})


def _note(conversation: Conversation, *, reason: str, summary: str) -> str:
    """Return two lines: the reason and a summary, by default the contact's last messages."""
    if not summary:
        recent = latest(visible_messages(conversation), limit=12)
        texts = [describe(message) for message in recent if message.is_inbound]
        summary = " / ".join(texts[-3:]) or "there are no messages yet"
        summary = f"Latest messages: {summary}"
    lines = [reason or f"{conversation.contact} asks for a person.", " ".join(summary.split())]
    return "\n".join(truncate(line, MAX_NOTE_LINE_CHARS) for line in lines)


@chat_command(
    "agent",
    gettext_noop("Give the conversation back to the assistant."),
    allowed=MANAGERS,
    aliases=("release", "agente"),
    changes_control=True,
)
def give_back(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    control.release(conversation=call.conversation, reason=gettext_noop("given back by command"))
    _clear_attention(call.conversation)
    return Result(_("The assistant answers again."), {"control": Conversation.Control.AGENT.value})


class PauseArguments(Arguments):
    minutes: int = Field(
        default=0, ge=0, le=60 * 24 * 365, description=gettext_noop("For how many minutes; 0: until /resume.")
    )


@chat_command(
    "pause",
    gettext_noop("Silence the assistant in a conversation."),
    allowed=MANAGERS,
    aliases=("mute", "pausa", "pausar", "silence"),
    examples=("/pause @Ana 30",),
    changes_control=True,
)
def pause(call: Call, arguments: PauseArguments) -> Result:
    """Mute a conversation. Raises Conflict in the owner's own: muted, it would take no more commands."""
    if call.caller.contact is not None and call.caller.contact.pk == call.conversation.contact_id:
        raise Conflict(_("Name the conversation to pause, by name or phone: /pause @Ana 30"))
    until = timezone.now() + timedelta(minutes=arguments.minutes) if arguments.minutes else None
    control.mute(
        conversation=call.conversation, by=call.caller.user, until=until, reason=gettext_noop("paused by command")
    )
    words: dict[str, object] = {"contact": call.conversation.contact}
    if until:
        words["time"] = format_minute_with_zone(until, zone=call.zone)
        text = _("The assistant is silent with %(contact)s until %(time)s.") % words
    else:
        text = _("The assistant is silent with %(contact)s until you write /resume.") % words
    return Result(
        text,
        {"control": Conversation.Control.MUTED.value, "control_until": call.data_time(until) if until else None},
    )


@chat_command(
    "resume",
    gettext_noop("Let the assistant answer again after /pause."),
    allowed=MANAGERS,
    aliases=("unmute", "continuar", "retomar"),
    examples=("/resume @Ana",),
    changes_control=True,
)
def resume(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    control.release(conversation=call.conversation, reason=gettext_noop("resumed by command"))
    _clear_attention(call.conversation)
    text = _("The assistant answers %(contact)s again.") % {"contact": call.conversation.contact}
    return Result(text, {"control": Conversation.Control.AGENT.value})


class BotArguments(Arguments):
    is_on: bool = Field(
        default=True, description=gettext_noop("`on`: it answers; `off`: it is silent until it is on again.")
    )


@chat_command(
    "bot",
    gettext_noop("Switch the assistant on or off in a conversation."),
    allowed=MANAGERS,
    examples=("/bot @Ana off", "/bot @Ana on"),
    changes_control=True,
)
def bot(call: Call, arguments: BotArguments) -> Result:
    """Give a conversation back, or mute it. Raises what `pause` raises."""
    return resume(call, NoArguments()) if arguments.is_on else pause(call, PauseArguments())


def _clear_attention(conversation: Conversation) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(**NO_ATTENTION)
