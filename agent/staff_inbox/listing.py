"""The list of conversations: its tabs, counts and rows, read in one statement together with what a poll compares."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from django.core.exceptions import EmptyResultSet
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.models import BooleanField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, JSONObject, Left, Length
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from agent.staff_inbox.finding import around, find, texts_of
from agent.staff_inbox.presence import describe_others, others_at, record_presence
from agent.staff_inbox.texts import ATTENTION, KINDS
from messaging.models import Conversation, Message, Note, Turn
from messaging.models.conversations import NEEDS_PERSON
from messaging.outbound import within_window
from messaging.receipts import without_receipt
from sessions_app.models import WhatsAppSession
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.truncate import truncate
from whatsapp_agent.text.whatsapp_html import without_markup

PAGE_SIZE = 50
MAX_PAGES = 20
MAX_COUNT = 1000  # of a tab: counting more takes long and tells nobody more
MAX_ALERTED = 100  # conversations of which a page knows; one more than that is no news to anybody
MAX_SEARCH_LENGTH = 200
WATCHED_MESSAGES = 80  # of the open conversation: a poll notices their changes
EXCERPT_CHARS = 160
LABELLED_CONVERSATIONS = 1000  # whose labels the filter offers
MAX_LABELS = 100
NEWEST_FIRST = Coalesce("last_message_at", "created_at").desc()
OPEN = Q(done_at=None, snoozed_until=None)
MEDIA_ICONS = {"image": "📷", "video": "🎬", "audio": "🎵", "voice": "🎤", "document": "📄", "sticker": "🖼",
               "location": "📍", "contact": "👤", "interactive": "☰", "order": "🛒"}  # fmt: skip
TICKS = {"queued": "◷", "sending": "◷", "sent": "✓", "delivered": "✓✓", "read": "✓✓"}
HUES = 8
TABS = {
    "needs": gettext_lazy("Needs a person"),
    "mine": gettext_lazy("Mine"),
    "unassigned": gettext_lazy("Unassigned"),
    "all": gettext_lazy("All"),
    "snoozed": gettext_lazy("Snoozed"),
    "done": gettext_lazy("Done"),
}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What the list shows. A search looks in all tabs."""

    tab: str = "all"
    search: str = ""
    session: str = ""
    control: str = ""
    label: str = ""
    unanswered_since: str = ""
    pages: int = 1

    @property
    def is_lookup(self) -> bool:
        """Return whether rows are found by reading messages: they stay as they are until the next time."""
        return bool(self.search or self.unanswered_since)

    @property
    def link(self) -> str:
        """The query string of this list, without its pages: links of the list keep what was chosen."""
        return self._link(tab=self.tab)

    @property
    def tab_link(self) -> str:
        """The query string without the tab and the search; ends so that `tab=` can be added."""
        return f"{filters}&" if (filters := self._link(tab="", search="", unanswered_since="")) else ""

    @property
    def is_filtered(self) -> bool:
        return bool(self.session or self.control or self.label or self.unanswered_since)

    def _link(self, **changes: str) -> str:
        values = {"tab": self.tab, "search": self.search, "session": self.session, "control": self.control,
                  "label": self.label, "unanswered_since": self.unanswered_since} | changes  # fmt: skip
        return urlencode([("q" if name == "search" else name, value) for name, value in values.items() if value])

    @classmethod
    def read(cls, parameters: Any) -> "ListQuery":
        """Return the query of a request; what is not understood is left out."""
        tab, control, session = (parameters.get(name, "") for name in ("tab", "control", "session"))
        pages = parameters.get("pages", "")
        return cls(
            tab=tab if tab in TABS else "all",
            search=storable(parameters.get("q", "")).strip()[:MAX_SEARCH_LENGTH],
            session=session if is_uuid(session) else "",
            control=control if control in Conversation.Control.values else "",
            label=storable(parameters.get("label", ""))[:40],
            unanswered_since=_time(parameters.get("unanswered_since", "")),
            pages=min(max(int(pages), 1), MAX_PAGES) if pages.isascii() and pages.isdecimal() and len(pages) < 4 else 1,
        )


def _time(text: str) -> str:
    """Return the time if it is one with a zone, as ISO 8601; empty otherwise."""
    try:
        at = parse_datetime(text)
        return at.astimezone(UTC).isoformat() if at is not None and at.tzinfo is not None else ""
    except (ValueError, OverflowError):
        return ""


