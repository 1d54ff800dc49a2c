"""What operators do in the inbox. Every action goes through the services that the API uses, and into Django's log."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_POST

from accounts.admin_pages import log_change, staff_user
from accounts.models import User
from agent.bridges.events import Kind
from agent.staff_inbox.access import hold_visible_conversation, part, visible_conversation
from agent.staff_inbox.corrections import correct
from agent.staff_inbox.templates import send_offered
from agent.staff_inbox.texts import TAKEN_OVER
from commands import run
from commands.callers import caller_of_user
from commands.models import CommandRun
from commands.parsing import read_command
from messaging import control, teamwork
from messaging.leases import answer_again
from messaging.media.files import NewFile, send_as, take
from messaging.models import Contact, Conversation, Message, Note, Turn
from messaging.outbound import conversation_by_phone, find_recipient_phone, send_again, send_media, send_text
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.whatsapp_html import without_markup

HOURS = {"1", "8", "24"}
SENT_AS = {"voice": Kind.VOICE, "sticker": Kind.STICKER}
BUTTONS = {"draft", "summarize", "tasks"}
WORDS_IN_KEY = 32  # digits of the text's digest
SNOOZE_HOURS = {"1", "4", "24", "168"}


@require_POST
@part
def reply(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Send what was written, or run it if it is a command: a command is never sent.

    `key` makes the text one message, or one run of the command, however often the request comes; `epoch` is the control
    that the writer saw.
    """
    conversation, by = visible_conversation(request, conversation_id), staff_user(request)
    text = storable(request.POST.get("text", "")).replace("\r\n", "\n")
    upload = request.FILES.get("file")
    key = parse_key(request.POST.get("key", ""))
    if read_command(text) is not None:
        if upload:
            raise InvalidInput(_("A command takes no file. Remove the file, or change the text."))
        done = _run_command(text, conversation=conversation, by=by, key=key)
        log_change(request, conversation, f"Inbox: /{done.name}.")
        return JsonResponse({"said": without_markup(done.text)})
    file = take(upload, name=upload.name or "", size_bytes=upload.size or 0) if upload else None
    if file and (kind := SENT_AS.get(request.POST.get("as", ""))):
        file = send_as(file, kind)
    with refuse_used(key), transaction.atomic():
        said = _send(request, hold_visible_conversation(request, conversation_id), text=text, file=file, key=key)
    return JsonResponse({"said": said})


@contextmanager
def refuse_used(key: UUID | None) -> Iterator[None]:
    """Raise Conflict where another message has this id. Outside the transaction that stores the message."""
    try:
        yield
    except IntegrityError as exc:
        if key is None or not Message.objects.filter(pk=key).exists():
            raise
        raise Conflict(_("This message was sent already.")) from exc


def was_sent(request: HttpRequest, conversation: Conversation, *, key: UUID | None) -> bool:
    """Return whether the user has sent this message here: a repeated request does nothing. The caller holds the
    conversation."""
    sent = Message.objects.filter(conversation=conversation, sent_by=staff_user(request))
    return key is not None and sent.filter(pk=key).exists()


def _send(
    request: HttpRequest, conversation: Conversation, *, text: str, file: NewFile | None, key: UUID | None
) -> str:
    by = staff_user(request)
    if was_sent(request, conversation, key=key):
        return ""
    check_epoch(request, conversation)
    log_change(request, conversation, "Inbox: reply.")
    quoted_id = parse_key(request.POST.get("quoted", ""))
    quoted = Message.objects.filter(conversation=conversation, pk=quoted_id).first() if quoted_id else None
    takes_over = conversation.control == Conversation.Control.AGENT  # sending loads the conversation again
    options: dict[str, Any] = {"conversation": conversation, "by": by, "quoted": quoted, "message_id": key}
    if file:
        send_media(file=file, caption=text, **options)
    else:
        send_text(text=text, **options)
    return str(TAKEN_OVER) if takes_over else ""


def _run_command(text: str, *, conversation: Conversation, by: User, key: UUID | None = None) -> CommandRun:
    """Run a typed command and return its record. Raises InvalidInput for one that is unknown, refused or failed.

    The same text with the same `key` of the same user runs once; of two requests at once, the second is told to wait.
    """
    typed = read_command(text)
    if typed is None or typed.command is None:
        raise InvalidInput(_("There is no such command. It was not sent to the contact."))
    words = hashlib.sha256(text.encode(errors="replace")).hexdigest()
    try:
        done = run.run(
            typed.command,
            arguments=typed.rest,
            caller=caller_of_user(by),
            conversation=conversation,
            surface=CommandRun.Surface.API,
            key=f"inbox {by.pk} {conversation.pk} {key} {words[:WORDS_IN_KEY]}" if key else None,
        )
    except IntegrityError as exc:  # the other request has stored its run meanwhile, and this one's effect is undone
        raise Conflict(_("This command was run already.")) from exc
    if done.status != CommandRun.Status.DONE:
        raise InvalidInput(done.text or done.error or _("The command failed. It was not sent to the contact."))
    return done


