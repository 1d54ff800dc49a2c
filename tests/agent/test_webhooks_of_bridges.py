"""The webhook of each bridge, with everything that was recorded of it: authenticated, stored once, never 5xx."""

import hashlib
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from agent.sender import deliver
from messaging.models import Contact, Conversation, Event, Message
from messaging.outbound import send_text
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.bridges.fake_cloud import FakeCloud
from whatsapp_agent.errors import WindowClosed

PAYLOADS = Path(__file__).parents[1] / "payloads"
INDEXES = {path.parent.name: json.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*/index.json"))}
KEYS = ("hmac_key", "webhook_secret", "app_secret")
SIGNED = sorted(set(INDEXES) - {"zapw"})


@pytest.fixture(params=sorted(INDEXES))
def any_bridge(request: pytest.FixtureRequest, profile: Any) -> Bridge:
    return make_bridge(request.param)


def make_bridge(kind: str) -> Bridge:
    index = INDEXES[kind]
    key = next((index[name] for name in KEYS if name in index), "")
    return Bridge.objects.create(
        slug=kind,
        kind=kind,
        webhook_secret="the secret in the path",
        signing_key=key,
        verify_token=index.get("verify_token", ""),
        base_url="http://127.0.0.1:9",
    )


def post(client: Client, bridge: Bridge, fixture: dict[str, Any], **changed: Any) -> Any:
    body = changed["body"] if "body" in changed else (PAYLOADS / bridge.kind / fixture["file"]).read_bytes()
    headers = {name: value for name, value in fixture["headers"].items() if name != "Content-Type"}
    path = changed.get("path", bridge.webhook_path)
    return client.post(path, body, content_type="application/json", headers=changed.get("headers", headers))


def webhooks_of(kind: str) -> list[dict[str, Any]]:
    return [fixture for fixture in INDEXES[kind]["fixtures"] if fixture["kind"] == "webhook"]


def text_of(kind: str) -> dict[str, Any]:
    return next(fixture for fixture in webhooks_of(kind) if fixture["expected"][0].get("kind") == "text")


def signed(body: bytes) -> dict[str, Any]:
    """Return a fixture of the Cloud API whose signature is that of `body`."""
    key = INDEXES["cloud"]["app_secret"].encode()
    return {"headers": {"X-Hub-Signature-256": f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"}}


def stored() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Message, Contact, Conversation, WhatsAppSession))


@pytest.mark.django_db(transaction=True)
def test_every_recorded_webhook_is_acknowledged_and_stored_once(client: Client, any_bridge: Bridge):
    fixtures = webhooks_of(any_bridge.kind)
    for fixture in fixtures:
        response = post(client, any_bridge, fixture)
        is_readable = not fixture["file"].endswith(".body")
        is_signed_by_another = "key: " in fixture.get("note", "")
        expected = 401 if is_signed_by_another else 200 if is_readable else 400
        assert response.status_code == expected, fixture["file"]
    before = stored()

    for fixture in fixtures:
        assert post(client, any_bridge, fixture).status_code < 500

    assert stored() == before
    assert before[0] > 5
    assert not Message.objects.filter(status="received").exists()  # what was recorded long ago is not answered


@pytest.mark.django_db
@pytest.mark.parametrize("kind", SIGNED)
def test_a_request_with_the_right_path_and_a_wrong_signature_stores_nothing(client: Client, profile: Any, kind: str):
    bridge = make_bridge(kind)
    fixture = text_of(kind)
    Bridge.objects.update(signing_key="another key")

    assert post(client, bridge, fixture).status_code == 401
    assert post(client, bridge, fixture, headers={}).status_code == 401
    assert stored() == (0, 0, 0, 0)


@pytest.mark.django_db
def test_a_request_with_the_right_signature_and_a_wrong_path_stores_nothing(client: Client, any_bridge: Bridge):
    path = f"/api/v1/webhooks/{any_bridge.slug}/wrong/"

    assert post(client, any_bridge, text_of(any_bridge.kind), path=path).status_code == 401
    assert stored() == (0, 0, 0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", sorted(set(SIGNED) - {"evolution"}))
def test_a_body_that_was_changed_on_its_way_stores_nothing(client: Client, profile: Any, kind: str):
    bridge = make_bridge(kind)
    fixture = text_of(kind)
    body = (PAYLOADS / kind / fixture["file"]).read_bytes()

    assert post(client, bridge, fixture, body=json.dumps(json.loads(body)).encode() + b" ").status_code == 401
    assert stored() == (0, 0, 0, 0)


@pytest.mark.django_db
def test_a_cloud_bridge_without_its_app_secret_takes_nothing(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    Bridge.objects.update(signing_key="")

    assert post(client, bridge, text_of("cloud")).status_code == 401


@pytest.mark.django_db
def test_metas_challenge_is_answered_to_who_knows_path_and_token(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    right = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "cloud-fixture-verify-token"}

    answered = client.get(f"{bridge.webhook_path}?{urlencode(right)}")
    wrong_token = client.get(f"{bridge.webhook_path}?{urlencode(right | {'hub.verify_token': 'x'})}")
    wrong_path = client.get(f"/api/v1/webhooks/cloud/wrong/?{urlencode(right)}")
    without = client.get(bridge.webhook_path)

    assert (answered.status_code, answered.content, answered["Content-Type"]) == (
        200,
        b"1158201444",
        "text/plain; charset=utf-8",
    )
    assert [wrong_token.status_code, wrong_path.status_code, without.status_code] == [403, 401, 405]


@pytest.mark.django_db
def test_without_a_verify_token_the_webhook_secret_serves(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    Bridge.objects.update(verify_token="")
    query = {"hub.mode": "subscribe", "hub.challenge": "7", "hub.verify_token": bridge.webhook_secret}

    assert client.get(f"{bridge.webhook_path}?{urlencode(query)}").content == b"7"


@pytest.mark.django_db
def test_another_bridge_answers_no_challenge(client: Client, bridge: Bridge):
    query = {"hub.mode": "subscribe", "hub.challenge": "7", "hub.verify_token": bridge.webhook_secret}

    assert client.get(f"{bridge.webhook_path}?{urlencode(query)}").status_code == 403


@pytest.mark.django_db
def test_a_batch_of_three_megabytes_is_stored(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    payload = json.loads((PAYLOADS / "cloud" / "message_text.json").read_bytes())
    value = payload["entry"][0]["changes"][0]["value"]
    message = value["messages"][0]
    value["messages"] = [message | {"id": f"wamid.{number}", "text": {"body": "á" * 1000}} for number in range(400)]
    body = json.dumps(payload).encode()

    response = post(client, bridge, signed(body), body=body)

    assert 2_000_000 < len(body) < 3_000_000
    assert (response.status_code, response.json()["kept"]) == (200, 400)
    assert post(client, bridge, {"headers": {}}, body=b" " * (4 * 1024 * 1024 + 1)).status_code == 413


@pytest.mark.django_db
def test_one_bad_item_does_not_lose_the_others_of_its_batch(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    payload = json.loads((PAYLOADS / "cloud" / "message_text.json").read_bytes())
    value = payload["entry"][0]["changes"][0]["value"]
    good = value["messages"][0]
    value["messages"] = [good | {"id": "wamid.1"}, None, good | {"id": None}, {"id": 7}, good | {"id": "wamid.2"}]
    payload["entry"] += [None, {"changes": [None, {"field": "messages"}]}]
    body = json.dumps(payload).encode()

    response = post(client, bridge, signed(body), body=body)

    assert (response.status_code, response.json()["kept"], response.json()["malformed"]) == (200, 2, 6)
    assert set(Message.objects.values_list("provider_message_id", flat=True)) == {"wamid.1", "wamid.2"}


@pytest.mark.django_db
def test_a_changed_number_stays_one_contact(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    fixtures = {fixture["file"]: fixture for fixture in webhooks_of("cloud")}
    post(client, bridge, fixtures["message_text.json"])

    post(client, bridge, fixtures["system_number_changed.json"])

    contact = Contact.objects.get()
    assert contact.phone == "+972912345678"
    assert contact.conversation.address == "972912345678"
    assert contact.aliases.filter(value__in=["+972987654321", "+972912345678"]).count() == 2


@pytest.mark.django_db
def test_a_price_and_a_reason_are_stored_with_their_message(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    fixtures = {fixture["file"]: fixture for fixture in webhooks_of("cloud")}
    post(client, bridge, fixtures["message_text_portuguese.json"])
    conversation = Conversation.objects.get()
    for name in ("status_delivered_priced.json", "status_failed_payment.json"):
        Message.objects.create(
            session=conversation.session,
            conversation=conversation,
            direction="outbound",
            author="agent",
            status="sent",
            provider_message_id=fixtures[name]["expected"][0]["provider_message_id"],
        )
        post(client, bridge, fixtures[name])

    delivered, failed = Message.objects.filter(direction="outbound").order_by("created_at")
    assert (delivered.status, delivered.pricing["billable"], delivered.pricing["category"]) == (
        "delivered",
        True,
        "service",
    )
    assert "payment method" in Conversation.objects.get().attention_note
    assert (failed.status, failed.error_code) == ("failed", "payment")


@pytest.mark.django_db
def test_a_username_that_passes_to_another_person_does_not_make_them_one(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    recorded = (PAYLOADS / "cloud" / "message_username_and_phone.json").read_bytes()
    other = (
        recorded.replace(b"5511988887777", b"5521977776666")
        .replace(b"BR.11", b"BR.22")
        .replace(b"BR.ENT.44", b"BR.ENT.55")
    )
    other = other.replace(b"wamid.HRgN", b"wamid.other")

    for body in (recorded, other):
        assert post(client, bridge, signed(body), body=body).status_code == 200

    assert Contact.objects.count() == 2
    usernames = Contact.objects.filter(aliases__kind="username").values_list("phone", flat=True)
    assert list(usernames) == ["+5521977776666"]


@pytest.mark.django_db
def test_a_chat_that_metas_agent_holds_is_silent_until_it_is_given_back(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    recorded = (PAYLOADS / "cloud" / "handover_control_passed.json").read_bytes()
    taken = recorded.replace(b"control_passed", b"control_taken")

    post(client, bridge, signed(taken), body=taken)
    held = Conversation.objects.get()
    post(client, bridge, signed(recorded), body=recorded)
    given_back = Conversation.objects.get()

    assert (held.control, held.control_reason) == ("muted", "held by the platform's own agent")
    assert given_back.control == "agent"


@pytest.mark.django_db
def test_a_person_who_has_control_keeps_it_when_metas_agent_takes_the_chat(client: Client, profile: Any):
    bridge = make_bridge("cloud")
    recorded = (PAYLOADS / "cloud" / "handover_control_passed.json").read_bytes()
    post(client, bridge, signed(recorded), body=recorded)
    Conversation.objects.update(control="human")

    taken = recorded.replace(b"control_passed", b"control_taken")
    post(client, bridge, signed(taken), body=taken)
    post(client, bridge, signed(recorded), body=recorded)

    assert Conversation.objects.get().control == "human"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "file", "status"),
    [
        ("cloud", "call_missed.json", "missed"),
        ("waha", "call_received.json", "ringing"),
        ("evolution", "call_timeout.json", "missed"),
    ],
)
def test_a_call_is_an_event_once_and_one_message_that_nobody_answers(
    client: Client, profile: Any, kind: str, file: str, status: str
):
    bridge = make_bridge(kind)
    fixture = next(each for each in webhooks_of(kind) if each["file"] == file)

    for _ in range(2):
        assert post(client, bridge, fixture).status_code == 200

    event = Event.objects.get(type="call.changed")
    assert (event.data["status"], event.data["direction"]) == (status, "inbound")
    conversation = Conversation.objects.get()
    assert (event.conversation_id, conversation.due_at) == (conversation.pk, None)
    message = Message.objects.get()
    assert (message.kind, message.status, message.unanswered) == ("call", "handled", "kind")


@pytest.mark.django_db
def test_a_closed_window_is_known_before_anything_is_sent(client: Client, profile: Any, settings: Any):
    with FakeCloud(app_secret=INDEXES["cloud"]["app_secret"]) as fake:
        fake.add_session(phone="5511999990000")
        bridge = make_bridge("cloud")
        Bridge.objects.filter(pk=bridge.pk).update(base_url=fake.url)
        bridge = Bridge.objects.get(pk=bridge.pk)
        bridge.api_key = fake.api_key
        bridge.save()
        payload = json.loads((PAYLOADS / "cloud" / "message_text_portuguese.json").read_bytes())
        payload["entry"][0]["changes"][0]["value"]["messages"] = [fake.message("Oi")]
        body = json.dumps(payload).encode()
        post(client, bridge, signed(body), body=body)
        conversation = Conversation.objects.get()

        in_time = send_text(conversation=conversation, text="Hello", author=Message.Author.AGENT)
        late = send_text(conversation=conversation, text="Are you there?", author=Message.Author.AGENT)
        Message.objects.filter(pk=late.pk).update(next_try_at=timezone.now() + timedelta(hours=1))
        settings.SEND_GAP_S = 0.0
        deliver(conversation.pk)
        Message.objects.filter(direction="inbound").update(written_at=timezone.now() - timedelta(hours=25))
        Message.objects.update(next_try_at=None)
        deliver(conversation.pk)

        with pytest.raises(WindowClosed):
            send_text(conversation=conversation, text="Hello?")
        in_time.refresh_from_db()
        late.refresh_from_db()
        assert (in_time.status, late.status, late.error_code) == ("sent", "failed", "window_closed")
        assert [entry["text"] for entry in fake.sent] == ["Hello"]


@pytest.mark.django_db
def test_a_command_that_the_owner_types_in_their_own_chat_is_to_be_run(client: Client, profile: Any):
    bridge = make_bridge("waha")
    Bridge.objects.update(signing_key="")
    post(client, bridge, text_of("waha"))
    own = {"id": "true_5511999990000@c.us_3EB0FF", "fromMe": True, "from": "5511999990000@c.us", "body": "/help"}
    me = {"id": "5511999990000@c.us"}
    event = {
        "event": "message.any",
        "session": "sales",
        "me": me,
        "payload": own | {"timestamp": timezone.now().timestamp()},
    }

    assert post(client, bridge, text_of("waha"), body=json.dumps(event)).json()["kept"] == 1

    command = Message.objects.get(text="/help")
    assert (command.direction, command.unanswered) == ("inbound", "")
    assert command.conversation.due_at is not None
