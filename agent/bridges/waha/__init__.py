from agent.bridges.waha.adapter import WahaBridge

__all__ = ["WahaBridge"]
