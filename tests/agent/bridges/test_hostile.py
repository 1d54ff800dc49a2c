"""Whatever is posted, an adapter gives events that can be stored, or says that it cannot read: never another error."""

import json
import random
from copy import deepcopy
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeAdapter, BridgeConfig, WebhookRequest
from agent.bridges.events import BridgeEvent
from whatsapp_agent.errors import UnreadableWebhookRequest

PAYLOADS = Path(__file__).parents[2] / "payloads"
CASES = 4000

OURS = [
    {"event": "message", "session": "main", "id": "A1", "chat": "5511988887777@s.whatsapp.net", "text": "Oi"},
    {
        "event": "message",
        "session": "main",
        "id": "A2",
        "chat": "120363041234567890@g.us",
        "chat_name": "Família",
        "sender": "5511988887777:2@s.whatsapp.net",
        "name": "Ana",
        "kind": "location",
        "location": {"latitude": -23.5, "longitude": -46.6, "name": "MASP"},
        "quoted_id": "A1",
        "sent_at": 1790000001000,
    },
    {
        "event": "message",
        "session": "main",
        "id": "A3",
        "chat": "1@lid",
        "kind": "reaction",
        "emoji": "👍",
        "target_id": "A1",
    },
    {
        "event": "message",
        "session": "main",
        "id": "A4",
        "chat": "5511988887777",
        "kind": "contact",
        "contacts": [{"name": "Bruno", "phone": "+5511977776666"}],
        "media": {"mime_type": "image/png", "filename": "a.png"},
    },
    {"event": "status", "session": "main", "id": "sim-1", "status": "failed", "error": "x", "at": 1790000001000},
    {"event": "session", "session": "main", "status": "connected", "phone": "+5511999990000", "code": "x"},
    {"event": "edit", "session": "main", "target_id": "A1", "text": "Olá"},
    {"event": "revoke", "session": "main", "target_id": "A1"},
]
HOSTILE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    10**400,
    1e308,
    float("nan"),
    "",
    " ",
    "\x00",
    "\ud800",
    "x" * 5000,
    "../../etc/passwd",
    "5511988887777:3@s.whatsapp.net",
    "1@lid",
    "1@g.us",
    "status@broadcast",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "message.received",
    "session.disconnected",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"reason": {"reason": {"output": {"statusCode": 1e300}}}},
    {"reason": {"output": {"statusCode": "401"}}},
]


def recorded(bridge: str) -> list[Any]:
    if bridge == "simulator":
        return OURS
    folder = PAYLOADS / bridge
    index = json.loads((folder / "index.json").read_text())["fixtures"]
    files = [one["file"] for one in index if one["kind"] == "webhook" and one["file"].endswith(".json")]
    return [json.loads((folder / file).read_bytes()) for file in files]


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> BridgeAdapter:
    return ADAPTERS[request.param](BridgeConfig())


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in [(value, key), *places(one)]]


def mutated(dice: random.Random, payload: Any) -> bytes:
    payload = deepcopy(payload)
    for _ in range(dice.randint(1, 4)):
        if found := places(payload):
            container, key = dice.choice(found)
            if dice.random() < 0.25:
                del container[key]
            else:
                container[key] = deepcopy(dice.choice(HOSTILE))
    if dice.random() < 0.05:
        payload = [payload, dice.choice(HOSTILE)]
    body = bytearray(json.dumps(payload, ensure_ascii=dice.random() < 0.7).encode(errors="surrogatepass"))
    if dice.random() < 0.1:
        body[dice.randrange(len(body))] = dice.randrange(256)
    if dice.random() < 0.05:
        del body[dice.randrange(len(body)) :]
    return bytes(body)


def texts_and_times(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for inner in value.values() for one in texts_and_times(inner)]
    if isinstance(value, list | tuple):
        return [one for inner in value for one in texts_and_times(inner)]
    return [value] if isinstance(value, str | float | datetime) else []


