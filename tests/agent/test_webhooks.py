"""The door for bridges: nobody else gets in, nothing odd breaks it, and nothing is acknowledged that is not kept."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent import inbox
from agent.bridges.zapw import ZapwBridge
from messaging.inbound import INSERT_INBOUND_MESSAGE
from messaging.models import Contact, Message
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import message_event
from tests.support.messaging.zapw_events import text_event

SECRET = settings.WHATSAPP_WEBHOOK_SECRET
PAYLOADS = Path(__file__).parents[1] / "payloads" / "zapw"


@pytest.fixture
def post(client, bridge, profile):
    def deliver(body: Any, secret: str = SECRET, slug: str = "default", slash: str = "/"):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(f"/api/v1/webhooks/{slug}/{secret}{slash}", raw, content_type="application/json")

    return deliver


@pytest.mark.parametrize("slash", ["/", ""])
def test_a_message_is_stored_with_and_without_the_trailing_slash(post, slash):
    response = post(text_event(), slash=slash)
    assert (response.status_code, response.json()["kept"]) == (200, 1)
    assert Message.objects.get().text == "Oi"


@pytest.mark.parametrize(("slug", "secret"), [("default", "wrong"), ("default", SECRET[:-1]), ("nobody", SECRET)])
def test_a_stranger_is_refused_and_nothing_is_stored(post, slug, secret):
    response = post(text_event(), slug=slug, secret=secret)
    assert (response.status_code, response.json()["code"]) == (401, "webhook_unauthorized")
    assert not Message.objects.exists()
    assert not WhatsAppSession.objects.exists()


def test_a_webhook_request_with_a_known_contacts_text_takes_one_query(post):
    post(text_event())
    with CaptureQueriesContext(connection) as queries:
        assert post(text_event(messageId="3EB0SECOND")).json()["kept"] == 1
    assert len(queries) == 1


@pytest.mark.parametrize(
    "event",
    [
        text_event(messageId="3EB0SECOND"),
        text_event(messageId="3EB0SECOND", **{"from": "5511888880000@s.whatsapp.net", "chatId": None}),
        json.loads((PAYLOADS / "status_read.json").read_text()),
    ],
    ids=["known contact", "new contact", "status"],
)
def test_a_secret_that_was_changed_elsewhere_is_refused_at_once(post, event):
    """Another process changes the row: this one has no other way to learn of it than the row itself."""
    assert post(text_event()).status_code == 200
    Bridge.objects.update(webhook_secret="another-secret")
    before = Message.objects.count(), Contact.objects.count()
    assert post(event).status_code == 401
    assert (Message.objects.count(), Contact.objects.count()) == before
    assert post(event, secret="another-secret").status_code == 200


def test_a_bridge_that_was_deleted_is_refused_at_once(post):
    other = Bridge.objects.create(slug="other", kind="zapw", webhook_secret="other-secret")
    assert post(text_event(), slug="other", secret="other-secret").status_code == 200
    WhatsAppSession.objects.filter(bridge=other).update(bridge=Bridge.objects.get(slug="default"))
    other.delete()
    assert post(text_event(messageId="3EB0SECOND"), slug="other", secret="other-secret").status_code == 401


def test_a_bridge_that_changes_all_the_time_is_asked_to_send_the_request_again(post):
    def change_before(execute, sql, params, many, context):
        if sql.startswith(f"EXECUTE {INSERT_INBOUND_MESSAGE.name}"):
            with context["connection"].cursor() as cursor:
                cursor.cursor.execute("UPDATE sessions_app_bridge SET synced_at = clock_timestamp()")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(change_before):
        response = post(text_event())
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert not Message.objects.exists()


def test_a_bridge_that_changed_otherwise_is_read_again(post):
    post(text_event())
    Bridge.objects.update(synced_at=timezone.now())
    assert post(text_event(messageId="3EB0SECOND")).json()["kept"] == 1


@pytest.mark.parametrize("path", ["/api/v1/webhooks/default", "/api/v1/webhooks/default/"])
def test_a_missing_secret_is_refused(client, bridge, path):
    assert client.post(path, b"{}", content_type="application/json").status_code == 401


def test_a_bridge_without_a_secret_lets_nobody_in(client, bridge):
    Bridge.objects.update(webhook_secret="")
    assert client.post("/api/v1/webhooks/default/", b"{}", content_type="application/json").status_code == 401


def test_only_post_is_taken(client, bridge):
    assert client.get(f"/api/v1/webhooks/default/{SECRET}/").status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        (PAYLOADS / "malformed_truncated.body").read_bytes(),
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"\xff\xfe\x00",
        b"1" * 5000,
        b"null",
    ],
    ids=["empty", "words", "truncated", "deep arrays", "deep objects", "not utf-8", "huge number", "null"],
)
def test_an_unreadable_body_is_refused_and_nothing_is_stored(post, body):
    assert post(body).status_code in (200, 400)
    assert not Message.objects.exists()


def test_a_body_over_four_mebibytes_is_refused(post):
    assert post(text_event("x" * 4 * 1024 * 1024)).status_code == 413
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"from": 5},
        {"from": None},
        {"messageId": None},
        {"messageId": {"a": 1}},
        {"timestamp": "soon"},
        {"timestamp": 1e300},
        {"timestamp": -1},
        {"type": ["text"]},
        {"text": {"a": 1}},
        {"isGroup": "yes", "groupId": 7},
        {"type": "location", "location": "here"},
        {"messageId": "x" * 100_000},
    ],
)
def test_wrong_types_never_break_the_door(post, changes):
    assert post(text_event(**changes)).status_code in (200, 400)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800 alone", "\ud83d", ""])
def test_characters_the_database_cannot_hold_do_not_lose_the_message(post, text):
    raw = json.dumps(text_event(text)).encode()
    assert post(raw).status_code == 200
    assert "\x00" not in Message.objects.get().text


@pytest.mark.parametrize("text", ["", "😀👩‍👩‍👧‍👦", "مرحبا بالعالم", "x" * 100_000])
def test_a_text_is_stored_as_it_was_written(post, text):
    post(text_event(text))
    assert Message.objects.get().text == text


def test_an_unknown_event_is_taken_and_forgotten(post):
    response = post((PAYLOADS / "unknown_event_type.json").read_bytes())
    assert (response.status_code, response.json()["ignored"]) == (200, 1)


def test_the_valid_events_of_a_webhook_request_with_a_bad_one_are_stored(client, simulator, profile):
    good = {"event": "message", "session": "sim", "chat": "5511988887777@s.whatsapp.net", "text": "Hello"}
    delivery = [good | {"id": "A"}, {"event": "message", "id": 7}, "nonsense", good | {"id": "B"}]
    path = f"/api/v1/webhooks/simulator/{simulator.webhook_secret}/"
    response = client.post(path, json.dumps(delivery), content_type="application/json")
    assert response.status_code == 200
    assert set(Message.objects.values_list("provider_message_id", flat=True)) == {"A", "B"}


def unreachable(*args: object, **kwargs: object) -> None:
    raise OperationalError("the server is gone")


def test_an_event_that_cannot_be_stored_now_is_not_acknowledged(post, monkeypatch):
    with monkeypatch.context() as gone:
        gone.setattr(connections["default"], "cursor", unreachable)
        response = post(text_event())
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


def test_the_secret_is_not_in_the_log(post, caplog, monkeypatch):
    with monkeypatch.context() as gone:
        gone.setattr(connections["default"], "cursor", unreachable)
        post(text_event())
    ours = next(h for h in logging.getLogger().handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter))
    logged = "\n".join(ours.format(record) for record in caplog.records)
    assert "/api/v1/webhooks/default/..." in logged
    assert SECRET not in logged


def test_an_event_the_database_refuses_is_not_acknowledged_and_the_others_are_stored(client, simulator, profile):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE messaging_message ADD CHECK (provider_message_id <> 'A')")
    event = {"event": "message", "session": "sim", "chat": "5511988887777@s.whatsapp.net", "text": "Hello"}
    delivery = [event | {"id": "A"}, event | {"id": "B"}]
    path = f"/api/v1/webhooks/simulator/{simulator.webhook_secret}/"
    response = client.post(path, json.dumps(delivery), content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert Message.objects.get().provider_message_id == "B"


def test_an_event_that_can_never_be_stored_differs_from_one_that_cannot_be_stored_now(bridge, profile, monkeypatch):
    events = [message_event(session="x" * 1000), message_event()]
    monkeypatch.setattr(ZapwBridge, "parse_webhook", lambda *_, **__: events)
    counts = inbox.process_webhook_request(bridge=bridge, headers={}, body=b"")
    assert (counts["malformed"], counts["kept"]) == (1, 1)


@pytest.mark.parametrize("unit", ["s", "ms", "text of s", "text of ms", "Long"])
def test_a_new_message_is_answered_whatever_unit_its_time_has(post, unit):
    now_s = int(timezone.now().timestamp())
    timestamp = {
        "s": now_s,
        "ms": now_s * 1000,
        "text of s": str(now_s),
        "text of ms": str(now_s * 1000),
        "Long": {"low": now_s, "high": 0, "unsigned": True},
    }[unit]

    post(text_event(timestamp=timestamp))

    message = Message.objects.get()
    assert message.unanswered == ""
    assert abs(message.said_at.timestamp() - now_s) < 2


@pytest.mark.parametrize("timestamp", [0, -1, 17, "yesterday", None, 4_000_000_000, 4_000_000_000_000, 10**30, [], {}])
def test_an_implausible_time_is_replaced_by_the_time_of_arrival(post, timestamp):
    event = text_event(timestamp=timestamp)

    post(event | {"timestamp": timestamp})

    message = Message.objects.get()
    assert message.unanswered == ""
    assert abs((message.said_at - timezone.now()).total_seconds()) < 5


@pytest.mark.parametrize("as_seconds", [True, False])
def test_an_old_message_stays_stale_in_every_unit(post, as_seconds):
    an_hour_ago = int(timezone.now().timestamp()) - 3600

    post(text_event(timestamp=an_hour_ago if as_seconds else an_hour_ago * 1000))

    assert Message.objects.get().unanswered == "stale"


def test_a_body_with_a_byte_order_mark_is_read(post):
    response = post(b"\xef\xbb\xbf" + json.dumps(text_event()).encode())

    assert (response.status_code, response.json()["kept"]) == (200, 1)


def test_a_device_hosted_by_meta_is_the_contact_of_its_number_and_answered(post):
    post(text_event(messageId="A"))
    response = post(text_event(messageId="B", **{"from": "5511988887777:99@hosted"}))

    assert response.json()["kept"] == 1
    first, second = Message.objects.order_by("created_at")
    assert second.conversation_id == first.conversation_id
    assert second.unanswered == ""
    assert second.conversation.address == "5511988887777@s.whatsapp.net"


@pytest.mark.parametrize("text", ["\u200b", "\ufeff\u200d", "\u3164", "\u2800 "])
def test_a_text_of_invisible_characters_is_acknowledged_and_not_answered(post, text):
    response = post(text_event(text))

    assert response.status_code == 200
    assert Message.objects.get().unanswered != ""
    assert Message.objects.get().conversation.due_at is None
