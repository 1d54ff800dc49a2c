"""Link numbers, and record the status of sessions."""

import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.models import User
from agent.bridges.base import NOT_SUPPORTED, PairingCode, SessionState
from agent.bridges.capabilities import Capability
from agent.bridges.events import Link, SessionChanged
from agent.bridges.exchange import BridgeError, Refused
from sessions_app import bridges, profiles
from sessions_app.bridges import adapter_for, call_bridge, webhook_target
from sessions_app.links.account_limits import record_limits
from sessions_app.links.catching_up import OVERLAP
from sessions_app.links.problems import NO_PROGRESS, progress_of
from sessions_app.links.stopping import REPEATING, restarting
from sessions_app.models import AgentProfile, Bridge, FormerName, Membership, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.errors import BridgeFailed, Conflict, NotSupportedByBridge, SessionExists
from whatsapp_agent.text.phones import owner_spellings

SYNC_INTERVAL_S = 60.0
KEY_RETRY_S = 10.0  # when a bridge that refused our API key is asked again
KEY_REFUSED = gettext_noop("The bridge refuses our API key.")
UNKNOWN_TO_BRIDGE = gettext_noop("unknown to the bridge")
NOT_CONNECTED = "not connected"
FAILED = "failed at the bridge"
LOGGED_OUT_BY_US = "logged out by us"
DELETED_BY_US = "deleted by us"
# Reasons that only state what was observed. They never replace a reason that names a cause.
WEAK_REASONS = ("", UNKNOWN_TO_BRIDGE, NOT_CONNECTED)
# Baileys' codes after which a session does not reconnect: logged out, forbidden, mismatch, replaced.
FINAL_REASONS = ("401", "403", "411", "440", LOGGED_OUT_BY_US, DELETED_BY_US, REPEATING)
# With these it is not connected, whatever comes from the bridge meanwhile.
HELD_REASONS = (KEY_REFUSED, REPEATING)
# While a number is being linked; some bridges say `connecting` until they have the first code.
WAITING = frozenset({Link.INITIALIZING, Link.QR_WAITING, Link.CONNECTING})
SESSION_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"


def ensure_default_bridges() -> None:
    """Create or update the `default` bridge from the settings, the simulator and the default agent profile."""
    values: dict[str, Any] = dict(bridges.values_of_settings())
    if settings.WHATSAPP_WEBHOOK_SECRET:
        values["webhook_secret"] = settings.WHATSAPP_WEBHOOK_SECRET
        present = Bridge.objects.filter(slug=Bridge.DEFAULT).first()
        if present and present.webhook_secret not in {"", settings.WHATSAPP_WEBHOOK_SECRET}:
            values |= bridges.former_secret_values(present)
    generated = {"webhook_secret": secrets.token_urlsafe(32)}
    bridge, _ = Bridge.objects.update_or_create(
        slug=Bridge.DEFAULT, defaults=values, create_defaults=generated | values
    )
    if not bridge.webhook_secret:
        bridge.webhook_secret = generated["webhook_secret"]
        bridge.save(update_fields=["webhook_secret"])
    simulator, _ = Bridge.objects.get_or_create(
        slug=Bridge.SIMULATOR, defaults={"kind": "simulator", "webhook_secret": secrets.token_urlsafe(32)}
    )
    if simulator.webhook_secret == bridge.webhook_secret:  # only staff may use the simulator
        simulator.webhook_secret = secrets.token_urlsafe(32)
        simulator.save(update_fields=["webhook_secret"])
    default_profile()


def default_profile() -> AgentProfile:
    """Return the default profile, else the oldest; create one if there is none."""
    profile = AgentProfile.objects.live().order_by("-is_default", "created_at").first()
    if profile is None:
        profile, _ = AgentProfile.objects.get_or_create(is_default=True, defaults={"name": "Assistant"})
        profiles.save_version(profile)
    return profile


class NumberMoved(Exception):
    """The number of this name has moved to another bridge."""


