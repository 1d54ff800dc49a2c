"""One turn at a time: who holds the lease may settle, and only once."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from messaging import control, leases
from messaging.models import Conversation, Message, Turn
from tests.support.messaging.turns import settle
from whatsapp_agent.errors import Conflict


def test_a_conversation_that_is_not_due_cannot_be_taken(conversation):
    assert leases.take(conversation.pk) is None


@pytest.mark.django_db(transaction=True)
def test_of_many_who_want_a_conversation_at_once_one_gets_it(says, conversation):
    says("Hello")
    start = threading.Barrier(8)
    taken: list[object] = []

    def take() -> None:
        start.wait()
        try:
            taken.append(leases.take(conversation.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in taken) == 1


def synchronous_commit() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        return cursor.fetchone()[0]


@pytest.fixture
def waits_for_the_disk(db) -> Iterator[None]:
    """Have this connection's commits wait for the disk, as in the product and not in tests."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
        yield
        cursor.execute("RESET synchronous_commit")


def test_taking_a_conversation_does_not_wait_for_the_disk(says, conversation, waits_for_the_disk):
    says("Hello")
    assert leases.take(conversation.pk) is not None
    assert synchronous_commit() == "off"  # of this transaction


@pytest.mark.django_db(transaction=True)
def test_what_follows_the_taking_of_a_conversation_waits_for_the_disk(says, conversation, waits_for_the_disk):
    says("Hello")
    assert leases.take(conversation.pk) is not None
    assert synchronous_commit() == "on"


def test_an_expired_lease_is_taken_by_another_and_the_first_can_no_longer_settle(says, conversation):
    says("Hello")
    first = leases.take(conversation.pk)
    Conversation.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    second = leases.take(conversation.pk)
    assert settle(first, conversation) is None
    assert settle(second, conversation) is not None
    assert Message.objects.filter(direction="outbound").count() == 1
    assert second.tries == 2


def test_a_burst_is_settled_once(says, conversation):
    says("One")
    says("Two")
    lease = leases.take(conversation.pk)
    turn = settle(lease, conversation)
    assert settle(lease, conversation) is None
    assert set(Message.objects.filter(direction="inbound").values_list("status", "turn_id")) == {("handled", turn.pk)}
    conversation.refresh_from_db()
    assert (conversation.due_at, conversation.lease_token, conversation.tries) == (None, None, 0)


def test_a_draft_is_stale_when_more_messages_came_meanwhile(says, conversation):
    says("One")
    lease = leases.take(conversation.pk)
    seen = Conversation.objects.get().inbound_count
    says("Two")
    assert settle(lease, conversation, seen=seen) is None
    assert leases.renew(lease) == {lease.token}


def test_a_turn_that_may_not_start_again_answers_what_it_saw_and_leaves_the_rest_due(says, conversation):
    first = says("One")
    lease = leases.take(conversation.pk)
    seen = Conversation.objects.get().inbound_count
    says("Two")
    assert settle(lease, conversation, seen=seen, burst=[first.message_id], even_if_stale=True)
    assert Message.objects.get(text="Two").status == "received"
    assert leases.take(conversation.pk) is not None


def test_a_postponed_turn_is_not_moved_forward_by_new_messages(says, conversation):
    says("One")
    leases.postpone(leases.take(conversation.pk), delay_s=60)
    assert says("Two").due_at > timezone.now() + timedelta(seconds=55)


def test_a_lease_given_back_at_a_stop_is_free_at_once_and_counts_no_try(says, conversation):
    says("One")
    leases.postpone(leases.take(conversation.pk), delay_s=0, forgive=True)
    assert leases.take(conversation.pk).tries == 1


def test_a_failed_turn_can_be_run_again_once(says, conversation):
    says("One")
    turn = settle(leases.take(conversation.pk), conversation, outcome=Turn.Outcome.FAILED, replies=[])
    leases.answer_again(turn=turn)
    assert leases.take(conversation.pk) is not None
    with pytest.raises(Conflict):
        leases.answer_again(turn=turn)


def test_a_failed_turn_is_not_run_again_while_a_person_has_control(says, conversation):
    says("One")
    turn = settle(leases.take(conversation.pk), conversation, outcome=Turn.Outcome.FAILED, replies=[])
    control.take_over(conversation=conversation)
    with pytest.raises(Conflict):
        leases.answer_again(turn=turn)
