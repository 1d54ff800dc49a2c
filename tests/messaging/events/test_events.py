"""What happened, told in order, without gaps, and only to those who may know."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from agent.bridges.events import MessageEdited, MessageRevoked, Receipt, StatusChanged
from messaging import control, leases, outbox
from messaging.events import feed
from messaging.events.feed import Position, Reader
from messaging.inbound import receive_message
from messaging.models import Conversation, Event, Message
from messaging.outbound import send_again, send_text
from messaging.receipts import record_edit, record_revocation, record_status
from sessions_app.models import WhatsAppSession
from tests.conftest import message_event
from tests.support.messaging.turns import settle

EVERYTHING = Reader(user_id=uuid4(), sees_everything=True)
WRITERS = 16

pytestmark = pytest.mark.usefixtures("feed")


def event_types(after: Position = feed.START, **wanted: Any) -> list[str]:
    """The types of what the feed tells, oldest first. A test's own transaction is still open: it reads past it."""
    return [event.type for event in feed.read(reader=EVERYTHING, after=after, **wanted).events]


# --- which changes are events ------------------------------------------------------------------------------------


def test_the_event_of_an_inbound_message_has_its_ids_and_not_its_text(says):
    received = says("a secret")
    (event,) = feed.read(reader=EVERYTHING, types=["message.received"]).events
    message = Message.objects.get()
    assert event.as_dict()["data"] == {
        "session": str(message.session_id),
        "conversation": str(received.conversation_id),
        "message": str(received.message_id),
        "direction": "inbound",
        "author": "contact",
        "kind": "text",
        "status": "received",
        "unanswered": "",
        "error_code": "",
        "turn": None,
    }
    assert "secret" not in str(event)


def test_a_message_delivered_twice_is_one_event(bridge, profile):
    for _ in range(2):
        receive_message(bridge=bridge, event=message_event("Hello"))
    assert event_types(types=["message.received"]) == ["message.received"]


def sends(conversation: Conversation, text: str = "Hi") -> Message:
    return send_text(conversation=conversation, text=text, author=Message.Author.API)


def test_each_status_of_an_outbound_message_is_an_event(conversation, bridge):
    start = feed.last_position()
    sends(conversation)
    claimed = outbox.claim_next_message(conversation.pk)
    outbox.mark_sent(claimed, provider_message_id="X", at=None)
    for receipt in (Receipt.DELIVERED, Receipt.READ):
        record_status(bridge=bridge, event=StatusChanged(session="sales", provider_message_id="X", status=receipt))
    assert event_types(start) == ["message.queued", "message.sent", "message.delivered", "message.read"]


def test_a_send_that_is_tried_again_is_no_news_until_it_fails(conversation):
    start = feed.last_position()
    sends(conversation)
    outbox.mark_not_sent(outbox.claim_next_message(conversation.pk), code="bridge_unreachable", error="")
    Message.objects.update(next_try_at=None)
    outbox.mark_failed(outbox.claim_next_message(conversation.pk), code="invalid", error="It says no.")
    assert event_types(start) == ["message.queued", "conversation.needs_attention", "message.failed"]
    assert feed.read(reader=EVERYTHING, after=start).events[-1].data["error_code"] == "invalid"


def test_an_unconfirmed_send_and_its_retry_are_events(conversation):
    start = feed.last_position()
    message = sends(conversation)
    outbox.mark_unconfirmed(outbox.claim_next_message(conversation.pk), code="timeout", error="")
    message.refresh_from_db()
    send_again(message=message)
    assert event_types(start) == [
        "message.queued", "conversation.needs_attention", "message.unconfirmed", "message.queued"
    ]  # fmt: skip


def test_an_edit_and_a_revocation_are_events(says, bridge):
    says("Hello")
    start = feed.last_position()
    target = Message.objects.get().provider_message_id
    record_edit(bridge=bridge, event=MessageEdited("sales", target_id=target, text="Hullo"))
    record_revocation(bridge=bridge, event=MessageRevoked("sales", target_id=target))
    assert event_types(start) == ["message.edited", "message.revoked"]