@require_POST
@part
def ask(request: HttpRequest, conversation_id: UUID, name: str) -> HttpResponse:
    """Run one of the commands that have a button, and return its result to be read or sent.

    Where there is no draft, the reason is not for the contact: it is said to the reader alone.
    """
    conversation = visible_conversation(request, conversation_id)
    if name not in BUTTONS:
        raise NotFound
    done = _run_command(f"/{name}", conversation=conversation, by=staff_user(request))
    log_change(request, conversation, f"Inbox: /{name}.")
    draft = done.data.get("draft", "")
    if name == "draft" and not draft:
        return JsonResponse({"said": without_markup(done.text)})
    return JsonResponse({"text": done.text, "draft": draft})


def check_epoch(request: HttpRequest, conversation: Conversation) -> None:
    """Raise Conflict if someone else changed who answers after the page was drawn."""
    seen = request.POST.get("epoch", "")
    is_own = conversation.controlled_by_id == request.user.pk or conversation.control == Conversation.Control.AGENT
    if seen and seen != str(conversation.control_epoch) and not is_own:
        who = conversation.controlled_by or conversation.get_control_display()
        raise Conflict(_("Meanwhile this conversation changed hands (%(who)s). Look, then try again.") % {"who": who})


@require_POST
@part
def start(request: HttpRequest) -> HttpResponse:
    """Write to a phone number, in a new conversation or the one that exists."""
    user = staff_user(request)
    session_id = parse_key(request.POST.get("session", ""))
    sessions = WhatsAppSession.objects.visible_to(user).live().select_related("bridge")
    session = sessions.filter(pk=session_id).first() if session_id else None
    if session is None:
        raise NotFound(_("Choose a number to write from."))
    text = storable(request.POST.get("text", ""))
    if read_command(text) is not None:
        raise InvalidInput(_("A command is not sent to a contact."))
    phone = find_recipient_phone(storable(request.POST.get("phone", "")), session=session)
    with transaction.atomic():  # a refused message leaves no empty conversation
        conversation = conversation_by_phone(session=session, phone=phone)
        send_text(conversation=conversation, text=text, by=user)
    log_change(request, conversation, gettext_noop("Started from the inbox."))
    return JsonResponse({"said": "", "go": reverse("inbox-conversation", args=[conversation.pk])})


@require_POST
@part
def act(request: HttpRequest, conversation_id: UUID, name: str) -> HttpResponse:
    """Do one of ACTIONS in a conversation. What the writer has seen is checked under a lock where it decides."""
    load = hold_visible_conversation if name in HELD else visible_conversation
    with transaction.atomic():
        conversation = load(request, conversation_id)
        action = ACTIONS.get(name)
        if action is None:
            raise NotFound
        said = action(request, conversation)
        log_change(request, conversation, f"Inbox: {name}.")
    return JsonResponse({"said": said or ""})


def _control(request: HttpRequest, conversation: Conversation) -> str:
    to, hours, by = request.POST.get("to", ""), request.POST.get("hours", ""), staff_user(request)
    if to not in Conversation.Control.values or (hours and hours not in HOURS):
        raise InvalidInput
    if request.POST.get("epoch", "") not in {"", str(conversation.control_epoch)}:
        raise Conflict(_("Meanwhile someone changed who answers here. Look, then try again."))
    until = timezone.now() + timedelta(hours=int(hours)) if hours else None
    if to == Conversation.Control.AGENT:
        control.release(conversation=conversation, reason=f"released by {by}")
        return _("The agent answers here again.")
    if to == Conversation.Control.HUMAN:
        control.take_over(conversation=conversation, by=by, until=until, reason=f"taken over by {by}")
        return str(TAKEN_OVER)
    control.mute(conversation=conversation, by=by, until=until, reason=f"muted by {by}")
    return _("Muted: nobody answers here.")


def _assign(request: HttpRequest, conversation: Conversation) -> None:
    user_id = parse_key(request.POST.get("user", ""))
    seen = request.POST.get("seen_assignee")
    if seen is not None and seen != str(conversation.assigned_to_id or ""):
        raise Conflict(_("Meanwhile someone else was assigned: %(who)s.") % {"who": conversation.assigned_to or "-"})
    to = User.objects.filter(pk=user_id, is_active=True).first() if user_id else None
    if user_id and to is None:
        raise NotFound(_("There is no such colleague."))
    teamwork.assign(conversation=conversation, to=to, by=staff_user(request))


def _labels(request: HttpRequest, conversation: Conversation) -> None:
    seen = request.POST.get("seen_labels")
    if seen is not None and seen != ", ".join(conversation.labels):
        raise Conflict(
            _("Meanwhile someone changed the labels: %(labels)s.") % {"labels": ", ".join(conversation.labels)}
        )
    teamwork.set_labels(conversation=conversation, labels=storable(request.POST.get("labels", "")).split(","))


