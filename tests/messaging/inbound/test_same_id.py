"""Two chats of a session that have messages with the same id."""

import pytest

from agent.bridges.addresses import read_address
from agent.bridges.events import (
    AliasKind,
    ChatAddress,
    MessageEdited,
    MessageRevoked,
    Receipt,
    StatusChanged,
)
from messaging.contacts.merging import merge_contacts
from messaging.inbound import receive_message, receive_own_message
from messaging.models import Contact, Conversation, Message
from messaging.receipts import record_edit, record_revocation, record_sent, record_status
from tests.conftest import CUSTOMER, message_event
from tests.support.messaging.messages import queued

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


def test_a_message_of_another_chat_with_our_id_hides_no_echo_and_no_receipt(bridge, conversation):
    message = queued(conversation)
    receive_message(bridge=bridge, event=message_event("mine", number=5, chat=OTHER))
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True, is_echo=True))
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


def test_a_merge_keeps_both_messages_with_one_id(bridge, session):
    for each in (CUSTOMER, OTHER):
        receive_message(bridge=bridge, event=message_event(f"from {each}", number=1, chat=each))
    keep, lose = Contact.objects.order_by("created_at")
    merge_contacts(keep=keep, lose=lose)
    assert Conversation.objects.get().messages.count() == 2