def test_a_change_of_control_is_an_event(conversation, member):
    start = feed.last_position()
    control.take_over(conversation=conversation, by=member)
    control.take_over(conversation=conversation, by=member)
    control.release(conversation=conversation)
    first, second = feed.read(reader=EVERYTHING, after=start).events
    assert (first.type, first.data["control"], first.data["by"]) == (
        "conversation.control_changed",
        "human",
        str(member.pk),
    )
    assert (second.data["control"], second.data["previous"], second.data["by"]) == ("agent", "human", None)


def test_a_conversation_that_needs_attention_is_one_event_with_its_reason(conversation):
    rows = Conversation.objects.filter(pk=conversation.pk)
    start = feed.last_position()
    for _ in range(2):
        rows.ask_for_attention(Conversation.Attention.UNANSWERED, note="An old question.")
    (event,) = feed.read(reader=EVERYTHING, after=start).events
    assert (event.type, event.data) == ("conversation.needs_attention", {"reason": "unanswered"})
    assert event.conversation_id == conversation.pk


def test_replies_cancelled_by_a_takeover_are_events(conversation):
    Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        status="queued",
        control_epoch=0,
    )
    start = feed.last_position()
    control.take_over(conversation=conversation)
    assert sorted(event_types(start)) == ["conversation.control_changed", "message.cancelled"]


def test_a_turn_and_its_answer_are_one_event_each(says, conversation, profile):
    received = says("Hello")
    start = feed.last_position()
    lease = leases.take(received.conversation_id)
    turn = settle(lease, conversation)
    finished, queued = feed.read(reader=EVERYTHING, after=start).events
    assert (finished.type, finished.data) == ("turn.finished", {"turn": str(turn.pk), "outcome": "answered"})
    assert (finished.session_id, queued.data["turn"]) == (conversation.session_id, str(turn.pk))


def test_a_session_is_an_event_when_it_is_created_and_when_its_status_changes(session):
    WhatsAppSession.objects.update(status="disconnected", status_reason="428")
    WhatsAppSession.objects.update(status="disconnected")
    made, lost = feed.read(reader=EVERYTHING, session=session.pk).events
    assert (made.type, made.data["status"], made.data["previous"]) == ("session.status_changed", "connected", None)
    assert lost.data == {"status": "disconnected", "previous": "connected", "reason": "428"}


# --- to whom --------------------------------------------------------------------------------------------------------


def seen_by(user: User) -> set[Any]:
    return {event.session_id for event in feed.read(reader=Reader.of(user)).events}


def test_a_member_gets_the_events_of_their_sessions_and_a_stranger_none(
    says, session, member, stranger, bridge, profile
):
    says("Hello")
    WhatsAppSession.objects.create(bridge=bridge, name="other", agent_profile=profile)
    assert seen_by(member) == {session.pk}
    assert seen_by(stranger) == set()


def test_an_event_for_one_user_is_seen_by_that_user_alone(member, stranger):
    Event.objects.create(type="endpoint.disabled", user_id=stranger.pk, data={})
    assert [event.type for event in feed.read(reader=Reader.of(stranger)).events] == ["endpoint.disabled"]
    assert "endpoint.disabled" not in [event.type for event in feed.read(reader=Reader.of(member)).events]


def test_a_page_passes_over_what_is_not_the_readers_and_goes_on_behind_it(says, stranger, monkeypatch):
    monkeypatch.setattr(feed, "WINDOW", 3)
    for _ in range(5):
        says("Hello")
    Event.objects.create(type="endpoint.disabled", user_id=stranger.pk, data={})
    reader, at, pages = Reader.of(stranger), feed.START, []
    while not pages or pages[-1].has_more:
        pages.append(feed.read(reader=reader, after=at))
        at = pages[-1].end
    assert [len(page.events) for page in pages] == [0, 0, 1]


def test_pages_join_without_a_gap(says):
    for _ in range(7):
        says("Hello")
    at, seen = feed.START, []
    while True:
        page = feed.read(reader=EVERYTHING, after=at, limit=2)
        seen += [event.position for event in page.events]
        at = page.end
        if not page.has_more:
            break
    assert seen == sorted(set(seen))
    assert len(seen) == Event.objects.count()


# --- without gaps ---------------------------------------------------------------------------------------------------


