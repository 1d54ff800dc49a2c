"""zapw's contract page, where no recorded payload shows what it says."""

from typing import Any

import pytest

from tests.support.bridges.described import ANA, AT, AT_ISO, GROUP, LID, OWN, meanings, zapw, zapw_message
from tests.support.bridges.descriptions import assert_matches

PERSON = {"address": f"{ANA}@s.whatsapp.net", "phone": f"+{ANA}"}
TEXT = {"event": "message", "kind": "text", "text": "Oi", "direction": "inbound", "answerable": True, "sent_at": AT_ISO}


def without(data: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in names}


MESSAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a device suffix of the sender": (
        zapw_message(**{"from": f"{ANA}:3@s.whatsapp.net"}),
        TEXT | {"chat": PERSON, "sender": PERSON},
    ),
    "a hidden number, which zapw cannot write to": (
        zapw_message(**{"from": LID}),
        TEXT
        | {"chat": {"address": LID, "phone": None}, "sender": {"address": LID, "phone": None}, "answerable": False},
    ),
    "a member of a group, hidden, on a device": (
        zapw_message(**{"from": "281474976710655:3@lid"}, isGroup=True, groupId=GROUP),
        TEXT
        | {
            "is_group": True,
            "chat": {"address": GROUP},
            "sender": {"address": LID, "phone": None},
            "answerable": False,
        },
    ),
    "digits without a domain, of a group's member": (
        zapw_message(**{"from": ANA}, isGroup=True, groupId=GROUP),
        {"event": "message", "is_group": True, "sender": {"address": ANA, "phone": f"+{ANA}"}},
    ),
    "a group whose id has no domain": (
        zapw_message(**{"from": ANA}, isGroup=True, groupId=GROUP.partition("@")[0]),
        {"event": "message", "is_group": True, "chat": {"address": GROUP, "phone": None}, "answerable": False},
    ),
    "a group whose id is a person's": (zapw_message(isGroup=True, groupId=f"{ANA}@c.us"), {"event": "malformed"}),
    "an empty text": (zapw_message(text=""), {"event": "message", "kind": "text", "text": None, "answerable": False}),
    "no type: a document with a caption, a sticker, a poll": (
        without(zapw_message(), "type", "text"),
        {"event": "message", "kind": "unknown", "text": None, "media": None, "answerable": False, "sent_at": AT_ISO},
    ),
    "no type, but a file": (
        without(zapw_message(hasMedia=True), "type", "text"),
        {"event": "message", "kind": "unknown", "media": {"ref": None, "downloadable": False}, "answerable": False},
    ),
    "a type of tomorrow": (
        without(zapw_message(type="poll"), "text"),
        {"event": "message", "kind": "unknown", "answerable": False},
    ),
    "a document": (
        without(zapw_message(type="document", hasMedia=True, fileName="a.pdf"), "text"),
        {
            "event": "message",
            "kind": "document",
            "text": None,
            "media": {"filename": "a.pdf", "downloadable": False},
            "answerable": True,
        },
    ),
    "a location as documented, directly in data": (
        without(
            zapw_message(type="location", latitude=-23.5, longitude=-46.6, name="MASP", address="Av. Paulista"), "text"
        ),
        {
            "event": "message",
            "kind": "location",
            "location": {"latitude": -23.5, "longitude": -46.6, "name": "MASP", "address": "Av. Paulista"},
        },
    ),
    "a card whose number was cut at its parenthesis": (
        without(zapw_message(type="contact", contact={"name": "Bruno", "number": "+55"}), "text"),
        {"event": "message", "kind": "contact", "contacts": [{"name": "Bruno", "phone": None}], "answerable": True},
    ),
    "a card whose number has no plus": (
        without(zapw_message(type="contact", contact={"name": "Bruno", "number": ANA}), "text"),
        {"event": "message", "kind": "contact", "contacts": [{"name": "Bruno", "phone": f"+{ANA}"}]},
    ),
    "a card whose number has no country code": (
        without(zapw_message(type="contact", contact={"name": "Bruno", "number": ANA[2:]}), "text"),
        {"event": "message", "kind": "contact", "contacts": [{"name": "Bruno", "phone": None}]},
    ),
    "a channel": (zapw_message(**{"from": "120363041234567890@newsletter"}), {"event": "ignored"}),
    "a story that can be told": (zapw_message(**{"from": "status@broadcast"}), {"event": "ignored"}),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_is_parsed_as_the_documentation_describes(case: str):
    data, expected = MESSAGES[case]

    assert_matches(meanings("zapw", zapw("message.received", data)), [expected])


