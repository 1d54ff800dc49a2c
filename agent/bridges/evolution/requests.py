"""What requests to Evolution say: who is written to, which message is meant, and where events are posted."""

from datetime import UTC, datetime
from typing import Any

import jwt

from agent.bridges.addresses import reachable_digits, read_address
from agent.bridges.base import MessageRef, WebhookTarget
from agent.bridges.exchange import Refused
from agent.bridges.parsing import MAX_CLOCK_SKEW, WrongShape

HEADER = "X-Webhook-Secret"
EVENTS = [
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_EDITED",
    "MESSAGES_DELETE",
    "MESSAGES_SET",
    "SEND_MESSAGE",
    "SEND_MESSAGE_UPDATE",
    "CONNECTION_UPDATE",
    "QRCODE_UPDATED",
    "STATUS_INSTANCE",
    "LOGOUT_INSTANCE",
    "REMOVE_INSTANCE",
    "GROUP_PARTICIPANTS_UPDATE",
    "CALL",
]


def number_of(address: str) -> str:
    """Return digits for a person, which Evolution looks up, and the address itself for groups and hidden numbers."""
    try:
        parsed = read_address(address)
    except WrongShape:
        parsed = None
    if parsed is None:
        raise Refused("Nobody can be written to there.", code="unsupported_recipient")
    return reachable_digits(parsed.address) or parsed.address


def iso_time(at: datetime) -> str:
    """Return the time in UTC, as `2026-11-27T10:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_key(address: str, message: MessageRef) -> dict[str, Any]:
    """Return the key by which Baileys finds a message."""
    jid = f"{address}@s.whatsapp.net" if address.isdigit() else address
    return {"remoteJid": jid, "fromMe": message.is_ours, "id": message.provider_message_id}


def webhook_settings(target: WebhookTarget) -> dict[str, Any]:
    """Return how Evolution is to post the events of an instance to us."""
    headers = {HEADER: target.signing_key} if target.signing_key else {}
    return {
        "enabled": True,
        "url": target.url,
        "byEvents": False,
        "base64": False,
        "headers": headers,
        "events": EVENTS,
    }


def is_signed(token: str, *, key: str) -> bool:
    """Return whether Evolution has signed the token of a webhook request with our key."""
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"require": ["exp"]}, leeway=MAX_CLOCK_SKEW)
    except jwt.PyJWTError:
        return False
    return claims.get("app") == "evolution" and claims.get("action") == "webhook"
