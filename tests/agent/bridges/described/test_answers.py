"""What the contract pages say of a bridge's answers, where no recorded one shows it."""

import json
from typing import Any

import pytest

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeConfig
from agent.bridges.exchange import BridgeError, Response
from tests.support.bridges.descriptions import assert_matches, describe_failure, describe_result
from tests.support.bridges.recorded_calls import steps_of

HTML = b"<!doctype html><html><body>502 Bad Gateway</body></html>"
SEND = {
    "zapw": {"method": "POST", "path": "/sessions/sales/messages", "body": {"type": "text"}},
    "waha": {"method": "POST", "path": "/api/sendText", "body": {"session": "sales", "chatId": "5511988887777@c.us"}},
    "evolution": {"method": "POST", "path": "/message/sendText/sales", "body": {"number": "5511988887777"}},
    "cloud": {
        "method": "POST",
        "path": "/v26.0/330011223344556/messages",
        "body": {"to": "5511988887777", "type": "text"},
    },
}
STATE = {
    "zapw": {"method": "GET", "path": "/sessions/sales"},
    "waha": {"method": "GET", "path": "/api/sessions/sales"},
    "evolution": {"method": "GET", "path": "/instance/connectionState/sales"},
    "cloud": {"method": "GET", "path": "/v26.0/330011223344556?fields=status"},
}
HEALTH = {
    "zapw": {"method": "GET", "path": "/health"},
    "waha": {"method": "GET", "path": "/ping"},
}
UNREADABLE = {"result": "error", "error": "bridge_failure"}
UNKNOWN = {"result": "error", "error": "bridge_failure", "retryable": "unknown"}


def refused(error: str, *, retryable: bool = False) -> dict[str, Any]:
    return {"result": "error", "error": error, "retryable": retryable}


def meaning(kind: str, request: dict[str, Any], status: int, answer: Any) -> dict[str, Any]:
    """Return what the last answer of a call means."""
    steps, before = steps_of(ADAPTERS[kind](BridgeConfig()), request)
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    answers = iter(before)
    try:
        next(steps)
        while True:
            steps.send(next(answers, Response(status, body)))
    except StopIteration as done:
        return describe_result(done.value)
    except BridgeError as failure:
        return describe_failure(failure)


def waha_failure(message: str) -> dict[str, Any]:
    return {"statusCode": 500, "exception": {"message": message, "name": "Error"}, "request": {"body": {"text": "Oi"}}}


def evolution_failure(message: Any, status: int = 400) -> dict[str, Any]:
    return {"status": status, "error": "Bad Request", "response": {"message": message}}


def cloud_failure(code: int, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "x", "type": "OAuthException", "code": code, "fbtrace_id": "A1"} | more}


