"""Receipts of outbound messages."""

import pytest
from django.utils import timezone

from agent.bridges.events import (
    Receipt,
    StatusChanged,
)
from messaging.models import EarlyReceipt, Event, Message
from messaging.receipts import record_sent, record_status, settle_early_receipts
from tests.support.messaging.messages import queued


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


def test_a_message_that_failed_at_whatsapp_asks_for_attention_with_its_reason(bridge, conversation):
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
