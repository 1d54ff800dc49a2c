"""Messages whose webhook requests were lost: bridges that keep messages are asked for them."""

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from json import dumps
from time import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from agent.bridges.base import BridgeConfig, SessionState
from agent.bridges.events import Link
from agent.bridges.exchange import Response
from agent.bridges.waha import WahaBridge
from agent.missed import fetch_due
from agent.missed import fetch_missed as ask_bridge
from messaging.loops import stop_repeating_sessions
from messaging.models import Conversation, Message
from messaging.people.forgetting import forget_contact
from sessions_app.links.catching_up import claim_next, fetch_missed, forget_missed, purge_forgotten_addresses
from sessions_app.models import Bridge, ForgottenAddress, WhatsAppSession
from sessions_app.services import move_session, record_session_state
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha

pytestmark = pytest.mark.django_db

HOUR = 3600


@pytest.fixture(params=["waha", "evolution"])
def fake(request: pytest.FixtureRequest) -> Iterator[Any]:
    with (FakeWaha if request.param == "waha" else FakeEvolution)() as server:
        server.add_session("sales", phone="5511999990000")
        connect_default_bridge(request.param, server)
        yield server


@pytest.fixture
def sales(session: WhatsAppSession) -> WhatsAppSession:
    """A number that was linked long ago, and that everything is known of until an hour ago."""
    now = timezone.now()
    rows = WhatsAppSession.objects.filter(pk=session.pk)
    rows.update(linked_at=now - timedelta(days=100), caught_up_until=now - timedelta(hours=1))
    session.refresh_from_db()
    return session


@pytest.fixture
def waha(sales: WhatsAppSession) -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        connect_default_bridge("waha", server)
        yield server


def texts() -> list[str]:
    return list(Message.objects.order_by("said_at", "id").values_list("text", flat=True))


def ask_again(session: WhatsAppSession) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).update(catch_up_at=None)
    fetch_due()


def test_a_lost_message_is_stored_once_and_is_to_be_answered(sales: WhatsAppSession, fake: Any) -> None:
    fake.stored.append(fake.message("Anyone there?", sent_at=time() - 60))
    fetch_due()
    ask_again(sales)
    message = Message.objects.get()
    assert (message.text, message.direction, message.status) == ("Anyone there?", "inbound", "received")
    assert Conversation.objects.get().due_at is not None


def test_lost_messages_are_stored_in_the_order_in_which_they_were_written(sales: WhatsAppSession, fake: Any) -> None:
    fake.stored += [fake.message(f"{number}", sent_at=time() - HOUR + number) for number in range(120)]
    fetch_due()
    assert texts() == [str(number) for number in range(120)]


def test_a_lost_message_that_is_too_old_is_stored_and_not_answered(sales: WhatsAppSession, fake: Any) -> None:
    sales.agent_profile.max_answer_age_s = 60
    sales.agent_profile.save()
    fake.stored.append(fake.message("An hour ago", sent_at=time() - HOUR))
    fetch_due()
    assert Message.objects.get().unanswered == "stale"
    conversation = Conversation.objects.get()
    assert (conversation.due_at, conversation.unread_count) == (None, 1)


def test_what_the_owner_typed_unseen_takes_the_conversation_over(sales: WhatsAppSession, fake: Any) -> None:
    fake.stored.append(fake.message("Can I come at five?", sent_at=time() - 60))
    fake.stored.append(fake.message("Yes, of course", from_me=True, sent_at=time() - 30))
    fetch_due()
    assert texts() == ["Can I come at five?", "Yes, of course"]
    assert Conversation.objects.get().control == "human"


def unsure(fake: Any) -> str:
    """Return a `source` that does not show that the phone wrote a message: it may be one that we sent."""
    return "web" if isinstance(fake, FakeEvolution) else "api"


