"""Numbers of the Cloud API are taken off it, and put on it with their PIN."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from sessions_app.links.registration import register_number
from sessions_app.models import WhatsAppSession
from sessions_app.services import end_session, logout_session, reconnect_session, start_session
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.messaging.admin import LogIn
from whatsapp_agent.errors import BridgeFailed, Conflict

pytestmark = pytest.mark.django_db
PIN = "123456"


@pytest.fixture
def cloud(profile: Any) -> Iterator[FakeCloud]:
    with FakeCloud() as fake:
        fake.add_session(NUMBER, phone="5511999990000")
        yield fake


@pytest.fixture
def number(cloud: FakeCloud) -> WhatsAppSession:
    return start_session(name=NUMBER, bridge=connect_default_bridge("cloud", cloud))


def test_a_number_is_taken_off_the_cloud_api_and_put_back_with_its_pin(
    cloud: FakeCloud, number: WhatsAppSession
) -> None:
    number = logout_session(number)
    assert (number.status, number.status_reason) == ("logged_out", "logged out by us")
    assert cloud.requests[-1].path.endswith(f"/{NUMBER}/deregister")
    assert register_number(number, pin=PIN).status == "connected"
    (asked,) = [each.json() for each in cloud.requests if each.path.endswith("/register")]
    assert asked == {"messaging_product": "whatsapp", "pin": PIN}


def test_a_number_that_was_taken_off_can_be_looked_up_and_stays_off(cloud: FakeCloud, number: WhatsAppSession) -> None:
    number = reconnect_session(logout_session(number))
    assert number.status == "logged_out"


@pytest.mark.parametrize("act", [logout_session, lambda number: register_number(number, pin=PIN)])
@pytest.mark.parametrize("outcome", ["drop_after", "not_done"])
def test_a_call_that_was_not_clearly_done_changes_nothing_here_whatever_its_status(
    cloud: FakeCloud, number: WhatsAppSession, outcome: str, act: Any
) -> None:
    cloud.fail(outcome, call="any", times=1)
    with pytest.raises(BridgeFailed):
        act(number)
    assert WhatsAppSession.objects.get().status == "connected"


@pytest.mark.parametrize("outcome", ["pair_rate", "error_500", "token_expired"])
def test_metas_trace_of_a_failed_request_is_logged(
    cloud: FakeCloud, number: WhatsAppSession, outcome: str, caplog: Any
) -> None:
    cloud.fail(outcome, call="any", times=1)
    with pytest.raises(BridgeFailed):
        register_number(number, pin=PIN)
    (logged,) = [each.msg for each in caplog.records if "bridge_request_failed" in str(each.msg)]
    assert (logged["bridge"], logged["trace_id"]) == ("cloud", "A")


def test_another_pin_is_refused_with_metas_reason_and_never_logged(
    cloud: FakeCloud, number: WhatsAppSession, caplog: Any
) -> None:
    number = logout_session(number)
    with pytest.raises(BridgeFailed, match="PIN mismatch"):
        register_number(number, pin="654321")
    assert WhatsAppSession.objects.get().status == "logged_out"
    assert "654321" not in caplog.text


def test_a_number_that_has_ended_is_not_registered(cloud: FakeCloud, number: WhatsAppSession) -> None:
    with pytest.raises(Conflict):
        register_number(end_session(number), pin=PIN)


def test_a_number_is_registered_by_api(cloud: FakeCloud, number: WhatsAppSession, admin: User) -> None:
    logout_session(number)
    answer = as_user(admin).post(f"/api/v1/sessions/{number.pk}/register/", {"pin": PIN}, format="json")
    assert (answer.status_code, answer.json()["status"]) == (200, "connected")


def test_a_number_is_taken_off_and_registered_in_the_admin(
    cloud: FakeCloud, number: WhatsAppSession, admin: User, log_in: LogIn
) -> None:
    client, page = log_in(admin), reverse("admin:sessions_app_whatsappsession_change", args=[number.pk])
    assert "taken off the Cloud API" in client.get(page).content.decode()
    client.post(reverse("admin:session-act", args=[number.pk, "logout"]))
    assert "Register with the PIN" in client.get(page).content.decode()
    register = reverse("admin:session-act", args=[number.pk, "register"])
    assert "six digits" in client.post(register, {"pin": "12"}, follow=True).content.decode()
    client.post(register, {"pin": f" {PIN} "})
    assert WhatsAppSession.objects.get().status == "connected"


def test_only_who_may_link_numbers_registers_one(
    cloud: FakeCloud, number: WhatsAppSession, staff_member: User, stranger: User, log_in: LogIn
) -> None:
    register = reverse("admin:session-act", args=[number.pk, "register"])
    cloud.requests.clear()
    assert log_in(staff_member).post(register, {"pin": PIN}).status_code in {302, 403, 404}
    path = f"/api/v1/sessions/{number.pk}/register/"
    assert as_user(stranger).post(path, {"pin": PIN}, format="json").status_code in {403, 404}
    assert not cloud.requests
