"""The bridges we speak to: one adapter each behind one interface, known by their kind."""

from agent.bridges.base import BridgeAdapter
from agent.bridges.simulator import SimulatorBridge
from agent.bridges.zapw import ZapwBridge

ADAPTERS: dict[str, type[BridgeAdapter]] = {adapter.kind: adapter for adapter in (ZapwBridge, SimulatorBridge)}
