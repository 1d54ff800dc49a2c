"""How a session is linked, described, listed and deleted at zapw."""

from datetime import UTC, datetime

import pytest

from agent.bridges.base import BridgeConfig
from agent.bridges.events import Link
from agent.bridges.exchange import BridgeError, Refused
from agent.bridges.zapw import ZapwBridge
from tests.support.bridges.live import LiveBridge


def test_a_session_is_linked_by_its_code(zapw, zapw_server):
    started = zapw.start_session(name="ops")
    zapw_server.scan("ops", phone="5511900001111", name="Ops")
    linked = zapw.session_state(name="ops")

    assert (started.status, linked.status) == (Link.QR_WAITING, Link.CONNECTED)
    assert started.qr_png.startswith(b"\x89PNG")
    assert started.qr_expires_at > datetime.now(UTC)
    assert (linked.phone, linked.display_name, linked.qr_png) == ("+5511900001111", "Ops", None)
    assert linked.connected_at <= datetime.now(UTC)


def test_an_expired_code_is_never_shown_and_the_next_call_has_a_new_one(zapw, zapw_server):
    zapw_server.qr_life_s = -1.0
    first = zapw.start_session(name="ops")
    zapw_server.qr_life_s = 60.0

    while_replaced = zapw.session_state(name="ops")
    replaced = zapw.session_state(name="ops")

    assert (while_replaced.status, while_replaced.qr_png) == (Link.CONNECTING, None)
    assert replaced.status == Link.QR_WAITING
    assert replaced.qr_png != first.qr_png


def test_a_session_that_exists_is_not_started_again(zapw):
    with pytest.raises(Refused) as caught:
        zapw.start_session(name="sales")

    assert caught.value.code == "already_exists"


def test_a_start_that_closes_at_once_has_failed_and_leaves_nothing(zapw, zapw_server):
    zapw_server.fail("answer", call="start", status=201, body='{"data": {"id": "ops", "status": "disconnected"}}')
    zapw_server.add_session("ops", status="disconnected")  # as the bridge keeps it

    with pytest.raises(BridgeError) as caught:
        zapw.start_session(name="ops")

    assert caught.value.code == "bridge_failure"
    assert "ops" not in zapw_server.sessions


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"data": {}}',
        '{"data": {"id": "ops"}}',
        '{"data": {"id": 7, "status": "connected"}}',
        '{"data": {"id": "ops", "status": "qr_waiting", "qrCode": "data:image/png;base64,!!!"}}',
        '{"data": {"id": "ops", "status": "qr_waiting", "qrCode": "data:image/png;base64,PHN2Zz4="}}',
        '{"data": {"id": "ops", "status": "qr_waiting", "qrCode": 7}}',
    ],
)
def test_a_session_described_in_nonsense_is_a_failure_of_the_bridge(zapw, zapw_server, body):
    zapw_server.fail("answer", call="any", status=200, body=body)

    for ask in (lambda: zapw.start_session(name="ops"), lambda: zapw.session_state(name="ops")):
        with pytest.raises(BridgeError) as caught:
            ask()
        assert (type(caught.value), caught.value.code) == (BridgeError, "bridge_failure")


def test_a_status_of_the_future_is_not_taken_for_connected(zapw, zapw_server):
    zapw_server.add_session("ops", status="levitating")

    assert zapw.session_state(name="ops").status == Link.DISCONNECTED


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("error_500", "bridge_failure"), ("drop_before", "bridge_failure"), ("rate_limited", "rate_limited")],
)
def test_a_failed_call_about_sessions_is_reported(zapw, zapw_server, outcome, code):
    zapw_server.fail(outcome, call="any")

    for ask in (
        zapw.list_sessions,
        lambda: zapw.session_state(name="sales"),
        lambda: zapw.start_session(name="ops"),
        lambda: zapw.delete_session(name="sales"),
    ):
        with pytest.raises(BridgeError) as caught:
            ask()
        assert caught.value.code == code


def test_the_sessions_are_listed(zapw, zapw_server):
    zapw_server.add_session("ops", status="disconnected")

    listed = {one.name: (one.status, one.phone) for one in zapw.list_sessions()}

    assert listed == {"sales": (Link.CONNECTED, "+5511999990000"), "ops": (Link.DISCONNECTED, None)}


def test_a_deleted_session_is_unknown_and_may_be_deleted_again(zapw):
    zapw.delete_session(name="sales")
    zapw.delete_session(name="sales")

    assert zapw.session_state(name="sales") is None


def test_a_page_not_found_at_a_wrong_address_does_not_mean_that_the_session_is_gone(zapw_server):
    config = BridgeConfig(base_url=f"{zapw_server.url}/elsewhere", api_key=zapw_server.api_key)
    elsewhere = LiveBridge(ZapwBridge(config))

    for ask in (lambda: elsewhere.session_state(name="sales"), lambda: elsewhere.delete_session(name="sales")):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.code == "not_found"
    elsewhere.close()


def test_what_zapw_cannot_do_is_refused(zapw):
    for ask in (zapw.restart_session, zapw.logout_session):
        with pytest.raises(Refused) as caught:
            ask(name="sales")
        assert caught.value.code == "not_supported"


def test_health_is_whether_zapw_itself_answers(zapw, zapw_server):
    healthy = zapw.health().is_healthy
    zapw_server.fail("answer", call="health", status=200, body="<html>")
    another = zapw.health().is_healthy
    zapw_server.down()
    down = zapw.health().is_healthy

    assert (healthy, another, down) == (True, False, False)
