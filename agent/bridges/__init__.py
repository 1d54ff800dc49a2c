"""The bridges we speak to: one adapter each behind one interface, known by their kind."""

from agent.bridges.base import BridgeAdapter
from agent.bridges.cloud import CloudBridge
from agent.bridges.evolution import EvolutionBridge
from agent.bridges.simulator import SimulatorBridge
from agent.bridges.waha import WahaBridge
from agent.bridges.zapw import ZapwBridge

ADAPTERS: dict[str, type[BridgeAdapter]] = {
    adapter.kind: adapter for adapter in (ZapwBridge, WahaBridge, EvolutionBridge, CloudBridge, SimulatorBridge)
}