def closed(code: Any = None, **reason: Any) -> dict[str, Any]:
    output = {"statusCode": code, "payload": {"statusCode": code, "error": "x", "message": "x"}, "headers": {}}
    return {
        "reason": {
            "reason": {"isBoom": True, "isServer": False, "data": None, "output": output},
            "shouldReconnect": False,
        }
        | reason
    }


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        f"closed with {code}": (
            zapw("session.disconnected", closed(code, shouldReconnect=True)),
            {"event": "session", "session": "sales", "status": status, "code": code, "will_reconnect": False},
        )
        for code, status in [
            (401, "logged_out"),
            *((code, "disconnected") for code in (403, 408, 411, 428, 440, 500, 503)),
        ]
    },
    "code 515 is part of pairing": (
        zapw("session.disconnected", closed(515)),
        {"event": "session", "code": 515, "will_reconnect": True},
    ),
    "a code that is being replaced raises no alarm": (
        zapw("session.disconnected", {"reason": {"shouldReconnect": True}}),
        {"event": "session", "code": None, "will_reconnect": True},
    ),
    "the documented form, with the time it was last seen": (
        zapw("session.disconnected", {"reason": "connection_lost", "lastSeen": AT_ISO}),
        {"event": "session", "status": "disconnected", "code": None, "will_reconnect": False},
    ),
    "no reason at all": (zapw("session.disconnected", {}), {"event": "session", "status": "disconnected"}),
    "a number with no name": (
        zapw("session.connected", {"phoneNumber": OWN, "name": ""}),
        {"event": "session", "status": "connected", "phone": f"+{OWN}", "name": None},
    ),
    "the change of any message": (zapw("message.sent", {"messageId": "3EB0FF"}), {"event": "ignored"}),
    "delivered": (
        zapw("message.delivered", {"messageId": "3EB0FF", "status": 3}),
        {"event": "status", "status": "delivered", "provider_message_id": "3EB0FF"},
    ),
    "read": (zapw("message.read", {"messageId": "3EB0FF", "status": 4}), {"event": "status", "status": "read"}),
    "an event of tomorrow without data": (zapw("qr.updated", None), {"event": "ignored"}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_event_is_parsed_as_the_documentation_describes(case: str):
    body, expected = OTHERS[case]

    assert_matches(meanings("zapw", body), [expected])


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        zapw_message(messageId=None),
        zapw_message(**{"from": ""}),
        zapw_message(isGroup=True),
        zapw_message(text=7),
    ],
    ids=repr,
)
def test_a_message_that_lacks_what_it_is_known_by_is_malformed(data: Any):
    assert_matches(meanings("zapw", zapw("message.received", data)), [{"event": "malformed"}])


def test_a_session_that_never_connected_reports_no_number():
    """`origin` is the session's own id then, and an id may consist of digits."""
    body = zapw("message.received", zapw_message(), sessionId="5511900001111", origin="5511900001111")

    assert_matches(meanings("zapw", body), [TEXT])


def test_the_time_of_a_message_comes_before_that_of_its_envelope():
    (meant,) = meanings("zapw", zapw("message.received", zapw_message(timestamp=(AT + 5) * 1000)))

    assert meant["sent_at"] == "2026-09-21T14:30:06Z"
