"""What happens in the middle of something else: nothing is lost, and nobody waits for ever."""

import json
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction
from django.utils import timezone

from agent import inbox
from agent.bridges.events import AliasKind, ChatAddress
from agent.turns.turn import answer
from commands.models import CommandRun
from commands.registry import By, Caller, get
from commands.run import run
from messaging import control, leases, outbox
from messaging.contacts.merging import merge_contacts
from messaging.inbound import receive_own_message, settle_held_messages
from messaging.models import Contact, Conversation, Fact, Message, SearchEntry
from messaging.outbound import send_text
from messaging.receipts import record_sent
from messaging.search.index import index_waiting
from sessions_app.models import WhatsAppSession
from tests.conftest import message_event
from tests.support.background import BackgroundCall
from tests.support.messaging.turns import settle
from tests.support.messaging.zapw_events import text_event
from whatsapp_agent.errors import NotFound

pytestmark = pytest.mark.django_db(transaction=True)

HIDDEN = ChatAddress("99887766@lid", AliasKind.LID)


def deliver(bridge, **changes):
    body = json.dumps(text_event(**changes)).encode()
    return inbox.process_webhook_request(bridge=bridge, headers={}, body=body)


def both(session, says):
    """Two contacts of one person; returns them, the one known by phone first."""
    says("by phone")
    says("by hidden number", chat=HIDDEN, sender=HIDDEN)
    return Contact.objects.get(phone="+5511988887777"), Contact.objects.get(phone="")


def test_a_message_that_arrives_while_its_contact_is_merged_is_stored(bridge, session, says):
    keep, lose = both(session, says)
    with transaction.atomic():
        merge_contacts(keep=keep, lose=lose)
        delivery = BackgroundCall(lambda: deliver(bridge, text="late", **{"from": HIDDEN.address}))
        delivery.wait_for_lock()
    assert delivery.result()["kept"] == 1
    assert Message.objects.get(text="late").conversation == Conversation.objects.get()


def test_a_message_of_our_phone_that_arrives_while_its_contact_is_merged_is_stored(simulator, session, says):
    session.bridge = simulator
    session.save()
    keep, lose = both(session, says)
    own = {"event": "message", "session": session.name, "id": "OWN", "chat": HIDDEN.address, "text": "me"}
    with transaction.atomic():
        merge_contacts(keep=keep, lose=lose)
        delivery = BackgroundCall(
            lambda: inbox.process_webhook_request(
                bridge=simulator, headers={}, body=json.dumps(own | {"outbound": True}).encode()
            )
        )
        delivery.wait_for_lock()
    assert delivery.result()["kept"] == 1
    assert Message.objects.get(text="me").conversation.control == "human"


def locked(conversation):
    return Conversation.objects.select_for_update().get(pk=conversation.pk)


def test_a_message_and_the_merging_of_its_contact_do_not_wait_for_each_other(bridge, session, says):
    keep, lose = both(session, says)
    with transaction.atomic():
        locked(lose.conversation)
        delivery = BackgroundCall(lambda: deliver(bridge, text="late", **{"from": HIDDEN.address}))
        delivery.wait_for_lock()
        merging = BackgroundCall(lambda: merge_contacts(keep=keep, lose=lose))
        merging.wait_for_lock(count=2)
    assert delivery.result()["kept"] == 1
    merging.result()
    assert Message.objects.get(text="late").conversation == Conversation.objects.get()


def test_what_the_bridge_took_is_sent_also_when_its_contact_is_merged_at_that_moment(session, says):
    keep, lose = both(session, says)
    settle(leases.take(lose.conversation.pk), lose.conversation)
    claimed = outbox.claim_next_message(lose.conversation.pk)
    with transaction.atomic():
        merge_contacts(keep=keep, lose=lose)
        recording = BackgroundCall(lambda: record_sent(message_id=claimed.message_id, provider_message_id="TAKEN"))
        recording.wait_for_lock()
    recording.result()
    message = Message.objects.get(provider_message_id="TAKEN")
    assert (message.status, message.conversation) == ("sent", keep.conversation)


@pytest.mark.parametrize("act", [control.take_over, control.mute, control.release, partial(send_text, text="Bia here")])
def test_a_change_at_the_moment_of_a_merge_is_refused_with_the_reason(simulator, session, says, act):
    keep, lose = both(session, says)
    WhatsAppSession.objects.update(status="connected", bridge=simulator)
    there = Conversation.objects.select_related("contact", "session__bridge").get(contact=keep)
    other = Conversation.objects.select_related("contact", "session__bridge").get(contact=lose)
    with transaction.atomic():
        merge_contacts(keep=keep, lose=lose)
        stepping_in = BackgroundCall(lambda: act(conversation=other))
        stepping_in.wait_for_lock()
    with pytest.raises(NotFound, match="merged into another"):
        stepping_in.result()
    act(conversation=there)


