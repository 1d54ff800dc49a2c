"""How much CPU one event costs each bridge's adapter: check the signature, parse the body.

    python -m benchmarks.parsing

Every recorded webhook of tests/payloads/ is read, again and again for about a second a bridge. Exits with 1 if an event
costs more than the target. Needs no server and no database.
"""

import json
import sys
from pathlib import Path
from time import process_time
from typing import Any

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeAdapter, BridgeConfig, WebhookRequest
from whatsapp_agent.errors import UnreadableWebhookRequest

PAYLOADS = Path(__file__).parents[1] / "tests" / "payloads"
KEYS = ("hmac_key", "webhook_secret", "app_secret")
TARGET_MS = 0.3
SECONDS = 1.0


def load(kind: str) -> tuple[BridgeAdapter, list[WebhookRequest]]:
    index: dict[str, Any] = json.loads((PAYLOADS / kind / "index.json").read_text())
    key = next((index[name] for name in KEYS if name in index), "")
    requests = [
        WebhookRequest((PAYLOADS / kind / fixture["file"]).read_bytes(), fixture["headers"])
        for fixture in index["fixtures"]
        if fixture["kind"] == "webhook"
    ]
    return ADAPTERS[kind](BridgeConfig(signing_key=key)), requests


def read(adapter: BridgeAdapter, request: WebhookRequest) -> int:
    """Read one webhook request as the webhook does; return how many events it has."""
    adapter.is_authentic(request)
    try:
        return len(adapter.parse_webhook(request))
    except UnreadableWebhookRequest:
        return 1


def cost_ms(adapter: BridgeAdapter, requests: list[WebhookRequest]) -> float:
    """Return the CPU time of an event in milliseconds."""
    events = 0
    started = process_time()
    while process_time() - started < SECONDS:
        events += sum(read(adapter, request) for request in requests)
    return (process_time() - started) / events * 1000


def main() -> None:
    costs = {kind: cost_ms(*load(kind)) for kind in sorted(path.parent.name for path in PAYLOADS.glob("*/index.json"))}
    for kind, cost in costs.items():
        mark = "ok" if cost <= TARGET_MS else "too much"
        print(f"{kind:10} {cost:.3f} ms CPU an event (at most {TARGET_MS}) {mark}")
    sys.exit(int(max(costs.values()) > TARGET_MS))


if __name__ == "__main__":
    main()
