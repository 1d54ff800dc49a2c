"""Texts that staff send often. Operators keep those of their sessions, administrators also those for all sessions."""

import re
from collections.abc import Iterable
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from accounts.models import User
from messaging.models import SHORTCUT_PATTERN, Contact, Conversation, SavedReply
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import Conflict, Forbidden, InvalidInput, NotFound
from whatsapp_agent.text.sanitize import storable

MAX_TEXT_LENGTH = 4000
MAX_SUGGESTIONS = 50
_NAME = re.compile(r"( ?)\{name\}", re.IGNORECASE)


def suggest(*, conversation: Conversation, prefix: str = "") -> list[SavedReply]:
    """Return the replies whose shortcut begins with `prefix`, in their order, with `{name}` filled in.

    A reply of the session stands for one of the same shortcut for all sessions. The rows are not to be saved.
    """
    in_reach = Q(session=None) | Q(session=conversation.session_id)
    rows = SavedReply.objects.filter(in_reach, shortcut__istartswith=storable(prefix).lstrip("/"))
    ordered = rows.order_by(Lower("shortcut"), F("session").asc(nulls_last=True))
    found: dict[str, SavedReply] = {}
    for reply in ordered[: 2 * MAX_SUGGESTIONS]:
        found.setdefault(reply.shortcut.lower(), reply)
    replies = list(found.values())[:MAX_SUGGESTIONS]
    for reply in replies:
        reply.text = fill(reply.text, contact=conversation.contact)
    return replies


def fill(text: str, *, contact: Contact) -> str:
    """Return the text with the contact's name for `{name}`. Where the name is unknown, a space before goes too.

    The name is inserted as it is: a `{name}` in it stays, and whoever shows the result as HTML escapes it.
    """
    name = " ".join(storable(contact.name).split())
    return _NAME.sub(lambda match: f"{match[1]}{name}" if name else "", text)


def create_reply(*, by: User, session: WhatsAppSession | None, shortcut: str, text: str) -> SavedReply:
    """Store a reply. Raises InvalidInput, Conflict if the shortcut is taken, Forbidden for one for all sessions."""
    _check_access(by, [session.pk if session else None])
    reply = SavedReply(session=session, shortcut=_valid_shortcut(shortcut), text=_valid_text(text))
    return _save(reply)


def change_reply(reply: SavedReply, *, by: User, shortcut: str | None = None, text: str | None = None) -> SavedReply:
    """Change a reply; what is None stays as it is stored. Raises as `create_reply`."""
    _check_access(by, [reply.session_id])
    with transaction.atomic():
        stored = SavedReply.objects.select_for_update().filter(pk=reply.pk).first()
        if stored is None:
            raise NotFound(_("Somebody else has deleted this meanwhile."))
        if shortcut is not None:
            stored.shortcut = _valid_shortcut(shortcut)
        if text is not None:
            stored.text = _valid_text(text)
        return _save(stored)


def delete_reply(reply: SavedReply, *, by: User) -> None:
    """Delete a reply. Raises Forbidden for one for all sessions."""
    _check_access(by, [reply.session_id])
    reply.delete()


def may_change(user: User, reply: SavedReply) -> bool:
    """Return whether the user, an operator, may change the reply."""
    return reply.session_id is not None or user.sees_everything


def _check_access(by: User, session_ids: Iterable[UUID | None]) -> None:
    for session_id in session_ids:
        if session_id is None and not by.sees_everything:
            raise Forbidden(_("Only administrators change replies for all numbers. Choose a number."))
        if session_id and not WhatsAppSession.objects.visible_to(by).filter(pk=session_id).exists():
            raise NotFound(_("Number not found."), field="session")


def _valid_shortcut(shortcut: str) -> str:
    shortcut = shortcut.strip().removeprefix("/")
    if not re.match(SHORTCUT_PATTERN, shortcut):
        raise InvalidInput(_("Use 1 to 40 letters, digits, - and _."), field="shortcut")
    return shortcut


def _valid_text(text: str) -> str:
    text = storable(text).replace("\r\n", "\n").strip()
    if not text:
        raise InvalidInput(_("This field may not be blank."), field="text")
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidInput(
            _("A saved reply may have %(limit)s characters.") % {"limit": MAX_TEXT_LENGTH},
            field="text",
        )
    return text


def _save(reply: SavedReply) -> SavedReply:
    try:
        with transaction.atomic():
            reply.save()
    except IntegrityError as exc:
        raise Conflict(_("This shortcut is taken."), field="shortcut") from exc
    return reply
