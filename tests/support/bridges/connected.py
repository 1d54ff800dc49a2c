"""The product's bridges, at the addresses of the fake servers."""

from sessions_app.models import Bridge
from tests.support.bridges.server import FakeBridge


def connect_default_bridge(kind: str, server: FakeBridge) -> Bridge:
    """Make the `default` bridge one of this kind at this server, and return it."""
    bridge = Bridge.objects.get(slug="default")
    bridge.kind, bridge.base_url, bridge.api_key = kind, server.url, server.api_key
    bridge.save()
    return bridge
