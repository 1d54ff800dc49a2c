"""Reconcile our sessions with those of the bridges."""

from datetime import timedelta
from typing import Any

import structlog
from django.db.models import Q
from django.utils import timezone

from agent.bridges import ADAPTERS
from agent.bridges.base import NOT_SUPPORTED, SessionState
from agent.bridges.events import Link
from agent.bridges.exchange import BridgeError, Refused
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.links.stopping import REPEATING, stop_at_bridge
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import (
    SYNC_INTERVAL_S,
    UNKNOWN_TO_BRIDGE,
    NumberMoved,
    default_profile,
    ensure_not_moved,
    record_key_refused,
    record_session_state,
)
from whatsapp_agent import postgres
from whatsapp_agent.errors import BridgeFailed, InvalidInput, NotSupportedByBridge
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)


def sync_bridge(bridge: Bridge) -> dict[str, list[str]]:
    """Reconcile our sessions with the bridge's. Return the names that are added, updated and missing.

    A number that has moved to another bridge is not added again, and one that was stopped is stopped again.

    Raises BridgeFailed. If the bridge refuses our API key, its sessions are marked as disconnected before.
    """
    adapter = adapter_for(bridge)
    report: dict[str, list[str]] = {"added": [], "updated": [], "missing": []}
    if not adapter.stores_sessions:
        return report
    postgres.release()
    asked_at = timezone.now()  # an event received meanwhile is newer than the response
    try:
        states = {state.name: state for state in _list_states(bridge)}
    except BridgeError as exc:
        if exc.code == "unauthorized":
            record_key_refused(bridge)
        raise BridgeFailed(str(exc)) from exc
    known = {session.name: session for session in bridge.sessions.all()}
    for name, state in states.items():
        if name not in known:
            try:
                ensure_not_moved(bridge=bridge, name=name, phone=state.phone or "")
            except NumberMoved:
                continue  # its link there was not removed yet
            report["added"].append(name)
            new: dict[str, Any] = {"agent_profile": default_profile}
            session, _ = WhatsAppSession.objects.get_or_create(bridge=bridge, name=name, defaults=new)
        else:
            session = known[name]
        before = session.status
        session = record_session_state(session=session, state=state, at=asked_at)
        if name in known and session.status != before:
            report["updated"].append(name)
        if state.status == Link.CONNECTED and session.status_reason == REPEATING:
            stop_at_bridge(session)
    for name, session in known.items():
        if name not in states and session.ended_at is None:
            before = session.status
            session = record_session_state(
                session=session,
                state=SessionState(name=name, status=Link.DISCONNECTED),
                reason=UNKNOWN_TO_BRIDGE,
                at=asked_at,
            )
            if session.status != before:
                report["missing"].append(name)
    return report


def list_numbers(bridge: Bridge, *, account: str) -> list[SessionState]:
    """Return the numbers of a business account (WABA), each under the name to link it by.

    Raises NotSupportedByBridge, InvalidInput or BridgeFailed.
    """
    postgres.release()
    try:
        return call_bridge(bridge, adapter_for(bridge).list_numbers(account=account))
    except Refused as exc:
        if exc.code == NOT_SUPPORTED:
            raise NotSupportedByBridge(str(exc)) from exc
        raise (InvalidInput if exc.code == "invalid" else BridgeFailed)(str(exc)) from exc
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc


def _list_states(bridge: Bridge) -> list[SessionState]:
    """Ask for every session; of a bridge that cannot list them, for each that we know. Raises BridgeError."""
    adapter = adapter_for(bridge)
    if adapter.lists_sessions:
        return call_bridge(bridge, adapter.list_sessions())
    names = list(bridge.sessions.live().values_list("name", flat=True))
    postgres.release()
    states = [call_bridge(bridge, adapter.session_state(name=name)) for name in names]
    return [state for state in states if state is not None]


@periodic(every_s=5, may_block=True)
def sync_due_bridges() -> None:
    """Reconcile each bridge every SYNC_INTERVAL_S, in one process: a bridge that died sends no webhook request."""
    due = Q(synced_at=None) | Q(synced_at__lt=timezone.now() - timedelta(seconds=SYNC_INTERVAL_S))
    kinds = [kind for kind, adapter in ADAPTERS.items() if adapter.stores_sessions]
    for bridge in Bridge.objects.filter(due, kind__in=kinds):
        if not Bridge.objects.filter(due, pk=bridge.pk).update(synced_at=timezone.now()):
            continue
        try:
            report = sync_bridge(bridge)
        except BridgeFailed as exc:
            log.warning("bridge_unreachable", bridge=bridge.slug, error=str(exc))
            continue
        if any(report.values()):
            counts = {change: len(names) for change, names in report.items()}
            log.info("sessions_reconciled", bridge=bridge.slug, **counts)
