"""The simulator's own JSON, and what it does in place of a bridge."""

import json
import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest

from agent.bridges import simulator as simulator_module
from agent.bridges.base import WebhookRequest
from agent.bridges.events import (
    Ignored,
    Kind,
    Link,
    Malformed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Receipt,
    StatusChanged,
)
from agent.bridges.exchange import Refused

ANA = "5511988887777@s.whatsapp.net"


def parsed(bridge, *events):
    body = events[0] if len(events) == 1 else list(events)
    return bridge.parse_webhook(WebhookRequest(json.dumps(body).encode()))


def message(**fields):
    return {"event": "message", "session": "main", "id": "A1", "chat": ANA} | fields


def test_a_text_needs_only_who_and_what(simulator):
    (event,) = parsed(simulator, message(text="Oi", name="Ana"))

    assert isinstance(event, MessageReceived)
    assert (event.kind, event.text, event.outbound, event.answerable) == (Kind.TEXT, "Oi", False, True)
    assert (event.sender.name, event.sender.phone) == ("Ana", "+5511988887777")
    assert datetime.now(UTC) - event.sent_at < timedelta(minutes=1)


def test_every_detail_of_a_message_is_stored(simulator):
    (event,) = parsed(
        simulator,
        message(
            chat="120363041234567890@g.us",
            chat_name="Família",
            sender="5511988887777:4@s.whatsapp.net",
            name="Ana",
            kind="image",
            text="olha",
            media={"mime_type": "image/png", "filename": "a.png"},
            outbound=True,
            history=True,
            forwarded=True,
            quoted_id="A0",
            sent_at="2026-09-21T11:13:21-03:00",
        ),
    )

    assert (event.chat.is_group, event.chat.name, event.sender.address) == (True, "Família", ANA)
    assert (event.media.mime_type, event.media.filename) == ("image/png", "a.png")
    assert (event.outbound, event.is_history, event.forwarded, event.quoted_id) == (True, True, True, "A0")
    assert event.sent_at == datetime(2026, 9, 21, 14, 13, 21, tzinfo=UTC)


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_can_be_tried(simulator, kind):
    (event,) = parsed(simulator, message(kind=kind.value, text="x", target_id="A0"))

    assert event.kind == kind
    assert event.answerable == (kind not in {Kind.REACTION, Kind.UNKNOWN, Kind.UNSUPPORTED})


def test_a_reaction_names_its_message_and_may_be_removed(simulator):
    given, taken = parsed(
        simulator,
        message(kind="reaction", emoji="👍", target_id="A0"),
        message(kind="reaction", target_id="A0"),
    )

    assert given.details == {"emoji": "👍", "target_id": "A0"}
    assert taken.details == {"emoji": None, "target_id": "A0"}


def test_receipts_edits_and_deletions_are_events(simulator):
    events = parsed(
        simulator,
        {"event": "status", "session": "main", "id": "sim-1", "status": "read"},
        {"event": "edit", "session": "main", "target_id": "A1", "text": "Olá"},
        {"event": "revoke", "session": "main", "target_id": "A1"},
    )

    assert events == [
        StatusChanged("main", "sim-1", Receipt.READ),
        MessageEdited("main", "A1", "Olá"),
        MessageRevoked("main", "A1"),
    ]


def test_a_bad_event_does_not_lose_the_others_of_its_delivery(simulator):
    events = parsed(
        simulator, message(text="Oi"), message(id=None), None, {"event": "?"}, message(text="tudo bem?", id="A2")
    )

    assert [type(event) for event in events] == [MessageReceived, Malformed, Malformed, Ignored, MessageReceived]


@pytest.mark.parametrize("fields", [{"kind": "hologram"}, {"chat": "nobody at all"}, {"kind": "reaction"}, {"text": 7}])
def test_an_event_that_makes_no_sense_is_malformed(simulator, fields):
    (event,) = parsed(simulator, message(**fields))

    assert isinstance(event, Malformed)


def test_a_session_is_connected_as_soon_as_it_is_started(simulator):
    started, again = simulator.start_session(name="main"), simulator.start_session(name="main")

    assert started.status == Link.CONNECTED
    assert started.phone == again.phone
    assert started.phone != simulator.start_session(name="other").phone


def test_a_session_whose_name_asks_for_it_shows_a_code_and_is_then_scanned(simulator, monkeypatch):
    started = simulator.start_session(name="qr-main")
    monkeypatch.setattr(simulator_module, "SCANNED_AFTER_S", 0.0)
    linked = simulator.session_state(name="qr-main")

    assert (started.status, linked.status) == (Link.QR_WAITING, Link.CONNECTED)
    assert started.qr_png.startswith(b"\x89PNG")
    assert started.qr_expires_at > datetime.now(UTC)


def test_a_code_that_one_process_shows_is_known_to_another(simulator):
    other = multiprocessing.get_context("fork").Process(target=simulator.start_session, kwargs={"name": "qr-forked"})
    other.start()
    other.join()

    assert simulator.session_state(name="qr-forked").status == Link.QR_WAITING


def test_groups_and_hidden_numbers_can_be_written_to(simulator):
    for address in ("120363041234567890@g.us", "123456789012345@lid"):
        assert simulator.send_text(session="main", address=address, text="Oi").provider_message_id.startswith("sim-")


@pytest.mark.parametrize("address", ["", "nobody at all", "status@broadcast"])
def test_nobody_is_not_written_to(simulator, address):
    with pytest.raises(Refused):
        simulator.send_text(session="main", address=address, text="Oi")