def _note(request: HttpRequest, conversation: Conversation) -> str:
    if request.FILES:
        raise InvalidInput(_("A note takes no file. Remove the file, or send it to the contact."))
    is_shown = request.POST.get("shown") == "1"
    teamwork.add_note(
        conversation=conversation,
        by=staff_user(request),
        text=request.POST.get("text", ""),
        is_shown_to_model=is_shown,
    )
    if is_shown:
        return _("The note is stored. Colleagues and the agent see it; it is never sent.")
    return _("The note is stored. Only colleagues see it.")


def _show_note(request: HttpRequest, conversation: Conversation) -> str:
    """Have the agent see a note from its next answer on (`to` is 1), or no longer."""
    note = Note.objects.filter(conversation=conversation, pk=_row(request)).first()
    if note is None:
        raise NotFound
    is_shown = request.POST.get("to") == "1"
    teamwork.show_note_to_model(note=note, is_shown=is_shown)
    return _("The agent sees this note from its next answer on.") if is_shown else _("Only colleagues see this note.")


def _check_last(request: HttpRequest, conversation: Conversation) -> None:
    """Raise Conflict if the contact wrote after the page was drawn: nobody finishes what they have not read."""
    try:
        last = datetime.fromisoformat(request.POST.get("last", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        return  # the conversation was empty
    unseen = Message.objects.filter(conversation=conversation, direction=Message.Direction.INBOUND, said_at__gt=last)
    if unseen.exists():
        raise Conflict(_("Meanwhile a new message came. Look, then try again."))


def _done(request: HttpRequest, conversation: Conversation) -> str:
    _check_last(request, conversation)
    teamwork.finish(conversation=conversation, reason=request.POST.get("reason", ""))
    return _("Done. The next message opens it again.")


def _snooze(request: HttpRequest, conversation: Conversation) -> str:
    """Put aside for `hours`, or until the time `until` on the clock of the page's reader."""
    hours, until = request.POST.get("hours", ""), request.POST.get("until", "")
    if until:
        at = _local_time(until)
    elif hours in SNOOZE_HOURS:
        at = timezone.now() + timedelta(hours=int(hours))
    else:
        raise InvalidInput(_("Choose a time."))
    _check_last(request, conversation)
    teamwork.snooze(conversation=conversation, until=at)
    return _("Snoozed. The next message opens it again.")


def _local_time(text: str) -> datetime:
    """Return the time that an input of the type datetime-local holds. Raises InvalidInput."""
    try:
        at = parse_datetime(text)
        if at is None or at.tzinfo is not None:
            raise InvalidInput(_("Choose a time."))
        return timezone.make_aware(at).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidInput(_("Choose a time.")) from exc


def _reopen(request: HttpRequest, conversation: Conversation) -> None:  # noqa: ARG001
    teamwork.reopen(conversation=conversation)


def _block(request: HttpRequest, conversation: Conversation) -> str:
    is_blocked = request.POST.get("to") == "1"
    Contact.objects.filter(pk=conversation.contact_id).update(is_blocked=is_blocked)
    return _("Blocked: the agent does not answer this contact.") if is_blocked else _("Unblocked.")


def _retry(request: HttpRequest, conversation: Conversation) -> None:
    row_id = _row(request)
    if request.POST.get("kind") == "turn":
        turn = Turn.objects.filter(conversation=conversation, pk=row_id).first()
        if turn is None:
            raise NotFound
        answer_again(turn=turn)
        return
    message = Message.objects.filter(conversation=conversation, pk=row_id).first()
    if message is None:
        raise NotFound
    send_again(message=message)


def _settle(request: HttpRequest, conversation: Conversation) -> str:
    """A person looked on the phone: the unconfirmed message is there."""
    changed = Message.objects.filter(
        conversation=conversation, pk=_row(request), status=Message.Status.UNCONFIRMED
    ).update(status=Message.Status.SENT, sent_at=timezone.now(), error_code="", error="")
    if not changed:
        raise Conflict(_("This message is settled already."))
    return _("Marked as sent.")


def _correct(request: HttpRequest, conversation: Conversation) -> str:
    message = Message.objects.filter(conversation=conversation, pk=_row(request)).first()
    if message is None:
        raise NotFound
    return correct(request, conversation, message)


def _template(request: HttpRequest, conversation: Conversation) -> str:
    check_epoch(request, conversation)
    return send_offered(request, conversation, row=_row(request), key=parse_key(request.POST.get("key", "")))


ACTIONS: dict[str, Callable[[HttpRequest, Conversation], str | None]] = {
    "control": _control,
    "assign": _assign,
    "labels": _labels,
    "note": _note,
    "show-note": _show_note,
    "done": _done,
    "snooze": _snooze,
    "reopen": _reopen,
    "block": _block,
    "retry": _retry,
    "settle": _settle,
    "correct": _correct,
    "template": _template,
}
# Compare what the writer has seen with the conversation, and change it.
HELD = {"control", "assign", "labels", "done", "snooze", "template"}


def parse_key(text: str) -> UUID | None:
    """Return the id that a text is; None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _row(request: HttpRequest) -> UUID:
    row_id = parse_key(request.POST.get("row", ""))
    if row_id is None:
        raise NotFound
    return row_id