SENT = {
    ("zapw", "without the wrapper"): (
        200,
        {"messageId": "3EB0FF", "timestamp": 1790001001000},
        {"result": "sent", "stanza_id": "3EB0FF"},
    ),
    ("zapw", "an ISO time"): (
        200,
        {"status": "success", "data": {"messageId": "3EB0FF", "timestamp": "2026-09-21T14:30:01Z"}},
        {"result": "sent", "sent_at": "2026-09-21T14:30:01Z"},
    ),
    ("zapw", "text is required"): (
        400,
        {"status": "error", "error": "Text is required for text messages"},
        refused("invalid"),
    ),
    ("zapw", "the key is missing"): (
        401,
        {"error": "Unauthorized", "message": "API key is required"},
        refused("unauthorized"),
    ),
    ("zapw", "a page for an unknown path"): (404, b"<html>Cannot POST</html>", refused("not_found")),
    ("zapw", "too large or no JSON"): (
        500,
        {"error": "Internal Server Error", "message": "x", "statusCode": 500},
        UNKNOWN,
    ),
    ("waha", "GOWS in a group"): (
        201,
        {"id": "true_120363041234567890@g.us_3EB0FF_5511999990000@c.us", "_data": {}},
        {"result": "sent", "stanza_id": "3EB0FF"},
    ),
    ("waha", "WEBJS"): (
        201,
        {
            "id": {
                "fromMe": True,
                "remote": "5511988887777@c.us",
                "id": "3EB0FF",
                "_serialized": "true_5511988887777@c.us_3EB0FF",
            },
            "_data": {},
            "timestamp": 1790001001,
        },
        {"result": "sent", "stanza_id": "3EB0FF", "sent_at": "2026-09-21T14:30:01Z"},
    ),
    ("waha", "NOWEB names the phone where events name the LID"): (
        201,
        {
            "key": {"remoteJid": "5511988887777@s.whatsapp.net", "fromMe": True, "id": "3EB0FF"},
            "messageTimestamp": "1790001001",
            "status": "PENDING",
        },
        {"result": "sent", "stanza_id": "3EB0FF", "sent_at": "2026-09-21T14:30:01Z"},
    ),
    ("waha", "timelock"): (500, waha_failure("server returned error 463"), refused("restricted")),
    ("waha", "capping"): (500, waha_failure("server returned error 475"), refused("restricted")),
    ("waha", "another failure of the engine"): (500, waha_failure("Evaluation failed 4630"), UNKNOWN),
    ("waha", "several messages"): (
        422,
        {
            "message": ["chatId must be a string", "text must be a string"],
            "error": "Unprocessable Entity",
            "statusCode": 422,
        },
        refused("invalid"),
    ),
    ("waha", "no session"): (
        404,
        {"message": "Session not found", "error": "Not Found", "statusCode": 404},
        refused("not_found"),
    ),
    ("waha", "not linked"): (
        422,
        {
            "error": "Session status is not as expected. Try again later or restart the session",
            "session": "sales",
            "status": "SCAN_QR_CODE",
            "expected": ["WORKING"],
        },
        refused("not_connected", retryable=True),
    ),
    ("evolution", "a list of lists"): (
        400,
        evolution_failure([["number is required", "text is required"]]),
        refused("invalid"),
    ),
    ("evolution", "a closed connection in a list"): (
        400,
        evolution_failure(["Error: Connection Closed"]),
        refused("not_connected", retryable=True),
    ),
    ("evolution", "a closed connection as text"): (
        400,
        evolution_failure("Error: Connection Closed"),
        refused("not_connected", retryable=True),
    ),
    ("evolution", "not on WhatsApp, in a list of lists"): (
        400,
        evolution_failure([[{"jid": "x", "exists": False, "number": "55"}]]),
        refused("not_on_whatsapp"),
    ),
    ("evolution", "no such group"): (400, evolution_failure("Group not found"), refused("invalid")),
    ("evolution", "no such group, in a list"): (400, evolution_failure(["Error: Group not found"]), refused("invalid")),
    ("evolution", "an error of its database after the sending, in a list"): (
        400,
        evolution_failure(["PrismaClientKnownRequestError: Unique constraint failed on the fields: (`id`)"]),
        UNKNOWN,
    ),
    ("evolution", "an error after the sending, as text"): (
        400,
        evolution_failure("TypeError: Cannot read properties of undefined (reading 'id')"),
        UNKNOWN,
    ),
    ("evolution", "an error without words"): (400, evolution_failure([None]), UNKNOWN),
    ("evolution", "an error as an object"): (400, evolution_failure(["[object Object]"]), UNKNOWN),
    ("evolution", "no such path"): (404, evolution_failure(["Cannot POST /message/x"], 404), refused("not_found")),
    ("evolution", "200 with an error inside"): (200, {"error": True, "message": "x"}, UNKNOWN),
    ("evolution", "another failure"): (500, evolution_failure("Internal", 500), UNKNOWN),
    ("cloud", "held back"): (
        200,
        {
            "contacts": [{"input": "x", "wa_id": "551188887777"}],
            "messages": [{"id": "wamid.1", "message_status": "held_for_quality_assessment"}],
        },
        {"result": "accepted", "provider_message_id": "wamid.1", "address": "551188887777"},
    ),
    ("cloud", "an error inside 200"): (200, cloud_failure(131047), refused("window_closed")),
    ("cloud", "no such object"): (400, cloud_failure(100, error_subcode=33), refused("not_found")),
    ("cloud", "permission"): (403, cloud_failure(200), refused("unauthorized")),
    ("cloud", "payment"): (400, cloud_failure(131042), refused("restricted")),
    ("cloud", "overloaded"): (503, cloud_failure(131016, is_transient=True), UNKNOWN),
    ("cloud", "too many calls"): (400, cloud_failure(80007), refused("rate_limited", retryable=True)),
    ("cloud", "an unknown code with 5xx"): (500, cloud_failure(999999), UNKNOWN),
    ("cloud", "a template that is paused"): (400, cloud_failure(132015), refused("invalid")),
}


@pytest.mark.parametrize(("kind", "case"), SENT)
def test_the_answer_to_a_send_is_parsed_as_the_documentation_describes(kind: str, case: str):
    status, answer, expected = SENT[kind, case]

    assert_matches(meaning(kind, SEND[kind], status, answer), expected)


