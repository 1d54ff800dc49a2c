"""A conversation as people read it: what was said, and what happened that nobody said."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models.functions import Left
from django.utils import timezone

from messaging.models import Conversation, Message, Turn
from whatsapp_agent.text.truncate import truncate

MAX_EXCERPT_CHARS = 4000  # characters of one message; the rest is on the message's own page
MAX_NOTES = 30
QUIET = [Turn.Outcome.ANSWERED, Turn.Outcome.COMMAND]  # outcomes that the messages themselves show


class Activity(StrEnum):
    """What the agent is at in a conversation."""

    IDLE = "idle"
    COLLECTING = "collecting"  # waits for more to be said, or to try again
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
    """The latest of a conversation, oldest first: messages, and turns that came to something else than an answer."""

    entries: Sequence[Message | Turn]
    is_cut_off: bool  # there is more, and older

    def fingerprint(self, *beside: Any) -> str:
        """The same as long as what is shown is the same, with what is shown `beside` it."""
        shown = [
            (entry.pk, entry.status, entry.edited_at, entry.revoked_at, entry.unanswered, entry.error)
            if isinstance(entry, Message)
            else (entry.pk, entry.outcome)
            for entry in self.entries
        ]
        return hashlib.sha256(repr((shown, beside)).encode()).hexdigest()[:32]


def read_timeline(conversation: Conversation, *, limit: int) -> Timeline:
    """At most `limit` messages, in two queries. Each has its `excerpt`, bounded; its whole `text` is not loaded."""
    rows = (
        Message.objects.filter(conversation=conversation)
        .defer("text")
        .annotate(excerpt=Left("text", MAX_EXCERPT_CHARS + 2))
        .select_related("sender", "sent_by", "media", "quoted")
        .defer("quoted__text")
        .annotate(quoted_excerpt=Left("quoted__text", 200))
        .order_by("-said_at", "-id")[: limit + 1]
    )
    messages = list(rows)
    is_cut_off = len(messages) > limit
    messages = messages[:limit]
    turns = Turn.objects.filter(conversation=conversation).exclude(outcome__in=QUIET).order_by("-created_at", "-id")
    if is_cut_off:
        turns = turns.filter(created_at__gte=messages[-1].said_at)
    entries: list[Message | Turn] = [*messages, *turns[:MAX_NOTES]]
    return Timeline(entries=sorted(entries, key=_when), is_cut_off=is_cut_off)


def _when(entry: Message | Turn) -> tuple[datetime, str]:
    return (entry.said_at if isinstance(entry, Message) else entry.created_at), str(entry.pk)


def excerpt_of(message: Any) -> str:
    """The words of a message read with `read_timeline`."""
    return truncate(message.excerpt, MAX_EXCERPT_CHARS + 1)


def describe_content(message: Message) -> str:
    """What a message holds that is no text, in words; empty for plain text."""
    details = message.details or {}
    match message.kind:
        case Message.Kind.TEXT:
            return ""
        case Message.Kind.LOCATION:
            place = details.get("location") or {}
            words = [str(place[key]) for key in ("name", "address") if place.get(key)]
            return ", ".join(["Location", *words, f"{place.get('latitude')}, {place.get('longitude')}"])
        case Message.Kind.CONTACT:
            cards = [
                f"{card.get('name') or ''} {card.get('phone') or ''}".strip() for card in details.get("contacts", [])
            ]
            return f"Contact: {'; '.join(cards)}"
        case Message.Kind.REACTION:
            return f"Reacted with {details['emoji']}" if details.get("emoji") else "Took a reaction back"
    media = getattr(message, "media", None)
    return ": ".join(filter(None, [message.get_kind_display(), media.filename if media else ""]))