def assert_storable(event: BridgeEvent) -> None:
    assert isinstance(event, get_args(BridgeEvent))
    for value in texts_and_times(asdict(event)):
        if isinstance(value, str):
            value.encode()
            assert "\x00" not in value
        elif isinstance(value, datetime):
            assert value.tzinfo is not None
            assert 1970 <= value.year < 2100
        else:
            json.dumps(value, allow_nan=False)
    longest = {"session": 100, "provider_message_id": 255, "target_id": 255, "quoted_id": 255, "name": 200, "code": 16}
    for name, length in longest.items():
        assert len(getattr(event, name, None) or "") <= length


@pytest.mark.parametrize("seed", range(4))
def test_a_distorted_webhook_request_gives_storable_events_or_is_unreadable(adapter: BridgeAdapter, seed):
    dice = random.Random(seed)
    payloads = recorded(adapter.kind)
    read = 0

    for _ in range(CASES // 4):
        body = mutated(dice, dice.choice(payloads))
        try:
            events = adapter.parse_webhook(WebhookRequest(body))
        except UnreadableWebhookRequest:
            continue
        read += 1
        for event in events:
            assert_storable(event)

    assert read > CASES / 10  # most are JSON, and were looked at


@pytest.mark.parametrize(
    "value", ["text", 7, True, None, [], [[]], {}, [{}], {"event": {}}, {"eventType": ["x"]}], ids=repr
)
def test_json_that_is_no_event_gives_no_event(adapter: BridgeAdapter, value):
    events = adapter.parse_webhook(WebhookRequest(json.dumps(value).encode()))

    assert {type(event).__name__ for event in events} <= {"Malformed", "Ignored"}


def replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {name: replaced(inner, old, new) for name, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, old, new) for inner in value]
    return new if value == old else value


def text_request(adapter: BridgeAdapter, text: str) -> WebhookRequest:
    """Return the webhook request of a text message, as recorded, with another text."""
    if adapter.kind == "simulator":
        return WebhookRequest(json.dumps(OURS[0] | {"text": text}).encode())
    folder = PAYLOADS / adapter.kind
    for fixture in json.loads((folder / "index.json").read_text())["fixtures"]:
        expected = fixture["expected"]
        if fixture["kind"] == "webhook" and expected[0].get("kind") == "text":
            payload = json.loads((folder / fixture["file"]).read_bytes())
            return WebhookRequest(json.dumps(replaced(payload, expected[0]["text"], text)).encode())
    raise AssertionError(adapter.kind)


def test_a_message_of_a_hundred_thousand_characters_is_whole(adapter: BridgeAdapter):
    text = "ação " * 20_000

    (event,) = adapter.parse_webhook(text_request(adapter, text))

    assert event.text == text


@pytest.mark.parametrize(
    ("text", "answerable"), [("", False), (" \n", False), ("👍🏽", True), ("\u202eשלום", True), ("?", True)]
)
def test_a_text_without_a_word_is_stored_and_not_answered(adapter: BridgeAdapter, text, answerable):
    (event,) = adapter.parse_webhook(text_request(adapter, text))

    assert (event.text, event.answerable) == (text, answerable)


@pytest.mark.parametrize("kind", ["waha", "evolution", "cloud"])
@pytest.mark.parametrize("given", ["", "x", "sha256=", "é" * 64, "0" * 128, "Bearer x.y.z", "\x00"])
def test_a_strange_signature_is_refused_without_an_error(kind, given):
    adapter = ADAPTERS[kind](BridgeConfig(signing_key="a key"))
    names = ("X-Webhook-Hmac", "X-Webhook-Secret", "X-Hub-Signature-256")

    assert not adapter.is_authentic(WebhookRequest(b"{}", dict.fromkeys(names, given)))
    assert not adapter.is_authentic(WebhookRequest(b"{}", {"authorization": given}))
