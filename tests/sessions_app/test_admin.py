"""The admin pages of bridges, sessions and agent profiles: linking numbers, and secrets that stay secret."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from sessions_app.links import reconciliation
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.fake_zapw import FakeZapw

LogIn = Callable[[User], Client]


def _list(model: str) -> str:
    return reverse(f"admin:sessions_app_{model}_changelist")


def _page(row: Any) -> str:
    return reverse(f"admin:sessions_app_{row._meta.model_name}_change", args=[row.pk])


@pytest.fixture
def own_bridge(bridges: None) -> Bridge:
    """A bridge that somebody added, beside those of the environment."""
    return Bridge.objects.create(
        slug="second",
        kind="zapw",
        base_url="http://127.0.0.1:9",
        api_key="key-of-the-bridge",
        webhook_secret="hush-hush",
    )


# --- who sees what ------------------------------------------------------------------------------------------------


def test_staff_see_the_sessions_they_are_members_of(
    session: WhatsAppSession, staff_member: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.create(bridge=session.bridge, name="another", agent_profile=session.agent_profile)
    page = log_in(staff_member).get(_list("whatsappsession")).content.decode()
    assert (session.name in page, "another" in page) == (True, False)


@pytest.mark.parametrize("page", ["change", "history", "delete"])
def test_a_stranger_cannot_open_a_session_by_its_url(
    session: WhatsAppSession, staff_stranger: User, log_in: LogIn, page: str
) -> None:
    address = reverse(f"admin:sessions_app_whatsappsession_{page}", args=[session.pk])
    answer = log_in(staff_stranger).get(address)
    assert answer.status_code in {302, 403}
    assert session.name not in answer.content.decode()


@pytest.mark.parametrize("user", ["staff_member", "staff_stranger"])
@pytest.mark.parametrize("what", ["connect", "restart", "logout", "end"])
def test_only_administrators_link_and_end_sessions(
    session: WhatsAppSession, request: pytest.FixtureRequest, log_in: LogIn, user: str, what: str
) -> None:
    client = log_in(request.getfixturevalue(user))
    answer = client.post(reverse("admin:session-act", args=[session.pk, what]))
    session.refresh_from_db()
    assert (answer.status_code, session.status, session.ended_at) == (404, "connected", None)


@pytest.mark.parametrize("page", ["bridge_changelist", "bridge_add", "whatsappsession_add", "agentprofile_add"])
def test_a_member_neither_sees_bridges_nor_adds_anything(
    session: WhatsAppSession, staff_member: User, log_in: LogIn, page: str
) -> None:
    assert log_in(staff_member).get(reverse(f"admin:sessions_app_{page}")).status_code == 403


def test_a_member_sees_the_profile_of_a_session_and_cannot_change_it(
    session: WhatsAppSession, staff_member: User, log_in: LogIn
) -> None:
    client, profile = log_in(staff_member), session.agent_profile
    shown = client.get(_page(profile)).status_code
    refused = client.post(_page(profile), {"name": "Mine"}).status_code
    assert (shown, refused, AgentProfile.objects.get(pk=profile.pk).name) == (200, 403, "Assistant")


def test_a_profile_of_other_sessions_is_not_shown(session: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    elsewhere = AgentProfile.objects.create(name="Elsewhere")
    client = log_in(staff_member)
    assert "Elsewhere" not in client.get(_list("agentprofile")).content.decode()
    assert client.get(_page(elsewhere)).status_code == 302


# --- secrets ------------------------------------------------------------------------------------------------------


def test_the_key_of_a_bridge_is_never_shown(own_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    pages = [client.get(address).content.decode() for address in (_list("bridge"), _page(own_bridge))]
    assert ["key-of-the-bridge" in page for page in pages] == [False, False]


def test_an_empty_key_field_leaves_the_stored_key(own_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    form = {"slug": "second", "kind": "zapw", "base_url": "http://127.0.0.1:10", "api_key": ""}
    log_in(admin).post(_page(own_bridge), form)
    own_bridge.refresh_from_db()
    assert (own_bridge.base_url, own_bridge.api_key) == ("http://127.0.0.1:10", "key-of-the-bridge")


def test_a_verify_token_is_set_kept_by_an_empty_field_and_never_shown(
    own_bridge: Bridge, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    form = {"slug": "second", "kind": "cloud", "base_url": "", "api_key": "", "signing_key": ""}
    stored = []
    for token in ("a-word-of-ours", ""):
        client.post(_page(own_bridge), form | {"verify_token": token})
        own_bridge.refresh_from_db()
        stored.append(own_bridge.verify_token)
    pages = [client.get(address).content.decode() for address in (_list("bridge"), _page(own_bridge))]
    assert stored == ["a-word-of-ours", "a-word-of-ours"]
    assert ["a-word-of-ours" in page for page in pages] == [False, False]
    assert 'name="verify_token"' in client.get(reverse("admin:sessions_app_bridge_add")).content.decode()


def test_the_history_of_a_bridge_does_not_contain_its_key(own_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    client.post(_page(own_bridge), {"slug": "second", "kind": "zapw", "base_url": "", "api_key": "another-key"})
    page = client.get(reverse("admin:sessions_app_bridge_history", args=[own_bridge.pk])).content.decode()
    assert "another-key" not in page


def test_an_administrator_can_copy_the_whole_webhook_address(own_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    assert "http://testserver/api/v1/webhooks/second/hush-hush" in client.get(_page(own_bridge)).content.decode()
    assert "hush-hush" not in client.get(_list("bridge")).content.decode()


def test_a_new_bridge_gets_a_webhook_secret_of_its_own(bridges: None, admin: User, log_in: LogIn) -> None:
    form = {"slug": "third", "kind": "zapw", "base_url": "http://127.0.0.1:9", "api_key": "k"}
    log_in(admin).post(reverse("admin:sessions_app_bridge_add"), form)
    added = Bridge.objects.get(slug="third")
    assert len(added.webhook_secret) > 30
    assert added.webhook_secret != Bridge.objects.get(slug="default").webhook_secret


def test_a_renewed_secret_disables_the_former_webhook_address(own_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    form = {"action": "renew_webhook_secret", "_selected_action": [str(own_bridge.pk)], "confirmed": "1"}
    log_in(admin).post(_list("bridge"), form)
    assert Client().post("/api/v1/webhooks/second/hush-hush/", "{}", content_type="application/json").status_code == 401


def test_the_action_configures_our_webhook_address_at_the_bridge(
    profile: AgentProfile, admin: User, log_in: LogIn, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://agent.example"
    form = {"action": "set_up", "confirmed": "1"}
    with FakeWaha() as waha:
        waha.add_session("ops", phone="5511999990000")
        values = {"kind": "waha", "base_url": waha.url, "api_key": waha.api_key, "webhook_secret": "hush-hush"}
        row = Bridge.objects.create(slug="second", **values)
        reconciliation.sync_bridge(row)
        answer = log_in(admin).post(_list("bridge"), form | {"_selected_action": [str(row.pk)]}, follow=True)
        (hook,) = waha.sessions["ops"]["config"]["webhooks"]
    assert hook["url"] == "https://agent.example/api/v1/webhooks/second/hush-hush"
    assert "ops: events now come to this server." in [str(message) for message in answer.context["messages"]]


def test_the_action_names_the_bridge_that_refuses(
    own_bridge: Bridge, profile: AgentProfile, admin: User, log_in: LogIn, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://agent.example"
    with FakeWaha() as waha:
        waha.add_session("ops", phone="5511999990000")
        Bridge.objects.filter(pk=own_bridge.pk).update(kind="waha", base_url=waha.url, api_key="")
        WhatsAppSession.objects.create(bridge=own_bridge, name="ops", agent_profile=profile)
        form = {"action": "set_up", "confirmed": "1", "_selected_action": [str(own_bridge.pk)]}
        answer = log_in(admin).post(_list("bridge"), form, follow=True)
    (message,) = answer.context["messages"]
    assert (message.level_tag, str(message).startswith("second: ")) == ("error", True)


def test_bridges_of_the_environment_are_read_only(bridges: None, admin: User, log_in: LogIn) -> None:
    default = Bridge.objects.get(slug="default")
    client, secret = log_in(admin), default.webhook_secret
    client.post(
        _page(default), {"slug": "default", "kind": "zapw", "base_url": "http://evil.example", "api_key": "mine"}
    )
    client.post(
        _list("bridge"), {"action": "renew_webhook_secret", "_selected_action": [str(default.pk)], "confirmed": "1"}
    )
    deleted = client.post(reverse("admin:sessions_app_bridge_delete", args=[default.pk]), {"post": "yes"})
    default.refresh_from_db()
    assert (default.base_url, default.api_key, default.webhook_secret) == ("", "", secret)
    assert deleted.status_code == 403


# --- profiles -----------------------------------------------------------------------------------------------------


@pytest.fixture
def zapw() -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        yield fake


@pytest.fixture
def live_bridge(bridge: Bridge, zapw: FakeZapw) -> Bridge:
    """The zapw bridge with somebody at its address."""
    Bridge.objects.filter(pk=bridge.pk).update(base_url=zapw.url)
    bridge.refresh_from_db()
    bridge.api_key = zapw.api_key
    bridge.save()
    return bridge


def _link(client: Client, bridge: Bridge, name: str = "shop") -> Any:
    profile = AgentProfile.objects.get(is_default=True)
    form = {"name": name, "bridge": str(bridge.pk), "agent_profile": str(profile.pk)}
    return client.post(reverse("admin:sessions_app_whatsappsession_add"), form)


def test_the_page_of_a_number_being_linked_shows_its_qr_code_and_polls(
    live_bridge: Bridge, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    answer = _link(client, live_bridge)
    page = client.get(answer.headers["Location"]).content.decode()
    session = WhatsAppSession.objects.get(name="shop")
    assert "data:image/png;base64," in page
    assert reverse("admin:session-link", args=[session.pk]) in page
    assert session.members.get() == admin


def test_a_bridge_that_is_down_leaves_no_session_and_an_error(bridge: Bridge, admin: User, log_in: LogIn) -> None:
    answer = _link(log_in(admin), bridge)
    assert (answer.status_code, WhatsAppSession.objects.filter(name="shop").exists()) == (400, False)
    assert answer.context["form"].non_field_errors()


def test_a_name_that_is_taken_is_refused(session: WhatsAppSession, admin: User, log_in: LogIn) -> None:
    answer = _link(log_in(admin), session.bridge, name=session.name)
    assert "exists already" in answer.content.decode()


@pytest.mark.parametrize("name", ["", "two words", "../../etc", "x" * 101, "<b>"])
def test_an_invalid_name_is_refused(bridge: Bridge, admin: User, log_in: LogIn, name: str) -> None:
    assert _link(log_in(admin), bridge, name=name).status_code == 400
    assert not WhatsAppSession.objects.exists()


def test_the_error_for_an_invalid_name_lists_the_allowed_characters(bridge: Bridge, admin: User, log_in: LogIn) -> None:
    page = _link(log_in(admin), bridge, name="my shop").content.decode()
    assert "Use letters, digits and _ . -, and begin with a letter or digit." in page


def test_sessions_with_the_same_name_are_shown_with_their_bridge(
    session: WhatsAppSession, simulator: Bridge, admin: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.create(bridge=simulator, name=session.name, agent_profile=session.agent_profile)
    page = log_in(admin).get(reverse("admin:accounts_apikey_add")).content.decode()
    assert f"{session.name} (default)" in page
    assert f"{session.name} (simulator)" in page


def test_the_page_stops_polling_once_the_number_is_linked(session: WhatsAppSession, admin: User, log_in: LogIn) -> None:
    answer = log_in(admin).get(reverse("admin:session-link", args=[session.pk]))
    assert answer.status_code == 286


def test_an_expired_code_is_replaced_while_the_page_is_open(live_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    _link(client, live_bridge)
    long_ago = timezone.now() - timedelta(minutes=5)
    WhatsAppSession.objects.update(qr_expires_at=long_ago, status_changed_at=long_ago, qr_png=b"old")
    session = WhatsAppSession.objects.get(name="shop")
    client.get(reverse("admin:session-link", args=[session.pk]))
    session.refresh_from_db()
    assert bytes(session.qr_png) != b"old"


def test_an_ended_session_stays_in_the_database(live_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    _link(client, live_bridge)
    session = WhatsAppSession.objects.get(name="shop")
    client.post(reverse("admin:session-act", args=[session.pk, "end"]))
    session.refresh_from_db()
    assert (session.status, session.ended_at is None) == ("logged_out", False)


def test_an_action_that_the_bridge_does_not_support_has_no_button_and_is_refused(
    live_bridge: Bridge, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    _link(client, live_bridge)
    session = WhatsAppSession.objects.get(name="shop")
    url = reverse("admin:session-act", args=[session.pk, "logout"])
    page = client.get(_page(session)).content.decode()
    answer = client.post(url, follow=True).content.decode()
    assert (url in page, "cannot log out" in answer) == (False, True)


@pytest.mark.parametrize("what", ["delete", "connect/x", "CONNECT"])
def test_an_unknown_action_of_a_session_is_not_found(
    session: WhatsAppSession, admin: User, log_in: LogIn, what: str
) -> None:
    client = log_in(admin)
    address = f"{reverse('admin:sessions_app_whatsappsession_changelist')}{session.pk}/link/{what}/"
    client.post(address)
    session.refresh_from_db()
    assert (session.status, session.ended_at) == ("connected", None)


def test_the_page_of_a_number_leads_to_its_conversations_in_the_inbox(
    session: WhatsAppSession, admin: User, log_in: LogIn
) -> None:
    page = log_in(admin).get(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]))
    assert f'href="{reverse("inbox")}?session={session.pk}"' in page.content.decode()


def test_sessions_cannot_be_deleted(session: WhatsAppSession, admin: User, log_in: LogIn) -> None:
    address = reverse("admin:sessions_app_whatsappsession_delete", args=[session.pk])
    assert log_in(admin).post(address, {"post": "yes"}).status_code == 403


def test_an_administrator_adds_members_on_the_session_s_page(
    session: WhatsAppSession, stranger: User, admin: User, log_in: LogIn
) -> None:
    form = {
        "agent_profile": str(session.agent_profile_id), "access_policy": "everyone",
        "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "0", "memberships-0-user": str(stranger.pk),
        "memberships-0-session": str(session.pk),
    }  # fmt: skip
    answer = log_in(admin).post(_page(session), form)
    assert (answer.status_code, Membership.objects.get().user) == (302, stranger)


def test_reconciling_reports_what_changed(live_bridge: Bridge, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    _link(client, live_bridge)
    WhatsAppSession.objects.all().delete()
    form = {"action": "reconcile", "_selected_action": [str(live_bridge.pk)]}
    assert "added: shop" in client.post(_list("bridge"), form, follow=True).content.decode()


@pytest.mark.parametrize("model", ["whatsappsession", "bridge", "agentprofile"])
def test_the_number_of_queries_of_a_list_does_not_depend_on_its_rows(
    session: WhatsAppSession, admin: User, log_in: LogIn, model: str
) -> None:
    client = log_in(admin)
    few = _count_queries(client, _list(model))
    for number in range(5):
        bridge = Bridge.objects.create(slug=f"bridge{number}", kind="zapw", webhook_secret="x")
        profile = AgentProfile.objects.create(name=f"Profile {number}")
        WhatsAppSession.objects.create(bridge=bridge, name=f"session{number}", agent_profile=profile)
    assert _count_queries(client, _list(model)) == few


def _count_queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def _session_form(session: WhatsAppSession, **changes: str) -> dict[str, Any]:
    return {
        "agent_profile": str(session.agent_profile_id),
        "access_policy": "everyone",
        "owner_phone": "",
        "time_zone": "",
        "memberships-TOTAL_FORMS": "0",
        "memberships-INITIAL_FORMS": "0",
    } | changes


def test_an_administrator_sets_the_owner_s_phone_and_the_time_zone(
    session: WhatsAppSession, admin: User, log_in: LogIn
) -> None:
    form = _session_form(session, owner_phone="+55 (11) 97777-6666", time_zone="America/Sao_Paulo")
    assert log_in(admin).post(_page(session), form).status_code == 302
    session.refresh_from_db()
    assert (session.owner_phone, session.time_zone) == ("+5511977776666", "America/Sao_Paulo")

    assert log_in(admin).post(_page(session), _session_form(session)).status_code == 302
    session.refresh_from_db()
    assert (session.owner_phone, session.time_zone) == ("", "")


@pytest.mark.parametrize("changes", [{"owner_phone": "97777-6666"}, {"owner_phone": "me"}, {"time_zone": "Brasilia"}])
def test_a_wrong_owner_phone_or_time_zone_is_refused(
    session: WhatsAppSession, admin: User, log_in: LogIn, changes: dict[str, str]
) -> None:
    assert log_in(admin).post(_page(session), _session_form(session, **changes)).status_code == 200
    session.refresh_from_db()
    assert (session.owner_phone, session.time_zone) == ("", "")


def test_a_member_cannot_set_the_owner_s_phone(session: WhatsAppSession, staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member).post(_page(session), _session_form(session, owner_phone="+5511977776666"))
    session.refresh_from_db()
    assert session.owner_phone == ""


def test_the_admin_shows_times_in_the_time_zone_of_the_settings(
    session: WhatsAppSession, admin: User, log_in: LogIn, settings: Any
) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    WhatsAppSession.objects.update(linked_at="2026-11-20T20:00:00Z")
    assert "2026-11-21 01:30" in log_in(admin).get(_list("whatsappsession")).content.decode()
    page = log_in(admin).get(_page(session)).content.decode()
    assert ("Linked 2026-11-21 01:30" in page, "01:30 UTC" in page) == (True, False)


def test_a_generated_webhook_secret_can_be_renewed(bridges: None, admin: User, log_in: LogIn, settings: Any) -> None:
    settings.WHATSAPP_WEBHOOK_SECRET = ""
    default = Bridge.objects.get(slug="default")
    form = {"action": "renew_webhook_secret", "_selected_action": [str(default.pk)], "confirmed": "1"}
    log_in(admin).post(_list("bridge"), form)
    assert Bridge.objects.get(slug="default").webhook_secret != default.webhook_secret


def test_a_number_is_restarted_only_after_a_question(session: WhatsAppSession) -> None:
    context = {"session": session, "may_link": True, "is_connected": True, "can_restart": True}
    page = render_to_string("sessions_app/link_state.html", context)
    question, _, form = page.partition(reverse("admin:session-act", args=[session.pk, "restart"]))
    assert form
    assert question.rindex("<details") > question.rfind("</details>")  # the form is inside
    assert "The number is offline for a moment." in question
