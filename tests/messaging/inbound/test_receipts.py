"""Receipts of outbound messages."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agent.bridges.events import (
    Receipt,
    StatusChanged,
)
from messaging.models import EarlyReceipt, Event, Message
from messaging.receipts import lacks_receipt, record_sent, record_status, settle_early_receipts
from sessions_app.models import Bridge
from tests.conftest import as_user
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


@pytest.mark.parametrize(
    ("kind", "minutes", "changes", "is_listed"),
    [
        ("waha", 6, {}, True),
        ("evolution", 6, {}, True),
        ("cloud", 6, {"author": "staff"}, True),
        ("waha", 4, {}, False),
        ("zapw", 6, {}, False),
        ("waha", 6, {"status": "delivered"}, False),
        ("waha", 6, {"status": "read"}, False),
        ("waha", 6, {"author": "phone"}, False),
        ("waha", 6, {"status": "unconfirmed"}, False),
    ],
)
def test_a_message_that_waits_long_for_its_receipt_is_listed_where_the_bridge_gives_receipts(
    conversation, member, kind, minutes, changes, is_listed
):
    Bridge.objects.update(kind=kind)
    sent_at = timezone.now() - timedelta(minutes=minutes)
    message = queued(conversation, **{"status": "sent", "sent_at": sent_at} | changes)

    def listed(value):
        rows = as_user(member).get("/api/v1/messages/", {"without_receipt": value}).json()["results"]
        return [row["id"] for row in rows] == [str(message.pk)]

    assert (listed("true"), listed("false")) == (is_listed, not is_listed)
    message.refresh_from_db()
    assert lacks_receipt(message, bridge_kind=kind) is is_listed  # the inbox asks this of one message


def test_a_message_that_arrived_is_not_without_a_receipt(says, session, member):
    says("Hello")
    Bridge.objects.update(kind="waha")
    Message.objects.update(status="sent", sent_at=timezone.now() - timedelta(hours=1))
    assert as_user(member).get("/api/v1/messages/", {"without_receipt": "true"}).json()["results"] == []
