"""What many turns do at once goes through the database in batches, each turn as if it were alone."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from messaging import leases, outbox
from messaging.history.conversation import load_conversation
from messaging.history.transcript import load_history
from messaging.models import Conversation, Message, Turn
from tests.support.messaging.turns import settle

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 12


def at_once(call: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    def run(item: Any) -> Any:
        try:
            return call(item)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(run, items, timeout=30))


@pytest.fixture
def conversations(says) -> list[Conversation]:
    """Conversations that are due, each with two messages of its own."""
    for number in range(COUNT):
        for part in ("first", "second"):
            says(f"{part} of {number}", chat=f"55119777700{number:02}@s.whatsapp.net")
    return list(Conversation.objects.order_by("created_at"))


def settle_one(lease: leases.Lease, conversation: Conversation) -> Turn | None:
    used = {"messages": [str(conversation.pk)]}
    return settle(lease, conversation, replies=[f"to {conversation.pk}", "and more"], used=used)


def test_turns_that_run_at_once_do_not_mix(conversations, session):
    type(session).objects.update(status="connected")
    taken = at_once(leases.take, [each.pk for each in conversations])
    assert [lease.conversation_id for lease in taken] == [each.pk for each in conversations]
    assert len({lease.token for lease in taken}) == COUNT

    loaded = at_once(load_conversation, [each.pk for each in conversations])
    assert [each.pk for each in loaded] == [each.pk for each in conversations]
    histories = at_once(load_history, loaded)
    assert [[message.text for message in history] for history in histories] == [
        [f"first of {number}", f"second of {number}"] for number in range(COUNT)
    ]

    def settle(number: int) -> Any:
        return settle_one(taken[number], loaded[number])

    turns = at_once(settle, range(COUNT))
    assert [turn.conversation_id for turn in turns] == [each.pk for each in conversations]
    for conversation, turn in zip(conversations, turns, strict=True):
        messages = list(conversation.messages.order_by("created_at", "id"))
        assert [(each.direction, each.status, each.turn_id) for each in messages] == [
            ("inbound", "handled", turn.pk),
            ("inbound", "handled", turn.pk),
            ("outbound", "queued", turn.pk),
            ("outbound", "queued", turn.pk),
        ]
        assert messages[2].text == f"to {conversation.pk}"
        stored = Turn.objects.get(pk=turn.pk)
        assert (stored.used, stored.created_at) == ({"messages": [str(conversation.pk)]}, turn.created_at)

    claimed = at_once(outbox.claim_next_message, [each.pk for each in conversations])
    assert [each.text for each in claimed] == [f"to {each.pk}" for each in conversations]

    def mark_sent(number: int) -> bool:
        return outbox.mark_sent(claimed[number], provider_message_id=f"OUT{number}", at=None)

    assert at_once(mark_sent, range(COUNT)) == [True] * COUNT
    for number, each in enumerate(claimed):
        sent = Message.objects.get(pk=each.message_id)
        assert (sent.status, sent.provider_message_id) == ("sent", f"OUT{number}")


def test_a_lost_lease_among_turns_that_complete_at_once_loses_its_own_turn_only(conversations):
    taken = at_once(leases.take, [each.pk for each in conversations])
    Conversation.objects.filter(pk=conversations[3].pk).update(lease_token=None)

    def settle(number: int) -> Any:
        return settle_one(taken[number], conversations[number])

    turns = at_once(settle, range(COUNT))
    assert [number for number, turn in enumerate(turns) if turn is None] == [3]
    assert conversations[3].messages.filter(status="received").count() == 2
    assert Turn.objects.count() == COUNT - 1


def test_a_conversation_that_somebody_has_locked_holds_up_itself_alone(conversations):
    locked = conversations[5]
    with ThreadPoolExecutor(COUNT) as pool:
        with transaction.atomic():
            Conversation.objects.select_for_update().get(pk=locked.pk)
            waiting = {each.pk: pool.submit(at_once, leases.take, [each.pk]) for each in conversations}
            others = [waiting[each.pk].result(10)[0] for each in conversations if each != locked]
            assert all(lease is not None for lease in others)
            assert not waiting[locked.pk].done()
        assert waiting[locked.pk].result(10)[0] is not None


def test_a_text_too_long_for_its_column_is_cut(conversations):
    conversation = conversations[0]
    lease = leases.take(conversation.pk)
    turn = settle(lease, conversation, reason="r" * 1000, model="m" * 1000)
    stored = Turn.objects.get(pk=turn.pk)
    assert (len(stored.reason), len(stored.model)) == (300, 100)
