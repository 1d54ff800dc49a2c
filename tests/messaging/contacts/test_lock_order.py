"""Contacts are locked before conversations by everybody, so that a merge and what comes meanwhile wait for each other
in one direction."""

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from agent.bridges.events import (
    AliasKind,
    CallChanged,
    CallStatus,
    ChatAddress,
    ContactIdChanged,
    HandoverChanged,
)
from agent.inbox import handle_event
from messaging.contacts.merging import merge_contacts
from messaging.contacts.unmerging import unmerge
from messaging.imports.service import run_import
from messaging.inbound import receive_message, settle_held_messages
from messaging.models import Contact, ContactAlias, ContactMerge, Conversation, HeldMessage, Message
from messaging.people.forgetting import forget_contact
from tests.conftest import message_event
from tests.support.background import BackgroundCall

pytestmark = pytest.mark.django_db(transaction=True)

HIDDEN = ChatAddress("281474976710655@lid", AliasKind.LID)
ANA = ChatAddress("5511988887777@s.whatsapp.net", AliasKind.PHONE, phone="+5511988887777")
NAMED = replace(HIDDEN, name="Ana")
GROUP = ChatAddress("120363025555555555@g.us", AliasKind.JID, is_group=True)
OTHER_GROUP = ChatAddress("120363026666666666@g.us", AliasKind.JID, is_group=True)
NEW_ID = ChatAddress("281474976710111@lid", AliasKind.LID)


@pytest.fixture
def pair(says: Any, session: Any) -> tuple[Contact, Contact]:
    """Two contacts with a conversation each; that of the hidden number is locked first, for it is the older one."""
    says("by hidden number", chat=HIDDEN, sender=HIDDEN)
    says("by phone", chat=ANA, sender=ANA)
    return Contact.objects.get(phone=""), Contact.objects.get(phone=ANA.phone)


def a_send(contact: Contact) -> Message:
    """A send whose answer is awaited, so that a message of our phone is held."""
    return Message.objects.create(
        session=contact.session,
        conversation=contact.conversation,
        direction="outbound",
        author="agent",
        status="sending",
        text="-",
    )


def own_message(chat: ChatAddress, **values: Any) -> Any:
    return message_event("typed", number=7, outbound=True, chat=chat, sender=ANA, **values)


def a_call(session: Any) -> CallChanged:
    return CallChanged(session=session.name, call_id="C1", status=CallStatus.RINGING, chat=NAMED, sender=NAMED)


def a_handover(session: Any) -> HandoverChanged:
    return HandoverChanged(session=session.name, chat=NAMED, type="control_passed", is_ours=False)


def a_new_id(session: Any) -> ContactIdChanged:
    return ContactIdChanged(session=session.name, old=HIDDEN, new=NEW_ID, is_number=False)