@dataclass(frozen=True, slots=True)
class InboxState:
    """Rows and counts of the list, with versions that change whenever anything shown changes."""

    rows: list[dict[str, Any]]
    has_more: bool
    counts: dict[str, str]
    waiting: int
    needing: list[str]  # ids of conversations that need a person: a page alerts of those that it did not know
    assigned: list[str]  # and of those that somebody else has assigned to the user
    offline: list[dict[str, Any]]
    others: str
    list_version: str
    conversation_version: str  # empty: no conversation is open, or the user may not see it


@dataclass(frozen=True, slots=True)
class Looking:
    """The conversation that the user has open, and whether it is to be recorded that they look at it or type."""

    conversation_id: UUID
    is_here: bool = False
    is_typing: bool = False


def read_state(user: User, query: ListQuery, *, looking: Looking | None = None, searches: bool = True) -> InboxState:
    """Read the list, the counts and the version of the open conversation in one statement; a search takes some more.

    The same statement records that the user looks at the conversation, and reads who else does. What a search has found
    stays as it is until the next search: its rows are not part of the version, and not read unless it `searches`.
    """
    visible = Conversation.objects.visible_to(user).without_test_chats()
    hits: dict[UUID, UUID] = {}
    rows: QuerySet[Conversation]
    if query.is_lookup and not searches:
        rows = visible.none()
    elif query.search:
        hits, ids = find(query.search, user)
        rows = _filtered(visible.filter(pk__in=ids), query)
    elif query.unanswered_since:
        rows = _filtered(_unanswered(visible, since=datetime.fromisoformat(query.unanswered_since)), query)
    else:
        rows = _filtered(visible.filter(condition(query.tab, user)), query)
    limit = PAGE_SIZE * query.pages
    parts: dict[str, QuerySet] = {"rows": _row_values(rows)[: limit + 1]}
    for tab in TABS:
        parts[f"count_{tab}"] = visible.filter(condition(tab, user)).values(one=F("control_epoch"))[:MAX_COUNT]
    newest = visible.order_by(NEWEST_FIRST).values(key=F("pk"))
    parts["needing"] = newest.filter(NEEDS_PERSON)[:MAX_ALERTED]
    parts["assigned"] = newest.filter(condition("mine", user), is_self_assigned=False)[:MAX_ALERTED]
    parts["offline"] = (
        WhatsAppSession.objects.visible_to(user)
        .live()
        .exclude(status=WhatsAppSession.Status.CONNECTED)
        .values(key=F("pk"), title=F("name"), link=F("status"))[:20]
    )
    opened = Conversation.objects.visible_to(user).filter(pk=looking.conversation_id) if looking else None
    if opened is not None:
        parts |= _watched(opened) | {"others": others_at(opened, user)}
    record = None
    if opened is not None and looking is not None and (looking.is_here or looking.is_typing):
        record = record_presence(opened, user, is_typing=looking.is_typing)
    found = _read(parts, first=record)
    shown, counts = found["rows"], {tab: found[f"count_{tab}"] for tab in TABS}
    watched = [found[name] for name in parts if name.startswith("watched_")]
    now = timezone.now()
    hit_texts = texts_of(hits[UUID(row["key"])] for row in shown[:limit] if UUID(row["key"]) in hits)
    listed = [_row(row, now=now) for row in shown[:limit]]
    for row in listed:
        if (hit := hits.get(UUID(row["key"]))) and hit in hit_texts:
            row |= {"hit": str(hit), "words": around(hit_texts[hit], query.search), "writer": "", "icon": "🔍"}
    rows_version = None if query.is_lookup else [listed, len(shown) > limit]
    needing, assigned = (sorted(row["key"] for row in found[name]) for name in ("needing", "assigned"))
    return InboxState(
        rows=listed,
        has_more=len(shown) > limit,
        counts={tab: _count_text(count) for tab, count in counts.items()},
        waiting=counts["needs"],
        needing=needing,
        assigned=assigned,
        offline=found["offline"],
        others=describe_others(found.get("others", ())),
        list_version=_version([counts, needing, assigned, found["offline"], rows_version]),
        conversation_version=_version(watched) if found.get("watched_conversation") else "",
    )