def test_a_command_at_the_moment_of_a_merge_leaves_nothing_behind(session, says, admin):
    keep, lose = both(session, says)
    other = lose.conversation
    caller = Caller(by=By.STAFF, user=admin)
    with transaction.atomic():
        merge_contacts(keep=keep, lose=lose)
        running = BackgroundCall(
            lambda: run(get("human"), arguments={}, caller=caller, conversation=other, surface="api")
        )
        running.wait_for_lock()
    with pytest.raises(control.ConversationGone):
        running.result()
    assert not CommandRun.objects.exists()


def test_a_turn_whose_conversation_becomes_part_of_another_leaves_the_burst_to_that(session, says):
    keep, lose = both(session, says)
    lease = leases.take(lose.conversation.pk)
    merge_contacts(keep=keep, lose=lose)
    assert answer(lease) is None
    assert Conversation.objects.due().get() == keep.conversation
    assert Message.objects.filter(status="received", conversation=keep.conversation).count() == 2


def an_answer_in_parts(says, conversation):
    says("Hello")
    settle(leases.take(conversation.pk), conversation, replies=["part one", "part two"])
    return outbox.claim_next_message(conversation.pk)


@pytest.mark.parametrize("note", [outbox.mark_failed, outbox.mark_unconfirmed])
def test_a_takeover_and_the_end_of_a_send_do_not_wait_for_each_other(session, says, conversation, note):
    claimed = an_answer_in_parts(says, conversation)
    with transaction.atomic():
        locked(conversation)
        recording = BackgroundCall(lambda: note(claimed, code="odd", error="Odd."))
        recording.wait_for_lock()
        control.take_over(conversation=conversation)
    recording.result()
    assert Message.objects.get(text="part two").status == "cancelled"


def test_an_echo_and_the_giving_up_of_its_send_do_not_wait_for_each_other(bridge, session, says, conversation):
    an_answer_in_parts(says, conversation)
    Message.objects.update(sending_at=timezone.now() - timedelta(minutes=1))
    with transaction.atomic():
        locked(conversation)
        giving_up = BackgroundCall(outbox.mark_stuck_unconfirmed)
        giving_up.wait_for_lock()
        receive_own_message(bridge=bridge, event=message_event("part one", number=9, outbound=True))
    giving_up.result()
    settle_held_messages()
    assert Message.objects.get(text="part one").status == "sent"


def test_an_answer_that_waits_to_be_sent_leaves_also_when_its_contact_is_merged(session, says):
    keep, lose = both(session, says)
    for contact in (keep, lose):
        settle(leases.take(contact.conversation.pk), contact.conversation, replies=[f"to {contact.aliases.get()}"])
    merge_contacts(keep=keep, lose=lose)
    outbox.drop_outdated()
    assert set(Message.objects.filter(direction="outbound").values_list("status", flat=True)) == {"queued"}
    assert outbox.claim_next_message(Conversation.objects.get().pk) is not None


def test_an_answer_that_waits_to_be_sent_stays_away_when_a_person_has_the_other_half(session, says):
    keep, lose = both(session, says)
    settle(leases.take(keep.conversation.pk), keep.conversation)
    control.take_over(conversation=lose.conversation)
    merge_contacts(keep=keep, lose=lose)
    assert Conversation.objects.get().control == "human"
    assert Message.objects.get(direction="outbound").status == "cancelled"


def test_messages_of_either_contact_are_found_after_a_merge(session, says):
    keep, lose = both(session, says)
    index_waiting()
    merge_contacts(keep=keep, lose=lose)
    index_waiting()
    entries = SearchEntry.objects.filter(conversation_id=keep.conversation.pk)
    assert entries.count() == 2


def test_a_merge_keeps_the_rows_that_refer_to_either_contact(session, says):
    keep, lose = both(session, says)
    turn = settle(leases.take(lose.conversation.pk), lose.conversation)
    ran = CommandRun.objects.create(conversation=lose.conversation, contact=lose, name="help", surface="chat")
    fact = Fact.objects.create(contact=lose, text="likes tea", proposed_by="contact")
    merge_contacts(keep=keep, lose=lose)
    for row in (turn, ran, fact):
        row.refresh_from_db()
    assert {turn.conversation, ran.conversation} == {keep.conversation}
    assert {ran.contact, fact.contact} == {keep}
    assert set(Message.objects.filter(direction="inbound").values_list("sender", flat=True)) == {keep.pk}


def test_after_a_merge_no_summary_of_one_half_hides_the_other_and_no_reset_is_undone(session, says):
    keep, lose = both(session, says)
    reset_at = timezone.now() - timedelta(seconds=5)
    Conversation.objects.filter(contact=keep).update(summary="Ana wants tea.", summary_until=timezone.now())
    Conversation.objects.filter(contact=lose).update(context_from=reset_at)
    merge_contacts(keep=keep, lose=lose)
    conversation = Conversation.objects.get()
    assert (conversation.summary, conversation.summary_until, conversation.context_from) == ("", None, reset_at)