EVENTS: dict[str, Callable[[Any], Any]] = {
    "a message with a new name": lambda _: message_event("hi", number=7, chat=NAMED, sender=NAMED),
    "a message of our phone that tells the phone": lambda _: own_message(replace(HIDDEN, phone="+5521977776666")),
    "a call": a_call,
    "a handover": a_handover,
    "a new id": a_new_id,
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_a_merge_and_an_event_that_changes_its_contact_do_not_deadlock(
    bridge: Any, session: Any, pair: tuple[Contact, Contact], event: Callable[[Any], Any]
):
    keep, lose = pair
    with transaction.atomic():
        Conversation.objects.select_for_update().get(contact=lose)  # the merge stops here, in the middle of its locks
        merging = BackgroundCall(lambda: merge_contacts(keep=keep, lose=lose))
        merging.wait_for_lock()
        arriving = BackgroundCall(lambda: handle_event(bridge=bridge, event=event(session)))
        arriving.wait_for_lock(count=2)

    merging.result()
    arriving.result()
    assert ContactMerge.objects.get().status == "merged"
    assert Contact.objects.get() == keep


def test_taking_a_merge_back_and_an_event_that_changes_its_contact_do_not_deadlock(
    bridge: Any, session: Any, pair: Any, says: Any
):
    says("one", chat=GROUP, sender=ANA)
    says("two", chat=OTHER_GROUP, sender=ANA)
    keep, lose = (Contact.objects.get(aliases__value=each.address) for each in (GROUP, OTHER_GROUP))
    merge = merge_contacts(keep=keep, lose=lose)
    renamed = message_event("hi", number=7, chat=replace(GROUP, name="Family"), sender=replace(ANA, name="Ana"))
    with transaction.atomic():
        Contact.objects.select_for_update().get(phone=ANA.phone)  # the event stops here, with the group's name changed
        arriving = BackgroundCall(lambda: handle_event(bridge=bridge, event=renamed))
        arriving.wait_for_lock()
        separating = BackgroundCall(lambda: unmerge(merge=merge))
        separating.wait_for_lock(count=2)

    arriving.result()
    separating.result()
    assert Contact.objects.filter(is_group=True).count() == 2
    assert Message.objects.get(text="hi").conversation.contact.name == "Family"


def test_a_person_is_forgotten_while_an_event_changes_their_name(bridge: Any, session: Any, pair: Any):
    hidden, _ = pair
    Message.objects.filter(conversation__contact=hidden).delete()
    with transaction.atomic():
        Conversation.objects.select_for_update().get(contact=hidden)
        arriving = BackgroundCall(lambda: handle_event(bridge=bridge, event=a_handover(session)))
        arriving.wait_for_lock()
        forgetting = BackgroundCall(lambda: list(forget_contact(hidden)))
        forgetting.wait_for_lock(count=2)

    arriving.result()
    forgetting.result()
    assert not Contact.objects.filter(pk=hidden.pk).exists()


def test_a_held_message_is_settled_while_its_contact_is_merged(bridge: Any, session: Any, pair: Any, says: Any):
    keep, lose = pair
    sending = Message.objects.create(
        session=session,
        conversation=lose.conversation,
        direction="outbound",
        author="agent",
        status="sending",
        text="-",
    )
    handle_event(bridge=bridge, event=own_message(ANA))
    assert HeldMessage.objects.get().conversation == lose.conversation
    Message.objects.filter(pk=sending.pk).update(status="sent")
    with transaction.atomic():
        Contact.objects.select_for_update().get(pk=lose.pk)
        merging = BackgroundCall(lambda: merge_contacts(keep=keep, lose=lose))
        merging.wait_for_lock()
        settling = BackgroundCall(settle_held_messages)
        settling.wait_for_lock(count=2)

    settling.result()
    merging.result()
    settle_held_messages()
    assert not HeldMessage.objects.exists()
    assert Message.objects.get(text="typed").conversation == Conversation.objects.get()


def test_a_held_message_of_a_person_who_is_forgotten_meanwhile_is_not_stored(bridge: Any, session: Any, pair: Any):
    _, ana = pair
    sending = a_send(ana)
    handle_event(bridge=bridge, event=own_message(ANA))
    Message.objects.filter(pk=sending.pk).update(status="sent")
    with transaction.atomic():
        Conversation.objects.select_for_update().get(contact=ana)
        settling = BackgroundCall(settle_held_messages)
        settling.wait_for_lock()
        HeldMessage.objects.all().delete()

    settling.result()
    assert not Message.objects.filter(text="typed").exists()


def test_three_contacts_become_one_while_staff_merge_two_of_them(bridge: Any, session: Any, says: Any):
    says("first of all", chat=NEW_ID, sender=NEW_ID)
    says("by phone", chat=ANA, sender=ANA)
    says("by hidden number", chat=HIDDEN, sender=HIDDEN)
    oldest, ana, hidden = Contact.objects.order_by("pk")
    everybody = replace(ANA, alternates=(HIDDEN, NEW_ID))
    with transaction.atomic():
        Conversation.objects.select_for_update().get(contact=hidden)  # the event stops here, in its first merge
        arriving = BackgroundCall(
            lambda: handle_event(bridge=bridge, event=message_event("all", number=7, chat=everybody, sender=everybody))
        )
        arriving.wait_for_lock()
        merging = BackgroundCall(lambda: merge_contacts(keep=oldest, lose=ana))
        merging.wait_for_lock(count=2)

    arriving.result()
    merging.result()
    assert ContactAlias.objects.values("contact").distinct().count() == 1
    assert Message.objects.filter(conversation=Conversation.objects.get()).count() == 4


@pytest.mark.parametrize("number", range(4))  # which of the two goes on first is chance
def test_two_messages_of_a_new_person_who_is_named_in_another_order_do_not_deadlock(
    bridge: Any, session: Any, number: int
):
    phone = ChatAddress("351912345678@s.whatsapp.net", AliasKind.PHONE, phone="+351912345678")
    orders = (replace(phone, alternates=(HIDDEN,)), replace(HIDDEN, alternates=(phone,)))
    with transaction.atomic():
        somebody = Contact.objects.create(session=session)
        ContactAlias.objects.create(session=session, contact=somebody, kind=AliasKind.LID, value=HIDDEN.address)
        events = [message_event("hi", number=n, chat=each, sender=each) for n, each in enumerate(orders)]
        arriving = [BackgroundCall(partial(receive_message, bridge=bridge, event=event)) for event in events]
        arriving[0].wait_for_lock(count=2)
        transaction.set_rollback(True)

    assert len({each.result().contact_id for each in arriving}) == 1
    assert Message.objects.count() == 2


def test_a_merge_locks_the_groups_in_which_it_changes_messages(bridge: Any, session: Any, says: Any):
    says("by hidden number", chat=GROUP, sender=HIDDEN)
    says("by phone", chat=GROUP, sender=ANA)
    keep, lose = Contact.objects.get(phone=ANA.phone), Contact.objects.get(aliases__value=HIDDEN.address)
    conversation = Conversation.objects.get(contact__is_group=True)
    with transaction.atomic():
        Conversation.objects.select_for_update().get(pk=conversation.pk)
        merging = BackgroundCall(lambda: merge_contacts(keep=keep, lose=lose))
        merging.wait_for_lock()
        assert merging.is_alive()

    merging.result()
    assert set(Message.objects.filter(conversation=conversation).values_list("sender", flat=True)) == {keep.pk}


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # where a generator ends, errors are lost
def test_an_import_that_is_stopped_and_a_message_that_is_stored_meanwhile_do_not_deadlock(bridge: Any, session: Any):
    begun, stop, locked, unlock = (threading.Event() for _ in range(4))
    lines = "".join(f"27/10/2026, {n // 60 % 24:02}:{n % 60:02} - Ana: Line {n}\n" for n in range(1001))

    def run() -> None:
        running = run_import(io.BytesIO(lines.encode()), session=session, contact=str(ANA.phone), me="The Shop")
        next(running)
        begun.set()
        assert stop.wait(20)
        running.close()

    @transaction.atomic
    def lock_contact() -> None:
        Contact.objects.select_for_update(no_key=True).get()
        locked.set()
        assert unlock.wait(20)

    importing = BackgroundCall(run)
    assert begun.wait(20)
    locking = BackgroundCall(lock_contact)
    assert locked.wait(20)
    stop.set()
    importing.wait_for_lock()  # what it has inserted is deleted; its contact is not yet
    with transaction.atomic():
        conversation = Conversation.objects.select_for_update().get()
        Message.objects.create(
            session=session,
            conversation=conversation,
            sender=conversation.contact,
            direction="inbound",
            author="contact",
            status="received",
            text="hi",
        )
        unlock.set()
        locking.result()
        importing.wait_for_lock()

    importing.result()
    assert Message.objects.get().text == "hi"
