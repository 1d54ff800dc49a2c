from agent.bridges.zapw.adapter import ZapwBridge

__all__ = ["ZapwBridge"]
