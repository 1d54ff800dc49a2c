"""Edits and deletions whose webhook requests were lost: what a bridge lists shows them."""

from collections.abc import Iterator
from datetime import timedelta
from time import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent.missed import fetch_due
from messaging.models import EarlyChange, Message
from messaging.people.forgetting import forget_contact
from sessions_app.models import WhatsAppSession
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha

pytestmark = pytest.mark.django_db


@pytest.fixture
def sales(session: WhatsAppSession) -> WhatsAppSession:
    """A number that was linked long ago, and that everything is known of until an hour ago."""
    now = timezone.now()
    WhatsAppSession.objects.update(linked_at=now - timedelta(days=100), caught_up_until=now - timedelta(hours=1))
    return session


@pytest.fixture(params=["waha", "evolution"])
def fake(request: pytest.FixtureRequest, sales: WhatsAppSession) -> Iterator[Any]:
    with (FakeWaha if request.param == "waha" else FakeEvolution)() as server:
        server.add_session("sales", phone="5511999990000")
        connect_default_bridge(request.param, server)
        yield server


def fetch(fake: Any, *listed: dict[str, Any]) -> None:
    """Have the bridge asked, which lists these."""
    fake.stored[:] = listed
    WhatsAppSession.objects.update(catch_up_at=None)
    fetch_due()


def texts() -> list[str]:
    return list(Message.objects.order_by("said_at", "id").values_list("text", flat=True))


def message(fake: Any, text: str, **changes: Any) -> dict[str, Any]:
    return fake.message(text, **{"message_id": "3EB0A1", "sent_at": time() - 300} | changes)


@pytest.mark.parametrize("from_me", [False, True], ids=["of the contact", "typed on the phone"])
def test_a_missed_edit_is_stored_beside_the_text_before_with_its_own_time(fake: Any, from_me: bool) -> None:
    fetch(fake, message(fake, "At five", from_me=from_me))
    edited_at = time() - 60
    for _ in range(2):
        fetch(fake, message(fake, "At six", from_me=from_me, sent_at=edited_at))
    stored = Message.objects.get()
    assert stored.text == "At six"
    assert [each["text"] for each in stored.earlier_texts] == ["At five"]
    assert stored.edited_at is not None
    assert int(stored.edited_at.timestamp()) == int(edited_at)


def test_an_older_text_never_replaces_a_newer_one(fake: Any) -> None:
    fetch(fake, message(fake, "At five"))
    fetch(fake, message(fake, "At six", sent_at=time() - 60))
    for sent_at in (time() - 300, time() - 120):
        fetch(fake, message(fake, "At five", sent_at=sent_at))
    assert texts() == ["At six"]


def test_another_text_without_a_later_time_is_no_edit(fake: Any) -> None:
    """Forgetting somebody redacts what others wrote of them, for example."""
    listed = message(fake, "Call Carla")
    fetch(fake, listed)
    Message.objects.update(text="Call [forgotten]")
    fetch(fake, listed)
    assert texts() == ["Call [forgotten]"]


def test_an_edit_from_before_somebody_was_forgotten_brings_nothing_back(fake: Any) -> None:
    fetch(fake, message(fake, "Call Bia"), message(fake, "Hi", phone="5511977776666", message_id="3EB0B2"))
    for _ in forget_contact(Message.objects.get(text="Hi").conversation.contact):
        pass
    fetch(fake, message(fake, "Call Carla", sent_at=time() - 60))
    assert "Call Carla" not in texts()


def test_what_we_sent_keeps_its_text_whatever_the_bridge_lists(fake: Any) -> None:
    """We write lists and headings in WhatsApp's way, and a bridge may state the time of the listing."""
    fetch(fake, message(fake, "*Hello*", from_me=True))
    Message.objects.update(author="agent", text="# Hello")
    fetch(fake, message(fake, "*Hello*", from_me=True, sent_at=time()))
    assert texts() == ["# Hello"]


