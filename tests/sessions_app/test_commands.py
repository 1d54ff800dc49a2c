"""`manage.py link_session` and `manage.py sync_sessions`, with a bridge on a real socket."""

import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from sessions_app.management.commands import link_session
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from sessions_app.services import ensure_default_bridges, start_session
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.fake_zapw import FakeZapw

pytestmark = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def zapw(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeZapw]:
    monkeypatch.setattr(link_session, "POLL_INTERVAL_S", 0.02)
    before = signal.getsignal(signal.SIGTERM)
    with FakeZapw() as fake:
        yield fake
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def zapw_bridge(zapw: FakeZapw, settings: Any) -> Bridge:
    """The environment's bridge is the fake zapw."""
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "zapw", zapw.url, zapw.api_key
    ensure_default_bridges()
    return Bridge.objects.get(slug="default")


def _run(*arguments: str, terminal: io.StringIO | None = None, **options: Any) -> tuple[str, str]:
    out, err = terminal if terminal is not None else io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def _images() -> list[Any]:
    return list(settings.DATA_DIR.glob("qr-*.png"))


# --- link_session -------------------------------------------------------------------------------------------------


def test_link_session_shows_the_qr_code_in_the_terminal(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.connect_after_s = 0.3
    out, _ = _run("link_session", "shop", terminal=Terminal())
    session = WhatsAppSession.objects.get(name="shop")
    assert "\x1b[38;5;16;48;5;231m" in out
    assert "Valid until" in out
    assert "shop is connected as +1234567890, since 20" in out
    assert (session.status, session.linked_at is None) == ("connected", False)


def test_an_expired_qr_code_is_replaced_in_the_terminal(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.qr_life_s = 0.1
    terminal = Terminal()

    def scan_the_second_code() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and terminal.getvalue().count("Valid until") < 2:
            time.sleep(0.02)
        zapw.scan("shop", phone="1234567890")

    looking = threading.Thread(target=scan_the_second_code)
    looking.start()
    _run("link_session", "shop", terminal=terminal)
    looking.join()
    assert terminal.getvalue().count("Valid until") > 1


def test_without_a_terminal_the_qr_code_is_written_to_a_private_file(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    modes: list[int] = []
    out = io.StringIO()

    def look_and_scan() -> None:
        modes.extend(_modes_of_image())
        zapw.scan("shop", phone="1234567890")

    looking = threading.Thread(target=look_and_scan)
    looking.start()
    call_command("link_session", "shop", stdout=out, stderr=io.StringIO())
    looking.join()
    assert "Open this image and scan it:" in out.getvalue()
    assert modes == [0o600]
    assert not _images()


def _modes_of_image() -> list[int]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := _images():
            return [found[0].stat().st_mode & 0o777]
        time.sleep(0.01)
    return []


def test_an_image_that_is_no_qr_code_is_written_to_a_file(
    zapw: FakeZapw, zapw_bridge: Bridge, profile: AgentProfile
) -> None:
    WhatsAppSession.objects.create(bridge=zapw_bridge, name="shop", agent_profile=profile)
    zapw.add_session("shop", status="qr_waiting")
    zapw.sessions["shop"] |= {
        "qrCode": "data:image/png;base64,iVBORw0KGgoAAAA=",
        "qrExpiresAt": "2099-01-01T00:00:00.000Z",
    }
    terminal, err = Terminal(), io.StringIO()
    with pytest.raises(CommandError):
        call_command("link_session", "shop", stdout=terminal, stderr=err, timeout=0.2)
    assert "Open this image and scan it:" in terminal.getvalue()
    assert "cannot be drawn" in err.getvalue()


def test_a_timeout_leaves_no_session(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    with pytest.raises(CommandError, match="not linked within"):
        _run("link_session", "shop", timeout=0.1)
    assert "shop" not in zapw.sessions
    assert not WhatsAppSession.objects.live().exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_no_session(zapw: FakeZapw, zapw_bridge: Bridge, how: signal.Signals) -> None:
    terminal = Terminal()

    def interrupt_once_shown() -> None:
        while "Valid until" not in terminal.getvalue():
            time.sleep(0.05)
        os.kill(os.getpid(), how)

    threading.Thread(target=interrupt_once_shown, daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        _run("link_session", "shop", terminal=terminal, timeout=20)
    assert stopped.value.code == 130
    assert "shop" not in zapw.sessions
    assert not WhatsAppSession.objects.live().exists()
    assert not _images()


def test_a_connected_session_is_only_reported(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.connect_after_s = 0.05
    _run("link_session", "shop")
    out, _ = _run("link_session", "shop")
    assert "shop is connected as +1234567890" in out


def test_link_session_reports_that_a_simulator_number_is_made_up(bridges: None) -> None:
    out, _ = _run("link_session", "shop")
    assert "shop is connected as +1555" in out
    assert "The number is made up" in out


def test_a_session_that_the_bridge_lost_is_linked_again(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.connect_after_s = 0.05
    _run("link_session", "shop")
    zapw.sessions.clear()
    out, _ = _run("link_session", "shop")
    assert "shop is connected" in out
    assert "shop" in zapw.sessions


def test_a_timeout_does_not_end_a_session_that_existed_before(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.connect_after_s = 0.05
    _run("link_session", "shop")
    zapw.sessions.clear()
    zapw.connect_after_s = None
    with pytest.raises(CommandError, match="not linked within"):
        _run("link_session", "shop", timeout=0.2)
    assert WhatsAppSession.objects.live().filter(name="shop").exists()


def test_a_bridge_that_fails_temporarily_is_polled_again(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.connect_after_s = 0.6
    threading.Timer(0.2, zapw.fail, ("error_500",), {"call": "state"}).start()
    threading.Timer(0.4, zapw.heal).start()
    out, _ = _run("link_session", "shop")
    assert "shop is connected" in out


def test_link_session_reports_a_bridge_that_is_down(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.down()
    with pytest.raises(CommandError) as refused:
        _run("link_session", "shop")
    assert str(refused.value)
    assert not WhatsAppSession.objects.exists()


def test_link_session_names_the_remedy_for_a_name_that_only_the_bridge_has(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.add_session("shop")
    with pytest.raises(CommandError, match="sync_sessions"):
        _run("link_session", "shop")
    assert "shop" in zapw.sessions


def test_the_error_for_an_unknown_bridge_lists_the_known_ones(zapw_bridge: Bridge) -> None:
    with pytest.raises(CommandError, match="There are: default, simulator"):
        _run("link_session", "shop", bridge="nowhere")


@pytest.mark.parametrize("name", ["", "two words", "../etc", "x" * 101, "a\n", "é"])
def test_an_invalid_name_is_refused_before_the_bridge_is_asked(zapw: FakeZapw, zapw_bridge: Bridge, name: str) -> None:
    with pytest.raises(CommandError):
        _run("link_session", name)
    assert not zapw.sessions


@pytest.mark.parametrize("kind", [FakeWaha, FakeEvolution])
def test_link_session_with_a_phone_shows_a_code_to_type_and_no_qr_code(
    zapw: FakeZapw, settings: Any, kind: type[FakeWaha | FakeEvolution]
) -> None:
    terminal = Terminal()
    with kind() as bridge:
        settings.WHATSAPP_BRIDGE = kind.__name__.removeprefix("Fake").lower()
        settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = bridge.url, bridge.api_key

        def type_the_code() -> None:
            until = time.monotonic() + 60
            while time.monotonic() < until and "EFGH" not in terminal.getvalue():
                time.sleep(0.02)
            bridge.add_session("shop", phone="5511999990000")

        typing = threading.Thread(target=type_the_code)
        typing.start()
        _run("link_session", "shop", terminal=terminal, phone="+55 11 99999-0000")
        typing.join()
    shown = terminal.getvalue()
    assert shown.replace("-", "").count("ABCDEFGH") == 1
    assert "shop is connected" in shown
    assert ("scan" in shown, "\x1b[38" in shown) == (False, False)


@pytest.mark.parametrize(("kind", "phone"), [("zapw", "+5511999990000"), ("waha", "999990000"), ("waha", "+1")])
def test_link_session_with_a_phone_that_cannot_be_paired_starts_no_session(
    zapw: FakeZapw, zapw_bridge: Bridge, settings: Any, kind: str, phone: str
) -> None:
    settings.WHATSAPP_BRIDGE = kind
    with pytest.raises(CommandError, match="no pairing codes" if kind == "zapw" else "not a phone number"):
        _run("link_session", "shop", phone=phone)
    assert (len(zapw.sessions), WhatsAppSession.objects.exists()) == (0, False)


# --- sync_sessions ------------------------------------------------------------------------------------------------


def test_sync_sessions_reports_what_was_added_changed_and_lost(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.add_session("sales", phone="5511999990000")
    zapw.add_session("shop", phone="5511999990001")
    first, _ = _run("sync_sessions")
    del zapw.sessions["sales"]
    zapw.sessions["shop"]["status"] = "disconnected"
    second, _ = _run("sync_sessions", bridge="default")
    third, _ = _run("sync_sessions", bridge="default")
    assert "sales added (Connected)" in first
    assert "shop changed (Disconnected)" in second
    assert "sales no longer at the bridge (Disconnected)" in second
    assert "nothing has changed" in third


def test_sync_sessions_prints_as_json_what_it_did_at_each_bridge(zapw: FakeZapw, zapw_bridge: Bridge) -> None:
    zapw.add_session("sales", phone="5511999990000")
    out, _ = _run("sync_sessions", json=True)
    result = json.loads(out)
    assert result["simulator"] == {"reconciled": True}
    assert result["default"]["reconciled"]
    assert (result["default"]["added"], result["default"]["updated"]) == (["sales"], [])
    zapw.down()
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match="Not reconciled: default"):
        call_command("sync_sessions", json=True, stdout=out, stderr=err)
    assert json.loads(out.getvalue()) == {"default": {"reconciled": False}, "simulator": {"reconciled": True}}


def test_sync_sessions_does_not_change_simulator_sessions(zapw_bridge: Bridge) -> None:
    simulator = Bridge.objects.get(slug="simulator")
    start_session(name="phone", bridge=simulator)
    out, _ = _run("sync_sessions")
    assert "stores no sessions itself" in out
    assert WhatsAppSession.objects.get(name="phone").status == "connected"


def test_sync_sessions_continues_after_a_bridge_that_is_down_and_exits_with_an_error(
    zapw: FakeZapw, zapw_bridge: Bridge
) -> None:
    zapw.down()
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match="Not reconciled: default"):
        call_command("sync_sessions", stdout=out, stderr=err)
    assert "simulator" in out.getvalue()
    assert "default" in err.getvalue()
