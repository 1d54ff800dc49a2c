"""What is queued leaves once, in order; what is unknown is not sent again."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from agent.sender import deliver
from messaging import control, leases, outbox
from messaging.models import Conversation, Event, Message
from messaging.outbound import conversation_by_phone, send_again, send_text
from sessions_app.links.reconciliation import sync_bridge
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.fake_zapw import FakeZapw
from tests.support.messaging.turns import settle
from whatsapp_agent.errors import Conflict, InvalidInput, NotSupportedByBridge, SessionNotConnected


@pytest.fixture
def zapw(settings, session) -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        fake.add_session("sales", phone="5511999990000")
        settings.SEND_GAP_S = 0.0
        settings.AGENT_RETRY_BASE_S = 0.0
        Bridge.objects.filter(slug="default").update(base_url=fake.url, api_key=fake.api_key)
        yield fake


def said(fake: FakeZapw) -> list[str]:
    return [message["text"] for message in fake.sent]


def test_what_is_queued_leaves_in_order(zapw, conversation):
    for text in ("one", "two", "three"):
        send_text(conversation=conversation, text=text)
    deliver(conversation.pk)
    assert said(zapw) == ["one", "two", "three"]
    assert {message["to"] for message in zapw.sent} == {"5511988887777"}
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
    assert Message.objects.exclude(provider_message_id=None).count() == 3


def test_a_gap_is_left_between_two_messages_to_one_person(zapw, conversation, settings):
    settings.SEND_GAP_S = 30.0
    for text in ("one", "two"):
        send_text(conversation=conversation, text=text)
    assert deliver(conversation.pk) > timezone.now() + timedelta(seconds=20)
    assert deliver(conversation.pk) is None
    assert said(zapw) == ["one"]


@pytest.mark.django_db(transaction=True)
def test_many_who_deliver_at_once_send_each_message_once_and_in_order(zapw, conversation):
    for number in range(5):
        send_text(conversation=conversation, text=str(number))

    def work() -> None:
        try:
            deliver(conversation.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver(conversation.pk)
    assert said(zapw) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("outcome", ["error_500", "error_500_after", "drop_after", "nonsense", "hang_after"])
def test_a_send_without_a_clear_answer_is_unconfirmed_and_not_sent_again(zapw, conversation, settings, outcome):
    settings.BRIDGE_TIMEOUT_S = 0.5 if outcome == "hang_after" else 20.0
    zapw.fail(outcome, times=1)
    message = send_text(conversation=conversation, text="one")
    deliver(conversation.pk)
    deliver(conversation.pk)
    message.refresh_from_db()
    conversation.refresh_from_db()
    assert (message.status, conversation.needs_attention) == ("unconfirmed", True)
    assert len(zapw.sent) <= 1


def test_a_send_that_surely_did_not_go_is_tried_again(zapw, conversation):
    zapw.fail("rate_limited", times=1)
    message = send_text(conversation=conversation, text="one")
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("queued", "rate_limited")
    Message.objects.update(next_try_at=None)
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code, message.tries) == ("sent", "", 2)


def test_a_bridge_that_is_not_there_is_tried_again(session, conversation):
    message = send_text(conversation=conversation, text="one")
    deliver(conversation.pk)
    message.refresh_from_db()
    assert message.status == "queued"
    assert message.next_try_at > timezone.now()


def test_what_could_not_be_sent_for_too_long_has_failed(session, conversation):
    message = send_text(conversation=conversation, text="one")
    Message.objects.update(created_at=timezone.now() - timedelta(days=2))
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("failed", "expired")


def refuse_key(fake: FakeZapw) -> None:
    Bridge.objects.filter(slug="default").update(base_url=fake.url, api_key="wrong")


def accept_key(fake: FakeZapw) -> None:
    """As `sync_due_bridges` finds out a minute later."""
    Bridge.objects.filter(slug="default").update(api_key=fake.api_key)
    WhatsAppSession.objects.update(status="connected", status_reason="")
    Message.objects.update(next_try_at=None)


def reply_of_agent(conversation) -> Message:
    return Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        status="queued",
        control_epoch=0,
        text="an answer",
    )


def test_a_reply_waits_for_the_right_key_longer_than_its_ttl_and_leaves_then(zapw, conversation):
    refuse_key(zapw)
    message = reply_of_agent(conversation)
    deliver(conversation.pk)
    Message.objects.update(created_at=timezone.now() - timedelta(days=2))
    outbox.drop_outdated()
    message.refresh_from_db()
    assert (message.status, message.error_code, said(zapw)) == ("queued", "unauthorized", [])
    accept_key(zapw)
    outbox.drop_outdated()
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code, said(zapw)) == ("sent", "", ["an answer"])


def test_a_key_that_stays_wrong_asks_for_attention_once(zapw, conversation):
    refuse_key(zapw)
    reply_of_agent(conversation)
    for _ in range(3):
        WhatsAppSession.objects.update(status="connected")
        Message.objects.update(next_try_at=None)
        deliver(conversation.pk)
        Conversation.objects.filter(needs_attention=True).update(attention_note="seen")
    conversation.refresh_from_db()
    assert (conversation.attention_reason, conversation.attention_note) == ("bridge_key", "seen")
    events = Event.objects.filter(type="conversation.needs_attention")
    assert [event.data for event in events] == [{"reason": "bridge_key"}]


def test_messages_that_were_never_tried_wait_for_the_right_key_too(zapw, session, conversation):
    refuse_key(zapw)
    reply_of_agent(conversation)
    deliver(conversation.pk)
    behind = reply_of_agent(conversation)
    contact = session.contacts.create(phone="+5511977776666")
    elsewhere = reply_of_agent(session.conversations.create(contact=contact, address="5511977776666@s.whatsapp.net"))
    Message.objects.update(created_at=timezone.now() - timedelta(hours=5))
    assert outbox.drop_outdated() == 0
    accept_key(zapw)
    assert outbox.drop_outdated() == 0
    for message in (behind, elsewhere):
        deliver(message.conversation_id)
        message.refresh_from_db()
        assert message.status == "sent"


def test_a_held_message_outlives_an_outage_after_the_key_is_right(zapw, conversation):
    refuse_key(zapw)
    message = reply_of_agent(conversation)
    deliver(conversation.pk)
    Message.objects.update(created_at=timezone.now() - timedelta(hours=5))
    accept_key(zapw)
    zapw.fail("not_connected", times=1)
    deliver(conversation.pk)
    message.refresh_from_db()
    assert message.status == "queued"


def test_a_held_reply_is_cancelled_when_a_person_takes_over(zapw, conversation):
    refuse_key(zapw)
    message = reply_of_agent(conversation)
    deliver(conversation.pk)
    control.take_over(conversation=conversation)
    message.refresh_from_db()
    assert message.status == "cancelled"


def test_a_session_that_lost_its_link_keeps_what_is_queued_until_it_is_back(zapw, conversation):
    zapw.fail("not_connected", times=1)
    message = send_text(conversation=conversation, text="one")
    deliver(conversation.pk)
    assert WhatsAppSession.objects.get().status == "disconnected"
    Message.objects.update(next_try_at=None)
    deliver(conversation.pk)
    assert len(zapw.sent) == 0
    WhatsAppSession.objects.update(status="connected")
    assert outbox.conversations_to_deliver(limit=10) == [(conversation.pk, conversation.session_id)]
    deliver(conversation.pk)
    message.refresh_from_db()
    assert message.status == "sent"


def test_a_refused_message_has_failed_with_a_reason(zapw, conversation):
    zapw.fail("invalid", times=1)
    message = send_text(conversation=conversation, text="one")
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("failed", "invalid")


def test_the_rest_of_an_answer_is_not_sent_when_a_part_of_it_was_refused(zapw, conversation, says):
    says("Hello")
    settle(leases.take(conversation.pk), conversation, replies=["part one", "part two"])
    zapw.fail("invalid", times=1)
    deliver(conversation.pk)
    assert list(Message.objects.filter(direction="outbound").order_by("created_at", "id").values_list("status")) == [
        ("failed",),
        ("cancelled",),
    ]


@pytest.mark.parametrize("address", ["120363041234567890@g.us", "99887766@lid"])
def test_whom_the_bridge_cannot_write_to_is_refused_before_it_is_tried(zapw, conversation, address):
    Conversation.objects.update(address=address)
    conversation.refresh_from_db()
    with pytest.raises(NotSupportedByBridge):
        send_text(conversation=conversation, text="one")
    queued = Message.objects.create(
        session=conversation.session, conversation=conversation, direction="outbound", author="agent", status="queued"
    )
    deliver(conversation.pk)
    queued.refresh_from_db()
    assert queued.status == "failed"
    assert len(zapw.sent) == 0


def test_nothing_is_queued_for_a_session_that_is_not_connected(session, conversation):
    session.status = "disconnected"
    session.save()
    with pytest.raises(SessionNotConnected):
        send_text(conversation=Conversation.objects.get(), text="one")
    assert not Message.objects.exists()


@pytest.mark.parametrize("text", ["", "   ", "x" * 4097, "😀" * 2049])
def test_a_text_that_cannot_be_one_message_is_refused(conversation, text):
    with pytest.raises(InvalidInput):
        send_text(conversation=conversation, text=text)


def test_a_sender_that_died_leaves_its_message_unconfirmed(conversation):
    send_text(conversation=conversation, text="one")
    outbox.claim_next_message(conversation.pk)
    assert outbox.mark_stuck_unconfirmed() == 0
    Message.objects.update(sending_at=timezone.now() - timedelta(minutes=5))
    assert outbox.mark_stuck_unconfirmed() == 1
    assert Message.objects.get().status == "unconfirmed"


def test_a_person_may_send_again_what_is_unconfirmed_and_nothing_that_arrived(zapw, conversation):
    message = send_text(conversation=conversation, text="one")
    Message.objects.update(status="unconfirmed")
    send_again(message=message)
    deliver(conversation.pk)
    assert said(zapw) == ["one"]
    with pytest.raises(Conflict):
        send_again(message=message)


def test_an_adapter_that_cannot_be_made_has_surely_sent_nothing(zapw, conversation):
    Bridge.objects.filter(slug="default").update(api_key="clé")
    message = send_text(conversation=conversation, text="one")
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("failed", "invalid_configuration")


def test_a_message_is_not_lost_when_the_database_fails_before_the_bridge_is_asked(zapw, conversation, says):
    question = Message.objects.get(pk=says("When?").message_id)
    message = send_text(conversation=conversation, text="At nine.")
    Message.objects.filter(pk=message.pk).update(quoted=question, quoted_provider_id=question.provider_message_id)
    failures = iter([OperationalError("away")])

    def fail_to_read_the_quoted(execute, sql, params, many, context):
        for failure in failures if "INNER JOIN" in sql and "quoted_id" in sql else ():
            raise failure
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail_to_read_the_quoted):
        deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code, zapw.sent) == ("queued", "database_unreachable", [])
    Message.objects.update(next_try_at=None)
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, len(zapw.sent), next(failures, None)) == ("sent", 1, None)


@pytest.mark.django_db(transaction=True)
def test_what_the_bridge_took_is_noted_although_the_database_was_away_for_a_moment(zapw, conversation, monkeypatch):
    message = send_text(conversation=conversation, text="one")
    connect = connections["default"].get_new_connection
    failures = iter([OperationalError("away"), OperationalError("away")])

    def unsteady(*arguments):
        for failure in failures if zapw.sent else ():
            raise failure
        return connect(*arguments)

    monkeypatch.setattr(connections["default"], "get_new_connection", unsteady)
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, next(failures, None)) == ("sent", None)


def test_only_those_whose_first_message_may_leave_are_rung_for(session, conversation):
    waiting, ready = conversation, conversation_by_phone(session=session, phone="+5511977776666")
    blocked = conversation_by_phone(session=session, phone="+5511955554444")
    for place in (waiting, waiting, blocked, blocked, ready):
        send_text(conversation=place, text="one")
    Message.objects.filter(pk=waiting.messages.earliest("created_at").pk).update(
        next_try_at=timezone.now() + timedelta(minutes=5)
    )
    outbox.claim_next_message(blocked.pk)
    assert outbox.conversations_to_deliver(limit=10) == [(ready.pk, ready.session_id)]


def test_a_send_that_was_given_up_cannot_undo_the_one_that_a_person_began_after_it(zapw, conversation):
    message = send_text(conversation=conversation, text="one")
    first = outbox.claim_next_message(conversation.pk)
    Message.objects.update(sending_at=timezone.now() - timedelta(minutes=5))
    outbox.mark_stuck_unconfirmed()
    message.refresh_from_db()
    send_again(message=message)
    outbox.claim_next_message(conversation.pk)
    outbox.mark_not_sent(first, code="rate_limited", error="Late.")
    assert Message.objects.get().status == "sending"


@pytest.fixture
def clock_ahead(monkeypatch) -> timedelta:
    """This process's clock is an hour ahead of the database's."""
    ahead, real = timedelta(hours=1), timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + ahead)
    return ahead


def test_a_process_whose_clock_is_ahead_pauses_no_longer_than_it_should(zapw, conversation, settings, clock_ahead):
    settings.SEND_GAP_S = settings.AGENT_RETRY_BASE_S = 1.0
    send_text(conversation=conversation, text="one")
    second = send_text(conversation=conversation, text="two")
    deliver(conversation.pk)
    second.refresh_from_db()
    assert second.next_try_at < timezone.now() - clock_ahead / 2
    Message.objects.update(next_try_at=None)
    zapw.fail("rate_limited", times=1)
    deliver(conversation.pk)
    second.refresh_from_db()
    assert second.next_try_at < timezone.now() - clock_ahead / 2


def test_a_process_whose_clock_is_ahead_makes_nothing_due_in_the_future(says, conversation, clock_ahead):
    control.take_over(conversation=conversation)
    says("Hello")
    control.release(conversation=conversation)
    assert leases.take(conversation.pk) is not None


def test_a_process_whose_clock_is_ahead_does_not_give_up_on_the_send_of_another(conversation, clock_ahead):
    send_text(conversation=conversation, text="one")
    outbox.claim_next_message(conversation.pk)
    assert outbox.mark_stuck_unconfirmed() == 0


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_keeps_messages_queued_until_the_key_is_right(zapw, session, conversation, status):
    for text in ("one", "two"):
        send_text(conversation=conversation, text=text)
    zapw.fail("answer", call="any", status=status)

    deliver(conversation.pk)

    assert said(zapw) == []
    assert set(Message.objects.values_list("status", flat=True)) == {"queued"}
    session.refresh_from_db()
    assert (session.status, session.status_reason) == ("disconnected", "The bridge refuses our API key.")
    assert outbox.conversations_to_deliver(limit=10) == []  # nobody asks the bridge in vain
    outbox.withdraw_key_attention()
    conversation.refresh_from_db()
    assert (conversation.needs_attention, conversation.attention_reason) == (True, "bridge_key")

    zapw.heal()
    sync_bridge(session.bridge)
    assert outbox.conversations_to_deliver(limit=10) == [(conversation.pk, conversation.session_id)]
    deliver(conversation.pk)

    assert said(zapw) == ["one", "two"]
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
    outbox.withdraw_key_attention()
    conversation.refresh_from_db()
    assert (conversation.needs_attention, conversation.attention_reason, conversation.attention_note) == (False, "", "")


def test_a_message_that_comes_in_does_not_make_a_refused_key_usable(zapw, session, conversation, says):
    send_text(conversation=conversation, text="one")
    zapw.api_key = "another key"
    deliver(conversation.pk)

    says("Hello?", sent_at=timezone.now() + timedelta(seconds=1))

    session.refresh_from_db()
    assert session.status == "disconnected"
