"""`setup_bridge` goes on after what fails, and takes the business account wherever it is run."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse

from sessions_app.bridges import setup_bridge
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_cloud import FakeCloud
from tests.support.bridges.fake_waha import FakeWaha
from whatsapp_agent.errors import BridgeFailed

ACCOUNT = "220011223344556"


@pytest.fixture(autouse=True)
def public(settings: Any) -> None:
    settings.PUBLIC_URL = "https://agent.example"


@pytest.fixture
def waha(bridge: Bridge, profile: Any) -> Iterator[FakeWaha]:
    """A bridge with the sessions a, b, c and d here, of which WAHA has b and d."""
    with FakeWaha() as fake:
        row = connect_default_bridge("waha", fake)
        for name in ("a", "b", "c", "d"):
            WhatsAppSession.objects.create(bridge=row, name=name, agent_profile=profile)
        for name in ("b", "d"):
            fake.add_session(name, phone="5511999990000")
        yield fake


def failures() -> list[str]:
    """Return what setting the default bridge up says has failed."""
    with pytest.raises(BridgeFailed) as failed:
        setup_bridge(Bridge.objects.get(slug="default"))
    return str(failed.value).splitlines()


def test_setting_a_bridge_up_goes_on_after_a_session_that_fails_and_names_each(waha: FakeWaha) -> None:
    assert [line.partition(":")[0] for line in failures()] == ["a", "c"]
    assert [bool(waha.sessions[name]["config"]) for name in ("b", "d")] == [True, True]


def test_a_bridge_that_cannot_be_reached_is_asked_once(waha: FakeWaha) -> None:
    waha.down()
    assert len(failures()) == 1


@pytest.fixture
def cloud(bridge: Bridge) -> Iterator[FakeCloud]:
    with FakeCloud() as fake:
        connect_default_bridge("cloud", fake)
        yield fake


def test_the_api_subscribes_to_the_account_that_is_given(cloud: FakeCloud, admin: Any) -> None:
    client, url = as_user(admin), "/api/v1/bridges/default/setup/"
    answer = client.post(url, {"account": ACCOUNT}, format="json")
    assert (answer.status_code, cloud.subscribed) == (200, [ACCOUNT])
    assert any(ACCOUNT in line for line in answer.json()["lines"])


@pytest.mark.parametrize("body", [{"account": "../me"}, {"account": "١٢"}, {"account": 12}, {"waba": ACCOUNT}])
def test_what_is_no_id_of_an_account_is_refused_by_name(cloud: FakeCloud, admin: Any, body: Any) -> None:
    answer = as_user(admin).post("/api/v1/bridges/default/setup/", body, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, list(body))
    assert not cloud.requests


def test_only_an_administrator_sets_a_bridge_up(cloud: FakeCloud, stranger: Any) -> None:
    answer = as_user(stranger).post("/api/v1/bridges/default/setup/", {"account": ACCOUNT}, format="json")
    assert (answer.status_code, len(cloud.requests)) == (403, 0)


def test_the_action_in_the_admin_subscribes_to_the_account_that_is_typed(
    cloud: FakeCloud, admin: Any, log_in: Any
) -> None:
    client, page = log_in(admin), reverse("admin:sessions_app_bridge_changelist")
    rows = [str(row.pk) for row in Bridge.objects.filter(slug__in=["default", "simulator"])]
    assert 'name="account"' in client.get(page).content.decode()
    question = client.post(page, {"action": "set_up", "account": f" {ACCOUNT} ", "_selected_action": rows})
    assert (cloud.subscribed, question.context["rows"]) == (
        [],
        ["default (cloud)"],
    )  # the simulator has no webhooks
    client.post(page, dict(question.context["fields"]) | {"confirmed": "1", "_selected_action": rows})
    assert cloud.subscribed == [ACCOUNT]


def test_the_action_in_the_admin_says_what_is_no_id_of_an_account(cloud: FakeCloud, admin: Any, log_in: Any) -> None:
    row = Bridge.objects.get(slug="default")
    form = {"action": "set_up", "account": "../me", "confirmed": "1", "_selected_action": [str(row.pk)]}
    answer = log_in(admin).post(reverse("admin:sessions_app_bridge_changelist"), form, follow=True)
    (message,) = answer.context["messages"]
    assert (message.level_tag, cloud.subscribed, len(cloud.requests)) == ("error", [], 0)
