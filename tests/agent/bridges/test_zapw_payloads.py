"""Every recorded payload of zapw means what its index says."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.bridges.base import Sent, SessionState, WebhookRequest
from agent.bridges.events import (
    BridgeEvent,
    ChatAddress,
    Ignored,
    Link,
    Malformed,
    MessageReceived,
    SessionChanged,
    StatusChanged,
)
from agent.bridges.exchange import BridgeError, NotSent, Refused, Unconfirmed
from tests.support.fake_zapw import FakeZapw
from tests.support.live_bridge import LiveBridge
from whatsapp_agent.errors import UnreadableWebhookRequest

PAYLOADS = Path(__file__).parents[2] / "payloads" / "zapw"
INDEX = json.loads((PAYLOADS / "index.json").read_text())["fixtures"]
WEBHOOKS = [fixture for fixture in INDEX if fixture["kind"] == "webhook"]
API_RESPONSES = [fixture for fixture in INDEX if fixture["kind"] == "api_response"]
OUR_WORDS = {"qr": Link.QR_WAITING}


def iso(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


def name_of(fixture: dict[str, Any]) -> str:
    return fixture["file"]


def address_in_words(address: ChatAddress) -> dict[str, Any]:
    return {"address": address.address, "phone": address.phone}


def in_words(event: BridgeEvent) -> dict[str, Any]:
    """Our event in the words of the index."""
    match event:
        case MessageReceived():
            return {
                "event": "message",
                "direction": "outbound" if event.outbound else "inbound",
                "kind": event.kind.value,
                "sender": address_in_words(event.sender),
                "chat": address_in_words(event.chat),
                "is_group": event.chat.is_group,
                "text": event.text or None,
                "media": event.media
                and {name: getattr(event.media, name) for name in ("mime_type", "filename", "ref", "downloadable")},
                "provider_message_id": event.provider_message_id,
                "sent_at": iso(event.sent_at),
                "quoted_id": event.quoted_id,
                # Whether groups are answered is for the agent profile to say; the index takes its default.
                "answerable": event.answerable and not event.chat.is_group,
                **event.details,
            }
        case StatusChanged():
            return {
                "event": "status",
                "provider_message_id": event.provider_message_id,
                "status": event.status.value,
            }
        case SessionChanged():
            return {
                "event": "session",
                "session": event.session,
                "status": event.status.value,
                "phone": event.phone,
                "name": event.name,
                "code": int(event.code) if event.code else None,
                "will_reconnect": event.will_reconnect,
            }
        case Ignored():
            return {"event": "ignored"}
        case Malformed():
            return {"event": "malformed"}
    raise AssertionError(event)


@pytest.mark.parametrize("fixture", WEBHOOKS, ids=name_of)
def test_a_recorded_webhook_means_what_its_index_says(unreached_zapw: LiveBridge, fixture):
    try:
        events = unreached_zapw.parse_webhook(
            WebhookRequest((PAYLOADS / fixture["file"]).read_bytes(), fixture["headers"])
        )
        meant = [in_words(event) for event in events]
    except UnreadableWebhookRequest:
        meant = [{"event": "malformed"}]

    expected = [{key: value for key, value in event.items() if key != "reason"} for event in fixture["expected"]]
    if expected[0]["event"] == "ignored":
        expected = [{"event": "ignored"}]
    assert [{key: one.get(key) for key in wanted} for one, wanted in zip(meant, expected, strict=True)] == expected


def test_a_message_keeps_what_the_index_does_not_speak_of(unreached_zapw):
    body = (PAYLOADS / "message_text.json").read_bytes()

    (event,) = unreached_zapw.parse_webhook(WebhookRequest(body))

    assert isinstance(event, MessageReceived)
    assert (event.session, event.own_phone, event.is_history, event.forwarded) == (
        "sales",
        "+5511999990000",
        False,
        False,
    )


def ask(bridge: LiveBridge, request: dict[str, Any]) -> Any:
    """Make the call that the recorded answer is an answer to."""
    match (request["method"], request["path"].strip("/").split("/")):
        case ("POST", ["sessions"]):
            return bridge.start_session(name=request["body"]["sessionId"])
        case ("GET", ["sessions"]):
            return bridge.list_sessions()
        case ("GET", ["sessions", name]):
            return bridge.session_state(name=name)
        case ("POST", ["sessions", name, "messages"]):
            return bridge.send_text(session=name, address="5511988887777@s.whatsapp.net", text="Olá!")
        case ("GET", ["health"]):
            return bridge.health().is_well
    raise AssertionError(request)


def failure_in_words(failure: BridgeError) -> dict[str, Any]:
    if isinstance(failure, Unconfirmed) or type(failure) is BridgeError:
        retryable: Any = "unknown"
    else:
        assert isinstance(failure, NotSent | Refused)
        retryable = isinstance(failure, NotSent)
    return {"result": "error", "error": failure.code, "retryable": retryable}


def result_in_words(result: Any) -> dict[str, Any]:
    match result:
        case Sent():
            return {
                "result": "sent",
                "provider_message_id": result.provider_message_id,
                "sent_at": iso(result.at),
            }
        case SessionState():
            return {
                "result": "session",
                "status": result.status,
                "phone": result.phone,
                "name": result.display_name,
                "qr": result.qr_png is not None and result.qr_png.startswith(b"\x89PNG"),
                "qr_expires_at": iso(result.qr_expires_at),
            }
        case list():
            return {"result": "sessions", "count": len(result)}
        case None:
            return {"result": "error", "error": "not_found", "retryable": False}
        case bool():
            return {"result": "healthy" if result else "unhealthy"}
    raise AssertionError(result)


@pytest.mark.parametrize("fixture", API_RESPONSES, ids=name_of)
def test_a_recorded_answer_means_what_its_index_says(zapw: LiveBridge, zapw_server: FakeZapw, fixture):
    body = (PAYLOADS / fixture["file"]).read_bytes()
    zapw_server.fail("answer", call="any", status=fixture["http_status"], body=body)

    try:
        meant = result_in_words(ask(zapw, fixture["request"]))
    except BridgeError as failure:
        meant = failure_in_words(failure)

    expected = dict(fixture["expected"])
    if "status" in expected:
        expected["status"] = OUR_WORDS.get(expected["status"], expected["status"])
    if "qr" in expected:
        expected["qr"] = True
    if str(expected.get("retryable")).startswith("unknown"):
        expected["retryable"] = "unknown"
    assert {key: meant[key] for key in expected} == expected


@pytest.mark.parametrize("fixture", [fixture for fixture in API_RESPONSES if fixture["http_status"] < 400], ids=name_of)
def test_an_answer_without_the_wrapper_is_read_as_well(zapw: LiveBridge, zapw_server: FakeZapw, fixture):
    whole = json.loads((PAYLOADS / fixture["file"]).read_bytes())
    bare = json.dumps(whole.get("data", whole))

    meanings = []
    for body in (json.dumps(whole), bare):
        zapw_server.heal()
        zapw_server.fail("answer", call="any", status=fixture["http_status"], body=body)
        meanings.append(result_in_words(ask(zapw, fixture["request"])))

    assert meanings[0] == meanings[1]