def condition(tab: str, user: User) -> Q:
    """Return which conversations belong to a tab."""
    match tab:
        case "needs":
            return NEEDS_PERSON
        case "mine":
            return OPEN & Q(assigned_to=user)
        case "unassigned":
            return OPEN & Q(assigned_to=None)
        case "snoozed":
            return Q(snoozed_until__isnull=False)
        case "done":
            return Q(done_at__isnull=False)
    return OPEN


def _unanswered(rows: QuerySet[Conversation], *, since: datetime) -> QuerySet[Conversation]:
    """Return the conversations whose last message since then is the contact's: those that the dashboard counts."""
    messages = Message.objects.filter(conversation=OuterRef("pk"), said_at__gte=since).exclude(
        Q(kind__in=["reaction", "system"])
        | Q(unanswered=Message.Unanswered.HISTORY)
        | Q(direction=Message.Direction.OUTBOUND, status__in=[Message.Status.FAILED, Message.Status.CANCELLED])
        | Q(direction=Message.Direction.OUTBOUND, author=Message.Author.SYSTEM)
    )
    last = messages.order_by("-said_at", "-id").values("direction")[:1]
    return rows.filter(last_message_at__gte=since).alias(last=Subquery(last)).filter(last=Message.Direction.INBOUND)


def _filtered(rows: QuerySet[Conversation], query: ListQuery) -> QuerySet[Conversation]:
    if query.session:
        rows = rows.filter(session_id=UUID(query.session))
    if query.control:
        rows = rows.filter(control=query.control)
    if query.label:
        rows = rows.filter(labels__contains=[query.label]).exclude(labels=[])  # the condition of the index
    return rows


def _row_values(rows: QuerySet[Conversation]) -> QuerySet:
    last = (
        Message.objects.filter(conversation=OuterRef("pk"))
        .order_by("-said_at", "-id")
        .values(
            value=JSONObject(
                text=Left("text", EXCERPT_CHARS),
                author="author",
                by="sent_by__username",
                kind="kind",
                status="status",
                revoked="revoked_at",
            )
        )[:1]
    )
    return rows.order_by(NEWEST_FIRST, F("pk").desc()).values(
        key=F("pk"),
        name=F("contact__name"),
        phone=F("contact__phone"),
        is_group=F("contact__is_group"),
        is_blocked=F("contact__is_blocked"),
        number=F("session__name"),
        who=F("control"),
        controller=F("controlled_by__username"),
        assignee=F("assigned_to__username"),
        unread=F("unread_count"),
        attention=F("needs_attention"),
        reason=F("attention_reason"),
        tags=F("labels"),
        snoozed=F("snoozed_until"),
        done=F("done_at"),
        at=Coalesce("last_message_at", "created_at"),
        last=Subquery(last),
    )


def _watched(conversation: QuerySet[Conversation]) -> dict[str, QuerySet]:
    """Return what the version of an open conversation is made of."""
    within = {"conversation__in": conversation.values("pk")}
    return {
        "watched_conversation": conversation.values(
            who=F("control"), epoch=F("control_epoch"), until=F("control_until"), why=F("control_reason"),
            other=F("external_controller"),
            due=F("due_at"), lease=F("lease_token"), note=F("attention_note"), attention=F("needs_attention"),
            assignee=F("assigned_to"), snoozed=F("snoozed_until"), done=F("done_at"), done_why=F("done_reason"),
            tags=F("labels"), blocked=F("contact__is_blocked"), name=F("contact__name"), link=F("session__status"),
            window=ExpressionWrapper(within_window(), output_field=BooleanField()),
        ),
        "watched_messages": Message.objects.filter(**within).order_by("-said_at", "-id").values(
            key=F("pk"), state=F("status"), edited=F("edited_at"), revoked=F("revoked_at"), why=F("unanswered"),
            wrong=F("error"), file=F("media__status"), heard=Length("media__transcript"),
            late=ExpressionWrapper(without_receipt(), output_field=BooleanField()),
        )[:WATCHED_MESSAGES],
        "watched_turns": Turn.objects.filter(**within).order_by("-created_at", "-id").values(
            key=F("pk"), left=Exists(Message.objects.filter(turn=OuterRef("pk"), direction="inbound")),
        )[:5],
        "watched_notes": Note.objects.filter(**within).order_by("-created_at").values(
            key=F("pk"), shown=F("is_shown_to_model"),
        )[:20],
    }  # fmt: skip


