"""Sessions at WAHA, Evolution API and the Cloud API: linked, reconciled, and told where to post their events."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from structlog.testing import capture_logs

from agent.bridges.events import Link, SessionChanged
from agent.sender import deliver
from messaging.inbound import receive_message
from messaging.models import Conversation, MessageTemplate
from messaging.outbound import send_text
from sessions_app.bridges import setup_bridge
from sessions_app.links.reconciliation import sync_bridge
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import (
    current_qr,
    end_session,
    logout_session,
    move_session,
    reconnect_session,
    record_session_change,
    request_pairing_code,
    restart_session,
    start_session,
    with_current_qr,
)
from tests.conftest import as_user, message_event
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from whatsapp_agent.errors import BridgeFailed, Conflict, InvalidPhone, NotSupportedByBridge, SessionExists

FAKES = {"waha": FakeWaha, "evolution": FakeEvolution, "cloud": FakeCloud}
PUBLIC_URL = "https://agent.example"


@pytest.fixture
def server(request: pytest.FixtureRequest, profile: Any) -> Iterator[Any]:
    """The fake server of the bridge named by the test's parameter, and the row `default` that leads to it."""
    kind = request.param
    with FAKES[kind]() as fake:
        row = Bridge.objects.get(slug="default")
        row.kind, row.base_url, row.api_key = kind, fake.url, fake.api_key
        row.webhook_secret, row.signing_key = "the-secret", "key"
        row.save()
        fake.row = row
        yield fake


def every(*kinds: str) -> Any:
    return pytest.mark.parametrize("server", kinds, indirect=True)


@every("waha", "evolution")
def test_a_number_is_linked_with_the_code_that_is_asked_for(server: Any):
    session = start_session(name="ops", bridge=server.row)
    waiting = with_current_qr(session)
    code = current_qr(waiting)
    server.add_session("ops", phone="5511999990000", display_name="Loja Azul")
    linked = with_current_qr(waiting)

    assert code is not None
    assert code.startswith(b"\x89PNG")
    assert (linked.status, linked.linked_at is not None) == ("connected", True)


@every("waha", "evolution")
def test_a_reconciliation_takes_over_what_the_bridge_has(server: Any):
    server.add_session("ops", phone="5511999990000", display_name="Loja Azul")

    report = sync_bridge(server.row)

    session = WhatsAppSession.objects.get()
    assert (report["added"], session.phone, session.status) == (["ops"], "+5511999990000", "connected")


@every("cloud")
def test_each_number_of_the_cloud_api_is_asked_for_because_none_are_listed(server: Any):
    server.add_session(NUMBER, phone="5511999990000")
    session = start_session(name=NUMBER, bridge=server.row)
    server.sessions[NUMBER]["status"] = "BANNED"

    report = sync_bridge(server.row)
    session.refresh_from_db()

    assert (report["updated"], session.status, session.phone) == ([NUMBER], "disconnected", "+5511999990000")
    assert session.status_reason == "banned"
    server.sessions[NUMBER]["status"] = "CONNECTED"
    sync_bridge(server.row)
    server.sessions.clear()
    sync_bridge(server.row)
    session.refresh_from_db()
    assert session.status_reason == "unknown to the bridge"


@every("cloud")
def test_an_id_that_meta_does_not_know_starts_no_session(server: Any):
    with pytest.raises(BridgeFailed):
        start_session(name="1", bridge=server.row)
    with pytest.raises(BridgeFailed):
        start_session(name="sales", bridge=server.row)

    assert not WhatsAppSession.objects.exists()


@every("waha", "evolution")
def test_a_session_that_failed_is_linked_again(server: Any):
    server.add_session("ops", phone="5511999990000")
    sync_bridge(server.row)
    record_session_change(bridge=server.row, event=SessionChanged("ops", Link.FAILED))
    failed = WhatsAppSession.objects.get()
    assert (failed.status, failed.status_reason) == ("disconnected", "failed at the bridge")
    server.add_session("ops", status={"waha": "FAILED", "evolution": "close"}[server.row.kind])

    again = with_current_qr(reconnect_session(failed))

    assert again.status == "qr_waiting"


@every("waha", "evolution")
def test_logging_out_and_ending_reach_the_bridge(server: Any):
    server.add_session("ops", phone="5511999990000")
    sync_bridge(server.row)

    session = logout_session(WhatsAppSession.objects.get())
    assert session.status == "logged_out"
    end_session(session)
    assert "ops" not in server.sessions


