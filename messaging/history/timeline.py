"""A conversation as staff read it: its messages, and the turns that led to no answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Concat, Left
from django.utils import timezone
from django.utils.translation import gettext as _

from messaging.history.content import call_text, contact_cards_text, location_text, poll_text
from messaging.models import Conversation, Message, Turn
from whatsapp_agent.text.stored import translate_stored
from whatsapp_agent.text.truncate import truncate

MAX_EXCERPT_CHARS = 4000  # of one message; its own page shows the rest
MAX_MEDIA_EXCERPT_CHARS = 600  # of a transcript or a document
MAX_TURNS = 30
HIDDEN_OUTCOMES = [Turn.Outcome.ANSWERED, Turn.Outcome.COMMAND]  # the messages show these already


class Activity(StrEnum):
    """What the agent does in a conversation now."""

    IDLE = "idle"
    COLLECTING = "collecting"  # waits for further messages, or for its next try
    DUE = "due"
    WRITING = "writing"


def activity_of(conversation: Conversation) -> Activity:
    now = timezone.now()
    if conversation.lease_expires_at is not None and conversation.lease_expires_at > now:
        return Activity.WRITING
    if conversation.due_at is None:
        return Activity.IDLE
    return Activity.DUE if conversation.due_at <= now else Activity.COLLECTING


@dataclass(frozen=True, slots=True)
class Timeline:
    """The latest messages of a conversation, oldest first, with the turns that led to no answer."""

    entries: Sequence[Message | Turn]
    is_cut_off: bool  # there are older messages

    def fingerprint(self, *extra: Any) -> str:
        """Return a hash that changes when anything shown changes; `extra` is what the page shows besides."""
        shown = [
            (entry.pk, entry.status, entry.edited_at, entry.revoked_at, entry.unanswered, entry.error, _media_of(entry))
            if isinstance(entry, Message)
            else (entry.pk, entry.outcome)
            for entry in self.entries
        ]
        return hashlib.sha256(repr((shown, extra)).encode()).hexdigest()[:32]


def read_timeline(conversation: Conversation, *, limit: int, before: Message | None = None) -> Timeline:
    """Load the latest messages, at most `limit`, in two queries. Each has an `excerpt`; `text` is deferred.

    A turn has `has_burst`: false once its messages were given to another turn, as when it is run again.

    `before`: only what is older than this message of the conversation.
    """
    rows = (
        Message.objects.filter(conversation=conversation)
        .defer("text")
        .annotate(excerpt=Left("text", MAX_EXCERPT_CHARS + 2))
        .select_related("sender", "sent_by", "media", "quoted")
        .defer("quoted__text", "media__transcript", "media__extract")
        .annotate(media_excerpt=Left(Concat("media__transcript", "media__extract"), MAX_MEDIA_EXCERPT_CHARS))
        .annotate(quoted_excerpt=Left("quoted__text", 200))
        .order_by("-said_at", "-id")
    )
    if before is not None:
        rows = rows.filter(Q(said_at__lt=before.said_at) | Q(said_at=before.said_at, pk__lt=before.pk))
    messages = list(rows[: limit + 1])
    is_cut_off = len(messages) > limit
    messages = messages[:limit]
    turns = (
        Turn.objects.filter(conversation=conversation)
        .exclude(outcome__in=HIDDEN_OUTCOMES)
        .annotate(has_burst=Exists(Message.objects.filter(turn=OuterRef("pk"), direction=Message.Direction.INBOUND)))
        .order_by("-created_at", "-id")
    )
    if is_cut_off:
        turns = turns.filter(created_at__gte=messages[-1].said_at)
    if before is not None:
        turns = turns.filter(created_at__lt=before.said_at)
    entries: list[Message | Turn] = [*messages, *turns[:MAX_TURNS]]
    return Timeline(entries=sorted(entries, key=_when), is_cut_off=is_cut_off)


def _when(entry: Message | Turn) -> tuple[datetime, str]:
    return (entry.said_at if isinstance(entry, Message) else entry.created_at), str(entry.pk)


def excerpt_of(message: Any) -> str:
    """Return the excerpt of a message that `read_timeline` loaded."""
    return truncate(message.excerpt, MAX_EXCERPT_CHARS + 1)


def describe_content(message: Message) -> str:
    """Describe what a message holds besides text; empty for a plain text."""
    details = message.details or {}
    match message.kind:
        case Message.Kind.TEXT:
            return ""
        case Message.Kind.LOCATION:
            return ", ".join(filter(None, [_("Location"), location_text(details)]))
        case Message.Kind.CONTACT:
            return _("Contact") + f": {contact_cards_text(details)}"
        case Message.Kind.CALL:
            text = call_text(details, is_inbound=message.direction == Message.Direction.INBOUND)
            text = ", ".join(map(_, text.split(", ")))  # "voice call, 3 min"
            return text[:1].upper() + text[1:]
        case Message.Kind.REACTION:
            if emoji := details.get("emoji"):
                return _("Reacted with %(emoji)s") % {"emoji": emoji}
            return _("Took a reaction back")
        case Message.Kind.UNKNOWN if "album" in details:
            return _("Album")
        case Message.Kind.UNKNOWN if poll := poll_text(details):
            return _("Poll") + f": {poll}"
    media = getattr(message, "media", None)
    content = ": ".join(filter(None, [message.get_kind_display(), media.filename if media else ""]))
    excerpt = " ".join((getattr(message, "media_excerpt", None) or "").split())
    return " - ".join(
        filter(
            None,
            [content, truncate(excerpt, MAX_MEDIA_EXCERPT_CHARS - 1), translate_stored(media.error) if media else ""],
        )
    )


def _media_of(message: Message) -> tuple[str, str] | None:
    media = getattr(message, "media", None)
    return (media.status, media.error) if media else None
