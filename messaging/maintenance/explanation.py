"""Explain what became of a message: which rule answered, delayed or ignored it, with the turn."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from messaging.models import Conversation, Message, Turn
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import NotFound

Status = Message.Status
MAX_FOUND = 20

# The rules of `messaging.inbound`, as sentences.
UNANSWERED = {
    "history": "It came with a history sync, or was imported: the past is not answered.",
    "stale": "It was older than the profile's max_answer_age_s ({profile.max_answer_age_s} s).",
    "kind": "Its kind ({message.kind}) is nothing that the agent answers.",
    "group": "It was written in a group, and the session's group_policy ({session.group_policy}) left it out.",
    "policy": "The contact was blocked, the session ended, or its access_policy ({session.access_policy}) left the "
    "contact out.",
    "person": "A person answered it.",
}


def find_messages(text: str) -> list[Message]:
    """Return the messages with this id, ours or the bridge's, newest first. Raises NotFound."""
    wanted = Q(provider_message_id=text.strip())
    with suppress(ValueError):
        wanted |= Q(pk=UUID(text.strip()))
    related = ("conversation__contact", "session__agent_profile", "session__bridge", "turn__agent_profile")
    found = list(Message.objects.filter(wanted).select_related(*related).order_by("-said_at", "-id")[:MAX_FOUND])
    if not found:
        raise NotFound("There is no message with this id. Give our id, or the bridge's id of the message.")
    return found


def explain(message: Message) -> dict[str, Any]:
    """Return what is known of the message as ids, times and reasons; never what was written."""
    turn = message.turn
    return {
        "message": str(message.pk),
        "provider_message_id": message.provider_message_id,
        "session": message.session.name,
        "conversation": str(message.conversation_id),
        "direction": message.direction,
        "author": message.author,
        "kind": message.kind,
        "status": message.status,
        "unanswered": message.unanswered,
        "error_code": message.error_code,
        "said_at": message.said_at,
        "written_at": message.written_at,
        "received_at": message.created_at,
        "turn": None if turn is None else _turn(turn),
        "reasons": list(_inbound(message) if message.direction == Message.Direction.INBOUND else _outbound(message)),
    }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "id": str(turn.pk),
        "outcome": turn.outcome,
        "reason": turn.reason,
        "agent_profile": turn.agent_profile.name if turn.agent_profile else None,
        "profile_version": turn.profile_version,
        "model": turn.model,
        "tries": turn.tries,
        "steps": turn.steps,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "model_ms": turn.model_ms,
        "started_at": turn.started_at,
        "finished_at": turn.created_at,
        "tool_calls": [{"name": call.name, "status": call.status} for call in turn.tool_calls.all()],
        "commands": list(turn.command_runs.values("name", "status")),  # a relation of the app commands
        "replies": [
            {"id": str(reply.pk), "status": reply.status}
            for reply in turn.messages.filter(direction=Message.Direction.OUTBOUND).order_by("created_at", "id")
        ],
    }


def _inbound(message: Message) -> Iterator[str]:
    session, conversation = message.session, message.conversation
    if message.unanswered:
        rule = UNANSWERED[message.unanswered]
        yield rule.format(message=message, session=session, profile=session.agent_profile)
    if message.revoked_at:
        yield f"Its author deleted it at {message.revoked_at:%F %T} UTC: deleted messages are not answered."
    if message.turn is not None:
        yield from _outcome(message.turn)
    elif message.status == Status.RECEIVED:
        yield from _waiting(conversation)
    elif not message.unanswered:
        yield "It was handled without a turn: a person had control of the conversation."


def _outcome(turn: Turn) -> Iterator[str]:
    why = f": {turn.reason}" if turn.reason else ""
    match turn.outcome:
        case Turn.Outcome.ANSWERED:
            yield f"The agent answered it in a turn of {turn.steps} steps and {turn.tries} tries{why}."
        case Turn.Outcome.COMMAND:
            yield f"It was a command, and the command's result was the answer{why}."
        case Turn.Outcome.IGNORED:
            yield f"The turn ignored it{why or ', without a reason'}."
        case _:
            yield f"The turn failed{why}. Run it again: manage.py requeue, or Run again in the admin."


def _waiting(conversation: Conversation) -> Iterator[str]:
    now = timezone.now()
    if conversation.control != Conversation.Control.AGENT:
        until = f" until {conversation.control_until:%F %T} UTC" if conversation.control_until else ""
        reason = f" ({conversation.control_reason})" if conversation.control_reason else ""
        yield f"It waits: control of the conversation is {conversation.control}{until}{reason}."
        return
    if conversation.lease_expires_at and conversation.lease_expires_at > now:
        yield f"A worker is answering it; its lease lasts until {conversation.lease_expires_at:%F %T} UTC."
    elif conversation.retry_at and conversation.retry_at > now:
        yield f"{conversation.tries} tries failed; the next one is at {conversation.retry_at:%F %T} UTC."
    elif conversation.due_at is None:
        yield "It waits, and the conversation is not due: release the conversation, or write again."
    elif conversation.due_at > now:
        yield f"It waits for more messages until {conversation.due_at:%F %T} UTC (debounce_s of the profile)."
    else:
        late_s = (now - conversation.due_at).total_seconds()
        yield f"It is due since {late_s:.0f} s: no worker took it. Is the engine running? See manage.py doctor."


def _outbound(message: Message) -> Iterator[str]:
    written_by = "It was written by the agent" if message.author == "agent" else f"Its author is {message.author}"
    yield f"{written_by}."
    if message.error_code or message.error:
        yield f"Its last error: {message.error_code} {message.error}".rstrip()
    match message.status:
        case Status.QUEUED:
            yield from _queued(message)
        case Status.SENDING:
            yield f"The bridge was asked at {message.sending_at:%F %T} UTC, and its answer is awaited."
        case Status.UNCONFIRMED:
            yield "It may have been sent. Its echo, a receipt or a person settles it; look on the phone."
        case Status.FAILED:
            yield "It was not sent. Send it again: manage.py requeue, or Send again in the admin."
        case Status.CANCELLED:
            yield "It was cancelled and will not be sent."
        case _:
            times = {"sent": message.sent_at, "delivered": message.delivered_at, "read": message.read_at}
            yield ", ".join(f"{name} at {at:%F %T} UTC" for name, at in times.items() if at).capitalize() + "."


def _queued(message: Message) -> Iterator[str]:
    now, session = timezone.now(), message.session
    if session.ended_at or session.status != WhatsAppSession.Status.CONNECTED:
        yield f"It waits: the session is {'ended' if session.ended_at else session.status}."
    earlier = Message.objects.filter(
        conversation=message.conversation_id,
        status__in=[Status.QUEUED, Status.SENDING],
        created_at__lt=message.created_at,
    ).count()
    if earlier:
        yield f"It waits behind {earlier} earlier messages of the conversation."
    if message.conversation.held_messages.exists():
        yield "It waits: a message of our own number came while a send was under way, and must be settled first."
    if message.next_try_at and message.next_try_at > now:
        yield f"Its next try is at {message.next_try_at:%F %T} UTC, after {message.tries} tries."
    if session.next_send_at and session.next_send_at > now:
        yield f"The session's pace allows the next send at {session.next_send_at:%F %T} UTC."
    if message.control_epoch is not None and message.control_epoch != message.conversation.control_epoch:
        yield "A person took over after it was written: it will be cancelled."
