"""Webhook requests written after a bridge's contract page, for what no recorded payload shows."""

import json
from typing import Any

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeConfig, WebhookRequest
from tests.support.bridges.descriptions import describe_event
from whatsapp_agent.errors import UnreadableWebhookRequest

OWN = "5511999990000"
ANA = "5511988887777"
GROUP = "120363041234567890@g.us"
LID = "281474976710655@lid"
LIA = "5541933332222"
AT = 1790001001
AT_ISO = "2026-09-21T14:30:01Z"


def meanings(kind: str, body: Any) -> list[dict[str, Any]]:
    """Return what the events of a webhook request mean, in the words of the payloads' indexes."""
    adapter = ADAPTERS[kind](BridgeConfig())
    try:
        events = adapter.parse_webhook(WebhookRequest(json.dumps(body).encode()))
    except UnreadableWebhookRequest:
        return [{"event": "malformed"}]
    return [describe_event(event, bridge=kind) for event in events]


def waha(event: str, payload: Any, **envelope: Any) -> dict[str, Any]:
    own = {"id": f"{OWN}@c.us", "pushName": "Loja Azul", "lid": "99887766554433@lid"}
    return {
        "id": "evt_1",
        "timestamp": AT * 1000 + 345,
        "event": event,
        "session": "sales",
        "metadata": {},
        "me": own,
        "payload": payload,
        "engine": "NOWEB",
        "environment": {"version": "2026.8.1", "engine": "NOWEB", "tier": "CORE", "browser": None},
    } | envelope


def waha_message(**changes: Any) -> dict[str, Any]:
    return {
        "id": f"false_{ANA}@c.us_3EB0A1",
        "timestamp": AT,
        "from": f"{ANA}@c.us",
        "fromMe": False,
        "source": "app",
        "to": None,
        "participant": None,
        "body": "Oi",
        "hasMedia": False,
        "media": None,
        "ack": 2,
        "ackName": "DEVICE",
        "location": None,
        "vCards": [],
        "replyTo": None,
        "_data": {},
    } | changes


def evolution(event: str, data: Any, **envelope: Any) -> dict[str, Any]:
    return {
        "event": event,
        "instance": "sales",
        "data": data,
        "destination": "https://agent.example.com/webhooks/evolution/abc",
        "date_time": "2026-09-21T11:30:01.412Z",
        "sender": f"{OWN}@s.whatsapp.net",
        "server_url": "https://evolution.example.com",
        "apikey": None,
    } | envelope


def evolution_message(message: Any, *, key: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "key": {"remoteJid": f"{ANA}@s.whatsapp.net", "fromMe": False, "id": "3EB0A1", "participant": ""} | (key or {}),
        "pushName": "Ana Souza",
        "status": "DELIVERY_ACK",
        "message": message,
        "contextInfo": None,
        "messageType": next(iter(message or {}), ""),
        "messageTimestamp": AT,
        "instanceId": "6f1d2c3b",
        "source": "android",
    } | changes


def cloud(value: Any, *, field: str = "messages") -> dict[str, Any]:
    """Return a webhook request with one change of our number; the members of `value` stand beside its metadata."""
    metadata = {"display_phone_number": OWN, "phone_number_id": "330011223344556"}
    whole = {"messaging_product": "whatsapp", "metadata": metadata} | value
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "220011223344556", "changes": [{"value": whole, "field": field}]}],
    }


def cloud_message(kind: str = "text", content: Any = None, **changes: Any) -> dict[str, Any]:
    """Return a message of Ana; without `content` the object named by the type is missing."""
    message = {"from": ANA, "id": "wamid.1", "timestamp": str(AT), "type": kind} | changes
    return message if content is None else message | {kind: content}


def zapw(event: str, data: Any, **envelope: Any) -> dict[str, Any]:
    return {
        "sessionId": "sales",
        "origin": OWN,
        "eventType": event,
        "timestamp": AT * 1000 + 345,
        "data": data,
    } | envelope


def zapw_message(**changes: Any) -> dict[str, Any]:
    return {
        "from": f"{ANA}@s.whatsapp.net",
        "to": f"{OWN}:12@s.whatsapp.net",
        "messageId": "3EB0A1",
        "timestamp": AT * 1000,
        "isGroup": False,
        "type": "text",
        "text": "Oi",
    } | changes
