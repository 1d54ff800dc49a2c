"""What operators send beside texts and files, and how they change what was sent."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.admin_pages import log_change, staff_user
from agent.bridges.base import Card, Place
from agent.bridges.capabilities import Capability
from agent.staff_inbox.access import check_operator, hold_visible_conversation, part, visible_conversation
from agent.staff_inbox.actions import check_epoch, parse_key, refuse_used, was_sent
from agent.staff_inbox.choices import read_choices
from agent.staff_inbox.texts import TAKEN_OVER
from commands.parsing import read_command
from messaging.changes.service import edit, is_changeable, revoke, version_of
from messaging.menus.service import send_menu
from messaging.models import Conversation, Message
from messaging.outbound import send_contact, send_location, send_reaction
from sessions_app.bridges import adapter_for
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.text.phones import parse_phone
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import as_line
from whatsapp_agent.text.validators import validate_emoji

COORDINATES = re.compile(r"\s*(-?\d{1,2}(?:\.\d{1,15})?)\s*[,;\s]\s*(-?\d{1,3}(?:\.\d{1,15})?)\s*")
MAX_NAME_LENGTH = 200


@require_POST
@part
def send(request: HttpRequest, conversation_id: UUID, name: str) -> HttpResponse:
    """Send one of KINDS. The same `key` is the same message, however often the request comes."""
    kind = KINDS.get(name)
    if kind is None:
        raise NotFound
    key = parse_key(request.POST.get("key", ""))
    with refuse_used(key), transaction.atomic():
        conversation = hold_visible_conversation(request, conversation_id)
        if was_sent(request, conversation, key=key):
            return JsonResponse({"said": ""})
        check_epoch(request, conversation)
        takes_over = conversation.control == Conversation.Control.AGENT and name != "reaction"
        kind(request, conversation)
        log_change(request, conversation, f"Inbox: {name}.")
    return JsonResponse({"said": str(TAKEN_OVER) if takes_over else ""})


def _location(request: HttpRequest, conversation: Conversation) -> None:
    written = COORDINATES.fullmatch(request.POST.get("coordinates", ""))
    latitude, longitude = (float(number) for number in written.groups()) if written else (91.0, 181.0)
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise InvalidInput(_("Write the coordinates as a map shows them: -23.5505, -46.6333."))
    place = Place(latitude, longitude, name=_line(request, "name"), address=_line(request, "address"))
    send_location(place=place, **_options(request, conversation))


def _card(request: HttpRequest, conversation: Conversation) -> None:
    name = _line(request, "name")
    if not name:
        raise InvalidInput(_("A contact card needs a name."))
    card = Card(name, parse_phone(storable(request.POST.get("phone", ""))))
    send_contact(card=card, **_options(request, conversation))


def _reaction(request: HttpRequest, conversation: Conversation) -> None:
    emoji = storable(request.POST.get("emoji", ""))
    try:
        validate_emoji(emoji) if emoji else None
    except ValidationError as exc:
        raise InvalidInput(" ".join(exc.messages)) from exc
    message = _message(conversation, parse_key(request.POST.get("row", "")))
    send_reaction(target=message, emoji=emoji[:16], **_options(request, conversation))


def _choices(request: HttpRequest, conversation: Conversation) -> None:
    if read_command(request.POST.get("text", "")) is not None:
        raise InvalidInput(_("A command is not sent to a contact."))
    send_menu(menu=read_choices(request), **_options(request, conversation))


KINDS: dict[str, Callable[[HttpRequest, Conversation], None]] = {
    "location": _location,
    "card": _card,
    "choices": _choices,
    "reaction": _reaction,
}


def _options(request: HttpRequest, conversation: Conversation) -> dict[str, Any]:
    key = parse_key(request.POST.get("key", ""))
    return {"conversation": conversation, "by": staff_user(request), "message_id": key}


def _line(request: HttpRequest, name: str) -> str:
    return as_line(request.POST.get(name, ""), max_length=MAX_NAME_LENGTH)


@require_GET
@part
def edit_form(request: HttpRequest, conversation_id: UUID, message_id: UUID) -> HttpResponse:
    """Return the form in which an operator changes a text that was sent, while it can be changed."""
    conversation = visible_conversation(request, conversation_id)
    check_operator(request)
    message = _message(conversation, message_id)
    if not is_changeable(message, adapter=adapter_for(conversation.session.bridge), capability=Capability.EDIT):
        raise Conflict(_("This message cannot be edited any more."))
    context = {"conversation": conversation, "message": message, "seen": version_of(message)}
    return render(request, "agent/inbox/edit.html", context)


@require_POST
@part
def change(request: HttpRequest, conversation_id: UUID, name: str) -> HttpResponse:
    """Edit or delete a message at WhatsApp; `seen` is the version that the writer saw, and a command is never sent.

    Not in a transaction: the bridge may be slow. It is logged before: without a clear answer it may have been done.
    """
    conversation = visible_conversation(request, conversation_id)
    message = _message(conversation, parse_key(request.POST.get("row", "")))
    text = storable(request.POST.get("text", "")).replace("\r\n", "\n")
    if name == "edit" and read_command(text) is not None:
        raise InvalidInput(_("A command is not sent to a contact."))
    log_change(request, conversation, f"Inbox: {name} {message.pk}.")
    if name == "edit":
        edit(message, text=text, seen=request.POST.get("seen"))
        said = _("The message was changed.")
    else:
        said = _deletion_of(revoke(message))
    return JsonResponse({"said": said})


def _deletion_of(message: Message) -> str:
    if message.status == Message.Status.CANCELLED:
        return _("The message was cancelled before it was sent.")
    if message.status == Message.Status.UNCONFIRMED:
        return _("The message is not sent again. An earlier try may have arrived: look on the phone.")
    return _("The message was deleted for everyone.")


def _message(conversation: Conversation, message_id: UUID | None) -> Message:
    message = Message.objects.filter(conversation=conversation, pk=message_id).first() if message_id else None
    if message is None:
        raise NotFound(_("There is no such message."))
    return message
