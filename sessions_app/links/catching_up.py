"""When bridges are asked for messages that we missed, and for which; `agent.missed` asks."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.utils import timezone
from django.utils.crypto import salted_hmac

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import Capability
from sessions_app.models import Bridge, ForgottenAddress, WhatsAppSession
from whatsapp_agent.callback import Callback
from whatsapp_agent.periodic import periodic
from whatsapp_agent.text.phones import phone_spellings

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


def forget_missed(session_id: UUID, *, addresses: Iterable[str]) -> None:
    """Have nothing stored that somebody who is forgotten now has written until now."""
    now = timezone.now()
    key = settings.SECRET_KEY
    digests = {_digest(spelling, session_id, key=key) for each in addresses if each for spelling in _spellings(each)}
    ForgottenAddress.objects.bulk_create(
        [ForgottenAddress(session_id=session_id, digest=digest, forgotten_at=now) for digest in sorted(digests)],
        update_conflicts=True,
        unique_fields=["session", "digest"],
        update_fields=["forgotten_at"],
    )


class Forgotten:
    """Who was forgotten at a number in the last days, by the hashes of their addresses."""

    def __init__(self, session: WhatsAppSession) -> None:
        self._session = session.pk
        self._times = dict(session.forgotten_addresses.values_list("digest", "forgotten_at"))
        self.latest_at = max(self._times.values(), default=None)

    def forgotten_at(self, address: str) -> datetime | None:
        """Return when the person with this address was forgotten, None if nobody was."""
        if not self._times:
            return None
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        digests = (_digest(spelling, self._session, key=key) for spelling in _spellings(address) for key in keys)
        return max((self._times[digest] for digest in digests if digest in self._times), default=None)


def _digest(address: str, session_id: UUID, *, key: str) -> str:
    return salted_hmac(__name__, f"{session_id} {address}", secret=key, algorithm="sha256").hexdigest()


def _spellings(address: str) -> list[str]:
    return phone_spellings(address) if address.startswith("+") else [address]


@periodic(every_s=3600)
def purge_forgotten_addresses() -> int:
    """Delete the hashes that bridges are no longer asked about; return how many."""
    longest = MAX_AGE + timedelta(days=1)
    return ForgottenAddress.objects.filter(forgotten_at__lt=timezone.now() - longest).delete()[0]