def test_what_may_be_ours_takes_nothing_over_and_has_answered_what_came_before(sales: Any, fake: Any) -> None:
    fake.stored.append(fake.message("Can I come at five?", sent_at=time() - 60))
    fake.stored.append(fake.message("Yes, of course", from_me=True, source=unsure(fake), sent_at=time() - 30))
    fetch_due()
    assert texts() == ["Can I come at five?", "Yes, of course"]
    assert Message.objects.get(direction="inbound").unanswered == "person"
    conversation = Conversation.objects.get()
    assert (conversation.control, conversation.due_at) == ("agent", None)


def test_what_came_after_the_last_reply_is_to_be_answered(sales: Any, fake: Any) -> None:
    fake.stored.append(fake.message("Yes, of course", from_me=True, source=unsure(fake), sent_at=time() - 60))
    fake.stored.append(fake.message("And at six?", sent_at=time() - 30))
    fetch_due()
    assert texts() == ["Yes, of course", "And at six?"]
    assert Conversation.objects.get().due_at is not None


def test_a_reaction_of_ours_answers_nothing(sales: Any, waha: FakeWaha) -> None:
    waha.stored.append(waha.message("Can I come at five?", sent_at=time() - 60))
    fetch_due()
    Message.objects.update(direction="outbound", author="phone", kind="reaction", written_at=timezone.now())
    waha.stored.append(waha.message("Hello?", sent_at=time() - 50))
    ask_again(sales)
    assert Message.objects.get(text="Hello?").unanswered == ""


def test_what_another_program_sent_long_ago_stops_no_number(sales: WhatsAppSession, fake: Any) -> None:
    fake.stored += [
        fake.message(f"Reply {number}", from_me=True, source=unsure(fake), sent_at=time() - HOUR / 2 + number)
        for number in range(30)
    ]
    fetch_due()
    assert stop_repeating_sessions() == []
    assert texts() == [f"Reply {number}" for number in range(30)]
    assert Message.objects.order_by("-said_at")[0].said_at < timezone.now() - timedelta(minutes=20)


def test_what_was_written_before_a_number_was_linked_is_not_asked_for(session: WhatsAppSession, fake: Any) -> None:
    WhatsAppSession.objects.update(linked_at=timezone.now())
    fake.stored += [fake.message("Before", sent_at=time() - seconds) for seconds in (HOUR, 5)]
    fetch_due()
    ask_again(session)
    assert texts() == []
    session.refresh_from_db()
    assert session.caught_up_until is not None


def test_nothing_older_than_three_days_is_asked_for(sales: WhatsAppSession, fake: Any) -> None:
    WhatsAppSession.objects.update(caught_up_until=timezone.now() - timedelta(days=30))
    fake.stored += [fake.message(f"{days} days ago", sent_at=time() - days * 24 * HOUR) for days in (2, 4)]
    fetch_due()
    assert texts() == ["2 days ago"]


def test_two_chats_that_share_a_message_id_both_count(sales: WhatsAppSession, fake: Any) -> None:
    fake.stored.append(fake.message("To Ana", message_id="3EB0A1", sent_at=time() - 60))
    fetch_due()
    fake.stored.append(fake.message("To Bia", message_id="3EB0A1", phone="5511977776666", sent_at=time() - 50))
    ask_again(sales)
    assert texts() == ["To Ana", "To Bia"]


@pytest.mark.parametrize("is_hidden_first", [True, False])
def test_a_message_listed_under_another_address_of_its_writer_is_stored_once(
    sales: WhatsAppSession, waha: FakeWaha, is_hidden_first: bool
) -> None:
    by_phone = waha.message("Anyone there?", message_id="3EB0A1", sent_at=time() - 60)
    by_lid = by_phone | {"id": "false_99887766@lid_3EB0A1", "from": "99887766@lid"}
    for each in (by_lid, by_phone) if is_hidden_first else (by_phone, by_lid):
        waha.stored[:] = [each]
        ask_again(sales)
    assert texts() == ["Anyone there?"]


