"""Stop a number until a person restarts it: for a bridge that sends messages again by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.utils import timezone
from django.utils.translation import gettext_noop

from agent.bridges.exchange import BridgeError
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import WhatsAppSession
from whatsapp_agent import postgres

log = structlog.get_logger(__name__)

REPEATING = gettext_noop("Stopped: the bridge sends messages that are not ours. Restart it once the cause is found.")


def stop_session(session: WhatsAppSession) -> bool:
    """Send nothing more, and stop the session at a bridge that can do so without unlinking it.

    Return whether it was connected. It stays stopped whatever the bridge reports (`restarting`).
    """
    rows = WhatsAppSession.objects.live().filter(pk=session.pk, status=WhatsAppSession.Status.CONNECTED)
    values = {"status": WhatsAppSession.Status.DISCONNECTED, "status_changed_at": timezone.now()}
    if not rows.update(status_reason=REPEATING, **values):
        return False
    stop_at_bridge(session)
    return True


def stop_at_bridge(session: WhatsAppSession) -> None:
    """Have the bridge stop the session, if it can; a failure is logged, and made good by the next reconciliation."""
    postgres.release()
    try:
        call_bridge(session.bridge, adapter_for(session.bridge).stop_session(name=session.name))
    except BridgeError as exc:
        log.warning("session_not_stopped_at_bridge", session=str(session.pk), bridge=session.bridge.slug, code=exc.code)


@contextmanager
def restarting(session: WhatsAppSession) -> Iterator[None]:
    """Let a stopped session connect again, as a person restarts it; it is stopped again if the bridge does not.

    Before the bridge is called: its event that the session is connected may come before its answer.
    """
    rows = WhatsAppSession.objects.filter(pk=session.pk)
    was_stopped = rows.filter(status_reason=REPEATING).update(status_reason="")
    try:
        yield
    except BaseException:
        if was_stopped:
            rows.exclude(status=WhatsAppSession.Status.CONNECTED).update(status_reason=REPEATING)
        raise