def _read(parts: dict[str, QuerySet], *, first: tuple[str, Sequence[Any]] | None = None) -> dict[str, Any]:
    """Read several querysets (of `values()`) in one statement: rows as JSON, or how many for `count_…`.

    `first` is a common table expression with its parameters, executed by the same statement.
    """
    statements: list[str] = []
    with_clause, parameters = (f"WITH {first[0]} ", list(first[1])) if first else ("", [])
    for name, queryset in parts.items():
        try:
            sql, values = queryset.query.sql_with_params()
        except EmptyResultSet:
            sql, values = "SELECT WHERE false", ()
        result = "to_json(count(*))" if name.startswith("count_") else "COALESCE(json_agg(part), '[]')"
        statements.append(f"(SELECT {result} FROM ({sql}) part)")  # noqa: S608  Django's own SQL
        parameters.extend(values)
    with connection.cursor() as cursor:
        cursor.execute(f"{with_clause}SELECT {', '.join(statements)}", parameters)
        row = cursor.fetchone()
    return {
        name: orjson.loads(value) if isinstance(value, str) else value for name, value in zip(parts, row, strict=True)
    }


def _row(row: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    name = " ".join((row["name"] or row["phone"] or (_("group") if row["is_group"] else _("hidden number"))).split())
    last = row["last"] or {}
    reason = row["reason"]
    return {
        "key": row["key"],
        "name": name,
        "letter": first_letter(name),
        "hue": hue_of(row["key"]),
        "icon": MEDIA_ICONS.get(last.get("kind", ""), ""),
        "words": _last_words(last),
        "writer": _writer(last),
        "ticks": status if (status := last.get("status", "")) in TICKS and last["author"] != "contact" else "",
        "tick": TICKS.get(last.get("status", ""), ""),
        "age": age(datetime.fromisoformat(row["at"]), now=now),
        "at": row["at"],
        "unread": row["unread"],
        "who": row["who"],
        "has_it": row["assignee"] or (row["controller"] if row["who"] == "human" else "") or "",
        "attention": str(ATTENTION.get(reason) or _("Look here")) if row["attention"] else "",
        "labels": row["tags"],
        "number": row["number"],
        "is_blocked": row["is_blocked"],
        "is_done": bool(row["done"]),
        "is_snoozed": bool(row["snoozed"]),
    }


def hue_of(key: str) -> int:
    """Return which colour the circle of a conversation has."""
    return int(key[-2:], 16) % HUES


def first_letter(name: str) -> str:
    """Return what stands in the circle instead of a picture."""
    return next((character.upper() for character in name if character.isalnum()), "#")[:1]


def _last_words(last: dict[str, Any]) -> str:
    if not last:
        return _("No messages yet")
    if last["revoked"]:
        return _("This message was deleted")
    words = " ".join(without_markup(last["text"]).split())
    return truncate(words, EXCERPT_CHARS) if words else str(KINDS.get(last["kind"]) or _("Other content"))


def _writer(last: dict[str, Any]) -> str:
    match last.get("author"):
        case "agent":
            return _("Agent")
        case "staff":
            return last["by"] or _("Staff")
        case "phone":
            return _("Phone")
        case "api":
            return "API"
        case "system":
            return _("System")
    return ""


def age(at: datetime, *, now: datetime) -> str:
    """Return how long ago, in few letters: `now`, `5 min`, `3 h`, `2 d`, then the date."""
    seconds = (now - at).total_seconds()
    if seconds < 60:
        return _("now")
    if seconds < 3600:
        return _("%(count)d min") % {"count": seconds // 60}
    if seconds < 86400:
        return _("%(count)d h") % {"count": seconds // 3600}
    if seconds < 7 * 86400:
        return _("%(count)d d") % {"count": seconds // 86400}
    return f"{timezone.localtime(at):%d.%m.%y}"


def labels_in_use(user: User) -> list[str]:
    """Return the labels of the latest conversations, for the filter."""
    latest = Conversation.objects.visible_to(user).order_by(NEWEST_FIRST, F("pk").desc())
    rows = latest.values_list("labels", flat=True)[:LABELLED_CONVERSATIONS]
    return sorted({label for labels in rows for label in labels}, key=str.casefold)[:MAX_LABELS]


def _count_text(count: int) -> str:
    return f"{MAX_COUNT - 1}+" if count >= MAX_COUNT else str(count)


def _version(shown: Any) -> str:
    return hashlib.sha256(json.dumps(shown, cls=DjangoJSONEncoder, sort_keys=True).encode()).hexdigest()[:20]


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
