"""A conversation's history as text: for prompts, summaries and commands."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from django.db.models import Case, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Concat, Left

from messaging.history.content import call_text, contact_cards_text, location_text, poll_text
from messaging.history.visibility import VISIBLE_MESSAGE, visible
from messaging.models import Conversation, Media, Message
from whatsapp_agent.postgres.batches import Batched
from whatsapp_agent.postgres.prepared import Statement
from whatsapp_agent.text.split import shorten
from whatsapp_agent.text.times import format_day, format_minute
from whatsapp_agent.text.truncate import truncate

MAX_MESSAGES = 240
MAX_MESSAGE_CHARS = 8000  # of one message in a prompt
MAX_QUOTE_CHARS = 160
MAX_QUOTED_CHARS = MAX_QUOTE_CHARS * 4  # loaded of a quoted message
DELETED = "deleted message"
WITHHELD = "[a message that cannot be shown here]"
MAX_NAME_LENGTH = 40
REPEAT_TIME_AFTER = timedelta(minutes=30)

_FENCE = re.compile(r"<(?=\s*/?\s*(?:notes|messages|earlier|result)\b)", re.IGNORECASE)


# A conversation's id, the bounds of what is shown (`since` inclusive, `after` exclusive), and the most messages.
HistoryRequest = tuple[UUID, datetime | None, datetime | None, int]


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """One message with what its text form needs."""

    id: UUID
    direction: str
    status: str
    kind: str
    text: str
    details: dict[str, Any]
    said_at: datetime
    written_at: datetime | None
    sender_id: UUID | None
    sender_name: str | None
    sender_phone: str | None
    media_filename: str | None
    quoted_kind: str | None
    quoted_text: str | None
    media_status: str | None = None
    media_error: str | None = None
    media_text: str | None = None  # its transcript, or the beginning of its extract
    media_preview: str | None = None  # name in the storage of what the model is shown of an image

    @property
    def is_inbound(self) -> bool:
        return self.direction == Message.Direction.INBOUND


HISTORY_COLUMNS = tuple(each.name for each in fields(HistoryMessage))
COLUMNS = (
    "id",
    "direction",
    "status",
    "kind",
    "text",
    "details",
    "said_at",
    "written_at",
    "sender_id",
    "sender__name",
    "sender__phone",
    "media__filename",
    Case(
        When(quoted__revoked_at__isnull=False, then=Value(DELETED)),
        When(
            ~Q(quoted__media__filename=""),
            quoted__kind=Message.Kind.DOCUMENT,
            quoted__media__isnull=False,
            then=Concat(Value("document: "), "quoted__media__filename"),
        ),
        default="quoted__kind",
    ),
    Case(
        When(quoted__revoked_at__isnull=False, then=Value("")),
        default=Left(
            Concat(
                "quoted__text",
                Value(" "),
                "quoted__media__transcript",
                Value(" "),
                "quoted__media__extract",
                output_field=TextField(),
            ),
            MAX_QUOTED_CHARS,
        ),
    ),
    "media__status",
    "media__error",
    Left(Concat("media__transcript", "media__extract"), MAX_MESSAGE_CHARS),
    "media__preview",
)


def visible_messages(conversation: Conversation) -> QuerySet[Message]:
    """Return the messages of a conversation that its history shows (see `messaging.history.visibility`)."""
    return visible(Message.objects.filter(conversation=conversation))


def history_sql(conversation: str, *, since: str, after: str, limit: str) -> str:
    """Return a query for the visible messages since the last reset and summary, and all that wait for an answer.

    Its columns are those of HistoryMessage, newest first; the parameters are SQL expressions.
    """
    return f"""
    SELECT message.id, message.direction, message.status, message.kind, message.text, message.details,
           message.said_at, message.written_at, message.sender_id, sender.name AS sender_name,
           sender.phone AS sender_phone, media.filename AS media_filename,
           CASE WHEN quoted.revoked_at IS NOT NULL THEN '{DELETED}'
                WHEN quoted.kind = 'document' AND quoted_media.filename <> ''
                    THEN 'document: ' || quoted_media.filename
                ELSE quoted.kind END AS quoted_kind,
           CASE WHEN quoted.revoked_at IS NOT NULL THEN ''
                ELSE left(concat_ws(' ', NULLIF(quoted.text, ''), NULLIF(quoted_media.transcript, ''),
                                    NULLIF(quoted_media.extract, '')), {MAX_QUOTED_CHARS}) END AS quoted_text,
           media.status AS media_status, media.error AS media_error,
           left(media.transcript || media.extract, {MAX_MESSAGE_CHARS}) AS media_text, media.preview AS media_preview
      FROM messaging_message message
      LEFT JOIN messaging_contact sender ON sender.id = message.sender_id
      LEFT JOIN messaging_media media ON media.message_id = message.id
      LEFT JOIN messaging_message quoted ON quoted.id = message.quoted_id
      LEFT JOIN messaging_media quoted_media ON quoted_media.message_id = message.quoted_id
     WHERE message.conversation_id = {conversation} AND {VISIBLE_MESSAGE}
       AND (message.status = 'received' OR (message.said_at >= COALESCE({since}, '-infinity')
                                            AND message.said_at > COALESCE({after}, '-infinity')))
       -- The same bound in a form that the index can use to skip older messages.
       AND message.said_at >= LEAST(GREATEST({since}, {after}, '-infinity'),
                                    (SELECT min(waiting.said_at) FROM messaging_message waiting
                                      WHERE waiting.conversation_id = {conversation}
                                        AND waiting.status = 'received'))
     ORDER BY message.said_at DESC, message.id DESC
     LIMIT {limit}"""  # noqa: S608  our own expressions


SELECT_HISTORIES = Statement(
    f"""
