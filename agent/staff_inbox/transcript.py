"""The conversation pane: its messages, notes and failed turns as the template shows them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from agent.bridges.capabilities import Capability
from agent.bridges.events import Kind
from agent.staff_inbox.listing import TICKS, first_letter, hue_of
from agent.staff_inbox.templates import offered_templates
from agent.staff_inbox.texts import ACTIVITIES, ATTENTION, STATUSES, UNANSWERED, describe_turn
from messaging.changes.service import is_changeable
from messaging.history.content import location_of
from messaging.history.timeline import activity_of, describe_content, excerpt_of, read_timeline
from messaging.models import Conversation, Fact, Message, Note, Turn
from messaging.outbound import SENDABLE_AGAIN, may_react, window_ends_at
from messaging.receipts import lacks_receipt
from messaging.teamwork import colleagues
from sessions_app.bridges import adapter_for
from whatsapp_agent.text.sanitize import without_bidi_controls
from whatsapp_agent.text.stored import translate_stored
from whatsapp_agent.text.whatsapp_html import whatsapp_html, without_markup

PAGE_SIZE = 60
CHOICES = {Capability.SEND_BUTTONS, Capability.SEND_LIST, Capability.SEND_POLL}
OFFERED = CHOICES | {Capability.SEND_VOICE, Capability.SEND_STICKER, Capability.SEND_LOCATION, Capability.SEND_CONTACT}
MAX_SHOWN_LENGTH = 1200  # of a message; "More" shows the rest
MAX_SHOWN_LINES = 18
MAX_NOTES = 100
MAX_FACTS = 20
SHOWN_INLINE = {"image/jpeg", "image/png", "image/webp", "image/gif"}


def transcript_context(
    conversation: Conversation,
    *,
    user: User,
    may_operate: bool,
    before: Message | None = None,
    around: Message | None = None,
) -> dict[str, Any]:
    """Return the newest messages, or those older than `before`, or those `around` one; oldest first.

    `is_past`: newer messages follow that are not returned.
    """
    is_past = False
    if around is not None:
        before = _newer_than(around)
        is_past = before is not None
    timeline = read_timeline(conversation, limit=PAGE_SIZE, before=before)
    oldest = next((entry for entry in timeline.entries if isinstance(entry, Message)), None)
    notes = _notes_between(conversation, since=oldest if timeline.is_cut_off else None, before=before)
    entries = sorted([*timeline.entries, *notes], key=_at)
    return {
        "conversation": conversation,
        "may_operate": may_operate,
        "can_quote": Capability.QUOTE in adapter_for(conversation.session.bridge).capabilities,
        "entries": [_entry(entry, conversation) for entry in entries],
        "older": oldest.pk if timeline.is_cut_off and oldest is not None else None,
        "activity": str(ACTIVITIES.get(activity_of(conversation), "")) if before is None else "",
        "is_past": is_past,
        "user": user,
    }


def _newer_than(message: Message) -> Message | None:
    """Return the first message that is not shown with this one in the middle of a page; None at the end."""
    newer = Q(said_at__gt=message.said_at) | Q(said_at=message.said_at, pk__gt=message.pk)
    rows = Message.objects.filter(newer, conversation=message.conversation_id).order_by("said_at", "id")
    return next(iter(rows[PAGE_SIZE // 2 : PAGE_SIZE // 2 + 1]), None)


def find_message(conversation: Conversation, key: str) -> Message | None:
    """Return the message of the conversation with this id, if there is one."""
    try:
        return Message.objects.filter(conversation=conversation, pk=UUID(key)).first()
    except ValueError:
        return None


def _notes_between(conversation: Conversation, *, since: Message | None, before: Message | None) -> Iterable[Note]:
    notes = Note.objects.filter(conversation=conversation).select_related("author")
    if since is not None:
        notes = notes.filter(created_at__gte=since.said_at)
    if before is not None:
        notes = notes.filter(created_at__lt=before.said_at)
    return notes.order_by("-created_at")[:MAX_NOTES]


def _at(entry: Message | Turn | Note) -> tuple[datetime, str]:
    return (entry.said_at if isinstance(entry, Message) else entry.created_at), str(entry.pk)


def _entry(entry: Message | Turn | Note, conversation: Conversation) -> dict[str, Any]:
    at = timezone.localtime(_at(entry)[0])
    shown: dict[str, Any] = {"key": entry.pk, "at": at, "day": at.date()}
    if isinstance(entry, Turn):
        return shown | describe_turn(entry)
    if isinstance(entry, Note):
        author = entry.author or _("someone")
        text = entry.text if entry.author_id else translate_stored(entry.text)  # the program's own
        return shown | {"type": "note", "note": entry, "author": author, "html": whatsapp_html(text)}
    return shown | _message(entry, conversation)


def _message(message: Message, conversation: Conversation) -> dict[str, Any]:
    text = "" if message.revoked_at else excerpt_of(message)
    shown = shorten(text)
    is_outbound = message.direction == Message.Direction.OUTBOUND
    adapter = adapter_for(conversation.session.bridge)
    return {
        "type": "message",
        "message": message,
        "writer": writer_of(message) if is_outbound or conversation.contact.is_group else "",
        "html": whatsapp_html(shown),
        "is_long": shown != text or len(text) > len(shown),
        "content": "" if message.revoked_at else without_bidi_controls(describe_content(message)),
        "quoted": _quoted(message),
        "is_quoting": bool(message.quoted_id),
        "ticks": TICKS.get(message.status, "") if is_outbound else "",
        "is_own": is_outbound,
        "status": _status(message, conversation) if is_outbound else "",
        "is_in_trouble": message.status in {Message.Status.FAILED, Message.Status.UNCONFIRMED},
        "can_be_resent": is_outbound and message.status in SENDABLE_AGAIN,
        "has_turn": is_outbound and message.author == Message.Author.AGENT and message.turn_id is not None,
        "media": None if message.revoked_at else media_of(message),
        "can_react": may_react(message, adapter=adapter),
        "can_edit": is_changeable(message, adapter=adapter, capability=Capability.EDIT),
        "can_revoke": is_changeable(message, adapter=adapter, capability=Capability.REVOKE),
        "map_link": _map_link(message),
        "heard": _heard(message),
        "earlier": [] if message.revoked_at else message.earlier_texts,
        "reason": UNANSWERED.get(message.unanswered, "") if not is_outbound else "",
    }


def _status(message: Message, conversation: Conversation) -> str:
    if lacks_receipt(message, bridge_kind=conversation.session.bridge.kind):
        return _("sent, and not reported as delivered since: look on the phone")
    return STATUSES.get(message.status, "")


def _quoted(message: Message) -> str:
    """Return the words of the quoted message, or what it is if it has none."""
    quoted = message.quoted
    if quoted is None:
        return ""
    if quoted.revoked_at:
        return _("This message was deleted")
    words = " ".join(without_markup(getattr(message, "quoted_excerpt", "") or "").split())
    return words or ("" if quoted.kind == Message.Kind.TEXT else quoted.get_kind_display())


def _heard(message: Message) -> str:
    """Return the transcript of a recording, or the beginning of a document's text."""
    return " ".join((getattr(message, "media_excerpt", None) or "").split()) if not message.revoked_at else ""