@every("cloud")
def test_what_the_cloud_api_has_not_is_refused_before_it_is_asked(server: Any):
    server.add_session(NUMBER, phone="5511999990000")
    session = start_session(name=NUMBER, bridge=server.row)
    server.requests.clear()

    with pytest.raises(NotSupportedByBridge):
        restart_session(session)
    assert not server.requests


# --- the webhook's address ----------------------------------------------------------------------------------------
def webhook_of(server: Any, name: str) -> dict[str, Any]:
    match server.row.kind:
        case "waha":
            return server.sessions[name]["config"]["webhooks"][0]
        case "evolution":
            return server.webhooks[name]
    return server.webhooks[name] | {"url": server.webhooks[name]["override_callback_uri"]}


@every("waha", "evolution", "cloud")
def test_setup_bridge_configures_our_address_for_each_session_of_a_bridge(server: Any, settings: Any, capsys: Any):
    name = NUMBER if server.row.kind == "cloud" else "ops"
    server.add_session(name, phone="5511999990000")
    sync_or_start(server, name)
    settings.PUBLIC_URL = PUBLIC_URL
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL = server.row.kind, server.url
    settings.WHATSAPP_API_KEY, settings.WHATSAPP_SIGNING_KEY = server.api_key, "key"
    settings.WHATSAPP_WEBHOOK_SECRET = "the-secret"

    requests = len(server.requests)
    call_command("setup_bridge", dry_run=True)
    assert "events would come to" in capsys.readouterr().out
    assert len(server.requests) == requests
    call_command("setup_bridge")

    assert webhook_of(server, name)["url"] == f"{PUBLIC_URL}/api/v1/webhooks/default/the-secret"
    assert name in capsys.readouterr().out


def sync_or_start(server: Any, name: str) -> None:
    if server.row.kind == "cloud":
        start_session(name=name, bridge=server.row)
    else:
        sync_bridge(server.row)


@every("cloud")
def test_setup_bridge_says_what_is_still_to_be_done_at_meta_before_events_come(server: Any, settings: Any):
    server.add_session(NUMBER, phone="5511999990000")
    start_session(name=NUMBER, bridge=server.row)
    settings.PUBLIC_URL = PUBLIC_URL

    said = "\n".join(setup_bridge(server.row))

    fields = ("messages", "standby", "messaging_handovers")
    needed = ["--account", "verify token", "by hand", f"{PUBLIC_URL}/api/v1/webhooks/default/the-secret", *fields]
    assert [words for words in needed if words not in said] == []
    assert ("events now come" in said, server.subscribed) == (False, [])


@every("cloud")
def test_setup_bridge_subscribes_our_app_to_the_account_that_is_given(server: Any, settings: Any, capsys: Any):
    settings.PUBLIC_URL = PUBLIC_URL
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "cloud", server.url, server.api_key
    settings.WHATSAPP_SIGNING_KEY, settings.WHATSAPP_VERIFY_TOKEN = "key", "a word of ours"

    call_command("setup_bridge", account="220011223344556")

    said = capsys.readouterr().out
    assert server.subscribed == ["220011223344556"]
    assert ("220011223344556" in said, "--account" in said, "WHATSAPP_VERIFY_TOKEN" in said) == (True, False, True)
    assert "a word of ours" not in said


@every("cloud")
def test_setup_bridge_subscribes_to_the_accounts_whose_templates_are_stored(server: Any, settings: Any):
    settings.PUBLIC_URL = PUBLIC_URL
    server.add_session(NUMBER, phone="5511999990000")
    session = start_session(name=NUMBER, bridge=server.row)
    for name in ("hello", "order_ready"):
        values = {"name": name, "language": "pt_BR", "status": "APPROVED", "synced_at": timezone.now()}
        MessageTemplate.objects.create(session=session, account="220011223344556", **values)

    setup_bridge(server.row)

    assert server.subscribed == ["220011223344556"]


@every("cloud")
@pytest.mark.parametrize("account", ["../me", "12/phone_numbers", "١٢"])
def test_what_is_no_id_of_an_account_is_not_requested(server: Any, settings: Any, account: str):
    settings.PUBLIC_URL = PUBLIC_URL

    with pytest.raises(BridgeFailed):
        setup_bridge(server.row, account=account)

    assert not server.requests


@every("waha")
def test_a_bridge_without_accounts_subscribes_to_none(server: Any, settings: Any):
    settings.PUBLIC_URL = PUBLIC_URL

    with pytest.raises(BridgeFailed):
        setup_bridge(server.row, account="220011223344556")


