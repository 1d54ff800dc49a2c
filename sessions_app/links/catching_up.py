"""When bridges are asked for messages that we missed, and for which; `agent.missed` asks."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import Capability
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent.callback import Callback

INTERVAL = timedelta(minutes=5)  # a webhook request may be lost while everything runs
PAUSE_AFTER_REFUSAL = timedelta(hours=1)  # an engine of WAHA that keeps no messages will not keep them in a minute
OVERLAP = timedelta(minutes=5)  # a message may reach the bridge some time after it was written
MAX_AGE = timedelta(days=3)
CATCHING_UP = [kind for kind, adapter in ADAPTERS.items() if Capability.MISSED_MESSAGES in adapter.capabilities]

# Ask for the messages that the numbers of a bridge missed; return how many were stored, by the number's name, or None
# where the bridge did not list them all.
fetch_missed = Callback[[Bridge], dict[str, int | None]](default=lambda _: {})


def claim_due(bridge: Bridge | None = None) -> list[WhatsAppSession]:
    """Return the numbers whose bridge is to be asked now, for this process alone; of `bridge`, whether due or not."""
    now = timezone.now()
    connected = WhatsAppSession.objects.live().filter(
        status=WhatsAppSession.Status.CONNECTED, bridge__kind__in=CATCHING_UP
    )
    due = Q(catch_up_at=None) | Q(catch_up_at__lte=now) if bridge is None else Q(bridge=bridge)
    candidates = connected.filter(due).select_related("bridge").order_by("catch_up_at", "pk")
    return [
        session
        for session in candidates
        if WhatsAppSession.objects.filter(due, pk=session.pk).update(catch_up_at=now + INTERVAL)
    ]


def missed_since(session: WhatsAppSession, *, newest: datetime | None, now: datetime) -> datetime:
    """Return from when on messages may be missing. `newest`: when the last message of the session was stored.

    What was written before the number was linked is its history: it is never answered, so it is not asked for.
    """
    known_until = session.caught_up_until or newest or now
    return max(known_until - OVERLAP, session.linked_at or session.created_at, now - MAX_AGE)


def record_caught_up(session: WhatsAppSession, *, until: datetime) -> None:
    """Record that what was written until then is stored, unless what to ask for has changed meanwhile."""
    same = WhatsAppSession.objects.filter(pk=session.pk, caught_up_until=session.caught_up_until)
    same.update(caught_up_until=until)


def postpone(session: WhatsAppSession, *, by: timedelta) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).update(catch_up_at=timezone.now() + by)


def catch_up_now() -> None:
    """Have every bridge asked, because we were not there."""
    WhatsAppSession.objects.live().update(catch_up_at=None)


def forget_missed(session_id: UUID) -> None:
    """Ask for nothing that was written until now: somebody of the session was forgotten."""
    WhatsAppSession.objects.filter(pk=session_id).update(caught_up_until=timezone.now() + OVERLAP)
