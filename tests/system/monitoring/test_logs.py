"""The log of a full run, over each bridge, with everything that can fail: no text, number or key, but the ids."""

import json
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.application import ROOT, SECRETS, Application
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw
from tests.support.openai_formats import error

PHONE, OWN_PHONE, STRANGER = "5511988887777", "5511999990000", "5511966665555"
SIGNING_KEY = "for-tests-only-signing-key"
MODEL_KEY = "fake-model-key"
METRICS_TOKEN = "for-tests-only-metrics-token"
WRONG_PASSWORD = "wrongly-remembered-password"
PAYLOADS = ROOT / "tests" / "payloads"
# Words that only people, the model, or whoever asks the API wrote.
ASKED, ANSWERED, FILTERED, SEARCHED = "Zucchiniquestion", "Rhubarbanswer", "Parsnipcommand", "Turnipsearch"
NAME = "Ana Kohlrabi"


def fake_bridge(kind: str) -> Any:
    match kind:
        case "zapw":
            return FakeZapw()
        case "waha":
            return FakeWaha(hmac_key=SIGNING_KEY)
        case "evolution":
            return FakeEvolution(secret=SIGNING_KEY)
    return FakeCloud(app_secret=SIGNING_KEY)


@pytest.fixture(scope="module", params=["zapw", "waha", "evolution", "cloud"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prepared_data: Path
) -> Iterator[tuple[Application, Any]]:
    """An application that has seen everything and ended."""
    with FakeOpenAI(api_key=MODEL_KEY) as model, fake_bridge(request.param) as bridge:
        bridge.add_session(NUMBER if request.param == "cloud" else "sales", phone=OWN_PHONE)
        application = Application(
            tmp_path_factory.mktemp(f"logs of {request.param}"),
            prepared=prepared_data,
            WHATSAPP_BRIDGE=request.param,
            WHATSAPP_API_URL=bridge.url,
            WHATSAPP_API_KEY=bridge.api_key,
            WHATSAPP_SIGNING_KEY="" if request.param == "zapw" else SIGNING_KEY,
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY=MODEL_KEY,
            METRICS_TOKEN=METRICS_TOKEN,
            LOG_FORMAT="json",
            LOG_LEVEL="DEBUG",
            AGENT_DEBOUNCE_S=0,
            AGENT_SWEEP_S=0.2,
            AGENT_RETRY_BASE_S=0.05,
            AGENT_MAX_TRIES=2,
            SEND_GAP_S=0,
        )
        bridge.webhook_url = application.webhook_url
        with application:
            live_through(application, model, bridge)
            post_recorded(application, bridge, request.param)
        yield application, bridge


def live_through(application: Application, model: FakeOpenAI, bridge: Any) -> None:
    """A message and its answer, a command, failures of the model and the bridge, strangers, the API and the admin."""
    reply(bridge, model, "answered", f"{ASKED} +{PHONE}?", f"{ANSWERED}, call +{PHONE}.")
    reply(bridge, model, "command", f"/search {FILTERED}", None)
    for outcome in ("error_500", "truncated", "html_502"):
        model.fail(outcome, times=1)
        reply(bridge, model, f"retried-{outcome}", ASKED, ANSWERED)
    model.fail("bad_request", answer=error(400, f"You said: {ASKED} +{PHONE}, with {MODEL_KEY}", code="invalid_value"))
    say(bridge, ASKED, "failed")
    settled(application, "SELECT count(*) FROM messaging_turn WHERE outcome = 'failed'")
    model.heal()
    model.fail("unauthorized", times=1)
    say(bridge, ASKED, "unauthorized")
    application.wait_for_output("model_needs_operator")
    echo = json.dumps({"error": f"{ANSWERED} to {PHONE} with {bridge.api_key}"})
    for number, failure in enumerate(({"status": 400, "body": echo}, {"status": 500, "body": echo}, {"status": 401})):
        before = application.log.read_text().count('"code"')
        bridge.fail("answer", times=1, **failure)
        say(bridge, ASKED, f"bridge-{number}")
        give_up_at = time.monotonic() + 60
        while application.log.read_text().count('"code"') == before:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
    bridge.heal()
    bridge.emit_message("")
    with httpx.Client(base_url=application.url, trust_env=False, timeout=30, follow_redirects=True) as client:
        ask_as_a_stranger(client, application)
        ask_the_api(client)
        log_in_to_the_admin(client)


def post_recorded(application: Application, bridge: Any, kind: str) -> None:
    """Post everything that was recorded of a bridge, also edits, deletions, calls and malformed requests."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        for path in sorted((PAYLOADS / kind).glob("[!a]*.json")):  # api_*: what the bridge answers
            if path.name != "index.json":
                body = json.dumps(rewritten(json.loads(path.read_bytes()))).encode()
                headers = bridge.signature(body) if hasattr(bridge, "signature") else {}
                assert client.post(application.webhook_url, content=body, headers=headers).status_code < 500, path.name


def rewritten(value: Any) -> Any:
    """Return a payload in which every string of several words, which people wrote, begins with a word of ours."""
    if isinstance(value, dict):
        return {name: rewritten(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rewritten(each) for each in value]
    return f"{ASKED} {value}" if isinstance(value, str) and " " in value else value


def say(bridge: Any, text: str, message_id: str) -> None:
    """Each from a contact of its own: the same text again and again would look like a machine's."""
    phone = PHONE if message_id == "answered" else f"{PHONE[:-2]}{zlib.crc32(message_id.encode()) % 100:02}"
    assert bridge.emit_message(text, phone=phone, message_id=message_id) == [200]


def reply(bridge: Any, model: FakeOpenAI, message_id: str, text: str, answer: str | None) -> None:
    before = len(bridge.sent)
    if answer:
        model.say(answer)
    say(bridge, text, message_id)
    bridge.wait_for_sent(before + 1)


def settled(application: Application, query: str) -> None:
    give_up_at = time.monotonic() + 60
    while application.rows(query) == [(0,)]:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def ask_as_a_stranger(client: httpx.Client, application: Application) -> None:
    client.post(f"/api/v1/webhooks/default/{STRANGER}/", json={"text": ASKED})
    client.post(f"/api/v1/webhooks/{STRANGER}/wrong-secret/", json={"text": ASKED})
    client.post(application.webhook_url, content=ASKED.encode())
    client.post(application.webhook_url, json={"event": "message", "payload": ASKED, "object": [f"+{PHONE}"]})
    client.get("/metrics", headers={"authorization": f"Bearer {WRONG_PASSWORD}"})
    client.get("/metrics", headers={"authorization": f"Bearer {METRICS_TOKEN}"})
    client.get(f"/no-such-page/{STRANGER}/?q={ASKED}")
    client.get(f"/api/v1/no-such-route/{STRANGER}/")
    client.get("/health/", headers={"host": f"{STRANGER}.example"})
    client.get("/admin/", headers={"host": f"{STRANGER}.example"})
    client.get("/api/v1/messages/", headers={"authorization": f"Bearer {WRONG_PASSWORD}"})
    client.get("/api/v1/messages/", headers={"authorization": f"Api-Key {WRONG_PASSWORD}"})


def ask_the_api(client: httpx.Client) -> None:
    client.post("/api/v1/auth/token/", json={"username": "admin", "password": WRONG_PASSWORD})
    login = {"username": "admin", "password": SECRETS["ADMIN_PASSWORD"]}
    token = client.post("/api/v1/auth/token/", json=login).json()["access"]
    headers = {"authorization": f"Bearer {token}"}
    session = client.get("/api/v1/sessions/", headers=headers).json()["results"][0]["id"]
    for parameters in ({"search": SEARCHED}, {"contact": f"+{PHONE}"}, {"kind": SEARCHED}):
        client.get("/api/v1/messages/", params=parameters, headers=headers)
    for body in (
        {"session": session, "to": f"+{PHONE}", "text": f"{SEARCHED} {PHONE}"},
        {"session": session, "to": SEARCHED, "text": SEARCHED},
        {"session": SEARCHED, "to": f"+{STRANGER}", "text": SEARCHED},
    ):
        client.post("/api/v1/messages/", json=body, headers=headers)
    client.post("/api/v1/messages/", content=f'{{"text": "{SEARCHED}"', headers=headers)
    menu = {"session": session, "to": f"+{PHONE}", "interactive": {"text": SEARCHED, "buttons": [SEARCHED[:10]]}}
    client.post("/api/v1/messages/", json=menu, headers=headers)
    ours = client.get("/api/v1/messages/", params={"direction": "outbound"}, headers=headers)
    assert ours.json()["results"]
    for message in ours.json()["results"]:
        client.post(f"/api/v1/messages/{message['id']}/edit/", json={"text": f"{SEARCHED} {PHONE}"}, headers=headers)
        client.post(f"/api/v1/messages/{message['id']}/revoke/", headers=headers)
    client.post("/api/v1/commands/search/", json={"words": SEARCHED}, headers=headers)
    client.get(f"/api/v1/conversations/{STRANGER}/", headers=headers)


def log_in_to_the_admin(client: httpx.Client) -> None:
    form = re.search(r'csrfmiddlewaretoken" value="(\w+)', client.get("/admin/login/").text)
    assert form
    fields = {"username": f"+{PHONE}", "password": WRONG_PASSWORD, "csrfmiddlewaretoken": form[1]}
    client.post("/admin/login/", data=fields)
    client.post("/admin/login/", data=fields | {"csrfmiddlewaretoken": WRONG_PASSWORD})
    fields |= {
        "username": "admin",
        "password": SECRETS["ADMIN_PASSWORD"],
        "csrfmiddlewaretoken": client.cookies["csrftoken"],
    }
    client.post("/admin/login/", data=fields)
    assert client.get(f"/admin/messaging/message/?q={SEARCHED}").status_code == 200
    client.get(f"/admin/messaging/contact/?q=%2B{PHONE}")
    client.get(f"/admin/messaging/message/{STRANGER}/change/")


def lines(application: Application) -> list[dict[str, Any]]:
    """The lines of the log; what `up` prints for whoever started it is no log."""
    written = application.log.read_text().splitlines()
    return [json.loads(line) for line in written if line.startswith("{")]


def test_the_log_holds_no_text_no_number_and_no_key(run: tuple[Application, Any]) -> None:
    application, bridge = run
    secrets = [*SECRETS.values(), SIGNING_KEY, MODEL_KEY, METRICS_TOKEN, WRONG_PASSWORD, bridge.api_key]
    texts = [ASKED, ANSWERED, FILTERED, SEARCHED, NAME, *NAME.split()]
    forbidden = [*secrets, *texts, PHONE[:-2], OWN_PHONE, STRANGER, PHONE[2:-2]]
    found = {
        (secret, line[:400])
        for line in application.log.read_text().splitlines()
        for secret in forbidden
        if secret in line
    }
    assert found == set()


def test_every_line_of_a_log_in_json_is_one_object_with_an_event(run: tuple[Application, Any]) -> None:
    application, _ = run
    read = lines(application)
    assert len(read) > 20
    assert [line for line in read if not {"event", "level", "logger", "timestamp"} <= set(line)] == []
    others = [line for line in application.log.read_text().splitlines() if not line.startswith("{")]
    assert not [line for line in others if re.search(r"Traceback|Error|\[(info|warning|error)", line)]


def test_a_log_line_names_its_request_conversation_and_turn(run: tuple[Application, Any]) -> None:
    application, _ = run
    conversations = {str(row[0]) for row in application.rows("SELECT id FROM messaging_conversation")}
    turns = {str(row[0]) for row in application.rows("SELECT id FROM messaging_turn")}
    by_event: dict[str, list[dict[str, Any]]] = {}
    for line in lines(application):
        by_event.setdefault(line["event"], []).append(line)
    assert {line["turn"] for line in by_event["turn_settled"]} == turns
    assert {line["conversation"] for line in by_event["turn_settled"]} <= conversations
    assert all(line["conversation"] in conversations and line["turn"] for line in by_event["model_failed"])
    sent = [line for line in lines(application) if line["event"].startswith("message_")]
    assert sent
    assert all(line["conversation"] in conversations and line["turn"] in turns for line in sent if line["turn"])
    assert all(
        "request_id" in line for line in by_event.get("event_malformed", []) + by_event.get("request_failed", [])
    )
