"""The pace of a session: a number that sends like a machine is banned."""

import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.utils import timezone

from messaging import outbox
from messaging.models import Contact, Conversation, Message
from messaging.outbound import send_text
from messaging.outbox import Claimed, Paced
from sessions_app.models import WhatsAppSession

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversations(session) -> list[Conversation]:
    """Conversations of a connected session, each with a message that may leave."""
    session.status = "connected"
    session.save()
    return [queue_message(session, number) for number in range(6)]


def queue_message(session: WhatsAppSession, number: int) -> Conversation:
    contact = Contact.objects.create(session=session, phone=f"+551197777000{number}")
    conversation = Conversation.objects.create(session=session, contact=contact, address=f"551197777000{number}@c.us")
    send_text(conversation=conversation, text=f"message {number}")
    return conversation


def let_time_pass(session: WhatsAppSession) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).update(next_send_at=timezone.now() - timedelta(milliseconds=1))


def test_a_linked_number_sends_one_message_and_then_waits(conversations, session, settings):
    settings.SEND_RATE_PER_MINUTE = 30
    now = timezone.now()
    first, second = (outbox.claim_next_message(each.pk) for each in conversations[:2])
    assert isinstance(first, Claimed)
    assert isinstance(second, Paced)
    assert timedelta(seconds=0.9) < second.until - now < timedelta(seconds=3.1)  # half to one and a half of 2 s
    assert conversations[1].pk not in {key for key, _ in outbox.conversations_to_deliver(limit=10)}
    let_time_pass(session)
    assert isinstance(outbox.claim_next_message(conversations[1].pk), Claimed)


def test_intervals_differ(conversations, session, settings):
    settings.SEND_RATE_PER_MINUTE = 6
    intervals = set()
    for conversation in conversations:
        let_time_pass(session)
        claimed = outbox.claim_next_message(conversation.pk)
        session.refresh_from_db()
        intervals.add(round((session.next_send_at - claimed.sending_at).total_seconds(), 3))
    assert all(5 <= interval <= 15 for interval in intervals)
    assert len(intervals) > 2


@pytest.mark.parametrize(("of_session", "setting", "is_paced"), [(None, 0, False), (0, 30, False), (10, 0, True)])
def test_the_rate_of_the_session_is_used_where_it_has_one(
    conversations, session, settings, of_session, setting, is_paced
):
    settings.SEND_RATE_PER_MINUTE = setting
    session.send_rate_per_minute = of_session
    session.save()
    claimed = [outbox.claim_next_message(each.pk) for each in conversations[:2]]
    assert isinstance(claimed[1], Paced) is is_paced


@pytest.mark.parametrize("kind", ["cloud", "simulator"])
def test_a_number_that_is_not_linked_has_a_rate_only_of_its_own(conversations, session, settings, kind):
    settings.SEND_RATE_PER_MINUTE = 30
    type(session.bridge).objects.update(kind=kind)
    assert all(isinstance(outbox.claim_next_message(each.pk), Claimed) for each in conversations[:2])
    WhatsAppSession.objects.update(send_rate_per_minute=30)
    outbox.claim_next_message(conversations[2].pk)
    assert isinstance(outbox.claim_next_message(conversations[3].pk), Paced)


def test_one_session_does_not_wait_for_another(conversations, session, settings):
    settings.SEND_RATE_PER_MINUTE = 30
    other = WhatsAppSession.objects.create(
        bridge=session.bridge, name="other", agent_profile=session.agent_profile, status="connected"
    )
    elsewhere = queue_message(other, 9)
    assert isinstance(outbox.claim_next_message(conversations[0].pk), Claimed)
    assert isinstance(outbox.claim_next_message(elsewhere.pk), Claimed)


@pytest.mark.django_db(transaction=True)
def test_processes_that_claim_at_once_keep_the_pace_together_and_send_everything(conversations, settings):
    settings.SEND_RATE_PER_MINUTE = 600

    def send_all() -> None:
        waiting = {each.pk for each in conversations}
        give_up_at = time.monotonic() + 60
        while waiting and time.monotonic() < give_up_at:
            for key in list(waiting):
                outbox.claim_next_message(key)
                if not Message.objects.filter(conversation=key, status="queued").exists():
                    waiting.discard(key)
            time.sleep(0.01)
        connection.close()

    threads = [threading.Thread(target=send_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent_at = sorted(Message.objects.filter(status="sending").values_list("sending_at", flat=True))
    assert len(sent_at) == len(conversations)
    assert all(later - earlier >= timedelta(seconds=0.05) for earlier, later in pairwise(sent_at))
