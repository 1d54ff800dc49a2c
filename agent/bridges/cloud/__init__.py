from agent.bridges.cloud.adapter import CloudBridge

__all__ = ["CloudBridge"]