def test_a_number_is_asked_about_every_few_minutes_and_at_once_when_it_is_connected_again(
    sales: WhatsAppSession, waha: FakeWaha
) -> None:
    fetch_due()
    asked = len(waha.requests)
    fetch_due()
    assert len(waha.requests) == asked
    for status in (Link.DISCONNECTED, Link.CONNECTED):
        sales.refresh_from_db()
        record_session_state(session=sales, state=SessionState("sales", status))
    fetch_due()
    assert len(waha.requests) > asked


def test_after_a_failure_the_same_time_is_asked_for_again(sales: WhatsAppSession, waha: FakeWaha) -> None:
    waha.stored.append(waha.message("Hello?", sent_at=time() - HOUR / 2))
    waha.fail("error_500", call="messages", times=1)
    fetch_due()
    assert texts() == []
    ask_again(sales)
    assert texts() == ["Hello?"]


def test_what_was_listed_before_a_failure_is_stored(waha: FakeWaha) -> None:
    waha.stored += [waha.message(f"{number}", sent_at=time() - number) for number in range(100)]
    waha.stored.append(waha.message("x" * 33_000_000, sent_at=time() - 200))  # its page is too large to be read
    fetch_due()
    assert Message.objects.count() == 100


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1, null, {}]", b'{"messages": 5}', b"[]"])
def test_an_answer_that_lists_nothing_readable_does_no_harm(sales: WhatsAppSession, fake: Any, answer: bytes) -> None:
    for call in ("messages", "findMessages"):
        fake.fail("answer", call=call, status=200, body=answer)
    fetch_due()
    assert texts() == []


def test_a_bridge_that_gives_the_same_page_for_ever_is_asked_twice(waha: FakeWaha) -> None:
    page = dumps([waha.message("Again and again", sent_at=time() - 60)]).encode()
    waha.fail("answer", call="messages", status=200, body=page)
    fetch_due()
    assert texts() == ["Again and again"]
    assert len(waha.requests) == 2


def test_of_a_flood_a_thousand_messages_are_stored_at_a_time(sales: WhatsAppSession, waha: FakeWaha) -> None:
    waha.stored += [waha.message(f"{number}", sent_at=time() - number / 2) for number in range(1150)]
    fetch_due()
    assert Message.objects.count() == 1000
    ask_again(sales)
    assert Message.objects.count() == 1150