def ensure_not_moved(*, bridge: Bridge, name: str, phone: str = "") -> None:
    """Raises NumberMoved if a session of this name has moved from the bridge.

    `phone` is what the bridge says of the number, if it does: another one under the same name is a new number.
    """
    former = FormerName.objects.filter(bridge=bridge, name=name).select_related("session").first()
    if former is None:
        return
    if not phone or not former.session.phone or phone in owner_spellings(former.session.phone):
        raise NumberMoved
    former.delete()


def register_session(
    *, bridge: Bridge, name: str, phone: str = "", status_at: datetime | None = None
) -> WhatsAppSession:
    """Return the session of an authenticated event; create it if it is new. Raises NumberMoved.

    A new session is `connected`, since `status_at` or now: bridges send messages only of connected sessions.
    """
    if (session := WhatsAppSession.objects.filter(bridge=bridge, name=name).first()) is not None:
        return session
    ensure_not_moved(bridge=bridge, name=name, phone=phone)
    new: dict[str, Any] = {
        "status": WhatsAppSession.Status.CONNECTED,
        "status_changed_at": status_at or timezone.now(),
        "linked_at": timezone.now(),
        "phone": phone,
        "agent_profile": default_profile,  # called only if a session is created
    }
    session, _ = WhatsAppSession.objects.get_or_create(bridge=bridge, name=name, defaults=new)
    return session


def mark_connected(*, bridge: Bridge, name: str, at: datetime | None) -> None:
    """Mark the session connected: a message that has just come proves it, whatever the last status was."""
    if at is None or at < timezone.now() - timedelta(seconds=60):
        return
    connected = WhatsAppSession.Status.CONNECTED
    WhatsAppSession.objects.filter(bridge=bridge, name=name, ended_at=None, status_changed_at__lt=at).exclude(
        status=connected
    ).exclude(status_reason__in=HELD_REASONS).update(
        status=connected, status_reason="", status_changed_at=at, qr_png=None, qr_expires_at=None, **NO_PROGRESS
    )


def record_session_change(*, bridge: Bridge, event: SessionChanged) -> WhatsAppSession:
    """Record a status event of the bridge. An event older than the recorded status changes nothing."""
    session = register_session(bridge=bridge, name=event.session, phone=event.phone or "", status_at=event.at)
    session.bridge = bridge
    state = SessionState(
        name=event.session,
        status=event.status,
        phone=event.phone,
        display_name=event.name,
        qr_png=event.qr_png,
        limits=event.restrictions or None,
    )
    return record_session_state(session=session, state=state, reason=event.code, at=event.at)


def record_session_state(
    *, session: WhatsAppSession, state: SessionState, reason: str = "", at: datetime | None = None
) -> WhatsAppSession:
    """Record a session's status, phone and QR code as the bridge reports them. Safe to run twice and out of order.

    A number that was stopped stays so until a person restarts it.
    A session that a person ended stays ended whatever the bridge reports; only a person connects it again. The reason
    why a session ended, and the status `logged_out`, stay until it is linked again (`_keeps_reason`).
    """
    now = timezone.now()
    at = min(at or now, now)
    reason = reason or state.reason
    if state.limits:
        record_limits(session, state.limits, at=at)
    if state.status == Link.FAILED:
        state, reason = replace(state, status=Link.DISCONNECTED), reason or FAILED
    changes: dict[str, Any] = {"status": state.status.value, "status_reason": reason[:200], "status_changed_at": at}
    changes |= progress_of(bridge=session.bridge, status=state.status, reason=reason, at=at)
    if state.status != Link.CONNECTED and reason != DELETED_BY_US:
        changes["status_reason"] = Case(
            When(_keeps_reason(reason), then=F("status_reason")), default=Value(changes["status_reason"])
        )
    if state.status == Link.DISCONNECTED and reason not in FINAL_REASONS:
        logged_out = Q(status=Link.LOGGED_OUT.value)
        changes["status"] = Case(When(logged_out, then=F("status")), default=Value(changes["status"]))
    if state.phone:
        changes["phone"] = state.phone
    if state.display_name:
        changes["display_name"] = state.display_name[:200]
    changes["qr_png"] = state.qr_png if state.status == Link.QR_WAITING else None
    changes["qr_expires_at"] = state.qr_expires_at if state.status == Link.QR_WAITING else None
    if state.status == Link.CONNECTED:
        is_connected = Q(status=Link.CONNECTED.value)
        changes["catch_up_at"] = Case(When(is_connected, then=F("catch_up_at")), default=Value(None))
        changes["linked_at"] = session.linked_at or state.connected_at or at
    not_newer = Q(status_changed_at=None) | Q(status_changed_at__lte=at)
    if state.status == Link.CONNECTED:
        not_newer &= ~Q(status_reason=REPEATING)
    WhatsAppSession.objects.filter(not_newer, pk=session.pk).update(**changes)
    session.refresh_from_db()
    return session


