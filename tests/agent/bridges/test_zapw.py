"""How we speak to zapw: to whom we write, what each failure means, and how a link comes about."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from agent.bridges.base import BridgeConfig, WebhookRequest
from agent.bridges.events import Ignored, Link, Malformed, MessageReceived, SessionChanged
from agent.bridges.exchange import BridgeError, NotSent, Refused, Unconfirmed
from agent.bridges.zapw import ZapwBridge
from tests.support.bridges.live import LiveBridge
from tests.support.fake_zapw import FakeZapw

ANA = "5511988887777@s.whatsapp.net"


# --- what comes in -----------------------------------------------------------------------------------------------
def delivery(event_type: str, data: object, **envelope: object) -> bytes:
    whole = {"sessionId": "sales", "origin": "5511999990000", "eventType": event_type, "timestamp": 1795386918269}
    return json.dumps(whole | envelope | {"data": data}).encode()


def message(**fields: object) -> bytes:
    data = {
        "from": ANA,
        "messageId": "3EB0A",
        "timestamp": 1790000001000,
        "isGroup": False,
        "type": "text",
        "text": "Oi",
    }
    return delivery("message.received", data | fields)


def parsed(bridge: LiveBridge, body: bytes):
    (event,) = bridge.parse_webhook(WebhookRequest(body))
    return event


def test_a_hidden_sender_is_known_by_lid_and_has_no_phone(unreached_zapw):
    event = parsed(unreached_zapw, message(**{"from": "123456789012345:2@lid"}))

    assert (event.sender.address, event.sender.phone) == ("123456789012345@lid", None)
    assert event.chat == event.sender


@pytest.mark.parametrize("sender", ["120363041234567890@newsletter", "status@broadcast", "1400000000@broadcast"])
def test_stories_lists_and_channels_are_ignored(unreached_zapw, sender):
    assert isinstance(parsed(unreached_zapw, message(**{"from": sender})), Ignored)


@pytest.mark.parametrize("missing", ["from", "messageId"])
def test_a_message_without_a_known_sender_is_malformed(unreached_zapw, missing):
    assert isinstance(parsed(unreached_zapw, message(**{missing: None})), Malformed)


def test_a_group_message_without_its_group_is_malformed(unreached_zapw):
    assert isinstance(parsed(unreached_zapw, message(isGroup=True)), Malformed)


def test_a_group_is_a_group_also_where_the_flag_forgets_it(unreached_zapw):
    event = parsed(unreached_zapw, message(groupId="120363041234567890@g.us"))

    assert event.chat.is_group
    assert event.sender.phone == "+5511988887777"


def test_a_message_without_a_time_has_that_of_its_event(unreached_zapw):
    event = parsed(unreached_zapw, message(timestamp=None))

    assert event.sent_at == datetime(2026, 11, 22, 22, 35, 18, 269000, tzinfo=UTC)


def test_a_name_of_digits_is_not_taken_for_our_number(unreached_zapw):
    body = json.loads(message()) | {"sessionId": "5511999990000"}

    assert parsed(unreached_zapw, json.dumps(body).encode()).own_phone is None


def test_a_location_as_documented_is_read(unreached_zapw):
    event = parsed(unreached_zapw, message(type="location", text=None, latitude=-23.5, longitude=-46.6, name="MASP"))

    assert event.details == {"location": {"latitude": -23.5, "longitude": -46.6, "name": "MASP", "address": None}}


def test_a_type_of_the_future_is_stored_and_not_answered(unreached_zapw):
    event = parsed(unreached_zapw, message(type="hologram", text=None))

    assert isinstance(event, MessageReceived)
    assert (event.kind, event.answerable) == ("unknown", False)


@pytest.mark.parametrize(
    ("reason", "status", "code", "will_reconnect"),
    [
        ({"reason": {"output": {"statusCode": 401}}, "shouldReconnect": False}, Link.LOGGED_OUT, "401", False),
        ({"reason": {"output": {"statusCode": 440}}, "shouldReconnect": True}, Link.DISCONNECTED, "440", False),
        ({"reason": {"output": {"statusCode": 515}}, "shouldReconnect": True}, Link.CONNECTING, "515", True),
        ({"shouldReconnect": True}, Link.CONNECTING, "", True),
        ({"reason": {}, "shouldReconnect": True}, Link.DISCONNECTED, "", False),
        ("connection_lost", Link.DISCONNECTED, "", False),
        (None, Link.DISCONNECTED, "", False),
    ],
)
def test_a_closed_link_has_a_reason_and_whether_it_reconnects(unreached_zapw, reason, status, code, will_reconnect):
    event = parsed(unreached_zapw, delivery("session.disconnected", {"reason": reason}))

    assert isinstance(event, SessionChanged)
    assert (event.status, event.code, event.will_reconnect) == (status, code, will_reconnect)


# --- to whom -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "address",
    [
        "120363041234567890@g.us",
        "5511988887777-1400000000@g.us",
        "123456789012345@lid",
        "5511988887777:3@s.whatsapp.net",
        "120363041234567890@newsletter",
        "status@broadcast",
        "120363041234567890",
        "1234567",
        "ana",
        "",
    ],
)
def test_who_cannot_be_written_to_is_refused_before_the_bridge_is_asked(zapw, zapw_server, address):
    with pytest.raises(Refused) as caught:
        zapw.send_text(session="sales", address=address, text="Oi")

    assert caught.value.code == "unsupported_recipient"
    assert not zapw_server.requests
    assert zapw.unreachable_reason(address=address, is_group=False)


@pytest.mark.parametrize("address", [ANA, "5511988887777@c.us", "5511988887777", "+5511988887777"])
def test_a_persons_phone_is_sent_as_digits(zapw, zapw_server, address):
    assert zapw.unreachable_reason(address=address, is_group=False) is None

    sent = zapw.send_text(session="sales", address=address, text="Olá 👋")

    assert [(one["to"], one["text"], one["id"]) for one in zapw_server.sent] == [
        ("5511988887777", "Olá 👋", sent.provider_message_id)
    ]


def test_an_address_made_from_a_phone_can_be_written_to(zapw, zapw_server):
    address = zapw.address_of_phone("+5511988887777")

    zapw.send_text(session="sales", address=address.address, text="Oi")

    assert address.phone == "+5511988887777"
    assert zapw_server.sent[0]["jid"] == ANA


def test_the_key_is_shown_to_the_bridge(zapw, zapw_server):
    zapw.send_text(session="sales", address=ANA, text="Oi")

    assert zapw_server.requests[0].headers["x-api-key"] == zapw_server.api_key


def test_without_a_key_none_is_shown(zapw_server):
    zapw_server.api_key = ""
    bridge = LiveBridge(ZapwBridge(BridgeConfig(base_url=zapw_server.url)))

    bridge.send_text(session="sales", address=ANA, text="Oi")

    assert "x-api-key" not in zapw_server.requests[0].headers
    bridge.close()


def test_characters_nobody_can_send_are_replaced(zapw, zapw_server):
    zapw.send_text(session="sales", address=ANA, text="a\x00b\ud800c")

    assert zapw_server.sent[0]["text"] == "a\ufffdb\ufffdc"


def test_a_text_too_large_for_the_bridge_is_refused_before_it_is_asked(zapw, zapw_server):
    with pytest.raises(Refused):
        zapw.send_text(session="sales", address=ANA, text="x" * 110_000)

    assert not zapw_server.requests


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_to_another_path_is_refused(zapw, zapw_server, name):
    with pytest.raises(Refused):
        zapw.delete_session(name=name)

    assert not zapw_server.requests


@pytest.mark.parametrize("name", ["a/b", "a b?c#d", "ação", "%2e%2e", "../health"])
def test_a_strange_name_stays_one_part_of_the_path(zapw, zapw_server, name):
    zapw_server.add_session(name, phone="5511900002222")

    assert zapw.session_state(name=name).name == name


# --- failures ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcome", "error", "code", "recorded"),
    [
        ("not_connected", NotSent, "not_connected", 0),
        ("rate_limited", NotSent, "rate_limited", 0),
        ("invalid", Refused, "invalid", 0),
        ("error_500", Unconfirmed, "bridge_failure", 0),
        ("error_500_after", Unconfirmed, "bridge_failure", 1),
        ("drop_before", Unconfirmed, "bridge_failure", 0),
        ("drop_after", Unconfirmed, "bridge_failure", 1),
        ("nonsense", Unconfirmed, "bridge_failure", 1),
        ("redirect", Unconfirmed, "bridge_failure", 0),
    ],
)
def test_failures_of_a_send_are_distinguished(zapw, zapw_server, outcome, error, code, recorded):
    zapw_server.fail(outcome)

    with pytest.raises(error) as caught:
        zapw.send_text(session="sales", address=ANA, text="Oi")

    assert (type(caught.value), caught.value.code) == (error, code)
    assert len(zapw_server.sent) == recorded
    assert len(zapw_server.requests) == 1  # a failed send is never repeated by the adapter


@pytest.mark.parametrize(("status", "error", "code"), [
    (401, NotSent, "unauthorized"),
    (403, NotSent, "unauthorized"),
    (404, Refused, "not_found"),
    (408, Unconfirmed, "bridge_failure"),
    (409, Refused, "already_exists"),
    (413, Refused, "invalid"),
    (418, Refused, "invalid"),
    (502, Unconfirmed, "bridge_failure"),
    (503, Unconfirmed, "bridge_failure"),
    (204, Unconfirmed, "bridge_failure"),
])  # fmt: skip
def test_each_status_has_its_meaning(zapw, zapw_server, status, error, code):
    zapw_server.fail("answer", status=status)

    with pytest.raises(BridgeError) as caught:
        zapw.send_text(session="sales", address=ANA, text="Oi")

    assert (type(caught.value), caught.value.code) == (error, code)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "7",
        "{",
        "[" * 5000,
        '{"status": "success"}',
        '{"status": "success", "data": null}',
        '{"data": [1]}',
        '{"data": {"messageId": ""}}',
        '{"data": {"messageId": 7}}',
        '{"data": {"messageId": NaN}}',
    ],
    ids=lambda body: body[:40],
)
def test_an_answer_without_an_id_leaves_the_send_unconfirmed(zapw, zapw_server, body):
    zapw_server.fail("answer", status=200, body=body)

    with pytest.raises(Unconfirmed):
        zapw.send_text(session="sales", address=ANA, text="Oi")


@pytest.mark.parametrize("outcome", ["hang", "hang_after"])
def test_a_send_without_an_answer_in_time_is_unconfirmed(impatient_zapw, zapw_server, outcome):
    zapw_server.fail(outcome, wait_s=2.0)

    with pytest.raises(Unconfirmed) as caught:
        impatient_zapw.send_text(session="sales", address=ANA, text="Oi")

    assert caught.value.code == "timeout"


def test_a_bridge_that_is_down_was_not_asked(zapw, zapw_server):
    zapw.send_text(session="sales", address=ANA, text="before")
    zapw_server.down()

    with pytest.raises(NotSent) as caught:
        zapw.send_text(session="sales", address=ANA, text="meanwhile")
    zapw_server.up()
    zapw.send_text(session="sales", address=ANA, text="after")

    assert caught.value.code == "bridge_unreachable"
    assert [one["text"] for one in zapw_server.sent] == ["before", "after"]


@pytest.mark.parametrize(
    ("given", "wait_s"),
    [("7", 7.0), ("0.5", 0.5), ("-3", None), ("999999", 3600.0), ("nan", None), ("soon", None), ("", None)],
)
def test_the_pause_a_bridge_asks_for_is_returned(zapw, zapw_server, given, wait_s):
    zapw_server.fail("rate_limited", headers=(("Retry-After", given),))

    with pytest.raises(NotSent) as caught:
        zapw.send_text(session="sales", address=ANA, text="Oi")

    assert caught.value.retry_after_s == wait_s


def test_a_pause_given_as_a_date_is_returned_in_seconds(zapw, zapw_server):
    zapw_server.fail("rate_limited", headers=(("Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"),))

    with pytest.raises(NotSent) as caught:
        zapw.send_text(session="sales", address=ANA, text="Oi")

    assert caught.value.retry_after_s == 3600.0


@pytest.mark.parametrize("outcome", ["not_connected", "invalid", "error_500", "drop_after", "nonsense"])
def test_no_failure_repeats_the_text_or_the_number(zapw, zapw_server, outcome):
    zapw_server.fail(outcome)

    with pytest.raises(BridgeError) as caught:
        zapw.send_text(session="sales", address=ANA, text="a secret")

    told = f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert "secret" not in told
    assert "5511988887777" not in told


def test_an_endless_answer_is_given_up(impatient_zapw, zapw_server):
    zapw_server.fail("answer", status=200, body=b" " * (9 * 1024 * 1024))

    with pytest.raises(Unconfirmed):
        impatient_zapw.send_text(session="sales", address=ANA, text="Oi")


@pytest.mark.parametrize(
    "config",
    [BridgeConfig(base_url="http://[::1"), BridgeConfig(base_url="http://a:port"), BridgeConfig("http://a", "kéy")],
)
def test_an_address_or_key_that_cannot_be_used_is_refused(config):
    with pytest.raises(Refused) as caught:
        LiveBridge(ZapwBridge(config)).send_text(session="sales", address=ANA, text="Oi")

    assert caught.value.code == "invalid_configuration"


def test_threads_share_one_adapter(zapw, zapw_server):
    at_once = threading.Barrier(40)

    def send(number: int) -> str:
        at_once.wait()
        return zapw.send_text(session="sales", address=ANA, text=str(number)).provider_message_id

    with ThreadPoolExecutor(40) as pool:
        ids = set(pool.map(send, range(40)))

    assert {(one["id"]) for one in zapw_server.sent} == ids
    assert {one["text"] for one in zapw_server.sent} == {str(number) for number in range(40)}


# --- the fake ----------------------------------------------------------------------------------------------------
def test_the_fake_posts_webhooks_again_until_they_are_taken():
    taken_by = FakeZapw(api_key="")
    with taken_by, FakeZapw(webhook_url=f"{taken_by.url}/sessions", webhook_waits_s=(0.01, 0.02)) as fake:
        taken_by.fail("error_500", call="any", times=2)
        statuses = fake.emit_message("Oi", message_id="3EB0A")

    assert statuses == [500, 500, 201]
    assert len({request.body for request in taken_by.requests}) == 1
    assert taken_by.requests[0].headers["x-webhook-event"] == "message.received"
