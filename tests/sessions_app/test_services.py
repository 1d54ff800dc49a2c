"""Linking numbers: what the bridge says is followed, and its failures leave nothing half made."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agent.bridges.base import SessionState
from agent.bridges.events import Link, SessionChanged
from agent.bridges.exchange import without_request
from agent.bridges.zapw import ZapwBridge
from messaging.models import Message
from sessions_app.links.reconciliation import sync_bridge, sync_due_bridges
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from sessions_app.profiles import create_profile
from sessions_app.services import (
    KEY_REFUSED,
    KEY_RETRY_S,
    SYNC_INTERVAL_S,
    NumberMoved,
    default_profile,
    end_session,
    ensure_default_bridges,
    logout_session,
    move_session,
    reconnect_session,
    record_key_refused,
    record_session_change,
    refresh_session,
    register_session,
    restart_session,
    start_session,
)
from tests.support.fake_zapw import FakeZapw
from whatsapp_agent.errors import BridgeFailed, NotSupportedByBridge, SessionExists


@pytest.fixture
def zapw(bridge) -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        bridge.base_url, bridge.api_key = fake.url, fake.api_key
        bridge.save()
        yield fake


def test_linking_returns_a_qr_code_and_its_expiry(zapw):
    session = start_session(name="sales")
    assert session.status == "qr_waiting"
    assert bytes(session.qr_png).startswith(b"\x89PNG")
    assert session.qr_expires_at > timezone.now()


def test_a_scanned_code_connects_the_session_and_stores_phone_and_time(zapw):
    session = start_session(name="sales")
    zapw.scan("sales", phone="5511999990000", name="Loja Azul")
    session = refresh_session(session)
    assert (session.status, session.phone, session.display_name) == ("connected", "+5511999990000", "Loja Azul")
    assert session.linked_at is not None
    assert session.qr_png is None


@pytest.mark.parametrize("outcome", ["error_500", "drop_before", "hang", "nonsense"])
def test_a_bridge_that_fails_leaves_no_session(zapw, settings, outcome):
    settings.BRIDGE_TIMEOUT_S = 0.5 if outcome == "hang" else 20.0
    zapw.fail(outcome, call="start")
    with pytest.raises(BridgeFailed):
        start_session(name="sales")
    assert not WhatsAppSession.objects.exists()


def test_a_name_that_is_taken_is_refused(zapw):
    start_session(name="sales")
    with pytest.raises(SessionExists):
        start_session(name="sales")


def test_the_error_for_a_name_that_only_the_bridge_has_names_the_remedy(zapw):
    zapw.add_session("sales", phone="5511999990000")
    with pytest.raises(SessionExists, match="sync_sessions"):
        start_session(name="sales")


def test_a_deleted_session_keeps_its_record_and_messages(zapw, session, says):
    zapw.add_session("sales", phone="5511999990000")
    says("Hello")
    session = end_session(session)
    assert session.ended_at is not None
    assert Message.objects.count() == 1
    assert sync_bridge(session.bridge) == {"added": [], "updated": [], "missing": []}


def test_linking_the_name_of_an_ended_session_reactivates_it(zapw, session, says):
    zapw.add_session("sales", phone="5511999990000")
    says("Hello")
    end_session(session)
    again = start_session(name="sales")
    assert (again.pk, again.ended_at, again.status) == (session.pk, None, "qr_waiting")


def test_an_action_that_zapw_does_not_support_is_refused_without_a_request(zapw, session):
    for act in (restart_session, logout_session):
        with pytest.raises(NotSupportedByBridge):
            act(session)


def test_a_session_that_lost_its_link_can_be_linked_again(zapw, session):
    zapw.add_session("sales", phone="5511999990000", status="disconnected")
    assert reconnect_session(session).status == "qr_waiting"


def test_reconciling_stores_the_sessions_of_the_bridge(zapw, session):
    zapw.add_session("support", phone="5511900001111")
    assert sync_bridge(session.bridge) == {"added": ["support"], "updated": [], "missing": ["sales"]}
    assert WhatsAppSession.objects.get(name="support").status == "connected"
    assert WhatsAppSession.objects.get(name="sales").status == "disconnected"


def test_an_unreachable_bridge_changes_no_session(zapw, session):
    zapw.fail("error_500", call="list")
    with pytest.raises(BridgeFailed):
        sync_bridge(session.bridge)
    sync_due_bridges()
    assert WhatsAppSession.objects.get().status == "connected"


def test_concurrent_processes_reconcile_a_bridge_once_a_minute(zapw, session):
    zapw.add_session("sales", phone="5511999990000")
    sync_due_bridges()
    synced_at = Bridge.objects.get(slug="default").synced_at
    sync_due_bridges()
    assert Bridge.objects.get(slug="default").synced_at == synced_at


@pytest.mark.parametrize(("status", "code"), [(Link.LOGGED_OUT, "401"), (Link.DISCONNECTED, "408")])
def test_a_lost_link_is_recorded_with_its_reason(session, status, code):
    record_session_change(bridge=session.bridge, event=SessionChanged(session="sales", status=status, code=code))
    session.refresh_from_db()
    assert (session.status, session.status_reason) == (status.value, code)


def test_an_event_older_than_the_recorded_status_changes_nothing(session):
    now = timezone.now()
    bridge = session.bridge
    record_session_change(bridge=bridge, event=SessionChanged(session="sales", status=Link.LOGGED_OUT, at=now))
    late = SessionChanged(session="sales", status=Link.CONNECTED, at=now - timedelta(minutes=1))
    record_session_change(bridge=bridge, event=late)
    session.refresh_from_db()
    assert session.status == "logged_out"


def test_the_default_bridge_is_set_from_the_environment(db, settings):
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "zapw", "http://127.0.0.1:9", "key"
    ensure_default_bridges()
    settings.WHATSAPP_API_KEY = "another key"
    ensure_default_bridges()
    bridge = Bridge.objects.get(slug="default")
    assert (bridge.kind, bridge.api_key) == ("zapw", "another key")
    assert Bridge.objects.get(slug="simulator").kind == "simulator"


def test_credentials_are_not_readable_in_the_database(bridge):
    bridge.api_key = "a-very-secret-key"
    bridge.save()
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key, webhook_secret FROM sessions_app_bridge WHERE slug = 'default'")
        stored = "".join(cursor.fetchone())
    assert "a-very-secret-key" not in stored
    assert bridge.webhook_secret not in stored


def test_there_is_one_default_profile(db):
    assert default_profile() == default_profile()


def test_a_session_whose_first_event_is_its_end_is_not_connected(bridge, profile):
    before = timezone.now() - timedelta(seconds=2)
    event = SessionChanged(session="new", status=Link.DISCONNECTED, code="408", at=before)
    assert record_session_change(bridge=bridge, event=event).status == "disconnected"


def test_a_response_requested_before_an_event_does_not_overwrite_it(bridge, session, monkeypatch):
    def slow_list(_adapter):
        states = [SessionState(name=session.name, status=Link.CONNECTING)]
        record_session_change(
            bridge=bridge, event=SessionChanged(session=session.name, status=Link.CONNECTED, at=timezone.now())
        )
        return without_request(states)

    monkeypatch.setattr(ZapwBridge, "list_sessions", slow_list)
    sync_bridge(bridge)
    session.refresh_from_db()
    assert session.status == "connected"


def test_without_a_default_profile_the_oldest_is_used(bridge, profile):
    AgentProfile.objects.update(is_default=False)
    AgentProfile.objects.create(name="Second")
    assert default_profile() == profile


def test_a_session_that_staff_ended_stays_ended_when_the_bridge_reports_it(zapw, says):
    zapw.add_session("sales", phone="5511999990000")
    WhatsAppSession.objects.update(ended_at=timezone.now(), status="logged_out", status_changed_at=None)
    record_session_change(bridge=Bridge.objects.get(slug="default"), event=SessionChanged("sales", Link.CONNECTED))
    sync_bridge(Bridge.objects.get(slug="default"))
    assert WhatsAppSession.objects.get().ended_at is not None
    assert says("Hello").due_at is None
    assert reconnect_session(WhatsAppSession.objects.get()).ended_at is None


CAUSES = [(Link.LOGGED_OUT, "401"), (Link.DISCONNECTED, "403"), (Link.DISCONNECTED, "440"), (Link.DISCONNECTED, "408")]


@pytest.mark.parametrize(("status", "code"), CAUSES)
def test_the_reason_of_an_ended_session_survives_reconciliation(zapw, session, status, code):
    event = SessionChanged(session="sales", status=status, code=code)
    record_session_change(bridge=session.bridge, event=event)

    zapw.add_session("sales", phone="5511999990000", status="disconnected")
    assert sync_bridge(session.bridge)["updated"] == []
    refresh_session(session)
    zapw.sessions.clear()
    assert sync_bridge(session.bridge)["missing"] == []
    record_session_change(
        bridge=session.bridge, event=SessionChanged(session="sales", status=Link.DISCONNECTED, code="not connected")
    )

    session.refresh_from_db()
    assert (session.status, session.status_reason) == (status.value, code)


@pytest.mark.parametrize(("status", "code"), CAUSES)
def test_linking_a_session_again_clears_the_reason_of_its_end(zapw, session, status, code):
    record_session_change(bridge=session.bridge, event=SessionChanged(session="sales", status=status, code=code))

    zapw.add_session("sales", phone="5511999990000", status="disconnected")
    assert reconnect_session(session).status_reason == code  # the code to scan is shown, nothing is linked yet
    zapw.scan("sales", phone="5511999990000", name="Loja Azul")
    session = refresh_session(session)

    assert (session.status, session.status_reason) == ("connected", "")


def test_a_final_reason_is_replaced_only_by_another_final_reason(session):
    for code in ("428", "440", "428", "503"):
        event = SessionChanged(session="sales", status=Link.DISCONNECTED, code=code)
        record_session_change(bridge=session.bridge, event=event)
    session.refresh_from_db()
    assert session.status_reason == "440"

    record_session_change(
        bridge=session.bridge, event=SessionChanged(session="sales", status=Link.LOGGED_OUT, code="401")
    )
    session.refresh_from_db()
    assert (session.status, session.status_reason) == ("logged_out", "401")


def test_a_refused_key_disconnects_the_sessions_until_the_key_is_accepted(zapw, session):
    zapw.add_session("sales", phone="5511999990000")
    key, zapw.api_key = zapw.api_key, "another key"

    sync_due_bridges()
    session.refresh_from_db()
    assert (session.status, session.status_reason) == ("disconnected", KEY_REFUSED)

    zapw.api_key = key
    Bridge.objects.update(synced_at=timezone.now() - timedelta(seconds=SYNC_INTERVAL_S))
    sync_due_bridges()
    session.refresh_from_db()
    assert (session.status, session.status_reason) == ("connected", "")


def test_a_bridge_that_refused_the_key_is_reconciled_sooner(zapw, session):
    zapw.api_key = "another key"
    sync_due_bridges()
    due_again_in = Bridge.objects.get(slug="default").synced_at + timedelta(seconds=SYNC_INTERVAL_S) - timezone.now()
    assert due_again_in <= timedelta(seconds=KEY_RETRY_S)


def test_a_session_that_ended_while_the_key_was_refused_gets_its_new_status(zapw, session):
    zapw.add_session("sales", phone="5511999990000", status="disconnected")
    record_key_refused(session.bridge)

    sync_bridge(session.bridge)

    session.refresh_from_db()
    assert (session.status, session.status_reason) == ("disconnected", "")


def test_a_missing_webhook_secret_is_generated_once(db, settings, client):
    Bridge.objects.all().delete()
    settings.WHATSAPP_WEBHOOK_SECRET = ""
    ensure_default_bridges()
    secret = Bridge.objects.get(slug="default").webhook_secret
    ensure_default_bridges()

    assert Bridge.objects.get(slug="default").webhook_secret == secret
    assert len(secret) > 30
    assert Bridge.objects.get(slug="simulator").webhook_secret != secret
    assert client.post(f"/api/v1/webhooks/default/{secret}/", b"[]", content_type="application/json").status_code == 200
    assert client.post("/api/v1/webhooks/default/", b"[]", content_type="application/json").status_code == 401


def test_a_configured_webhook_secret_replaces_the_generated_one(db, settings):
    configured, settings.WHATSAPP_WEBHOOK_SECRET = settings.WHATSAPP_WEBHOOK_SECRET, ""
    ensure_default_bridges()
    settings.WHATSAPP_WEBHOOK_SECRET = configured
    ensure_default_bridges()

    assert Bridge.objects.get(slug="default").webhook_secret == configured


def test_a_new_profile_has_a_fallback_text(db):
    assert AgentProfile.objects.create(name="Another").fallback_text
    assert create_profile(name="A third").fallback_text
    AgentProfile.objects.all().delete()
    assert default_profile().fallback_text


def test_a_session_without_a_time_zone_uses_the_setting(session, settings):
    settings.TIME_ZONE = "Asia/Kolkata"
    assert session.zone.key == "Asia/Kolkata"
    session.time_zone = "America/Sao_Paulo"
    assert session.zone.key == "America/Sao_Paulo"


@pytest.mark.parametrize(
    ("reported", "is_other"),
    [("+5511999990000", False), ("+551199990000", False), ("+5531999990000", True)],
)
def test_a_moved_number_is_known_at_its_old_bridge_in_every_spelling(
    bridge: Bridge, session: Any, reported: str, is_other: bool
):
    WhatsAppSession.objects.filter(pk=session.pk).update(phone="+551199990000")
    session.refresh_from_db()
    move_session(session, to=Bridge.objects.create(slug="new", kind="waha"))

    with nullcontext() if is_other else pytest.raises(NumberMoved):
        register_session(bridge=bridge, name=session.name, phone=reported)
    assert WhatsAppSession.objects.filter(bridge=bridge).exists() is is_other
