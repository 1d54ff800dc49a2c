"""How a number's link has stood: spans of one status each, read from the events of its session."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from messaging.models import Event
from sessions_app.models import WhatsAppSession

WINDOW = timedelta(days=7)  # of which the share is stated
MAX_EVENTS = 500
CONNECTED = WhatsAppSession.Status.CONNECTED.value


@dataclass(frozen=True, slots=True)
class LinkSpan:
    """A time during which the link had one status. `until` is None for the present one."""

    status: str
    reason: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class LinkHistory:
    """The spans, newest first. Of the last WINDOW, as far as it is known: the share connected; how often it ended."""

    spans: Sequence[LinkSpan]
    connected_percent: float | None
    interruptions: int


def link_history(session: WhatsAppSession) -> LinkHistory:
    """Return how the session's link has stood, as long as its events are stored. No access check."""
    now = timezone.now()
    rows = Event.objects.filter(session_id=session.pk, type="session.status_changed").order_by("-at", "-id")
    spans: list[LinkSpan] = []
    until: datetime | None = None
    for at, data in rows.values_list("at", "data")[:MAX_EVENTS]:
        status, reason = data.get("status", ""), data.get("reason", "")
        if spans and spans[-1].status == status:  # stated twice: it began earlier
            spans[-1] = LinkSpan(status=status, reason=reason or spans[-1].reason, since=at, until=spans[-1].until)
        else:
            spans.append(LinkSpan(status=status, reason=reason, since=at, until=until))
        until = at
    if not spans:  # its events are deleted by now
        since = session.status_changed_at or session.created_at
        spans.append(LinkSpan(status=session.status, reason=session.status_reason, since=since, until=None))
    begin = max(now - WINDOW, spans[-1].since)
    recent = [span for span in spans if span.until is None or span.until > begin]
    connected = sum(
        ((span.until or now) - max(span.since, begin) for span in recent if span.status == CONNECTED), timedelta()
    )
    known = now - begin
    return LinkHistory(
        spans=spans,
        connected_percent=100 * connected / known if known > timedelta() else None,
        interruptions=sum(span.status == CONNECTED and span.until is not None for span in recent),
    )
