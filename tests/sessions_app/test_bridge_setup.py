"""`setup_bridge` goes on after what fails, and takes the business account wherever it is run."""

from collections.abc import Iterator
from typing import Any

import pytest

from sessions_app.bridges import setup_bridge
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha
from whatsapp_agent.errors import BridgeFailed


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