def _keeps_reason(reason: str) -> Q:
    """Return the condition under which a session that is not connected keeps its present reason."""
    if reason in FINAL_REASONS:
        return Q(status_reason=REPEATING)
    final = Q(status_reason__in=FINAL_REASONS)
    has_cause = final if reason not in WEAK_REASONS else ~Q(status_reason__in=WEAK_REASONS)
    if reason == "":
        has_cause |= Q(status_reason=UNKNOWN_TO_BRIDGE, status=Link.DISCONNECTED.value)
    return has_cause & ~Q(status_reason=KEY_REFUSED)


def record_key_refused(bridge: Bridge) -> None:
    """Mark the sessions of a bridge as disconnected. `sync_due_bridges` updates them when the key is accepted again."""
    now = timezone.now()
    sessions = WhatsAppSession.objects.live().filter(bridge=bridge, status=WhatsAppSession.Status.CONNECTED)
    sessions.update(status=WhatsAppSession.Status.DISCONNECTED, status_reason=KEY_REFUSED, status_changed_at=now)
    Bridge.objects.filter(pk=bridge.pk).update(synced_at=now - timedelta(seconds=SYNC_INTERVAL_S - KEY_RETRY_S))


def start_session(
    *,
    name: str,
    bridge: Bridge | None = None,
    agent_profile: AgentProfile | None = None,
    user: User | None = None,
) -> WhatsAppSession:
    """Start linking a number: create a session at the bridge, which may ask for a QR code to be scanned.

    The name of an ended session reactivates it, if `user` may see it. `user` becomes a member.
    Raises SessionExists, BridgeFailed or NotSupportedByBridge, and then changes nothing.
    """
    bridge = bridge or Bridge.objects.get(slug=Bridge.DEFAULT)
    if WhatsAppSession.objects.live().filter(bridge=bridge, name=name).exists():
        raise SessionExists(
            _("The number %(name)s exists already at the bridge %(slug)s.") % {"name": name, "slug": bridge.slug}
        )
    ended = WhatsAppSession.objects.filter(bridge=bridge, name=name)
    if user is not None and ended.exists() and not ended.visible_to(user).exists():
        raise SessionExists(
            _("The name %(name)s belonged to a number that you are not a member of. Choose another name.")
            % {"name": name}
        )
    adapter = adapter_for(bridge)
    postgres.release()
    try:
        state = call_bridge(bridge, adapter.start_session(name=name, webhook=webhook_target(bridge)))
    except Refused as exc:
        if exc.code == "already_exists":
            raise SessionExists(
                _("The bridge already has a number %(name)s. Run `manage.py sync_sessions`, then connect it.")
                % {"name": name}
            ) from exc
        raise BridgeFailed(str(exc)) from exc
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    with transaction.atomic():
        FormerName.objects.filter(bridge=bridge, name=name).delete()
        session, is_new = WhatsAppSession.objects.select_for_update(of=["self"]).get_or_create(
            bridge=bridge, name=name, defaults={"agent_profile": agent_profile or default_profile()}
        )
        # An event may arrive before the bridge's response and create the session, but without members.
        if not is_new and session.ended_at is None and session.memberships.exists():
            raise SessionExists(
                _("The number %(name)s was started by another request at the same time.") % {"name": name}
            )
        anew = {"ended_at": None, "linked_at": None, "status_changed_at": None, "status_reason": ""} | NO_PROGRESS
        profile = agent_profile or session.agent_profile
        WhatsAppSession.objects.filter(pk=session.pk).update(
            status=WhatsAppSession.Status.INITIALIZING, agent_profile=profile, **anew
        )
        session.refresh_from_db()
        if user is not None:
            Membership.objects.get_or_create(session=session, user=user)
        return record_session_state(session=session, state=state)


