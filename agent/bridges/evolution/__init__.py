from agent.bridges.evolution.adapter import EvolutionBridge

__all__ = ["EvolutionBridge"]