def test_a_slow_bridge_is_asked_for_the_rest_until_nothing_is_missing(
    session: WhatsAppSession, conversation: Conversation, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.missed.MAX_SECONDS", 0.0)  # two pages each time
    WhatsAppSession.objects.update(linked_at=timezone.now() - timedelta(days=2), caught_up_until=None)
    Message.objects.create(session=session, conversation=conversation, direction="inbound", status="handled")
    Message.objects.update(created_at=timezone.now() - timedelta(days=1), said_at=timezone.now() - timedelta(days=1))
    fake.stored += [fake.message(f"{number}", sent_at=time() - 2 * HOUR + 10 * number) for number in range(350)]
    for _ in range(5):
        ask_again(session)
    assert Message.objects.count() == 351
    session.refresh_from_db()
    assert (session.catching_up_at, session.catching_up_until) == (None, None)
    assert session.caught_up_until is not None
    assert session.caught_up_until > timezone.now() - timedelta(minutes=1)


def test_a_bridge_that_lists_the_oldest_first_for_ever_is_given_up(
    waha: FakeWaha, sales: WhatsAppSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.missed.MAX_PAGES", 2)
    monkeypatch.setattr(waha, "newest_first", False)
    waha.stored += [waha.message(f"{number}", sent_at=time() - HOUR / 2 + number) for number in range(300)]
    for _ in range(2):
        ask_again(sales)
    sales.refresh_from_db()
    assert sales.catching_up_at is None
    assert Message.objects.count() == 200


def test_a_page_that_cannot_be_read_does_not_hide_what_is_newer(waha: FakeWaha, sales: WhatsAppSession) -> None:
    waha.stored += [waha.message(f"{number}", sent_at=time() - 60 - number) for number in range(100)]
    waha.stored.append(waha.message("x" * 33_000_000, sent_at=time() - 200))
    fetch_due()
    waha.stored.append(waha.message("Newer", sent_at=time() - 5))
    for _ in range(2):
        ask_again(sales)
    assert Message.objects.filter(text="Newer").exists()


def test_a_number_that_always_fails_keeps_no_other_from_being_asked(sales: WhatsAppSession, waha: FakeWaha) -> None:
    waha.add_session("support", phone="5511999990001")
    other = WhatsAppSession.objects.create(
        bridge=sales.bridge, name="support", agent_profile=sales.agent_profile, status="connected"
    )
    WhatsAppSession.objects.filter(pk=other.pk).update(linked_at=timezone.now() - timedelta(days=1))
    WhatsAppSession.objects.filter(pk=other.pk).update(caught_up_until=timezone.now() - timedelta(hours=1))
    waha.fail("error_500", call="messages", times=1)
    fetch_due()
    failing, asked = WhatsAppSession.objects.order_by(F("caught_up_until").asc())
    assert asked.caught_up_until > timezone.now() - timedelta(minutes=1)
    assert failing.caught_up_until < timezone.now() - timedelta(minutes=50)
    assert failing.catch_up_at > timezone.now()


def test_of_a_bridge_that_cannot_be_reached_one_number_is_asked(sales: WhatsAppSession, waha: FakeWaha) -> None:
    WhatsAppSession.objects.create(
        bridge=sales.bridge, name="support", agent_profile=sales.agent_profile, status="connected"
    )
    waha.down()
    fetch_due()
    assert WhatsAppSession.objects.filter(catch_up_at=None).count() == 1
    waha.up()


def test_bridges_that_were_not_asked_come_before_others(sales: WhatsAppSession) -> None:
    Bridge.objects.filter(pk=sales.bridge_id).update(kind="waha")
    second = Bridge.objects.create(slug="second", kind="waha", base_url="http://127.0.0.1:9")
    for bridge, name in ((sales.bridge, "support"), (second, "shop")):
        WhatsAppSession.objects.create(bridge=bridge, name=name, agent_profile=sales.agent_profile, status="connected")
    first = claim_next(asked=[], failing=[])
    assert first is not None
    after = claim_next(asked=[first.bridge_id], failing=[])
    assert after is not None
    assert after.bridge_id != first.bridge_id
    assert claim_next(asked=[], failing=[sales.bridge_id, second.pk]) is None
    assert claim_next(asked=[], failing=[]) is not None
    assert claim_next(asked=[], failing=[]) is None  # each was claimed once


def test_sync_sessions_says_when_it_is_stopped(waha: FakeWaha, settings: Any) -> None:
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "waha", waha.url, waha.api_key

    def interrupt(_: Bridge) -> Iterator[tuple[str, int | None]]:
        yield "sales", 1
        raise KeyboardInterrupt

    out = StringIO()
    fetch_missed.provide(interrupt)
    try:
        with pytest.raises(CommandError, match="Stopped") as stopped:
            call_command("sync_sessions", bridge="default", stdout=out)
    finally:
        fetch_missed.provide(ask_bridge)
    assert stopped.value.returncode == 130
    assert "sales had missed 1 message\n" in out.getvalue()


def test_messages_of_a_forgotten_person_are_not_fetched_again(sales: WhatsAppSession, waha: FakeWaha) -> None:
    waha.stored.append(waha.message("Forget me", sent_at=time() - 60))
    fetch_due()
    for _ in forget_contact(Conversation.objects.get().contact):
        pass
    ask_again(sales)
    assert texts() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"phone": "551188887777"}, []),  # another spelling of the same number
        ({"chat": "123456789012345@lid"}, []),  # perhaps the same person: nobody knows
        ({"phone": "5511977776666"}, ["Lost"]),
    ],
    ids=["another spelling", "hidden", "somebody else"],
)
def test_of_lost_messages_only_those_of_a_forgotten_person_are_left_out(
    sales: WhatsAppSession, waha: FakeWaha, settings: Any, changes: dict[str, Any], expected: list[str]
) -> None:
    waha.stored.append(waha.message("Forget me", sent_at=time() - 60))
    fetch_due()
    for _ in forget_contact(Conversation.objects.get().contact):
        pass
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a-new-key-" * 5, [settings.SECRET_KEY]
    waha.stored.append(waha.message("Lost", sent_at=time() - 30, **changes))
    ask_again(sales)
    assert texts() == expected