SELECT item.number, message.*
  FROM unnest(%(ids)s::uuid[], %(since)s::timestamptz[], %(after)s::timestamptz[], %(limits)s::int[])
       WITH ORDINALITY AS item(id, since, after, row_limit, number)
 CROSS JOIN LATERAL (
    {history_sql("item.id", since="item.since", after="item.after", limit="item.row_limit")}
 ) message
 ORDER BY item.number, message.said_at, message.id
"""  # noqa: S608  our own query
)


def load_history(conversation: Conversation, *, limit: int = MAX_MESSAGES) -> list[HistoryMessage]:
    """Return the latest messages after the last summary and reset, oldest first, and all that wait for an answer."""
    rows = _histories((conversation.pk, conversation.context_from, conversation.summary_until, limit))
    return in_order(HistoryMessage(*_parse_details(row)) for row in rows)


def parse_history(rows: Sequence[Sequence[Any]]) -> list[HistoryMessage]:
    """Return the history of rows that PostgreSQL gave as JSON arrays, with the columns of HistoryMessage."""
    return in_order(
        HistoryMessage(
            UUID(id_),
            direction,
            status,
            kind,
            text,
            details,
            datetime.fromisoformat(said_at),
            datetime.fromisoformat(written_at) if written_at else None,
            UUID(sender_id) if sender_id else None,
            *rest,
        )
        for id_, direction, status, kind, text, details, said_at, written_at, sender_id, *rest in rows
    )


def in_order(messages: Iterable[HistoryMessage]) -> list[HistoryMessage]:
    """Return messages, oldest first, so that what waits for an answer comes last."""
    return sorted(messages, key=_waiting_order)


def _select(items: Sequence[HistoryRequest], _wait: bool) -> list[list[tuple[Any, ...]]]:
    ids, since, after, limits = (list(values) for values in zip(*items, strict=True))
    histories: list[list[tuple[Any, ...]]] = [[] for _ in items]
    for number, *row in SELECT_HISTORIES.rows(ids=ids, since=since, after=after, limits=limits):
        histories[number - 1].append(tuple(row))
    return histories


_histories = Batched(_select)


def _waiting_order(message: HistoryMessage) -> tuple[bool, datetime | None]:
    """Order: what happened here, then what waits for an answer as its author wrote it, as bridges may swap webhooks."""
    if message.status != Message.Status.RECEIVED:
        return False, None
    return True, message.written_at or message.said_at


def _parse_details(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Parse `details`: a raw statement returns JSON as text."""
    return (*row[:5], json.loads(row[5]), *row[6:])


def latest(rows: QuerySet[Message], *, limit: int) -> list[HistoryMessage]:
    """Return the newest `limit` messages, oldest first."""
    return [HistoryMessage(*row) for row in reversed(rows.order_by("-said_at", "-id").values_list(*COLUMNS)[:limit])]


# --- as text -----------------------------------------------------------------------------------------------------


def escape_fences(text: str) -> str:
    """Return a text that cannot open or close the tags that mark data in a prompt."""
    return _FENCE.sub("‹", text)


def is_withheld(details: dict[str, Any] | None) -> bool:
    """Return whether the message is withheld from the model, because its provider's content filter refuses it."""
    return bool(details and details.get("withheld"))


