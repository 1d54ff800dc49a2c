"""A number that cannot be linked says so after a minute, with what can be done."""

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.urls import reverse
from django.utils import timezone

from agent.bridges.events import Link, SessionChanged
from messaging.inbound import receive_message
from sessions_app.links.problems import LinkProblemCode, link_problem
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import record_session_change
from tests.conftest import as_user, message_event
from tests.support.bridges.fake_waha import FakeWaha

PASSKEY = LinkProblemCode.PASSKEY_REQUIRED
SCANNED = LinkProblemCode.SCAN_LED_NOWHERE
NOT_LINKED = LinkProblemCode.NOT_LINKED
QR, CONNECTING, CONNECTED, FAILED = Link.QR_WAITING, Link.CONNECTING, Link.CONNECTED, Link.FAILED
STARTED = Link.INITIALIZING


@pytest.fixture
def waha(bridge: Bridge) -> Bridge:
    Bridge.objects.filter(pk=bridge.pk).update(kind="waha", base_url="http://127.0.0.1:9")
    bridge.refresh_from_db()
    return bridge


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def follow(bridge: Bridge, *changes: tuple[float, Link, str]) -> WhatsAppSession:
    """Record what a bridge reported so many seconds ago; return the session."""
    for seconds, status, code in changes:
        event = SessionChanged("shop", status, code=code, at=ago(seconds))
        session = record_session_change(bridge=bridge, event=event)
    return WhatsAppSession.objects.get(pk=session.pk)


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        ("waha", [(70, STARTED, ""), (62, QR, "")], NOT_LINKED),
        ("waha", [(90, QR, ""), (50, QR, ""), (10, QR, "")], NOT_LINKED),  # new codes do not begin the minute anew
        ("waha", [(100, QR, ""), (65, CONNECTING, "")], SCANNED),
        ("waha", [(100, QR, ""), (65, CONNECTING, ""), (30, QR, "")], SCANNED),  # a new code follows the scan
        ("waha", [(10, QR, ""), (5, QR, "passkey_required")], PASSKEY),
        ("waha", [(10, QR, ""), (5, QR, "passkey_confirmation"), (1, QR, "")], PASSKEY),
        ("waha", [(80, QR, ""), (10, FAILED, "")], NOT_LINKED),  # no code waits any more; it still says why
        ("evolution", [(70, QR, ""), (40, CONNECTING, ""), (1, QR, "")], NOT_LINKED),  # between two codes
        ("zapw", [(70, QR, ""), (65, CONNECTING, "")], NOT_LINKED),
    ],
)
def test_linking_that_leads_nowhere_for_a_minute_has_a_problem(
    bridge: Bridge, profile: Any, kind: str, changes: Any, code: LinkProblemCode
) -> None:
    Bridge.objects.filter(pk=bridge.pk).update(kind=kind)
    bridge.refresh_from_db()
    problem = link_problem(follow(bridge, (110, STARTED, ""), *changes))
    assert problem is not None
    assert problem.code == code
    assert "passkey" in str(problem.detail)
    assert "Remove the passkey" in str(problem.remedy)
    assert ("GOWS" in str(problem.remedy)) == (kind == "waha")


@pytest.mark.parametrize(
    "changes",
    [
        [(50, QR, "")],
        [(100, QR, ""), (30, CONNECTING, "")],  # scanned just now: the minute counts from the scan
        [(100, QR, ""), (70, CONNECTING, ""), (1, CONNECTED, "")],
        [(100, QR, "passkey_required"), (1, CONNECTED, "")],
        [(500, CONNECTED, ""), (300, CONNECTING, "")],  # it reconnects: nobody links it
    ],
)
def test_linking_that_has_just_begun_or_has_succeeded_has_no_problem(waha: Bridge, profile: Any, changes: Any) -> None:
    assert link_problem(follow(waha, (600, STARTED, ""), *changes)) is None


def test_an_event_that_comes_late_does_not_bring_a_problem_back(waha: Bridge, profile: Any) -> None:
    follow(waha, (100, STARTED, ""), (90, QR, ""), (5, CONNECTED, ""))
    assert link_problem(follow(waha, (70, QR, "passkey_required"))) is None


def test_linking_again_forgets_what_went_wrong_before(bridge: Bridge, profile: Any, admin: Any) -> None:
    with FakeWaha() as fake:
        Bridge.objects.filter(pk=bridge.pk).update(kind="waha", base_url=fake.url, api_key=fake.api_key)
        bridge.refresh_from_db()
        session = follow(bridge, (200, STARTED, ""), (190, QR, "passkey_required"), (70, FAILED, ""))
        assert link_problem(session) is not None
        answer = as_user(admin).post(f"/api/v1/sessions/{session.pk}/connect/")
    assert (answer.json()["status"], answer.json()["link_problem"]) == ("connecting", None)