def test_what_somebody_wrote_after_they_were_forgotten_is_stored(sales: WhatsAppSession, waha: FakeWaha) -> None:
    forget_missed(sales.pk, addresses=["+5511988887777"])
    ForgottenAddress.objects.update(forgotten_at=timezone.now() - timedelta(minutes=10))
    waha.stored += [waha.message(f"{minutes}", sent_at=time() - 60 * minutes) for minutes in (11, 9)]
    fetch_due()
    assert texts() == ["9"]


def test_hashes_of_forgotten_addresses_are_deleted_once_nothing_of_then_is_asked_for(sales: WhatsAppSession) -> None:
    forget_missed(sales.pk, addresses=["+5511988887777"])
    assert purge_forgotten_addresses() == 0
    ForgottenAddress.objects.update(forgotten_at=timezone.now() - timedelta(days=5))
    assert purge_forgotten_addresses() == 2  # one for each spelling of the number
    assert not ForgottenAddress.objects.exists()


def test_sync_sessions_says_how_many_messages_a_number_had_missed(waha: FakeWaha, settings: Any) -> None:
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "waha", waha.url, waha.api_key
    waha.stored.append(waha.message("Hello?", sent_at=time() - 60))
    out = StringIO()
    call_command("sync_sessions", bridge="default", stdout=out)
    assert "sales had missed 1 message\n" in out.getvalue()
    assert texts() == ["Hello?"]


def test_a_message_that_waha_lists_is_read_like_one_that_it_posts() -> None:
    adapter = WahaBridge(BridgeConfig(base_url="http://waha"))
    now = timezone.now()
    steps = adapter.list_messages(session="sales", since=now, until=now, page=2)
    request = next(steps)
    assert request.path == "/api/sales/chats/all/messages"
    assert (request.query["offset"], request.query["downloadMedia"]) == ("200", "false")
    listed = b'[{"id": "false_5511988887777@c.us_3EB0", "timestamp": 1790001001, "body": "Oi"}, {"id": 5}]'
    with pytest.raises(StopIteration) as result:
        steps.send(Response(200, listed))
    received, malformed = result.value.value
    assert (received.text, received.chat.phone, received.session) == ("Oi", "+5511988887777", "sales")
    assert type(malformed).__name__ == "Malformed"


def test_a_bridge_that_keeps_no_messages_is_not_asked(session: WhatsAppSession) -> None:
    Bridge.objects.filter(slug="default").update(kind="zapw", base_url="http://127.0.0.1:9")
    fetch_due()
    session.refresh_from_db()
    assert session.catch_up_at is None


def test_after_a_move_the_new_bridge_is_not_asked_for_what_the_old_one_brought(
    sales: WhatsAppSession, waha: FakeWaha
) -> None:
    second = Bridge.objects.create(slug="second", kind="waha", base_url=waha.url, api_key=waha.api_key)
    waha.stored.append(waha.message("Known under another id", sent_at=time() - 60))
    move_session(sales, to=second)
    WhatsAppSession.objects.update(status="connected")
    fetch_due()
    assert texts() == []


def test_sync_sessions_succeeds_where_the_bridge_lists_no_messages(waha: FakeWaha, settings: Any) -> None:
    settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL, settings.WHATSAPP_API_KEY = "waha", waha.url, waha.api_key
    waha.fail("error_500", call="messages")
    out = StringIO()
    call_command("sync_sessions", bridge="default", stdout=out)
    assert "sales may have missed messages: the bridge did not list them\n" in out.getvalue()