@pytest.mark.parametrize("kind", SEND)
@pytest.mark.parametrize(
    "answer", [HTML, b"", b"null", b"[]", b"{}", b'"ok"', b"\xff\xfe", b'{"status": "success"}'], ids=repr
)
@pytest.mark.parametrize("status", [200, 201, 502])
def test_a_send_answered_with_nonsense_may_have_been_sent(kind: str, answer: bytes, status: int):
    assert_matches(meaning(kind, SEND[kind], status, answer), UNKNOWN)


@pytest.mark.parametrize("kind", STATE)
@pytest.mark.parametrize("answer", [HTML, b"", b"[]", b'"ok"', b"\xff\xfe"], ids=repr)
def test_a_state_answered_with_nonsense_is_a_failure_of_the_bridge(kind: str, answer: bytes):
    assert_matches(meaning(kind, STATE[kind], 200, answer), {"result": "error", "error": "bridge_failure"})


@pytest.mark.parametrize("kind", HEALTH)
@pytest.mark.parametrize("answer", [HTML, b"", b"[]", b"{}"], ids=repr)
def test_a_health_check_answered_with_nonsense_is_not_well(kind: str, answer: bytes):
    assert meaning(kind, HEALTH[kind], 200, answer) == {"result": "unhealthy"}


STATES = {
    ("zapw", "initializing"): ({"status": "success", "data": {"id": "sales", "status": "initializing"}}, "connecting"),
    ("zapw", "an expired code is being replaced"): (
        {"status": "success", "data": {"id": "sales", "status": "connecting", "qrCode": "data:image/png;base64,x"}},
        "connecting",
    ),
    ("zapw", "closed, with its number"): (
        {"status": "success", "data": {"id": "sales", "status": "disconnected", "phoneNumber": "5511999990000"}},
        "disconnected",
    ),
    ("waha", "stopped"): (
        {"name": "sales", "status": "STOPPED", "config": {}, "me": None, "engine": {}},
        "disconnected",
    ),
    ("waha", "failed"): ({"name": "sales", "status": "FAILED", "me": None}, "failed"),
    ("evolution", "no code yet"): ({"instance": {"instanceName": "sales", "state": "close"}}, "disconnected"),
    ("cloud", "banned"): (
        {
            "id": "330011223344556",
            "display_phone_number": "+55 11 99999-0000",
            "verified_name": "Loja",
            "status": "BANNED",
        },
        "disconnected",
    ),
    ("cloud", "connected"): (
        {
            "id": "330011223344556",
            "display_phone_number": "+55 11 99999-0000",
            "verified_name": "Loja",
            "status": "CONNECTED",
        },
        "connected",
    ),
}


@pytest.mark.parametrize(("kind", "case"), STATES)
def test_a_state_is_parsed_as_the_documentation_describes(kind: str, case: str):
    answer, status = STATES[kind, case]

    assert_matches(meaning(kind, STATE[kind], 200, answer), {"result": "session", "status": status})


CONNECT = {"method": "GET", "path": "/instance/connect/sales"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"count": 0}, {"result": "session", "status": "connecting", "pairing_code": None}),
        ({"instance": {"instanceName": "sales", "state": "open"}}, {"result": "session", "status": "connected"}),
        ({"instance": {"instanceName": "sales", "state": "connecting"}}, {"result": "session", "status": "connecting"}),
        ({"error": True, "message": "x"}, {"result": "error", "error": "bridge_failure", "retryable": "unknown"}),
        ({"pairingCode": "K7TB93QX", "code": "2@x", "count": 1}, {"pairing_code": "K7TB93QX"}),
    ],
    ids=repr,
)
def test_evolutions_connect_is_parsed_as_the_documentation_describes(answer: dict[str, Any], expected: dict[str, Any]):
    assert_matches(meaning("evolution", CONNECT, 200, answer), expected)


@pytest.mark.parametrize("kind", ["zapw", "waha", "evolution"])
def test_deleting_a_session_that_is_gone_is_no_failure(kind: str):
    paths = {"zapw": "/sessions/sales", "waha": "/api/sessions/sales", "evolution": "/instance/delete/sales"}
    answers: dict[str, Any] = {
        "zapw": {"status": "error", "error": "Session sales not found"},
        "waha": {"message": "Session not found", "error": "Not Found", "statusCode": 404},
        "evolution": evolution_failure(['The "sales" instance does not exist'], 404),
    }

    assert meaning(kind, {"method": "DELETE", "path": paths[kind]}, 404, answers[kind]) == {"result": "ok"}
    assert_matches(meaning(kind, {"method": "DELETE", "path": paths[kind]}, 404, HTML), {"result": "error"})


def test_a_code_that_waha_gives_as_an_image_is_read_as_well():
    png = b"\x89PNG\r\n\x1a\n" + b"x" * 20

    assert meaning("waha", {"method": "GET", "path": "/api/sales/auth/qr"}, 200, png) == {"result": "qr", "qr": png}


