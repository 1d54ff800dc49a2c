"""Every recorded payload of every bridge means what its index says. `PAYLOADS` names another folder of payloads."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeAdapter, BridgeConfig, WebhookRequest
from agent.bridges.exchange import BridgeError, Request, Response, Steps
from tests.support.bridges.descriptions import assert_matches, describe_event, describe_failure, describe_result
from tests.support.bridges.recorded_calls import steps_of
from whatsapp_agent.errors import UnreadableWebhookRequest

PAYLOADS = Path(os.environ.get("PAYLOADS", Path(__file__).parents[2] / "payloads"))
INDEXES = {path.parent.name: json.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*/index.json"))}
KEYS = ("hmac_key", "webhook_secret", "app_secret")
DOCUMENTED_KEY = "my-secret-key"


def fixtures(kind: str) -> list[Any]:
    return [
        pytest.param(bridge, fixture, id=f"{bridge}-{fixture['file']}")
        for bridge, index in INDEXES.items()
        for fixture in index["fixtures"]
        if fixture["kind"] == kind
    ]


def adapter_of(bridge: str, **config: str) -> BridgeAdapter:
    index = INDEXES[bridge]
    signing_key = next((index[name] for name in KEYS if name in index), "")
    verify_token = index.get("verify_token", "")
    return ADAPTERS[bridge](BridgeConfig(**{"signing_key": signing_key, "verify_token": verify_token} | config))


def body_of(bridge: str, fixture: dict[str, Any]) -> bytes:
    return (PAYLOADS / bridge / fixture["file"]).read_bytes()


# --- webhook requests ---------------------------------------------------------------------------------------------
def describe_events(bridge: str, fixture: dict[str, Any]) -> list[dict[str, Any]]:
    request = WebhookRequest(body_of(bridge, fixture), fixture["headers"])
    try:
        events = adapter_of(bridge).parse_webhook(request)
    except UnreadableWebhookRequest:
        return [{"event": "malformed"}]
    return [describe_event(event, bridge=bridge) for event in events]


@pytest.mark.parametrize(("bridge", "fixture"), fixtures("webhook"))
def test_a_recorded_webhook_is_parsed_as_its_index_expects(bridge: str, fixture: dict[str, Any]):
    expected = [
        {"event": "ignored"} if event["event"] == "ignored" else event
        for event in fixture["expected"]
        if event["event"] != "rejected"
    ]
    if not expected:
        pytest.skip("the index says that it is refused")

    assert_matches(describe_events(bridge, fixture), expected)


@pytest.mark.parametrize(("bridge", "fixture"), fixtures("webhook"))
def test_a_recorded_webhook_is_authentic_as_it_came_and_in_no_other_form(bridge: str, fixture: dict[str, Any]):
    key = {"signing_key": DOCUMENTED_KEY} if DOCUMENTED_KEY in fixture.get("note", "") else {}
    adapter = adapter_of(bridge, **key)
    body = body_of(bridge, fixture)
    is_refused = any(event["event"] == "rejected" for event in fixture["expected"])

    assert adapter.is_authentic(WebhookRequest(body, fixture["headers"])) != is_refused
    if bridge != "zapw":
        stranger = adapter_of(bridge, signing_key="another key")
        assert not stranger.is_authentic(WebhookRequest(body, fixture["headers"]))
        assert not adapter.is_authentic(WebhookRequest(body, {"Content-Type": "application/json"}))
    if bridge in {"waha", "cloud"}:
        assert not adapter.is_authentic(WebhookRequest(body + b" ", fixture["headers"]))


@pytest.mark.parametrize(("bridge", "fixture"), fixtures("webhook_verification"))
def test_a_recorded_challenge_is_answered_as_recorded(bridge: str, fixture: dict[str, Any]):
    adapter = adapter_of(bridge)

    assert adapter.answer_challenge(fixture["query"]) == body_of(bridge, fixture).decode()
    for wrong in ({"hub.verify_token": "another"}, {"hub.mode": "unsubscribe"}, {"hub.verify_token": ""}):
        assert adapter.answer_challenge(fixture["query"] | wrong) is None
    assert adapter_of(bridge, verify_token="").answer_challenge(fixture["query"] | {"hub.verify_token": ""}) is None


# --- calls to the bridge ------------------------------------------------------------------------------------------
def answered(steps: Steps[Any], responses: list[Response], *, then: Response) -> tuple[list[Request], dict[str, Any]]:
    """Answer the requests of a call; return them, and what the call means."""
    requests = []
    answers = iter(responses)
    try:
        requests.append(next(steps))
        while True:
            requests.append(steps.send(next(answers, then)))
    except StopIteration as done:
        return requests, describe_result(done.value)
    except BridgeError as failure:
        return requests, describe_failure(failure)


NEVER_SENT = {"api_send_failed.json"}  # zapw takes a sticker and fails, so none is sent there


def is_within(recorded: Any, made: Any, name: str = "") -> bool:
    """Return whether a request has everything of a recorded one; phones are the same in any spelling."""
    if isinstance(recorded, dict):
        return all(is_within(value, (made or {}).get(key), key) for key, value in recorded.items())
    if name == "to":
        return "".join(filter(str.isdecimal, recorded)) == "".join(filter(str.isdecimal, made or ""))
    return bool(made) if recorded == ["…"] else recorded == made


@pytest.mark.parametrize(("bridge", "fixture"), fixtures("api_response"))
def test_a_recorded_call_is_made_and_answered_as_its_index_expects(bridge: str, fixture: dict[str, Any]):
    adapter = adapter_of(bridge)
    steps, before = steps_of(adapter, fixture["request"])
    response = Response(fixture["http_status"], body_of(bridge, fixture))
    expected = fixture["expected"]
    file = Response(200, b"x" * expected["bytes"]) if "bytes" in expected else Response(404)

    requests, meant = answered(steps, [*before, response], then=file)

    if expected["result"] == "qr":
        meant["result"] = "qr"  # Evolution answers with a code where it could also say that it is connected
    if expected.get("status") == "failed" and meant.get("error") == "bridge_failure":
        meant = expected  # a session that could not be started is no session here: starting it raises
    if meant == {"result": "ok"} and expected.get("error") == "not_found":
        meant = {"result": "error", "error": "not_found", "retryable": False}  # a state is None then
    assert_matches(meant, expected)
    made, recorded = requests[len(before)], fixture["request"]
    prefix = urlsplit(adapter.base_url).path
    path = unquote(urlsplit(recorded["path"]).path)
    assert (made.method, prefix + unquote(urlsplit(made.path).path)) == (recorded["method"], path)
    if fixture["file"] not in NEVER_SENT:
        assert is_within(recorded.get("body", {}), made.json), made.json


@pytest.mark.parametrize("made", [None, {}, {"to": "5521"}, {"to": "5511", "text": {"body": "oi"}}])
def test_a_request_that_lacks_a_part_of_the_recorded_one_differs(made: Any):
    assert not is_within({"to": "+55 11", "text": {"body": "Olá"}}, made)


@pytest.mark.parametrize(("bridge", "fixture"), [
    fixture for fixture in fixtures("api_response")
    if fixture.values[0] == "zapw" and fixture.values[1]["http_status"] < 400
])  # fmt: skip
def test_an_answer_of_zapw_without_the_wrapper_is_read_as_well(bridge: str, fixture: dict[str, Any]):
    whole = json.loads(body_of(bridge, fixture))

    meanings = [
        answered(
            *steps_of(adapter_of(bridge), fixture["request"]),
            then=Response(fixture["http_status"], json.dumps(body).encode()),
        )
        for body in (whole, whole.get("data", whole))
    ]

    assert meanings[0] == meanings[1]


def test_every_bridge_has_payloads():
    assert set(INDEXES) == set(ADAPTERS) - {"simulator"}


def test_a_code_that_is_gone_when_we_ask_for_it_is_no_failure():
    steps = adapter_of("waha").session_state(name="sales")
    gone = Response(422, body_of("waha", {"file": "api_wrong_status.json"}))

    _, meant = answered(steps, [Response(200, b'{"name": "sales", "status": "SCAN_QR_CODE"}')], then=gone)

    assert (meant["status"], meant["qr"]) == ("qr", None)