def refresh_session(session: WhatsAppSession) -> WhatsAppSession:
    """Ask the bridge for the session's status and QR code, and record them. Raises BridgeFailed."""
    postgres.release()
    asked_at = timezone.now()  # an event received meanwhile is newer than the response
    try:
        state = call_bridge(session.bridge, adapter_for(session.bridge).session_state(name=session.name))
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    reason = "" if state else UNKNOWN_TO_BRIDGE
    return record_session_state(session=session, state=state or _gone(session.name), reason=reason, at=asked_at)


def with_current_qr(session: WhatsAppSession) -> WhatsAppSession:
    """Return the session with its current status and, while it waits for a scan, a QR code that is still valid.

    Asks the bridge, because not every bridge sends an event when the code is scanned. Raises BridgeFailed if the bridge
    does not answer and the stored code has expired.
    """
    is_waiting = session.status in WAITING
    if session.ended_at is not None or not is_waiting:
        return session
    try:
        return refresh_session(session)
    except BridgeFailed:
        if current_qr(session) is None:
            raise
        return session


def current_qr(session: WhatsAppSession) -> bytes | None:
    """Return the QR code as a PNG; None if there is none or it has expired."""
    if session.qr_png is None or session.status != WhatsAppSession.Status.QR_WAITING:
        return None
    has_expired = session.qr_expires_at is not None and session.qr_expires_at <= timezone.now()
    return None if has_expired else bytes(session.qr_png)


def request_pairing_code(session: WhatsAppSession, *, phone: str) -> PairingCode:
    """Return the code to type on the phone that has the number, instead of scanning. It is neither stored nor logged.

    Raises NotSupportedByBridge, InvalidPhone, BridgeFailed, or Conflict unless the number is being linked.
    """
    number = bridges.phone_to_pair(session.bridge, phone)
    session = session if session.ended_at else refresh_session(session)
    if session.ended_at or session.status not in WAITING:
        is_linked = session.status == Link.CONNECTED
        raise Conflict(_("The number is linked already.") if is_linked else _("Connect the number again first."))
    adapter, webhook = adapter_for(session.bridge), webhook_target(session.bridge)
    try:
        steps = adapter.request_pairing_code(name=session.name, phone=number, webhook=webhook)
        code = call_bridge(session.bridge, steps)
    except BridgeError as exc:
        raise (NotSupportedByBridge if exc.code == NOT_SUPPORTED else BridgeFailed)(str(exc)) from exc
    now = timezone.now()
    WhatsAppSession.objects.filter(pk=session.pk).update(linking_since=Coalesce("linking_since", Value(now)))
    return PairingCode(code, expires_at=now + adapter.pairing_code_ttl)


def _gone(name: str) -> SessionState:
    return SessionState(name=name, status=Link.DISCONNECTED)


