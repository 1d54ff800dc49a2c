"""Keeping what comes in: once, in its place, and due only when it should be answered."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent.bridges.addresses import read_address
from agent.bridges.events import (
    AliasKind,
    ChatAddress,
    Kind,
    MediaRef,
    MessageEdited,
    MessageRevoked,
    Receipt,
    StatusChanged,
)
from messaging import control
from messaging.contacts.merging import merge_contacts
from messaging.history.transcript import load_history
from messaging.inbound import receive_message, receive_own_message
from messaging.models import Contact, Conversation, EarlyReceipt, Event, Message
from messaging.receipts import record_edit, record_revocation, record_sent, record_status, settle_early_receipts
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.conftest import CUSTOMER, as_user, message_event


def test_a_message_is_kept_with_its_place(bridge, profile):
    kept = receive_message(bridge=bridge, event=message_event("Good morning"))
    message = Message.objects.get()
    assert (message.pk, message.text, message.status, message.author) == (
        kept.message_id,
        "Good morning",
        "received",
        "contact",
    )
    assert message.session.name == "sales"
    assert message.conversation.contact.phone == "+5511988887777"
    assert message.conversation.address == CUSTOMER
    assert message.conversation.unread_count == 1


def test_a_message_of_an_unknown_session_registers_it_as_connected(bridge, profile):
    receive_message(bridge=bridge, event=message_event(session="new", own_phone="+5511999990000"))
    session = WhatsAppSession.objects.get()
    assert (session.name, session.status, session.phone) == ("new", "connected", "+5511999990000")


def test_a_message_delivered_twice_is_kept_once_and_counted_once(says, bridge):
    first = says("Hello")
    again = receive_message(bridge=bridge, event=message_event("Hello", number=1))
    assert (first.is_new, again.is_new) == (True, False)
    assert Message.objects.count() == 1
    assert Conversation.objects.get().unread_count == 1
    assert Conversation.objects.get().inbound_count == 1


@pytest.mark.django_db(transaction=True)
def test_a_message_delivered_many_times_at_once_by_a_stranger_is_kept_once(bridge, profile):
    start = threading.Barrier(8)
    outcomes: list[bool] = []

    def deliver() -> None:
        start.wait()
        try:
            outcomes.append(receive_message(bridge=bridge, event=message_event("Hello")).is_new)
        finally:
            connection.close()

    threads = [threading.Thread(target=deliver) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]
    assert (Message.objects.count(), Contact.objects.count(), Conversation.objects.count()) == (1, 1, 1)


def test_keeping_a_text_of_a_known_contact_costs_one_query(says):
    says("Hello")
    with CaptureQueriesContext(connection) as queries:
        says("Again")
    assert len(queries) == 1


def test_a_message_is_due_after_the_debounce_and_never_later_than_the_burst_may_last(says, profile):
    AgentProfile.objects.update(debounce_s=2, debounce_max_s=3)
    before = timezone.now()
    says("one")
    Conversation.objects.update(burst_started_at=before - timedelta(seconds=2.5))
    due_at = says("two").due_at
    assert before + timedelta(seconds=0.4) < due_at < before + timedelta(seconds=1.9)


@pytest.mark.parametrize(
    ("text", "at_most_s"), [("/help", 0.2), ("#help", 0.2), ("Are you open?", 0.9), ("مفتوح؟", 0.9)]
)
def test_commands_and_questions_are_answered_sooner(says, text, at_most_s):
    AgentProfile.objects.update(debounce_s=5, debounce_max_s=8)
    assert says(text).due_at <= timezone.now() + timedelta(seconds=at_most_s)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"age": timedelta(minutes=11)}, "stale"),
        ({"is_history": True}, "history"),
        ({"kind": Kind.REACTION}, "kind"),
        ({"answerable": False, "kind": Kind.UNKNOWN}, "kind"),
        ({"chat": "120363041234567890@g.us", "sender": CUSTOMER}, "group"),
    ],
)
def test_what_should_not_be_answered_is_kept_and_not_due(says, changes, why):
    kept = says("Hello", **changes)
    assert kept.due_at is None
    message = Message.objects.get()
    assert (message.status, message.unanswered) == ("handled", why)
    assert message.conversation.due_at is None


def test_a_blocked_contact_is_kept_and_not_answered(says, conversation):
    Contact.objects.update(is_blocked=True)
    assert says("Hello").due_at is None
    assert Message.objects.get().unanswered == "policy"


def test_only_listed_contacts_are_answered_where_the_session_says_so(says, session, conversation):
    WhatsAppSession.objects.update(access_policy="listed")
    assert says("Hello").due_at is None
    Contact.objects.update(is_allowed=True)
    assert says("Hello again").due_at is not None


def test_a_group_is_answered_when_the_profile_says_so(says, profile):
    AgentProfile.objects.update(answers_groups=True)
    kept = says("Hello all", chat="120363041234567890@g.us", sender=CUSTOMER)
    message = Message.objects.get()
    assert kept.due_at is not None
    assert message.conversation.contact.is_group
    assert message.sender.phone == "+5511988887777"


def test_a_message_from_the_future_is_said_now(says):
    says("Hello", sent_at=timezone.now() + timedelta(days=400))
    assert Message.objects.get().said_at <= timezone.now()


def test_media_is_kept_with_what_the_bridge_tells_of_it(says):
    says("Look", kind=Kind.DOCUMENT, media=MediaRef(filename="receipt.pdf"))
    message = Message.objects.get()
    assert (message.kind, message.media.filename, message.media.downloadable) == ("document", "receipt.pdf", False)


def test_someone_known_by_phone_and_by_hidden_number_becomes_one_contact_when_an_alternate_ties_them(says):
    lid = ChatAddress("99887766@lid", AliasKind.LID, name="Ana")
    says("by phone")
    says("by hidden number", chat=lid, sender=lid)
    assert Contact.objects.count() == 2
    both = ChatAddress("99887766@lid", AliasKind.LID, name="Ana", alternates=(read_address(CUSTOMER),))
    says("by both", chat=both, sender=both)
    conversation = Conversation.objects.get()
    assert Contact.objects.count() == 1
    assert conversation.messages.count() == 3
    assert conversation.inbound_count == 3
    assert conversation.contact.phone == "+5511988887777"
    assert conversation.address == "99887766@lid"


def test_someone_whose_number_the_bridge_gives_in_two_ways_is_one_contact(says):
    twice = ChatAddress(
        CUSTOMER, AliasKind.PHONE, phone="+5511988887777", alternates=(read_address("5511988887777@c.us"),)
    )
    says("Hello", chat=twice, sender=twice)
    assert Contact.objects.get().aliases.count() == 1


def test_a_message_while_a_person_has_control_is_kept_unanswered_and_not_due(says, conversation):
    control.take_over(conversation=conversation)
    assert says("Hello").due_at is None
    assert Message.objects.get().status == "received"


def test_a_message_that_just_came_proves_the_link(says, session):
    WhatsAppSession.objects.update(status="disconnected", status_changed_at=timezone.now() - timedelta(minutes=1))
    says("Hello")
    session.refresh_from_db()
    assert session.status == "connected"


def test_a_message_of_long_ago_proves_no_link(says, session):
    WhatsAppSession.objects.update(status="disconnected", status_changed_at=timezone.now() - timedelta(days=1))
    says("Hello", age=timedelta(minutes=5))
    session.refresh_from_db()
    assert session.status == "disconnected"


# --- our own phone ------------------------------------------------------------------------------------------------


def test_typing_on_the_phone_takes_the_conversation_over(says, bridge, conversation):
    says("Hello")
    receive_own_message(bridge=bridge, event=message_event("I am here", number=9, outbound=True))
    conversation.refresh_from_db()
    assert (conversation.control, conversation.control_reason) == ("human", "typed on the phone")
    assert conversation.due_at is None
    assert Message.objects.get(author="phone").text == "I am here"
    assert Message.objects.get(direction="inbound").unanswered == "person"


@pytest.mark.parametrize("changes", [{"is_history": True}, {"age": timedelta(hours=2)}])
def test_what_was_typed_on_the_phone_long_ago_takes_nothing_over(bridge, conversation, changes):
    receive_own_message(bridge=bridge, event=message_event("old", outbound=True, **changes))
    conversation.refresh_from_db()
    assert conversation.control == "agent"
    assert Message.objects.get().author == "phone"


def queued(conversation: Conversation, **changes: object) -> Message:
    values = {
        "direction": "outbound",
        "author": "agent",
        "status": "sending",
        "text": "Hi",
        "sending_at": timezone.now(),
    }
    return Message.objects.create(session=conversation.session, conversation=conversation, **values | changes)


@pytest.mark.parametrize("status", ["sending", "unconfirmed"])
def test_the_echo_of_a_send_settles_it_and_takes_nothing_over(bridge, conversation, status):
    message = queued(conversation, status=status)
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True))
    message.refresh_from_db()
    conversation.refresh_from_db()
    assert (message.status, message.provider_message_id) == ("sent", "3EB00000000000000005")
    assert conversation.control == "agent"
    assert Message.objects.count() == 1


def test_the_echo_of_a_send_is_told_from_the_same_words_said_at_another_time(bridge, conversation):
    unknown = queued(conversation, status="unconfirmed", sending_at=timezone.now() - timedelta(hours=3))
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True))
    unknown.refresh_from_db()
    conversation.refresh_from_db()
    assert (unknown.status, conversation.control) == ("unconfirmed", "human")


def test_an_echo_belongs_to_what_is_being_sent_rather_than_to_what_is_unconfirmed(bridge, conversation):
    before, now = queued(conversation, status="unconfirmed"), queued(conversation, status="sending")
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True))
    before.refresh_from_db()
    now.refresh_from_db()
    assert (before.status, now.status) == ("unconfirmed", "sent")


def test_a_history_that_holds_the_same_words_settles_no_send(bridge, conversation):
    unknown = queued(conversation, status="unconfirmed", sending_at=timezone.now())
    old = message_event("Hi", number=5, outbound=True, is_history=True, age=timedelta(days=90))
    receive_own_message(bridge=bridge, event=old)
    unknown.refresh_from_db()
    assert unknown.status == "unconfirmed"


def test_a_message_answers_only_what_was_said_in_its_own_conversation(says, bridge):
    says("my secret", chat="5511977776666@s.whatsapp.net")
    says("what did I quote?", quoted_id="3EB00000000000000001")
    message = Message.objects.get(text="what did I quote?")
    assert (message.quoted, message.quoted_provider_id) == (None, "3EB00000000000000001")


def test_our_own_phone_answers_only_what_was_said_in_its_own_conversation(says, bridge):
    says("my secret", chat="5511977776666@s.whatsapp.net")
    own = message_event("mine", number=7, outbound=True, quoted_id="3EB00000000000000001")
    assert receive_own_message(bridge=bridge, event=own).quoted is None


def test_what_was_taken_back_before_it_was_answered_waits_for_nothing(says, bridge):
    says("Hello")
    record_revocation(bridge=bridge, event=MessageRevoked(session="sales", target_id="3EB00000000000000001"))
    message = Message.objects.get()
    assert (message.status, message.unanswered) == ("handled", "kind")


# --- one id in two chats ------------------------------------------------------------------------------------------

OTHER = "5511977776666@s.whatsapp.net"


def test_one_id_in_two_chats_is_two_messages(bridge, session):
    for chat in (CUSTOMER, OTHER):
        for _ in range(2):
            receive_message(bridge=bridge, event=message_event(f"to {chat}", number=1, chat=chat))
    assert Message.objects.count() == 2
    assert sorted(Conversation.objects.values_list("inbound_count", flat=True)) == [1, 1]


def test_one_id_typed_on_the_phone_to_two_chats_is_two_messages(bridge, session):
    for chat in (CUSTOMER, OTHER):
        for _ in range(2):
            receive_own_message(bridge=bridge, event=message_event("Sale!", number=1, chat=chat, outbound=True))
    assert Message.objects.count() == 2


def test_what_another_chat_has_under_our_id_hides_no_echo_and_no_receipt(bridge, conversation):
    message = queued(conversation)
    receive_message(bridge=bridge, event=message_event("mine", number=5, chat=OTHER))
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True))
    event = StatusChanged(session="sales", provider_message_id="3EB00000000000000005", status=Receipt.READ)
    record_status(bridge=bridge, event=event)
    message.refresh_from_db()
    assert (message.status, message.provider_message_id) == ("read", "3EB00000000000000005")
    assert Message.objects.get(text="mine").status == "received"


def test_a_receipt_waits_for_our_message_also_when_another_chat_has_its_id(bridge, conversation):
    message = queued(conversation)
    receive_message(bridge=bridge, event=message_event("mine", number=5, chat=OTHER))
    event = StatusChanged(session="sales", provider_message_id="3EB00000000000000005", status=Receipt.DELIVERED)
    record_status(bridge=bridge, event=event)
    record_sent(message_id=message.pk, provider_message_id="3EB00000000000000005")
    message.refresh_from_db()
    assert message.status == "delivered"


def test_the_echo_of_a_send_under_another_address_is_no_message_of_its_own(bridge, conversation):
    queued(conversation, status="sent", provider_message_id="3EB00000000000000005")
    hidden = ChatAddress("99887766@lid", AliasKind.LID)
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, chat=hidden, outbound=True))
    assert Message.objects.count() == 1


@pytest.mark.parametrize("chat", [CUSTOMER, None])
def test_an_edit_and_a_revocation_change_the_message_of_their_own_chat_alone(bridge, session, chat):
    for each in (CUSTOMER, OTHER):
        receive_message(bridge=bridge, event=message_event("Hello", number=1, chat=each))
    where = read_address(chat) if chat else None
    target = "3EB00000000000000001"
    record_edit(bridge=bridge, event=MessageEdited("sales", target_id=target, text="Hullo", chat=where))
    record_revocation(bridge=bridge, event=MessageRevoked("sales", target_id=target, chat=where))
    other = Message.objects.get(conversation__address=OTHER)
    assert (other.text, other.revoked_at) == ("Hello", None)
    assert [message.text for message in Message.objects.exclude(revoked_at=None)] == (["Hullo"] if chat else [])


def test_a_quote_is_of_the_own_chat_where_two_have_the_id(bridge, session):
    for each in (OTHER, CUSTOMER):
        receive_message(bridge=bridge, event=message_event("Hello", number=1, chat=each))
    receive_message(bridge=bridge, event=message_event("What?", number=2, quoted_id="3EB00000000000000001"))
    assert Message.objects.get(text="What?").quoted.conversation.address == CUSTOMER


def test_a_merge_keeps_both_messages_of_one_id(bridge, session):
    for each in (CUSTOMER, OTHER):
        receive_message(bridge=bridge, event=message_event(f"from {each}", number=1, chat=each))
    keep, lose = Contact.objects.order_by("created_at")
    merge_contacts(keep=keep, lose=lose)
    assert Conversation.objects.get().messages.count() == 2


# --- receipts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("receipts", "status"),
    [
        (["delivered"], "delivered"),
        (["read", "delivered"], "read"),
        (["read", "failed"], "read"),
        (["failed", "delivered"], "delivered"),
        (["failed", "sent"], "failed"),
        (["delivered", "sent"], "delivered"),
    ],
)
def test_a_status_moves_forward_only(bridge, conversation, receipts, status):
    message = queued(conversation, status="sent", provider_message_id="X")
    for receipt in receipts:
        record_status(
            bridge=bridge, event=StatusChanged(session="sales", provider_message_id="X", status=Receipt(receipt))
        )
    message.refresh_from_db()
    assert message.status == status


def test_a_receipt_that_overtakes_the_answer_to_our_send_is_applied_when_the_id_is_known(bridge, conversation):
    message = queued(conversation)
    record_status(bridge=bridge, event=StatusChanged(session="sales", provider_message_id="X", status=Receipt.READ))
    record_sent(message_id=message.pk, provider_message_id="X")
    message.refresh_from_db()
    assert message.status == "read"
    assert not EarlyReceipt.objects.exists()


def test_a_receipt_that_just_missed_the_answer_to_our_send_is_applied_all_the_same(bridge, conversation):
    message = queued(conversation, status="sent", provider_message_id="X")
    EarlyReceipt.objects.create(
        session=conversation.session, provider_message_id="X", status="delivered", at=timezone.now()
    )
    settle_early_receipts()
    message.refresh_from_db()
    assert message.status == "delivered"
    assert not EarlyReceipt.objects.exists()


def test_staff_hear_of_a_message_that_failed_at_whatsapp(bridge, conversation):
    queued(conversation, status="sent", provider_message_id="X")
    record_status(bridge=bridge, event=StatusChanged(session="sales", provider_message_id="X", status=Receipt.FAILED))
    conversation.refresh_from_db()
    assert (conversation.needs_attention, conversation.attention_reason) == (True, "not_sent")
    assert "WhatsApp" in conversation.attention_note
    event = Event.objects.get(type="message.failed")
    assert event.data["error_code"] == "failed_at_whatsapp"


def test_a_receipt_of_an_inbound_message_changes_nothing(bridge, says):
    says("Hello")
    event = StatusChanged(session="sales", provider_message_id="3EB00000000000000001", status=Receipt.READ)
    record_status(bridge=bridge, event=event)
    assert Message.objects.get().status == "received"


# --- the order of a conversation ------------------------------------------------------------------------------------


def test_a_conversation_is_ordered_as_it_happened_here_whatever_the_writers_clock_says(says, conversation):
    for number in (1, 2):
        says(f"q{number}", age=timedelta(minutes=2))  # the writer's clock is behind ours
        Message.objects.update(status="handled")
        queued(conversation, status="sent", text=f"a{number}")
    assert [message.text for message in load_history(conversation)] == ["q1", "a1", "q2", "a2"]
    said = Message.objects.order_by("said_at", "id").values_list("text", flat=True)
    assert list(said) == ["q1", "a1", "q2", "a2"]


def test_what_our_phone_says_is_ordered_as_it_happened_here(says, bridge):
    says("q1")
    own = message_event("a1", number=9, outbound=True, age=timedelta(minutes=2))
    receive_own_message(bridge=bridge, event=own)
    says("q2", age=timedelta(minutes=3))
    assert list(Message.objects.order_by("said_at").values_list("text", flat=True)) == ["q1", "a1", "q2"]


def test_the_writers_time_is_kept(says):
    written_at = timezone.now() - timedelta(minutes=2)
    says("Hello", sent_at=written_at)
    assert Message.objects.get().written_at == written_at


def test_imported_history_is_ordered_as_it_was_written(says, bridge):
    says("now")
    says("second", is_history=True, age=timedelta(days=1))
    old = message_event("first", number=9, outbound=True, is_history=True, age=timedelta(days=2))
    receive_own_message(bridge=bridge, event=old)
    assert list(Message.objects.order_by("said_at").values_list("text", flat=True)) == ["first", "second", "now"]


def test_the_api_lists_a_conversation_as_it_happened_here(says, conversation, member):
    for number in (1, 2):
        says(f"q{number}", age=timedelta(minutes=2))
        queued(conversation, status="sent", text=f"a{number}")
    rows = as_user(member).get(f"/api/v1/conversations/{conversation.pk}/messages/").json()["results"]
    assert [row["text"] for row in rows] == ["a2", "q2", "a1", "q1"]
    assert rows[1]["written_at"] < rows[1]["said_at"]
    shown = as_user(member).get(f"/api/v1/conversations/{conversation.pk}/").json()
    assert shown["last_message"]["text"] == "a2"
