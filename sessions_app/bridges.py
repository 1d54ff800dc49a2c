"""How a bridge is reached: its row, its adapter, and the calls to it."""

from functools import cache

from django.conf import settings

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeAdapter, BridgeConfig, Capability, Health, WebhookTarget
from agent.bridges.exchange import BridgeError, Result, Steps
from agent.bridges.transport import HttpTransport
from sessions_app.models import Bridge
from whatsapp_agent import postgres
from whatsapp_agent.errors import BridgeFailed
from whatsapp_agent.postgres.prepared import Statement
from whatsapp_agent.postgres.row_cache import VersionedRowCache

BRIDGE_OF_SLUG = Statement("SELECT id, ROW(xmin, ctid)::text FROM sessions_app_bridge WHERE slug = %(slug)s")

bridge_cache = VersionedRowCache(Bridge)


def values_of_settings() -> dict[str, str]:
    return {
        "kind": settings.WHATSAPP_BRIDGE,
        "base_url": settings.WHATSAPP_API_URL,
        "api_key": settings.WHATSAPP_API_KEY,
        "signing_key": settings.WHATSAPP_SIGNING_KEY,
        "verify_token": settings.WHATSAPP_VERIFY_TOKEN,
    }


def follows_settings(bridge: Bridge) -> bool:
    """Return whether the `default` bridge is as the settings say; a start makes it so."""
    return all(getattr(bridge, name) == value for name, value in values_of_settings().items())


def bridge_of_slug(slug: str) -> Bridge | None:
    """Return the bridge with this slug, or None. All threads share the cached object: do not change it."""
    for pk, version in BRIDGE_OF_SLUG.rows(slug=slug):
        return bridge_cache.get(pk, version)
    return None


def adapter_for(bridge: Bridge) -> BridgeAdapter:
    """Return the adapter of a bridge: its capabilities, and how to phrase requests and read answers. Does no I/O."""
    return _adapter(
        bridge.kind,
        BridgeConfig(
            base_url=bridge.base_url,
            api_key=bridge.api_key,
            signing_key=bridge.signing_key,
            verify_token=bridge.verify_token or bridge.webhook_secret,
            timeout_s=settings.BRIDGE_TIMEOUT_S,
        ),
    )


def call_bridge(bridge: Bridge, steps: Steps[Result]) -> Result:
    """Make the requests of one call and return its result. Raises BridgeError."""
    return _transport(adapter_for(bridge)).run(steps)


def webhook_target(bridge: Bridge) -> WebhookTarget | None:
    """Return what the bridge is told about our webhook; None without PUBLIC_URL, because nobody knows its address."""
    if not settings.PUBLIC_URL:
        return None
    return WebhookTarget(
        url=f"{settings.PUBLIC_URL}{bridge.webhook_path}",
        signing_key=bridge.signing_key,
        verify_token=bridge.verify_token or bridge.webhook_secret,
    )


def setup_bridge(bridge: Bridge) -> list[str]:
    """Tell the bridge our webhook address for each of its sessions; return in words what was done or is left to do.

    Raises BridgeFailed.
    """
    adapter = adapter_for(bridge)
    target = webhook_target(bridge)
    if target is None:
        return ["Set PUBLIC_URL to where the bridge reaches this server; then run this again."]
    if Capability.SET_WEBHOOK not in adapter.capabilities:
        return [f"The bridge {bridge.slug} cannot be told by a call. Set this address at the bridge: {target.url}"]
    sessions = list(bridge.sessions.live().order_by("name"))
    postgres.release()
    try:
        for session in sessions:
            call_bridge(bridge, adapter.set_webhook(name=session.name, webhook=target))
    except BridgeError as exc:
        raise BridgeFailed(str(exc)) from exc
    if not sessions:
        return [f"The bridge {bridge.slug} has no sessions yet; each new one is told our webhook address."]
    return [f"{session.name}: events now come to this server." for session in sessions]


def bridge_health(bridge: Bridge) -> Health:
    try:
        return call_bridge(bridge, adapter_for(bridge).health())
    except BridgeError:  # not even a request could be made
        return Health(is_well=False)


@cache
def _adapter(kind: str, config: BridgeConfig) -> BridgeAdapter:
    return ADAPTERS[kind](config)


@cache
def _transport(adapter: BridgeAdapter) -> HttpTransport:
    """One a process and adapter, so that its connections are shared."""
    return HttpTransport(adapter)