def reconnect_session(session: WhatsAppSession) -> WhatsAppSession:
    """Link a session again if it is disconnected or unknown to the bridge; otherwise refresh its status.

    Raises BridgeFailed.
    """
    postgres.release()
    adapter = adapter_for(session.bridge)
    is_new = False
    try:
        with restarting(session):
            state = call_bridge(session.bridge, adapter.session_state(name=session.name))
            if state is None or state.status in {Link.DISCONNECTED, Link.LOGGED_OUT, Link.FAILED}:
                if state is not None:
                    call_bridge(session.bridge, adapter.delete_session(name=session.name))
                webhook = webhook_target(session.bridge)
                state = call_bridge(session.bridge, adapter.start_session(name=session.name, webhook=webhook))
                is_new = True
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    row = WhatsAppSession.objects.filter(pk=session.pk)
    if is_new:
        row.link_anew()
    row.update(ended_at=None, status_changed_at=None)
    return record_session_state(session=session, state=state)


def restart_session(session: WhatsAppSession) -> WhatsAppSession:
    """Restart the session at the bridge. Raises NotSupportedByBridge or BridgeFailed."""
    adapter = adapter_for(session.bridge)
    if Capability.RESTART not in adapter.capabilities:
        raise NotSupportedByBridge(_("The bridge %(slug)s cannot restart a number.") % {"slug": session.bridge.slug})
    postgres.release()
    asked_at = timezone.now()  # an event received meanwhile is newer than the response
    try:
        with restarting(session):
            state = call_bridge(session.bridge, adapter.restart_session(name=session.name))
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    WhatsAppSession.objects.filter(pk=session.pk).link_anew()
    return record_session_state(session=session, state=state, at=asked_at)


def logout_session(session: WhatsAppSession) -> WhatsAppSession:
    """Log the session out of WhatsApp. Raises NotSupportedByBridge or BridgeFailed."""
    adapter = adapter_for(session.bridge)
    if Capability.LOGOUT not in adapter.capabilities:
        raise NotSupportedByBridge(
            _("The bridge %(slug)s cannot log out. Remove the device on the phone, then end the number here.")
            % {"slug": session.bridge.slug}
        )
    postgres.release()
    try:
        call_bridge(session.bridge, adapter.logout_session(name=session.name))
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    return record_session_state(
        session=session, state=SessionState(name=session.name, status=Link.LOGGED_OUT), reason=LOGGED_OUT_BY_US
    )


def end_session(session: WhatsAppSession) -> WhatsAppSession:
    """Delete the session at the bridge and end ours; its messages stay. Raises BridgeFailed."""
    postgres.release()
    try:
        call_bridge(session.bridge, adapter_for(session.bridge).delete_session(name=session.name))
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    state = SessionState(name=session.name, status=Link.LOGGED_OUT)
    session = record_session_state(session=session, state=state, reason=DELETED_BY_US)
    session.ended_at = timezone.now()
    session.save(update_fields=["ended_at"])
    return session


def move_session(session: WhatsAppSession, *, to: Bridge, name: str = "") -> WhatsAppSession:
    """Move a number to another bridge, under `name` if it has another one there; contacts and conversations stay.

    It is not linked there yet, unless the bridge says so. The link at the old bridge is not touched: log it out there.
    What comes from there under the old name is ignored from now on.
    Raises SessionExists if the other bridge has a session of this name.
    """
    name = name or session.name
    try:
        with transaction.atomic():
            former = WhatsAppSession.objects.select_for_update(of=["self"]).get(pk=session.pk)
            names = FormerName.objects
            names.update_or_create(bridge_id=former.bridge_id, name=former.name, defaults={"session": session})
            names.filter(bridge=to, name=name).delete()
            WhatsAppSession.objects.filter(pk=session.pk).update(
                bridge=to,
                name=name,
                status=WhatsAppSession.Status.DISCONNECTED,
                status_reason="",
                status_changed_at=None,
                ended_at=None,
                account_limits={},
                caught_up_until=timezone.now() + OVERLAP,  # the other bridge may name the same messages otherwise
                catching_up_at=None,
                catching_up_until=None,
                **NO_PROGRESS,
            )
    except IntegrityError as exc:
        raise SessionExists(
            _("The bridge %(slug)s has a number %(name)s already.") % {"slug": to.slug, "name": name}
        ) from exc
    session.refresh_from_db()
    return session
