"""When bridges are asked for messages that we missed, and for which; `agent.missed` asks."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.utils import timezone

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import Capability
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent.callback import Callback

INTERVAL = timedelta(minutes=5)  # a webhook request may be lost while everything runs
PAUSE_BETWEEN_PARTS = timedelta(seconds=30)  # of what a bridge cannot list at once
PAUSE_AFTER_REFUSAL = timedelta(hours=1)  # an engine of WAHA that keeps no messages will not keep them in a minute
OVERLAP = timedelta(minutes=5)  # a message may reach the bridge some time after it was written
MAX_AGE = timedelta(days=3)
CATCHING_UP = [kind for kind, adapter in ADAPTERS.items() if Capability.MISSED_MESSAGES in adapter.capabilities]

# Ask for the messages that each number of a bridge missed; yield its name and how many were stored, None where the
# bridge failed.
fetch_missed = Callback[[Bridge], Iterator[tuple[str, int | None]]](default=lambda _: iter(()))


class Gap(NamedTuple):
    """What is asked for: messages written since, and until, None: now. What came after `began_at` is another gap."""

    since: datetime
    until: datetime | None
    began_at: datetime


def connected(bridge: Bridge | None = None) -> QuerySet[WhatsAppSession]:
    """Return the numbers whose bridges can be asked, or those of one bridge."""
    rows = WhatsAppSession.objects.live().filter(status=WhatsAppSession.Status.CONNECTED, bridge__kind__in=CATCHING_UP)
    return (rows if bridge is None else rows.filter(bridge=bridge)).select_related("bridge")


@transaction.atomic
def claim_next(*, asked: Collection[UUID], failing: Collection[UUID]) -> WhatsAppSession | None:
    """Return a number that is due, for this process alone, and have it asked again after INTERVAL; None: none is due.

    Of bridges that were not `asked` in this round before others, and of none that is `failing`.
    """
    now = timezone.now()
    due = connected().filter(Q(catch_up_at=None) | Q(catch_up_at__lte=now)).exclude(bridge__in=failing)
    is_asked = [Case(When(bridge__in=asked, then=1), default=0)] if asked else []
    in_order = due.order_by(*is_asked, F("catch_up_at").asc(nulls_first=True), "pk")
    session = in_order.select_for_update(of=["self"], skip_locked=True).first()
    if session is not None:
        postpone(session, by=INTERVAL)
    return session


def open_gap(session: WhatsAppSession, *, newest: datetime | None, now: datetime) -> Gap:
    """Return when messages may be missing, and remember it. `newest`: when the last message of the session was stored.

    What was written before the number was linked is its history: it is never answered, so it is not asked for.
    """
    known_until = session.caught_up_until or newest or now
    since = max(known_until - OVERLAP, session.linked_at or session.created_at, now - MAX_AGE)
    if session.caught_up_until is None:  # what is stored from now on moves `newest`
        session.caught_up_until = since + OVERLAP
        WhatsAppSession.objects.filter(pk=session.pk, caught_up_until=None).update(caught_up_until=since + OVERLAP)
    return Gap(since, session.catching_up_until, session.catching_up_at or now)


def record_caught_up(session: WhatsAppSession, *, until: datetime) -> None:
    """Record that what was written until then is stored, unless what to ask for has changed meanwhile."""
    _unchanged(session).update(caught_up_until=until, catching_up_at=None, catching_up_until=None)


def record_part(session: WhatsAppSession, *, gap: Gap, until: datetime) -> None:
    """Record that of the gap what was written after `until` is stored, and the rest is left."""
    _unchanged(session).update(catching_up_at=gap.began_at, catching_up_until=until)


def start_over(session: WhatsAppSession) -> None:
    """Have the newest messages asked for again: the rest of the gap may be what the bridge cannot list."""
    _unchanged(session).update(catching_up_at=None, catching_up_until=None)


def _unchanged(session: WhatsAppSession) -> QuerySet[WhatsAppSession]:
    return WhatsAppSession.objects.filter(
        pk=session.pk, caught_up_until=session.caught_up_until, catching_up_until=session.catching_up_until
    )


def postpone(session: WhatsAppSession, *, by: timedelta) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).update(catch_up_at=timezone.now() + by)


def catch_up_now() -> None:
    """Have every bridge asked, because we were not there."""
    WhatsAppSession.objects.live().update(catch_up_at=None)


def forget_missed(session_id: UUID) -> None:
    """Ask for nothing that was written until now: somebody of the session was forgotten."""
    WhatsAppSession.objects.filter(pk=session_id).update(
        caught_up_until=timezone.now() + OVERLAP, catching_up_at=None, catching_up_until=None
    )