@every("waha")
def test_without_a_public_address_setup_bridge_names_what_to_set(server: Any, settings: Any):
    settings.PUBLIC_URL = ""

    (line,) = setup_bridge(server.row)

    assert "PUBLIC_URL" in line
    assert not server.requests


def test_the_command_setup_bridge_fails_without_a_public_address(bridge: Bridge, settings: Any):
    settings.PUBLIC_URL = ""

    with pytest.raises(CommandError, match="default: Set PUBLIC_URL"):
        call_command("setup_bridge")


def test_zapw_is_configured_by_hand(bridge: Bridge, settings: Any):
    settings.PUBLIC_URL = PUBLIC_URL

    (line,) = setup_bridge(bridge)

    assert f"{PUBLIC_URL}/api/v1/webhooks/default/{bridge.webhook_secret}" in line


# --- another bridge -----------------------------------------------------------------------------------------------
@every("waha")
def test_a_number_that_moves_keeps_its_contacts_and_is_written_to_at_the_new_bridge(
    server: Any, bridge: Bridge, session: Any, conversation: Any, says: Any, settings: Any
):
    Bridge.objects.filter(pk=server.row.pk).update(slug="old", kind="zapw")
    new = Bridge.objects.create(
        slug="new", kind="waha", base_url=server.url, api_key=server.api_key, webhook_secret="s"
    )
    settings.SEND_GAP_S = 0.0
    says("Hello")

    moved = move_session(session, to=new)
    server.add_session(moved.name, phone="5511999990000")
    sync_bridge(new)
    message = send_text(conversation=Conversation.objects.get(), text="We have moved")
    deliver(message.conversation_id)

    assert server.sent[0]["to"] == "5511988887777@c.us"
    event = message_event("Hi again", number=2, chat="5511988887777@c.us")
    receive_message(bridge=new, event=event)
    assert Conversation.objects.get().messages.count() == 3


def test_a_number_does_not_move_to_where_its_name_is_taken(bridge: Bridge, simulator: Bridge, session: Any):
    WhatsAppSession.objects.create(bridge=simulator, name=session.name, agent_profile=session.agent_profile)

    with pytest.raises(SessionExists):
        move_session(session, to=simulator)
    session.refresh_from_db()
    assert session.bridge == bridge


# --- pairing codes ------------------------------------------------------------------------------------------------
PHONE = "+55 11 98888-7777"


@pytest.fixture
def waiting(server: Any) -> WhatsAppSession:
    """A session that waits for a scan."""
    session = with_current_qr(start_session(name="ops", bridge=server.row))
    assert session.status == "qr_waiting"
    return session


def _code(text: str) -> str:
    return text.replace("-", "")