NUMBERS = {
    "waha: not on WhatsApp": ("waha", {"numberExists": False}, {"exists": False}),
    "waha: another spelling": (
        "waha",
        {"numberExists": True, "chatId": "551187654321@c.us", "pn": "551187654321@c.us"},
        {"exists": True, "address": "551187654321@c.us", "phone": "+551187654321"},
    ),
    "waha: hidden, of an older release": (
        "waha",
        {"numberExists": True, "chatId": "281474976710655@lid"},
        {"exists": True, "address": "281474976710655@lid", "phone": None},
    ),
    "evolution: not on WhatsApp": (
        "evolution",
        [{"jid": "551187654321@s.whatsapp.net", "exists": False, "number": "551187654321"}],
        {"exists": False},
    ),
    "evolution: another spelling": (
        "evolution",
        [{"jid": "551187654321@s.whatsapp.net", "exists": True, "number": "5511987654321"}],
        {"exists": True, "address": "551187654321@s.whatsapp.net", "phone": "+551187654321"},
    ),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_the_answer_about_a_number_is_parsed_as_the_documentation_describes(case: str):
    kind, answer, expected = NUMBERS[case]
    waha = {"method": "GET", "path": "/api/contacts/check-exists?phone=5511987654321&session=sales"}
    evolution = {"method": "POST", "path": "/chat/whatsappNumbers/sales", "body": {"numbers": ["5511987654321"]}}

    assert_matches(meaning(kind, waha if kind == "waha" else evolution, 200, answer), {"result": "number"} | expected)


@pytest.mark.parametrize(
    "answer",
    [
        {"numberExists": True},
        {"numberExists": True, "chatId": None},
        {"numberExists": True, "chatId": "not an address"},
        {"numberExists": True, "chatId": "status@broadcast"},
        {"numberExists": None},
        {"numberExists": "false"},
        {},
    ],
)
def test_an_answer_of_waha_that_names_no_address_does_not_say_that_a_number_does_not_exist(answer: Any):
    request = {"method": "GET", "path": "/api/contacts/check-exists?phone=5511987654321&session=sales"}

    assert meaning("waha", request, 200, answer).items() >= UNREADABLE.items()


@pytest.mark.parametrize(
    "answer",
    [[], [{}], [{"exists": True}], [{"exists": True, "jid": "status@broadcast"}], [{"jid": "5511987654321@c.us"}]],
)
def test_an_answer_of_evolution_that_names_no_address_does_not_say_that_a_number_does_not_exist(answer: Any):
    request = {"method": "POST", "path": "/chat/whatsappNumbers/sales", "body": {"numbers": ["5511987654321"]}}

    assert meaning("evolution", request, 200, answer).items() >= UNREADABLE.items()


CHANGES = {
    "waha: stopped": (
        "waha",
        {"method": "POST", "path": "/api/sessions/sales/stop"},
        {"name": "sales", "status": "STOPPED"},
        {"result": "session", "status": "disconnected"},
    ),
    "waha: edited": (
        "waha",
        {"method": "PUT", "path": "/api/sales/chats/5511988887777%40c.us/messages/3EB0FF", "body": {"text": "Oi!"}},
        {"id": "3EB0FF"},
        {"result": "ok"},
    ),
    "waha: deleted": (
        "waha",
        {"method": "DELETE", "path": "/api/sales/chats/5511988887777%40c.us/messages/3EB0FF"},
        {},
        {"result": "ok"},
    ),
    "evolution: edited": (
        "evolution",
        {"method": "POST", "path": "/chat/updateMessage/sales", "body": {"text": "Oi!", "key": {"id": "3EB0FF"}}},
        {"key": {"id": "3EB0FF"}},
        {"result": "ok"},
    ),
    "cloud: subscribed": (
        "cloud",
        {"method": "POST", "path": "/v26.0/1029384756/subscribed_apps"},
        {"success": True},
        {"result": "ok"},
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_answer_to_a_change_is_parsed_as_the_documentation_describes(case: str):
    kind, request, answer, expected = CHANGES[case]

    assert_matches(meaning(kind, request, 200, answer), expected)


def test_a_hidden_number_that_waha_does_not_know_has_no_phone():
    request = {"method": "GET", "path": "/api/sales/lids/182736455463728"}

    assert meaning("waha", request, 200, {"lid": "182736455463728@lid", "pn": None}) == {"result": "ok"}
    assert meaning("waha", request, 200, {"lid": "1@lid", "pn": "5511988887777@c.us"})["phone"] == "+5511988887777"
