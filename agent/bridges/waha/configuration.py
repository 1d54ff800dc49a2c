"""A session's configuration: what WAHA posts to us, and what it stores."""

from typing import Any

from agent.bridges.base import WebhookTarget

EVENTS = [
    "message.any",
    "message.reaction",
    "message.ack",
    "message.ack.group",
    "message.edited",
    "message.revoked",
    "poll.vote",
    "call.received",
    "call.accepted",
    "call.rejected",
    "group.v2.participants",
    "session.status",
]
IGNORED = {"status": True, "channels": True, "broadcast": True}
STORE = {"store": {"enabled": True, "fullSync": False}}  # without it NOWEB cannot be asked for messages
RETRIES = {"policy": "exponential", "delaySeconds": 2, "attempts": 15}


def session_config(present: dict[str, Any], webhook: WebhookTarget | None) -> dict[str, Any]:
    """Return a session's configuration with our webhook, in place of one that had another secret in its address."""
    config = {"ignore": IGNORED, "noweb": STORE} | present
    if webhook is None:
        return config
    ours = webhook.url.rstrip("/").rpartition("/")[0] + "/"
    hooks = present.get("webhooks")
    others = [
        hook
        for hook in (hooks if isinstance(hooks, list) else [])
        if not (isinstance(hook, dict) and str(hook.get("url")).startswith(ours))
    ]
    hook: dict[str, Any] = {"url": webhook.url, "events": EVENTS, "retries": RETRIES}
    if webhook.signing_key:
        hook["hmac"] = {"key": webhook.signing_key}
    return config | {"webhooks": [*others, hook]}
