"""Limits that WhatsApp sets on an account: stored as the bridge reports them, shown, and over when their time is."""

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from agent.inbox import process_webhook_request
from sessions_app.links.account_limits import account_limits, active_limits, record_limits
from sessions_app.links.reconciliation import sync_bridge
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.described import waha as waha_event
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.bridges.fake_waha import FakeWaha


@pytest.fixture
def waha(bridge: Bridge) -> Bridge:
    Bridge.objects.filter(pk=bridge.pk).update(kind="waha")
    bridge.refresh_from_db()
    return bridge


def report(bridge: Bridge, data: dict[str, Any], *, at: datetime | None = None) -> None:
    """Receive a status event of WAHA with a limit in it."""
    payload = {"name": "sales", "status": "WORKING", "statuses": [], "data": data}
    event = waha_event("session.status", payload, timestamp=int((at or timezone.now()).timestamp() * 1000))
    process_webhook_request(bridge=bridge, headers={}, body=json.dumps(event).encode())


def timelock(*, is_active: bool = True, hours: float = 5) -> dict[str, Any]:
    end = int((timezone.now() + timedelta(hours=hours)).timestamp())
    lock = {"enforcementType": "DEFAULT", "isActive": is_active, "timeEnforcementEnds": end if is_active else None}
    return {"reachoutTimelock": lock}


def capping(status: str, used: int = 1000) -> dict[str, Any]:
    return {"messageCapping": {"cappingStatus": status, "totalQuota": 1000, "usedQuota": used}}


def of(session: WhatsAppSession) -> dict[str, bool]:
    session.refresh_from_db()
    return {limit.kind: limit.is_active for limit in account_limits(session)}


def test_a_limit_that_waha_reports_is_stored_until_it_is_lifted(waha: Bridge, session: WhatsAppSession) -> None:
    report(waha, timelock())
    assert of(session) == {"timelock": True}
    assert session.status == "connected"
    report(waha, timelock(is_active=False))
    assert of(session) == {"timelock": False}


def test_two_limits_stand_side_by_side(waha: Bridge, session: WhatsAppSession) -> None:
    report(waha, timelock())
    report(waha, capping("CAPPED"))
    report(waha, capping("CAPPED"))  # twice
    assert of(session) == {"capping": True, "timelock": True}
    limit = active_limits(session)[0]
    assert (limit.used, limit.total, limit.status) == (1000, 1000, "CAPPED")


def test_a_limit_is_over_when_its_end_has_come(waha: Bridge, session: WhatsAppSession) -> None:
    report(waha, timelock(hours=-1))
    assert of(session) == {"timelock": False}


def test_a_late_report_does_not_replace_a_newer_one(waha: Bridge, session: WhatsAppSession) -> None:
    report(waha, timelock(is_active=False))
    report(waha, timelock(), at=timezone.now() - timedelta(minutes=3))
    assert of(session) == {"timelock": False}


def test_a_late_report_does_not_replace_one_that_was_confirmed_since(waha: Bridge, session: WhatsAppSession) -> None:
    since = timezone.now() - timedelta(minutes=5)
    lock = timelock()
    report(waha, lock, at=since)
    report(waha, lock)
    report(waha, timelock(is_active=False), at=timezone.now() - timedelta(minutes=3))
    assert of(session) == {"timelock": True}
    assert abs(active_limits(session)[0].reported_at - since) < timedelta(seconds=1)  # since when it stands so


def test_an_event_without_a_limit_changes_none(waha: Bridge, session: WhatsAppSession) -> None:
    report(waha, timelock())
    report(waha, {})
    assert of(session) == {"timelock": True}


def test_a_reconciliation_stores_the_limits_that_waha_lists(
    bridge: Bridge, session: WhatsAppSession, django_assert_max_num_queries: Any
) -> None:
    with FakeWaha() as fake:
        Bridge.objects.filter(pk=bridge.pk).update(kind="waha", base_url=fake.url, api_key=fake.api_key)
        bridge.refresh_from_db()
        fake.add_session("sales", phone="5511999990000")
        fake.sessions["sales"]["me"] |= timelock() | capping("FIRST_WARNING", used=640)
        sync_bridge(bridge)
        assert of(session) == {"capping": False, "timelock": True}
        since = session.account_limits["timelock"]["reported_at"]
        sync_bridge(bridge)
        session.refresh_from_db()
        assert session.account_limits["timelock"]["reported_at"] == since  # since when it stands so
        fake.sessions["sales"]["me"] |= {"reachoutTimelock": "nonsense"}
        sync_bridge(bridge)
    assert of(session) == {"capping": False, "timelock": True}
    assert session.status == "connected"


def test_a_number_whose_quality_meta_rates_low_is_limited(bridge: Bridge, profile: Any) -> None:
    with FakeCloud() as fake:
        Bridge.objects.filter(pk=bridge.pk).update(kind="cloud", base_url=fake.url, api_key=fake.api_key)
        bridge.refresh_from_db()
        fake.add_session(phone="5511999990000")
        session = WhatsAppSession.objects.create(bridge=bridge, name=NUMBER, agent_profile=profile, status="connected")
        sync_bridge(bridge)
        assert of(session) == {"quality": False}
        fake.sessions[NUMBER]["quality_rating"] = "RED"
        sync_bridge(bridge)
    assert of(session) == {"quality": True}


@pytest.mark.parametrize("field", ["account_update", "phone_number_quality_update"])
def test_an_event_about_the_account_has_the_bridge_asked_at_once(bridge: Bridge, field: str) -> None:
    Bridge.objects.filter(pk=bridge.pk).update(kind="cloud", signing_key="app-secret", synced_at=timezone.now())
    bridge = Bridge.objects.get(pk=bridge.pk)
    bridge.signing_key = "app-secret"
    change = {"field": field, "value": {"event": "ACCOUNT_RESTRICTION"}}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}).encode()
    proof = "sha256=" + hmac.new(b"app-secret", body, hashlib.sha256).hexdigest()
    counts = process_webhook_request(bridge=bridge, headers={"X-Hub-Signature-256": proof}, body=body)
    bridge.refresh_from_db()
    assert (counts["ignored"], bridge.synced_at) == (1, None)


def test_the_api_and_the_page_of_a_number_show_its_limits(
    waha: Bridge, session: WhatsAppSession, admin: Any, log_in: Any
) -> None:
    report(waha, capping("CAPPED"))
    shown = as_user(admin).get(f"/api/v1/sessions/{session.pk}/").json()["account_limits"]
    assert [(limit["kind"], limit["is_active"], limit["used"], limit["total"]) for limit in shown] == [
        ("capping", True, 1000, 1000)
    ]
    page = log_in(admin).get(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk])).content.decode()
    assert "its quota is used up" in page


def test_a_limit_of_a_kind_that_is_new_is_shown_by_its_name(session: WhatsAppSession) -> None:
    limit = {"kind": "broadcasts", "active": True, "until": None}
    record_limits(session, [limit], at=timezone.now())
    assert [str(each) for each in active_limits(session)] == ["WhatsApp limits this account: broadcasts."]