def shorten(text: str) -> str:
    """Return the beginning of a long text; a short one is returned whole."""
    lines = text.split("\n")
    if len(lines) > MAX_SHOWN_LINES:
        text = "\n".join(lines[:MAX_SHOWN_LINES]) + " …"
    return text if len(text) <= MAX_SHOWN_LENGTH else text[:MAX_SHOWN_LENGTH].rstrip() + " …"


def writer_of(message: Message) -> str:
    """Return who wrote a message, as a bubble says it."""
    if message.direction == Message.Direction.INBOUND:
        return str(message.sender) if message.sender else _("someone")
    match message.author:
        case Message.Author.AGENT:
            return _("Agent")
        case Message.Author.STAFF:
            return str(message.sent_by) if message.sent_by else _("Staff")
        case Message.Author.PHONE:
            return _("Typed on the phone")
        case Message.Author.API:
            return f"API · {message.sent_by}" if message.sent_by else "API"
    return _("System")


def media_of(message: Message) -> dict[str, Any] | None:
    """Return how the attached file is shown; `is_here` is false for one that is only on the phone."""
    media = getattr(message, "media", None)
    if media is None:
        return None
    shape = "document"
    if media.file and media.mime_type in SHOWN_INLINE:
        shape = "image"
    elif media.file and media.mime_type.startswith("audio/"):
        shape = "audio"
    elif media.file and media.mime_type.startswith("video/"):
        shape = "video"
    return {"pk": media.pk, "shape": shape, "is_here": bool(media.file), "name": media.filename or media.mime_type,
            "size": media.size_bytes}  # fmt: skip


def _map_link(message: Message) -> str:
    if message.kind != Kind.LOCATION.value or message.revoked_at:
        return ""
    place = location_of(message.details)
    try:
        latitude, longitude = float(place["latitude"]), float(place["longitude"])
    except (KeyError, TypeError, ValueError):
        return ""
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return ""
    return (
        f"https://www.openstreetmap.org/?mlat={latitude:.6f}&mlon={longitude:.6f}#map=16/{latitude:.6f}/{longitude:.6f}"
    )


def contact_context(conversation: Conversation, *, user: User) -> dict[str, Any]:
    """Return what the pane beside the conversation shows of the contact and of the work on it.

    `refusal`: why the bridge delivers nothing that is written here now; empty if it does.
    """
    reason = conversation.attention_reason
    adapter = adapter_for(conversation.session.bridge)
    reply_window = adapter.reply_window
    ends_at = window_ends_at(conversation.pk, reply_window=reply_window) if reply_window else None
    unreachable_reason = adapter.unreachable_reason(
        address=conversation.address, is_group=conversation.contact.is_group
    )
    refusal = translate_stored(unreachable_reason) if unreachable_reason else ""
    if not refusal and reply_window is not None and ends_at is None:
        refusal = _("The contact has not written for 24 hours: only a template is delivered.")
    facts: QuerySet[Fact] = Fact.objects.filter(contact=conversation.contact, forgotten_at=None)
    return {
        "facts": list(facts.order_by("-created_at").values_list("text", flat=True)[:MAX_FACTS]),
        "colleagues": colleagues(conversation),
        "is_mine": conversation.assigned_to_id == user.pk,
        "last": conversation.last_message_at.isoformat() if conversation.last_message_at else "",
        "labels_text": ", ".join(conversation.labels),
        "letter": first_letter(str(conversation.contact)),
        "hue": hue_of(str(conversation.pk)),
        "attention": ATTENTION.get(reason, ""),
        "has_window": reply_window is not None,
        "window_ends_at": ends_at,
        "refusal": refusal,
        "sendable": sorted(each.value for each in adapter.capabilities if each in OFFERED),
        "has_choices": bool(CHOICES & adapter.capabilities),
        "records_any_audio": not adapter.file_denial_reason(
            kind=Kind.VOICE, mime_type="audio/mp4", size_bytes=1, has_url=False
        ),
        "templates": offered_templates(conversation) if reply_window is not None and ends_at is None else [],
    }
