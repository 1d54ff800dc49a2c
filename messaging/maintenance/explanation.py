"""Explain what became of a message: which rule answered, delayed or ignored it, with the turn."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messaging.models import Conversation, Message, Turn
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import NotFound
from whatsapp_agent.text.stored import translate_stored

Status = Message.Status
MAX_FOUND = 20

# The rules of `messaging.inbound`, as sentences.
UNANSWERED = {
    "history": gettext_lazy("It came with a history sync, or was imported: the past is not answered."),
    "stale": gettext_lazy(
        "It came too late: the agent does not answer messages that are older than %(max_age_s)s seconds."
    ),
    "kind": gettext_lazy("Its kind (%(kind)s) is nothing that the agent answers."),
    "group": gettext_lazy("It was written in a group. For groups, this number is set to: %(group_policy)s."),
    "policy": gettext_lazy(
        "The contact was blocked, the number was ended, or the number's rule (%(access_policy)s) left the contact out."
    ),
    "person": gettext_lazy("A person answered it."),
}


def find_messages(text: str) -> list[Message]:
    """Return the messages with this id, ours or the bridge's, newest first. Raises NotFound."""
    wanted = Q(provider_message_id=text.strip())
    with suppress(ValueError):
        wanted |= Q(pk=UUID(text.strip()))
    related = ("conversation__contact", "session__agent_profile", "session__bridge", "turn__agent_profile")
    found = list(Message.objects.filter(wanted).select_related(*related).order_by("-said_at", "-id")[:MAX_FOUND])
    if not found:
        raise NotFound(_("There is no message with this id. Give our id, or the bridge's id of the message."))
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
        yield str(UNANSWERED[message.unanswered]) % {
            "max_age_s": session.agent_profile.max_answer_age_s,
            "kind": message.get_kind_display(),
            "group_policy": session.get_group_policy_display(),
            "access_policy": session.get_access_policy_display(),
        }
    if message.revoked_at:
        yield _("Its author deleted it at %(revoked_at)s UTC: deleted messages are not answered.") % {
            "revoked_at": f"{message.revoked_at:%F %T}"
        }
    if message.turn is not None:
        yield from _outcome(message.turn)
    elif message.status == Status.RECEIVED:
        yield from _waiting(conversation)
    elif not message.unanswered:
        yield _("A person had control of the conversation: the agent was silent.")


def _outcome(turn: Turn) -> Iterator[str]:
    why = f": {translate_stored(turn.reason)}" if turn.reason else ""
    match turn.outcome:
        case Turn.Outcome.ANSWERED:
            yield _("The agent answered it (asked the model %(steps)s times, %(tries)s tries)%(why)s.") % {
                "steps": turn.steps,
                "tries": turn.tries,
                "why": why,
            }
        case Turn.Outcome.COMMAND:
            yield _("It was a command, and the command's result was the answer%(why)s.") % {"why": why}
        case Turn.Outcome.IGNORED:
            yield _("The agent left it without an answer%(why)s.") % {"why": why or _(", without a reason")}
        case _:
            yield _("The agent could not answer%(why)s. Use “Run again” in the conversation, or answer yourself.") % {
                "why": why
            }


def _waiting(conversation: Conversation) -> Iterator[str]:
    now = timezone.now()
    if conversation.control != Conversation.Control.AGENT:
        until = ""
        if conversation.control_until:
            until = _(" until %(time)s UTC") % {"time": f"{conversation.control_until:%F %T}"}
        reason = f" ({translate_stored(conversation.control_reason)})" if conversation.control_reason else ""
        yield _("It waits: control of the conversation is %(control)s%(until)s%(reason)s.") % {
            "control": _inside(conversation.get_control_display()),
            "until": until,
            "reason": reason,
        }
        return
    if conversation.lease_expires_at and conversation.lease_expires_at > now:
        yield _("The agent is writing an answer at this moment.")
    elif conversation.retry_at and conversation.retry_at > now:
        yield _("%(tries)s tries failed; the next one is at %(retry_at)s UTC.") % {
            "tries": conversation.tries,
            "retry_at": f"{conversation.retry_at:%F %T}",
        }
    elif conversation.due_at is None:
        yield _("It waits, and no answer is planned. Release the conversation to the agent, or answer yourself.")
    elif conversation.due_at > now:
        yield _(
            "The agent waits until %(due_at)s UTC for more messages of the contact, then answers them together."
        ) % {"due_at": f"{conversation.due_at:%F %T}"}
    else:
        late_s = (now - conversation.due_at).total_seconds()
        yield _(
            "The agent is %(late_s)s seconds late. Answer yourself, and tell who runs the server: it may be down."
        ) % {"late_s": f"{late_s:.0f}"}


def _outbound(message: Message) -> Iterator[str]:
    if message.author == Message.Author.AGENT:
        yield _("It was written by the agent.")
    else:
        yield _("Its author: %(author)s.") % {"author": message.get_author_display()}
    if message.error_code or message.error:
        error = f"{message.error_code} {translate_stored(message.error)}".strip()
        yield _("Its last error: %(error)s") % {"error": error}
    match message.status:
        case Status.QUEUED:
            yield from _queued(message)
        case Status.SENDING:
            yield _("The bridge was asked at %(sending_at)s UTC, and its answer is awaited.") % {
                "sending_at": f"{message.sending_at:%F %T}"
            }
        case Status.UNCONFIRMED:
            yield _("It may have been sent. Its echo or a person settles it; look on the phone.")
        case Status.FAILED:
            yield _("It was not sent. Send it again: manage.py requeue, or Send again in the admin.")
        case Status.CANCELLED:
            yield _("It was cancelled and will not be sent.")
        case _:
            times = {_("sent"): message.sent_at, _("delivered"): message.delivered_at, _("read"): message.read_at}
            known = [
                _("%(event)s at %(time)s UTC") % {"event": event, "time": f"{at:%F %T}"}
                for event, at in times.items()
                if at
            ]
            line = ", ".join(known)
            yield f"{line[:1].upper()}{line[1:]}."


def _inside(label: str) -> str:
    """Return a label as it is written inside a sentence."""
    return label[:1].lower() + label[1:]


def _queued(message: Message) -> Iterator[str]:
    now, session = timezone.now(), message.session
    if session.ended_at or session.status != WhatsAppSession.Status.CONNECTED:
        yield _("It waits: the number is %(status)s.") % {
            "status": _("ended") if session.ended_at else _inside(session.get_status_display())
        }
    earlier = Message.objects.filter(
        conversation=message.conversation_id,
        status__in=[Status.QUEUED, Status.SENDING],
        created_at__lt=message.created_at,
    ).count()
    if earlier:
        yield _("It waits behind %(earlier)s earlier messages of the conversation.") % {"earlier": earlier}
    if message.conversation.held_messages.exists():
        yield _("It waits: a message of our own number came while a send was under way, and must be settled first.")
    if message.next_try_at and message.next_try_at > now:
        yield _("Its next try is at %(next_try_at)s UTC, after %(tries)s tries.") % {
            "next_try_at": f"{message.next_try_at:%F %T}",
            "tries": message.tries,
        }
    if session.next_send_at and session.next_send_at > now:
        yield _("The number's pace allows the next send at %(next_send_at)s UTC.") % {
            "next_send_at": f"{session.next_send_at:%F %T}"
        }
    if message.control_epoch is not None and message.control_epoch != message.conversation.control_epoch:
        yield _("A person took over after it was written: it will be cancelled.")
