"""`bridges/` of the API: more bridges than the environment names."""

from typing import Any

import pytest

from sessions_app.models import Bridge
from tests.conftest import as_user
from tests.support.bridges.fake_waha import FakeWaha

URL = "/api/v1/bridges/"
WAHA = {"slug": "second", "kind": "waha", "base_url": "http://127.0.0.1:3000", "api_key": "k", "signing_key": "s"}


@pytest.fixture
def client(admin: Any, bridges: None) -> Any:
    return as_user(admin)


def test_a_bridge_is_added_with_a_webhook_address_of_its_own_and_shows_no_key(client: Any):
    answer = client.post(URL, WAHA, format="json")

    bridge = Bridge.objects.get(slug="second")
    assert answer.status_code == 201
    assert (bridge.api_key, bridge.signing_key) == ("k", "s")
    assert len(bridge.webhook_secret) > 30
    assert not {"api_key", "signing_key", "webhook_secret"} & set(answer.json())
    assert "receipts" in answer.json()["capabilities"]
    assert bridge.webhook_secret not in client.get(URL).content.decode()


@pytest.mark.parametrize("changed", [{"kind": "pigeon"}, {"base_url": ""}, {"base_url": "ftp://x"}, {"slug": "a b"}])
def test_a_bridge_that_could_not_be_reached_is_refused(client: Any, changed: dict[str, Any]):
    assert client.post(URL, WAHA | changed, format="json").status_code == 400
    assert not Bridge.objects.filter(slug="second").exists()


def test_a_cloud_bridge_needs_no_address(client: Any):
    answer = client.post(URL, {"slug": "meta", "kind": "cloud", "api_key": "t", "signing_key": "s"}, format="json")

    assert answer.status_code == 201


def test_a_slug_is_used_once(client: Any):
    client.post(URL, WAHA, format="json")

    assert client.post(URL, WAHA, format="json").status_code == 409


def test_a_key_that_is_not_given_stays(client: Any):
    client.post(URL, WAHA, format="json")

    answer = client.patch(f"{URL}second/", {"base_url": "http://127.0.0.1:3001"}, format="json")

    bridge = Bridge.objects.get(slug="second")
    assert (answer.status_code, bridge.base_url, bridge.api_key) == (200, "http://127.0.0.1:3001", "k")


@pytest.mark.parametrize("slug", ["default", "simulator"])
def test_the_bridges_of_the_environment_are_neither_changed_nor_deleted(client: Any, slug: str):
    changed = client.patch(f"{URL}{slug}/", {"api_key": "x"}, format="json")
    deleted = client.delete(f"{URL}{slug}/")

    assert (changed.status_code, deleted.status_code) == (409, 409)


def test_a_bridge_with_sessions_is_not_deleted(client: Any, session: Any):
    client.post(URL, WAHA, format="json")
    session.bridge = Bridge.objects.get(slug="second")
    session.save()

    refused = client.delete(f"{URL}second/")
    session.delete()

    assert (refused.status_code, client.delete(f"{URL}second/").status_code) == (409, 204)


def test_setup_configures_our_address_at_the_bridge(client: Any, session: Any, settings: Any):
    settings.PUBLIC_URL = "https://agent.example"
    with FakeWaha() as fake:
        fake.add_session(session.name, phone="5511999990000")
        client.post(URL, WAHA | {"base_url": fake.url, "api_key": fake.api_key}, format="json")
        session.bridge = Bridge.objects.get(slug="second")
        session.save()

        answer = client.post(f"{URL}second/setup/", format="json")

        (hook,) = fake.sessions[session.name]["config"]["webhooks"]
        assert hook["url"] == f"https://agent.example{answer.json()['webhook_path']}"
        assert hook["hmac"] == {"key": "s"}


def test_a_stranger_sees_no_bridges(stranger: Any, bridges: None):
    client = as_user(stranger)

    assert client.get(URL).status_code == 403
    assert client.post(URL, WAHA, format="json").status_code == 403