def describe(message: HistoryMessage, *, with_name: bool = False) -> str:
    """Return a message as one text: the quoted message, a placeholder for what is no text, the text, its author."""
    if is_withheld(message.details):
        return WITHHELD
    if message.kind == Message.Kind.UNKNOWN and "album" in (message.details or {}):
        return ""  # its files are messages of their own
    text = message.text if message.kind == Message.Kind.TEXT else f"{_placeholder(message)} {message.text}".strip()
    if message.kind == Message.Kind.INTERACTIVE and (description := (message.details or {}).get("description")):
        text = f"{text} ({description})"
    if not message.is_inbound and message.kind == Message.Kind.REACTION:
        return ""  # the model would write such marks itself
    if not message.is_inbound and message.kind == Message.Kind.VOICE and message.media_text:
        text = message.media_text  # what we said
    elif message.media_text:
        text = f"{text}\n{message.media_text}"
    text = escape_fences(shorten(text, MAX_MESSAGE_CHARS))
    if text and message.quoted_kind is not None and message.is_inbound:  # the model would write such marks itself
        quoted = _one_line(_quoted(message), MAX_QUOTE_CHARS)
        text = f"(in reply to “{quoted}”) {text}"
    if text and with_name and message.is_inbound:
        text = f"{name_of(message)}: {text}"
    return text


def name_of(message: HistoryMessage) -> str:
    if not message.is_inbound:
        return "we"
    name = (message.sender_name or message.sender_phone or "someone").replace(":", " ")  # it ends at the colon
    return _one_line(name, MAX_NAME_LENGTH)


def time_of(message: HistoryMessage, *, zone: tzinfo) -> str:
    return f"[{format_minute(message.said_at, zone=zone)}]"


def shows_time(message: HistoryMessage, *, before: HistoryMessage | None, zone: tzinfo) -> bool:
    """Return whether the time is shown: at the beginning, after a pause, on another day in `zone`.

    It depends on earlier messages only, so that the prompt's prefix stays the same.
    """
    if before is None:
        return True
    if message.said_at - before.said_at >= REPEAT_TIME_AFTER:
        return True
    return format_day(message.said_at, zone=zone) != format_day(before.said_at, zone=zone)


def numbered(history: Sequence[HistoryMessage], *, zone: tzinfo) -> str:
    """Return a line for each message, numbered from 1, with its time in `zone`: `[3] 2026-11-23 10:05 Ana: See you.`"""
    return "\n".join(
        f"[{number}] {format_minute(message.said_at, zone=zone)} {name_of(message)}: {describe(message)}"
        for number, message in enumerate(history, 1)
    )


def _one_line(text: str, limit: int) -> str:
    return truncate(" ".join(escape_fences(text[: limit * 4]).split()), limit)


def _quoted(message: HistoryMessage) -> str:
    """Return the content of the quoted message; what was no text has its kind before it."""
    text = (message.quoted_text or "").strip()
    return text if text and message.quoted_kind == Message.Kind.TEXT else f"[{message.quoted_kind}] {text}".strip()


def _placeholder(message: HistoryMessage) -> str:
    """Return what stands for a message that is no text, in square brackets."""
    match message.media_status:
        case Media.Status.WAITING | Media.Status.STORED:
            state = ", not received yet"
        case Media.Status.FAILED:
            state = f", which could not be read: {message.media_error}"
        case _:
            state = ""
    if message.media_text:
        state = ", as text:" if message.kind == Message.Kind.DOCUMENT else ", transcribed:"
    return f"[{_label(message)}{state}]"


def _label(message: HistoryMessage) -> str:
    match message.kind:
        case Message.Kind.LOCATION:
            return f"location: {location_text(message.details)}"
        case Message.Kind.CONTACT:
            return f"contact: {contact_cards_text(message.details)}"
        case Message.Kind.DOCUMENT:
            return f"document: {message.media_filename}" if message.media_filename else "document"
        case Message.Kind.CALL:
            return call_text(message.details, is_inbound=message.is_inbound)
        case Message.Kind.REACTION:
            return f"reaction: {(message.details or {}).get('emoji') or 'taken back'}"
        case Message.Kind.UNKNOWN if poll := poll_text(message.details):
            return f"poll: {poll}"
        case Message.Kind.UNKNOWN | Message.Kind.UNSUPPORTED:
            return "something that cannot be shown here"
        case kind:
            return kind