@pytest.mark.parametrize("again", ["restart", "setup"])
def test_a_code_that_waited_before_a_restart_was_not_scanned(
    bridge: Bridge, profile: Any, admin: Any, settings: Any, again: str
) -> None:
    settings.PUBLIC_URL = "https://agent.example"
    with FakeWaha() as fake:
        Bridge.objects.filter(pk=bridge.pk).update(kind="waha", base_url=fake.url, api_key=fake.api_key)
        bridge.refresh_from_db()
        fake.add_session("shop", status="SCAN_QR_CODE")
        session = follow(bridge, (200, STARTED, ""), (100, QR, ""))
        path = f"sessions/{session.pk}/restart" if again == "restart" else f"bridges/{bridge.slug}/setup"
        assert as_user(admin).post(f"/api/v1/{path}/", format="json").status_code == 200
    session = follow(bridge, (0, CONNECTING, ""))  # WAHA's STARTING
    assert (session.status, session.scanned_at, session.linking_since) == ("connecting", None, None)


def test_a_restart_does_not_say_that_a_connected_number_waits(bridge: Bridge, session: WhatsAppSession) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).link_anew()
    session.refresh_from_db()
    assert session.status == "connected"


def test_a_message_that_proves_the_link_ends_the_linking(waha: Bridge, profile: Any) -> None:
    session = follow(waha, (200, STARTED, ""), (100, QR, ""), (90, CONNECTING, ""))
    for number in (1, 2):  # the first creates the contact
        receive_message(bridge=waha, event=message_event("Hi", number=number, session=session.name))
    session.refresh_from_db()
    assert (session.status, session.scanned_at, session.linking_since) == ("connected", None, None)


def test_the_api_says_why_a_number_is_not_linked(waha: Bridge, profile: Any, admin: Any) -> None:
    session = follow(waha, (200, STARTED, ""), (100, QR, ""))
    shown = as_user(admin).get(f"/api/v1/sessions/{session.pk}/").json()["link_problem"]
    assert shown["code"] == "not_linked"
    assert "was not linked within a minute" in shown["detail"]
    assert "take another number" in shown["remedy"]
    assert shown["since"] is not None


def test_the_answer_to_a_poll_for_the_code_names_the_demanded_passkey(bridge: Bridge, profile: Any, admin: Any) -> None:
    with FakeWaha() as fake:
        Bridge.objects.filter(pk=bridge.pk).update(kind="waha", base_url=fake.url, api_key=fake.api_key)
        bridge.refresh_from_db()
        session = follow(bridge, (5, STARTED, ""))
        fake.add_session("shop", status="PASSKEY_REQUIRED")
        shown = as_user(admin).get(f"/api/v1/sessions/{session.pk}/qr/").json()
    assert (shown["status"], shown["qr"], shown["link_problem"]["code"]) == ("qr_waiting", None, "passkey_required")


def test_the_page_of_a_number_says_what_is_wrong_and_what_can_be_done(
    waha: Bridge, profile: Any, admin: Any, log_in: Any
) -> None:
    session = follow(waha, (200, STARTED, ""), (100, QR, "passkey_required"))
    page = log_in(admin).get(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk])).content.decode()
    assert "demands a passkey of this account before it links" in page
    assert "Remove the passkey on the phone" in page
    assert "WhatsApp demands a passkey of this account (passkey_required)" in page


def test_the_page_of_a_number_whose_code_has_just_been_shown_speaks_of_no_passkey(
    waha: Bridge, profile: Any, admin: Any, log_in: Any
) -> None:
    session = follow(waha, (20, STARTED, ""), (10, QR, ""))
    page = log_in(admin).get(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk])).content.decode()
    assert "passkey" not in page


def test_link_session_says_once_that_a_passkey_is_demanded(bridge: Bridge, profile: Any, settings: Any) -> None:
    out, err = StringIO(), StringIO()
    with FakeWaha() as fake:
        settings.WHATSAPP_BRIDGE = "waha"
        settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = fake.url, fake.api_key
        fake.add_session("shop", status="PASSKEY_REQUIRED")
        follow(bridge, (5, STARTED, ""))
        with pytest.raises(CommandError, match="was not linked within"):
            call_command("link_session", "shop", timeout=2.5, stdout=out, stderr=err)
    assert err.getvalue().count("WhatsApp demands a passkey of this account") == 1
    assert "Remove the passkey on the phone" in err.getvalue()
