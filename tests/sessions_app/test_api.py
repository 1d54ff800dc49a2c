"""`sessions/` of the API, over the simulator."""

from datetime import timedelta
from unittest.mock import ANY

import pytest
from django.utils import timezone

from agent.bridges import simulator as simulator_module
from sessions_app.models import AgentProfile, WhatsAppSession
from sessions_app.serializers import SessionSerializer
from tests.conftest import as_user
from tests.support.background import BackgroundCall

URL = "/api/v1/sessions/"


@pytest.fixture
def linking(admin, simulator):
    """A session of the simulator that waits for its code to be scanned."""
    answer = as_user(admin).post(URL, {"name": "qr-shop", "bridge": "simulator"}, format="json")
    assert answer.status_code == 201, answer.json()
    return answer.json()


def test_linking_a_number_returns_a_qr_code(linking):
    assert linking["status"] == "qr_waiting"
    assert linking["qr"].startswith("data:image/png;base64,iVBOR")
    assert linking["qr_expires_at"] > timezone.now().isoformat()


def test_the_user_who_links_a_number_becomes_a_member(admin, linking):
    assert WhatsAppSession.objects.get().members.get() == admin


def test_a_session_can_be_linked_with_a_given_profile(admin, simulator):
    other = AgentProfile.objects.create(name="Other")
    body = {"name": "shop", "bridge": "simulator", "agent_profile": str(other.pk)}
    answer = as_user(admin).post(URL, body, format="json").json()
    assert (answer["agent_profile"], answer["agent_profile_name"]) == (str(other.pk), "Other")
    assert (answer["status"], answer["qr"]) == ("connected", None)


