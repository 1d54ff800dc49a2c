"""What was said, as words: for the prompt of a model, for a summary, for a person who reads along."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from messaging.models import Conversation, Message, Turn
from whatsapp_agent.postgres.prepared import Statement
from whatsapp_agent.text.split import shorten
from whatsapp_agent.text.truncate import truncate

MAX_MESSAGES = 240
MAX_MESSAGE_CHARS = 8000  # characters of one message that a model is shown
MAX_QUOTE_CHARS = 160
WITHHELD = "[a message that cannot be shown here]"
MAX_NAME_LENGTH = 40
TIME_AGAIN_AFTER = timedelta(minutes=30)

# Never shown: what never left, and what was taken back.
UNSAID = [Message.Status.FAILED, Message.Status.CANCELLED]

_FENCE = re.compile(r"<(?=\s*/?\s*(?:notes|messages|earlier|result)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One message as a transcript needs it."""

    id: UUID
    direction: str
    status: str
    kind: str
    text: str
    details: dict[str, Any]
    said_at: datetime
    sender_id: UUID | None
    sender_name: str | None
    sender_phone: str | None
    media_filename: str | None
    quoted_kind: str | None
    quoted_text: str | None

    @property
    def is_inbound(self) -> bool:
        return self.direction == Message.Direction.INBOUND


COLUMNS = (
    "id",
    "direction",
    "status",
    "kind",
    "text",
    "details",
    "said_at",
    "sender_id",
    "sender__name",
    "sender__phone",
    "media__filename",
    "quoted__kind",
    "quoted__text",
)


def visible_messages(conversation: Conversation) -> QuerySet[Message]:
    """What was said in a conversation and still stands; commands and what they answered are no part of it."""
    return (
        Message.objects.filter(conversation=conversation, revoked_at=None)
        .exclude(status__in=UNSAID)
        .exclude(turn__outcome=Turn.Outcome.COMMAND)
    )


# The same for one conversation, from where its model looks back to, and whatever is unanswered.
HISTORY = Statement("""
SELECT message.id, message.direction, message.status, message.kind, message.text, message.details, message.said_at,
       message.sender_id, sender.name, sender.phone, media.filename, quoted.kind, quoted.text
  FROM messaging_message message
  LEFT JOIN messaging_contact sender ON sender.id = message.sender_id
  LEFT JOIN messaging_media media ON media.message_id = message.id
  LEFT JOIN messaging_message quoted ON quoted.id = message.quoted_id
  LEFT JOIN messaging_turn turn ON turn.id = message.turn_id
 WHERE message.conversation_id = %(id)s AND message.revoked_at IS NULL
   AND message.status NOT IN ('failed', 'cancelled') AND turn.outcome IS DISTINCT FROM 'command'
   AND (message.status = 'received' OR (message.said_at >= COALESCE(%(since)s::timestamptz, '-infinity')
                                        AND message.said_at > COALESCE(%(after)s::timestamptz, '-infinity')))
   -- The same once more, in a form that has the index pass over what is older.
   AND message.said_at >= LEAST(GREATEST(%(since)s::timestamptz, %(after)s::timestamptz, '-infinity'),
                                (SELECT min(unanswered.said_at) FROM messaging_message unanswered
                                  WHERE unanswered.conversation_id = %(id)s AND unanswered.status = 'received'))
 ORDER BY message.said_at DESC, message.id DESC
 LIMIT %(limit)s
""")


def load_history(conversation: Conversation, *, limit: int = MAX_MESSAGES) -> list[HistoryMessage]:
    """The latest messages that no summary tells and no reset hides, oldest first, and whatever is unanswered."""
    since, after = conversation.context_from, conversation.summary_until
    rows = HISTORY.rows(id=conversation.pk, since=since, after=after, limit=limit)
    said = [HistoryMessage(*_with_details_read(row)) for row in reversed(rows)]
    # What is to be answered comes last: the writer's clock may be behind ours, and bridges may tell whole seconds only.
    return sorted(said, key=lambda one: one.status == Message.Status.RECEIVED)


def _with_details_read(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A statement of our own gives JSON as it is kept: as text."""
    return (*row[:5], json.loads(row[5]), *row[6:])


def latest(rows: QuerySet[Message], *, limit: int) -> list[HistoryMessage]:
    """The newest of them, oldest first."""
    return [HistoryMessage(*row) for row in reversed(rows.order_by("-said_at", "-id").values_list(*COLUMNS)[:limit])]


# --- in words -----------------------------------------------------------------------------------------------------


def escape_fences(text: str) -> str:
    """A text that cannot open or close one of the fences that tell a model what is data."""
    return _FENCE.sub("‹", text)


def is_withheld(details: dict[str, Any] | None) -> bool:
    """Whether no model is shown this message any more, because its provider filters it."""
    return bool(details and details.get("withheld"))


def describe(said: HistoryMessage, *, with_name: bool = False) -> str:
    """What a message says: its text, a stand-in for what was sent without words, what it answers, who wrote it."""
    if is_withheld(said.details):
        return WITHHELD
    words = said.text if said.kind == Message.Kind.TEXT else f"{_stand_in(said)} {said.text}".strip()
    words = escape_fences(shorten(words, MAX_MESSAGE_CHARS))
    if words and said.quoted_kind is not None:
        quoted = _one_line(said.quoted_text or f"[{said.quoted_kind}]", MAX_QUOTE_CHARS)
        words = f"(in reply to “{quoted}”) {words}"
    if words and with_name and said.is_inbound:
        words = f"{name_of(said)}: {words}"
    return words


def name_of(said: HistoryMessage) -> str:
    if not said.is_inbound:
        return "we"
    return _one_line(said.sender_name or said.sender_phone or "someone", MAX_NAME_LENGTH)


def time_of(said: HistoryMessage) -> str:
    return f"[{said.said_at:%Y-%m-%d %H:%M}]"


def shows_time(said: HistoryMessage, *, before: HistoryMessage | None) -> bool:
    """Whether the time is told again: at the beginning, after a pause, on another day. Never by what comes later."""
    if before is None:
        return True
    return said.said_at - before.said_at >= TIME_AGAIN_AFTER or said.said_at.date() != before.said_at.date()


def numbered(history: Sequence[HistoryMessage]) -> str:
    """A line for each message, numbered from 1, with time and writer: `[3] 2026-11-23 10:05 Ana: See you.`"""
    return "\n".join(
        f"[{number}] {said.said_at:%Y-%m-%d %H:%M} {name_of(said)}: {describe(said)}"
        for number, said in enumerate(history, 1)
    )


def _one_line(text: str, limit: int) -> str:
    return truncate(" ".join(escape_fences(text[: limit * 4]).split()), limit)


def _stand_in(said: HistoryMessage) -> str:
    details = said.details or {}
    match said.kind:
        case Message.Kind.LOCATION:
            place = details.get("location", {})
            told = [
                str(place[key]) for key in ("name", "address", "latitude", "longitude") if place.get(key) is not None
            ]
            return f"[location: {', '.join(told)}]"
        case Message.Kind.CONTACT:
            people = [f"{c.get('name') or ''} {c.get('phone') or ''}".strip() for c in details.get("contacts", [])]
            return f"[contact: {'; '.join(people)}]"
        case Message.Kind.DOCUMENT:
            return f"[document: {said.media_filename}]" if said.media_filename else "[document]"
        case Message.Kind.REACTION:
            return f"[reaction: {details.get('emoji') or 'taken back'}]"
        case Message.Kind.UNKNOWN | Message.Kind.UNSUPPORTED:
            return "[something that cannot be shown here]"
        case kind:
            return f"[{kind}]"
