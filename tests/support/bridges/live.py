"""An adapter together with its transport: calls make their requests at once and return the result."""

from inspect import isgenerator
from typing import Any

from agent.bridges.base import BridgeAdapter
from agent.bridges.transport import HttpTransport


class LiveBridge:
    """What the adapter has, except that a method that returns steps runs them."""

    def __init__(self, adapter: BridgeAdapter) -> None:
        self.adapter = adapter
        self._transport = HttpTransport(adapter)

    def close(self) -> None:
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.adapter, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            result = attribute(*args, **kwargs)
            return self._transport.run(result) if isgenerator(result) else result

        return call