def test_a_name_in_use_is_a_conflict(admin, linking):
    answer = as_user(admin).post(URL, {"name": "qr-shop", "bridge": "simulator"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_exists")


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_for_one_name_link_it_once_and_the_others_conflict(admin, simulator):
    body = {"name": "shop", "bridge": "simulator"}
    calls = [BackgroundCall(lambda: as_user(admin).post(URL, body, format="json").status_code) for _ in range(8)]
    assert sorted(call.result() for call in calls) == [201, *[409] * 7]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "bridge": "unknown"}, "bridge"),
        ({"name": "x", "agent_profile": "nonsense"}, "agent_profile"),
        ({"name": "x", "agent_profile": "0190b3f0-0000-7000-8000-000000000000"}, "agent_profile"),
        ({"name": "x", "agent_profile": 10**400}, "agent_profile"),
        ({"name": "x", "nmae": "y"}, "nmae"),
    ],
)
def test_the_error_for_an_invalid_session_names_the_field(admin, simulator, body, field):
    answer = as_user(admin).post(URL, body, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


def test_a_bridge_that_cannot_be_reached_leaves_no_session_behind(admin, bridge):
    answer = as_user(admin).post(URL, {"name": "shop"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (502, "bridge_failed")
    assert not WhatsAppSession.objects.exists()


def test_the_qr_code_is_available_as_json_and_as_an_image(admin, linking):
    client = as_user(admin)
    shown = client.get(f"{URL}{linking['id']}/qr/").json()
    assert (shown["status"], shown["qr"]) == ("qr_waiting", linking["qr"])
    assert shown["qr_expires_at"] >= linking["qr_expires_at"]
    image = client.get(f"{URL}{linking['id']}/qr/", headers={"Accept": "image/png"})
    assert (image.headers["Content-Type"], image.content[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")


def test_an_expired_qr_code_is_refreshed(admin, linking):
    past = timezone.now() - timedelta(seconds=1)
    WhatsAppSession.objects.update(qr_expires_at=past)
    answer = as_user(admin).get(f"{URL}{linking['id']}/qr/").json()
    assert answer["qr"]
    assert answer["qr_expires_at"] > timezone.now().isoformat()


def test_reading_the_qr_code_notices_that_it_was_scanned(admin, linking, monkeypatch):
    monkeypatch.setattr(simulator_module, "SCANNED_AFTER_S", 0.0)
    answer = as_user(admin).get(f"{URL}{linking['id']}/qr/").json()
    assert (answer["status"], answer["qr"]) == ("connected", None)


def test_a_valid_qr_code_is_returned_even_if_the_bridge_does_not_answer(admin, session):
    WhatsAppSession.objects.update(
        status="qr_waiting", qr_png=b"\x89PNG", qr_expires_at=timezone.now() + timedelta(seconds=30)
    )
    assert as_user(admin).get(f"{URL}{session.pk}/qr/").json()["qr"]
    WhatsAppSession.objects.update(qr_expires_at=timezone.now() - timedelta(seconds=1))
    assert as_user(admin).get(f"{URL}{session.pk}/qr/").status_code == 502


def test_a_connected_session_has_no_qr_code(admin, session):
    answer = as_user(admin).get(f"{URL}{session.pk}/qr/")
    assert answer.json() == {"status": "connected", "qr": None, "qr_expires_at": None, "link_problem": None}
    image = as_user(admin).get(f"{URL}{session.pk}/qr/", headers={"Accept": "image/png"})
    assert (image.status_code, image.json()["code"]) == (409, "conflict")


def test_a_deleted_session_stays_in_the_database(admin, linking):
    assert as_user(admin).delete(f"{URL}{linking['id']}/").status_code == 204
    answer = as_user(admin).get(f"{URL}{linking['id']}/").json()
    assert (answer["status"], answer["ended_at"]) == ("logged_out", ANY)
    assert answer["ended_at"] is not None


def test_an_ended_session_can_be_connected_again(admin, linking):
    as_user(admin).delete(f"{URL}{linking['id']}/")
    answer = as_user(admin).post(f"{URL}{linking['id']}/connect/")
    assert answer.status_code == 200
    assert (answer.json()["ended_at"], answer.json()["status"]) == (None, "connected")


def test_restart_and_logout_reach_the_bridge(admin, linking):
    assert as_user(admin).post(f"{URL}{linking['id']}/restart/").status_code == 200
    answer = as_user(admin).post(f"{URL}{linking['id']}/logout/")
    assert (answer.status_code, answer.json()["status"]) == (200, "logged_out")


@pytest.mark.parametrize("pin", ["12345", "1234567", "12345a", "١٢٣٤٥٦", 123456.5, None])
def test_a_pin_has_six_digits(admin, session, pin):
    answer = as_user(admin).post(f"{URL}{session.pk}/register/", {"pin": pin}, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["pin"])


def test_a_number_is_registered_only_where_that_is_possible(admin, member, session):
    path = f"{URL}{session.pk}/register/"
    answer = as_user(admin).post(path, {"pin": "123456"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")
    assert as_user(member).post(path, {"pin": "123456"}, format="json").status_code == 403


def test_the_error_for_an_unsupported_action_names_it(admin, session):
    answer = as_user(admin).post(f"{URL}{session.pk}/logout/")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")


def test_profile_and_policy_can_be_changed_and_nothing_else(admin, session):
    client = as_user(admin)
    answer = client.patch(f"{URL}{session.pk}/", {"access_policy": "nobody"}, format="json")
    assert (answer.status_code, answer.json()["access_policy"]) == (200, "nobody")
    answer = client.patch(f"{URL}{session.pk}/", {"status": "disconnected"}, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["status"])
    assert client.put(f"{URL}{session.pk}/", {}, format="json").status_code == 405


def test_a_change_does_not_overwrite_a_concurrent_event_of_the_bridge(session):
    change = SessionSerializer(session, data={"access_policy": "listed"}, partial=True)
    WhatsAppSession.objects.update(status="disconnected")
    change.is_valid(raise_exception=True)
    change.save()
    session.refresh_from_db()
    assert (session.status, session.access_policy) == ("disconnected", "listed")


def test_members_see_their_sessions_and_strangers_none(member, stranger, session):
    assert [row["id"] for row in as_user(member).get(URL).json()["results"]] == [str(session.pk)]
    assert as_user(stranger).get(URL).json()["results"] == []


@pytest.mark.parametrize("path", ["", "qr/", "connect/", "restart/", "logout/"])
def test_a_session_of_others_is_not_found(stranger, session, path):
    client = as_user(stranger)
    call = client.get if path in {"", "qr/"} else client.post
    assert call(f"{URL}{session.pk}/{path}").status_code == 404


def test_an_anonymous_request_is_refused(session):
    assert as_user().get(URL).status_code == 401


def test_secrets_of_the_bridge_are_not_returned(admin, session):
    answer = as_user(admin).get(f"{URL}{session.pk}/").content.decode()
    assert session.bridge.webhook_secret not in answer


def test_the_api_returns_utc_whatever_time_zone_is_set(admin, session, settings):
    settings.TIME_ZONE = "Asia/Kolkata"
    WhatsAppSession.objects.update(linked_at="2026-11-20T20:00:00Z")
    answer = as_user(admin).get(f"{URL}{session.pk}/").json()
    assert answer["linked_at"] == "2026-11-20T20:00:00.000000Z"


@pytest.mark.parametrize(("given", "status"), [("Europe/Lisbon", 200), ("", 200), ("Brasilia", 400), ("UTC+3", 400)])
def test_the_time_zone_of_a_session_must_exist(admin, session, given, status):
    answer = as_user(admin).patch(f"{URL}{session.pk}/", {"time_zone": given}, format="json")
    assert answer.status_code == status
