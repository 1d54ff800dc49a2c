"""What the tests of the bridges share: a zapw on a real socket, and our adapter to it."""

from collections.abc import Iterator

import pytest

from agent.bridges.base import BridgeConfig
from agent.bridges.simulator import SimulatorBridge
from agent.bridges.zapw import ZapwBridge
from tests.support.bridges.live import LiveBridge
from tests.support.fake_zapw import FakeZapw


@pytest.fixture
def zapw_server() -> Iterator[FakeZapw]:
    with FakeZapw() as server:
        server.add_session("sales", phone="5511999990000", display_name="Loja Azul")
        yield server


@pytest.fixture
def zapw(zapw_server: FakeZapw) -> Iterator[LiveBridge]:
    config = BridgeConfig(base_url=zapw_server.url, api_key=zapw_server.api_key, timeout_s=5.0)
    bridge = LiveBridge(ZapwBridge(config))
    yield bridge
    bridge.close()


@pytest.fixture(scope="session")
def unreached_zapw() -> Iterator[LiveBridge]:
    """For what needs no bridge: nothing listens at its address."""
    bridge = LiveBridge(ZapwBridge(BridgeConfig(base_url="http://127.0.0.1:9", timeout_s=1.0)))
    yield bridge
    bridge.close()


@pytest.fixture
def impatient_zapw(zapw_server: FakeZapw) -> Iterator[LiveBridge]:
    config = BridgeConfig(base_url=zapw_server.url, api_key=zapw_server.api_key, timeout_s=0.2)
    bridge = LiveBridge(ZapwBridge(config))
    yield bridge
    bridge.close()


@pytest.fixture
def simulator() -> LiveBridge:
    return LiveBridge(SimulatorBridge(BridgeConfig()))


@pytest.fixture(params=["zapw", "simulator"])
def bridge(request: pytest.FixtureRequest) -> LiveBridge:
    """Each adapter in turn, with a connected session `sales`."""
    return request.getfixturevalue(request.param)