@contextmanager
def in_another_connection(work: Any) -> Iterator[None]:
    """`work` is done in a transaction of another thread, which commits when the block ends."""
    done, may_end = threading.Event(), threading.Event()

    def body() -> None:
        try:
            with transaction.atomic():
                work()
                done.set()
                may_end.wait(timeout=20)
        finally:
            connection.close()

    thread = threading.Thread(target=body)
    thread.start()
    done.wait(timeout=20)
    try:
        yield
    finally:
        may_end.set()
        thread.join()


def tell(number: int) -> None:
    Event.objects.create(type="message.received", session_id=uuid4(), data={"number": number})


@pytest.mark.django_db(transaction=True)
def test_what_is_written_early_and_committed_late_is_waited_for():
    with in_another_connection(lambda: tell(1)):
        tell(2)
        before = feed.read(reader=EVERYTHING)
    after = feed.read(reader=EVERYTHING, after=before.end)
    assert [event.data["number"] for event in before.events + after.events] == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_another_database_is_not_waited_for():
    connection.ensure_connection()
    other = psycopg2.connect(**connection.connection.get_dsn_parameters() | {"dbname": "postgres"})
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")  # as a transaction that writes takes its number
        tell(1)
        assert [event.data["number"] for event in feed.read(reader=EVERYTHING).events] == [1]
    finally:
        other.close()


@pytest.mark.django_db(transaction=True)
def test_a_reader_who_follows_many_writers_sees_everything_once_and_in_the_one_order():
    each, stop, seen = 12, threading.Event(), []

    def write(writer: int) -> None:
        try:
            for number in range(each):
                with transaction.atomic():
                    tell(writer * each + number)
                    time.sleep(random.choice([0, 0, 0.002, 0.01, 0.05]))
                    if number % 4 == 0:
                        tell(writer * each + number + 10_000)
        finally:
            connection.close()

    def follow() -> None:
        at = feed.START
        try:
            while True:
                last_round = stop.is_set()
                page = feed.read(reader=EVERYTHING, after=at, limit=7)
                seen.extend(event.data["number"] for event in page.events)
                at = page.end
                if last_round and not page.has_more:
                    return
        finally:
            connection.close()

    reader = threading.Thread(target=follow)
    writers = [threading.Thread(target=write, args=[number]) for number in range(WRITERS)]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    again: list[int] = []
    at, has_more = feed.START, True
    while has_more:
        page = feed.read(reader=EVERYTHING, after=at)
        again += [event.data["number"] for event in page.events]
        at, has_more = page.end, page.has_more
    assert len(seen) == len(set(seen)) == WRITERS * (each + each // 4)
    assert seen == again


# --- positions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [Position(0, 0), Position(1, 2), Position(2**63 - 1, 2**63 - 1)])
def test_a_cursor_means_its_position(position):
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "cursor", ["", "x", "MA", "MS4", "é", "MS4y\n", "MS4yLjM", "LTEuMg", "MSAuMg", "////", "A" * 90, "MV8wLjI", "\x00"]
)
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(feed.InvalidCursor):
        Position.parse(cursor)


def age(count: int) -> None:
    oldest = Event.objects.order_by("transaction", "id").values_list("pk", flat=True)[:count]
    Event.objects.filter(pk__in=list(oldest)).update(at=timezone.now() - feed.RETENTION - timedelta(days=1))


@pytest.mark.django_db(transaction=True)
def test_old_events_are_deleted_and_a_reader_who_missed_some_gets_an_error(says):
    for _ in range(5):
        says("Hello")
    positions = [event.position for event in feed.read(reader=EVERYTHING).events]
    age(4)
    feed.purge()
    assert [event.position for event in feed.read(reader=EVERYTHING).events] == positions[3:]
    assert feed.resolve_position(positions[3]) == positions[3]
    assert feed.resolve_position(feed.START) == feed.START
    with pytest.raises(feed.CursorExpired):
        feed.resolve_position(positions[1])


@pytest.mark.django_db(transaction=True)
def test_a_dump_restored_on_a_younger_server_goes_on_where_it_was(bridges):
    for number in range(4):
        tell(number)
    Event.objects.update(transaction=2**40)  # as the other server numbered them
    cursor = Position(2**40, Event.objects.filter(data__number=1).get().pk)
    feed.rebase()
    tell(4)
    page = feed.read(reader=EVERYTHING, after=feed.resolve_position(cursor))
    assert [event.data["number"] for event in page.events] == [2, 3, 4]
