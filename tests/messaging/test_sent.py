"""How a message becomes `sent`: the statement of the outbox and `record_sent` do the same with every status."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from messaging import outbox
from messaging.models import Conversation, Message
from messaging.receipts import record_sent

pytestmark = pytest.mark.django_db
Status = Message.Status
HOUR = timedelta(hours=1)
UNSENT = [Status.QUEUED, Status.SENDING, Status.UNCONFIRMED]
LATER = [Status.SENT, Status.DELIVERED, Status.READ, Status.FAILED, Status.CANCELLED]


def mark_sent(claimed: outbox.Claimed, **values: Any) -> None:
    outbox.mark_sent(claimed, **values)


def mark_by_record(claimed: outbox.Claimed, **values: Any) -> None:
    record_sent(message_id=claimed.message_id, **values)


@pytest.fixture(params=[mark_sent, mark_by_record], ids=["MARK_SENT", "record_sent"])
def mark(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def claimed(conversation: Conversation) -> outbox.Claimed:
    Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="staff",
        status="queued",
        text="Your parcel has arrived.",
    )
    claim = outbox.claim_next_message(conversation.pk)
    assert claim is not None
    return claim


def change(claimed: outbox.Claimed, **values: Any) -> None:
    Message.objects.filter(pk=claimed.message_id).update(error_code="busy", error="The bridge is busy.", **values)


def test_every_outbound_status_is_in_one_of_the_two_tables():
    assert {*UNSENT, *LATER} == set(Status) - {Status.RECEIVED, Status.HANDLED}


@pytest.mark.parametrize("status", UNSENT)
def test_an_unsent_message_becomes_sent_and_loses_its_error(mark, claimed, status):
    change(claimed, status=status)
    mark(claimed, provider_message_id="X", at=None)
    message = Message.objects.get()
    assert (message.status, message.provider_message_id) == ("sent", "X")
    assert (message.error_code, message.error) == ("", "")


@pytest.mark.parametrize("status", LATER)
def test_a_message_that_is_further_keeps_its_status_and_its_error(mark, claimed, status):
    change(claimed, status=status)
    mark(claimed, provider_message_id="X", at=None)
    message = Message.objects.get()
    assert (message.status, message.provider_message_id) == (status, "X")
    assert (message.error_code, message.error) == ("busy", "The bridge is busy.")


@pytest.mark.parametrize("status", [*UNSENT, *LATER])
def test_the_time_of_sending_is_the_first_one_and_not_in_the_future(mark, claimed, status):
    earlier = timezone.now() - HOUR
    change(claimed, status=status)
    mark(claimed, provider_message_id="X", at=timezone.now() + HOUR)
    assert abs(Message.objects.get().sent_at - timezone.now()) < timedelta(minutes=1)
    change(claimed, status=status, sent_at=earlier)
    mark(claimed, provider_message_id="X", at=None)
    assert Message.objects.get().sent_at == earlier


def test_the_bridge_s_time_of_sending_is_stored(mark, claimed):
    at = timezone.now() - timedelta(seconds=5)
    mark(claimed, provider_message_id="X", at=at)
    assert Message.objects.get().sent_at == at
