"""What the tests of the bridges share: a zapw on a real socket, and our adapter to it."""

from collections.abc import Iterator

import pytest

from agent.bridges.base import BridgeConfig
from agent.bridges.cloud import CloudBridge
from agent.bridges.evolution import EvolutionBridge
from agent.bridges.simulator import SimulatorBridge
from agent.bridges.waha import WahaBridge
from agent.bridges.zapw import ZapwBridge
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.bridges.live import LiveBridge
from tests.support.fake_zapw import FakeZapw


@pytest.fixture
def zapw_server() -> Iterator[FakeZapw]:
    with FakeZapw() as server:
        server.add_session("sales", phone="5511999990000", display_name="Loja Azul")
        yield server


@pytest.fixture
def zapw(zapw_server: FakeZapw) -> Iterator[LiveBridge]:
    config = BridgeConfig(base_url=zapw_server.url, api_key=zapw_server.api_key, timeout_s=20.0)
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


@pytest.fixture
def waha_server() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000", display_name="Loja Azul")
        yield server


@pytest.fixture
def waha(waha_server: FakeWaha) -> Iterator[LiveBridge]:
    config = BridgeConfig(base_url=waha_server.url, api_key=waha_server.api_key, timeout_s=20.0)
    bridge = LiveBridge(WahaBridge(config))
    yield bridge
    bridge.close()


@pytest.fixture
def evolution_server() -> Iterator[FakeEvolution]:
    with FakeEvolution() as server:
        server.add_session("sales", phone="5511999990000", display_name="Loja Azul")
        yield server


@pytest.fixture
def evolution(evolution_server: FakeEvolution) -> Iterator[LiveBridge]:
    config = BridgeConfig(base_url=evolution_server.url, api_key=evolution_server.api_key, timeout_s=20.0)
    bridge = LiveBridge(EvolutionBridge(config))
    yield bridge
    bridge.close()


@pytest.fixture
def cloud_server() -> Iterator[FakeCloud]:
    with FakeCloud() as server:
        server.add_session(NUMBER, phone="5511999990000", display_name="Loja Azul")
        yield server


@pytest.fixture
def cloud(cloud_server: FakeCloud) -> Iterator[LiveBridge]:
    config = BridgeConfig(base_url=cloud_server.url, api_key=cloud_server.api_key, timeout_s=20.0)
    bridge = LiveBridge(CloudBridge(config))
    yield bridge
    bridge.close()


@pytest.fixture(params=["zapw", "waha", "evolution", "simulator"])
def bridge(request: pytest.FixtureRequest) -> LiveBridge:
    """Each adapter in turn, with a connected session `sales`."""
    return request.getfixturevalue(request.param)