def test_of_two_chats_with_one_message_id_the_right_message_is_edited(fake: Any) -> None:
    other = message(fake, "To Bia", phone="5511977776666")
    fetch(fake, message(fake, "To Ana"), other)
    fetch(fake, message(fake, "To Ana, really", sent_at=time() - 60), other)
    assert sorted(texts()) == ["To Ana, really", "To Bia"]


def test_an_edit_that_is_listed_under_another_address_is_no_second_message(fake: Any) -> None:
    fetch(fake, message(fake, "At five"))
    fetch(fake, message(fake, "At six", chat="99887766@lid", sent_at=time() - 60))
    assert texts() == ["At five"]
    assert EarlyChange.objects.get().text == "At six"  # until somebody knows that the two are one person


@pytest.fixture
def evolution(sales: WhatsAppSession) -> Iterator[FakeEvolution]:
    with FakeEvolution() as server:
        server.add_session("sales", phone="5511999990000")
        connect_default_bridge("evolution", server)
        yield server


def change_of(evolution: FakeEvolution, kind: int, **more: Any) -> dict[str, Any]:
    key = {"remoteJid": "5511988887777@s.whatsapp.net", "fromMe": False, "id": "3EB0A1"}
    content = {"protocolMessage": {"key": key, "type": kind} | more}
    return evolution.message(message_id="3EB0C3", content=content, sent_at=time() - 60)


def test_a_deletion_that_is_listed_itself_deletes_its_message(evolution: FakeEvolution) -> None:
    listed = message(evolution, "A secret")
    fetch(evolution, listed)
    for _ in range(2):
        fetch(evolution, change_of(evolution, 0), listed)
    assert Message.objects.get().revoked_at is not None


def test_a_deletion_that_is_listed_with_its_message_keeps_it_from_being_answered(evolution: FakeEvolution) -> None:
    fetch(evolution, change_of(evolution, 0), message(evolution, "A secret", sent_at=time() - 90))
    stored = Message.objects.get()
    assert (stored.revoked_at is not None, stored.status) == (True, "handled")


def test_a_deletion_that_is_listed_is_applied_as_its_message_is_stored(evolution: FakeEvolution) -> None:
    """Between the two the message would be due, and could be answered."""
    with CaptureQueriesContext(connection) as queries:
        fetch(evolution, change_of(evolution, 0), message(evolution, "A secret", sent_at=time() - 90))
    assert any('INSERT INTO "messaging_earlychange"' in query["sql"] for query in queries)  # it waited for its message
    assert Message.objects.get().revoked_at is not None


def test_an_edit_that_is_listed_itself_changes_its_message(evolution: FakeEvolution) -> None:
    new = {"editedMessage": {"conversation": "At six"}, "timestampMs": int((time() - 60) * 1000)}
    listed = message(evolution, "At five")
    for _ in range(2):
        fetch(evolution, listed, change_of(evolution, 14, **new))
    assert texts() == ["At six"]


def test_a_deleted_message_that_waha_lists_as_such_is_deleted(sales: WhatsAppSession) -> None:
    with FakeWaha() as waha:
        waha.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", waha)
        fetch(waha, message(waha, "A secret"))
        fetch(waha, message(waha, "") | {"_data": {"type": "revoked"}})
    assert Message.objects.get().revoked_at is not None


def test_pages_of_what_is_too_old_do_not_hide_what_comes_after(sales: WhatsAppSession) -> None:
    with FakeWaha() as waha:
        waha.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", waha)
        old = [waha.message(f"{number}", sent_at=time() - 10 * 86_400) for number in range(200)]
        waha.lists_in_any_order = True
        fetch(waha, *old, message(waha, "Lost"))
        assert texts() == ["Lost"]
        fetch(waha, *old, *(waha.message("x", sent_at=time() - 9 * 86_400) for _ in range(2000)))
    assert len(waha.requests) < 12