@every("waha", "evolution")
def test_a_number_that_waits_for_a_scan_gets_a_pairing_code_which_is_not_logged(
    server: Any, waiting: WhatsAppSession, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level("DEBUG"), capture_logs() as logs:
        code = request_pairing_code(waiting, phone=PHONE)

    assert _code(code.code) == "ABCDEFGH"
    assert timedelta(seconds=30) < code.expires_at - timezone.now() < timedelta(minutes=3)
    assert not [secret for secret in (code.code, "98888") if secret in f"{logs}{caplog.text}"]


@every("waha", "evolution")
def test_a_connected_number_gets_no_pairing_code_though_our_record_is_old(server: Any, waiting: WhatsAppSession):
    server.add_session("ops", phone="5511999990000")

    with pytest.raises(Conflict, match="linked already"):
        request_pairing_code(waiting, phone=PHONE)
    assert not [call for call in server.requests if "request-code" in call.path or "number" in call.parameters]


@every("waha", "evolution")
@pytest.mark.parametrize("is_ended", [True, False])
def test_a_number_that_is_not_being_linked_gets_no_pairing_code(server: Any, waiting: WhatsAppSession, is_ended: bool):
    if is_ended:
        waiting = end_session(waiting)
    server.sessions.clear()  # the bridge has lost it

    with pytest.raises(Conflict, match="Connect the number again"):
        request_pairing_code(waiting, phone=PHONE)


@every("waha", "evolution")
@pytest.mark.parametrize("phone", ["", "nonsense", "11988887777", "+1", "+" + "5" * 39])
def test_what_is_no_phone_number_gets_no_pairing_code(server: Any, waiting: WhatsAppSession, phone: str):
    with pytest.raises(InvalidPhone):
        request_pairing_code(waiting, phone=phone)


@every("cloud")
def test_a_bridge_without_pairing_codes_says_so(server: Any, profile: Any, admin: Any):
    session = WhatsAppSession.objects.create(bridge=server.row, name=NUMBER, agent_profile=profile)
    answer = as_user(admin).post(f"/api/v1/sessions/{session.pk}/pairing-code/", {"phone": PHONE}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")


@every("evolution")
def test_evolution_creates_a_waiting_instance_anew_with_its_number_and_our_webhook(
    server: Any, waiting: WhatsAppSession, settings: Any
):
    settings.PUBLIC_URL = PUBLIC_URL
    request_pairing_code(waiting, phone=PHONE)

    assert server.sessions["ops"]["number"] == "5511988887777"
    assert server.webhooks["ops"]["url"].startswith(PUBLIC_URL)


@every("evolution")
def test_evolution_keeps_an_instance_that_was_linked_and_shows_an_old_code(server: Any, waiting: WhatsAppSession):
    server.add_session("ops", phone="5511999990000", status="connecting")

    with pytest.raises(BridgeFailed):
        request_pairing_code(waiting, phone=PHONE)
    assert server.sessions["ops"]["ownerJid"] == "5511999990000@s.whatsapp.net"


@every("waha", "evolution")
@pytest.mark.parametrize(("user", "status"), [("admin", 200), ("viewer", 403), ("stranger", 404), (None, 401)])
def test_the_api_gives_a_pairing_code_to_administrators_alone(
    server: Any, waiting: WhatsAppSession, request: pytest.FixtureRequest, user: str | None, status: int
):
    client = as_user(request.getfixturevalue("staff_viewer" if user == "viewer" else user)) if user else as_user()
    if user == "viewer":
        waiting.members.add(request.getfixturevalue("staff_viewer"))
    answer = client.post(f"/api/v1/sessions/{waiting.pk}/pairing-code/", {"phone": PHONE}, format="json")

    assert answer.status_code == status
    assert ("ABCD" in answer.content.decode()) == (status == 200)
    if status == 200:
        assert (_code(answer.json()["code"]), answer.headers["Cache-Control"]) == ("ABCDEFGH", "no-store")


@every("waha", "evolution")
def test_the_api_names_the_field_of_what_is_no_phone_number(server: Any, waiting: WhatsAppSession, admin: Any):
    answer = as_user(admin).post(f"/api/v1/sessions/{waiting.pk}/pairing-code/", {"phone": "12"}, format="json")

    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["phone"])


@every("waha", "evolution")
def test_the_admin_page_of_a_waiting_number_gives_a_pairing_code(
    server: Any, waiting: WhatsAppSession, admin: Any, log_in: Any
):
    client = log_in(admin)
    address = reverse("admin:session-pairing-code", args=[waiting.pk])
    page = client.get(reverse("admin:sessions_app_whatsappsession_change", args=[waiting.pk])).content.decode()
    given = client.post(address, {"phone": PHONE}).content.decode()
    refused = client.post(address, {"phone": "12"}).content.decode()
    history = client.get(reverse("admin:sessions_app_whatsappsession_history", args=[waiting.pk])).content.decode()

    assert f'hx-post="{address}"' in page
    assert "ABCDEFGH" in _code(given)
    assert "not a phone number" in refused
    assert ("Requested a pairing code." in history, "ABCD" in history) == (True, False)


@every("waha")
@pytest.mark.parametrize("user", ["staff_viewer", "staff_stranger"])
def test_the_admin_gives_a_pairing_code_to_administrators_alone(
    server: Any, waiting: WhatsAppSession, request: pytest.FixtureRequest, log_in: Any, user: str
):
    person = request.getfixturevalue(user)
    if user == "staff_viewer":
        waiting.members.add(person)
    answer = log_in(person).post(reverse("admin:session-pairing-code", args=[waiting.pk]), {"phone": PHONE})

    assert (answer.status_code, "ABCD" in answer.content.decode()) == (404, False)


@every("cloud")
def test_the_admin_page_offers_no_pairing_code_where_the_bridge_has_none(
    server: Any, profile: Any, admin: Any, log_in: Any
):
    session = WhatsAppSession.objects.create(bridge=server.row, name=NUMBER, agent_profile=profile, status="connecting")
    page = log_in(admin).get(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]))

    assert (page.status_code, "pairing-code" in page.content.decode()) == (200, False)
