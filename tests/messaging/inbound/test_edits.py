"""What a contact edits or deletes after sending: the model sees the new text, staff also what was there before."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from django.utils import timezone

from agent.bridges.addresses import read_address
from agent.bridges.events import AliasKind, ChatAddress, MessageEdited, MessageRevoked
from agent.inbox import handle_event
from agent.turns import model_run
from agent.turns import turn as turns
from messaging.models import EarlyChange, Message, Turn
from messaging.receipts import MAX_EARLIER_TEXTS, record_edit, record_revocation, settle_early_changes
from tests.conftest import CUSTOMER, as_user, message_event
from tests.support.messaging.api import get


def edit(bridge, message: Message, text: str) -> None:
    record_edit(bridge=bridge, event=MessageEdited("sales", target_id=message.provider_message_id, text=text))


def first(says, text: str) -> Message:
    return Message.objects.get(pk=says(text).message_id)


def test_each_text_before_an_edit_is_stored_for_staff(says, bridge):
    message = first(says, "Two wheels")
    edit(bridge, message, "Three wheels")
    edit(bridge, message, "Four wheels")
    message.refresh_from_db()
    assert message.text == "Four wheels"
    assert [each["text"] for each in message.earlier_texts] == ["Two wheels", "Three wheels"]


def test_an_edit_that_arrives_twice_is_stored_once(says, bridge):
    message = first(says, "Two wheels")
    edit(bridge, message, "Three wheels")
    edit(bridge, message, "Three wheels")
    message.refresh_from_db()
    assert [each["text"] for each in message.earlier_texts] == ["Two wheels"]


def test_endless_edits_keep_a_bounded_number_of_texts(says, bridge):
    message = first(says, "0")
    for number in range(1, MAX_EARLIER_TEXTS + 5):
        edit(bridge, message, str(number))
    message.refresh_from_db()
    assert message.text == str(MAX_EARLIER_TEXTS + 4)
    assert len(message.earlier_texts) == MAX_EARLIER_TEXTS


def test_the_api_shows_members_the_earlier_texts_of_a_message(says, bridge, member):
    message = first(says, "Two wheels")
    edit(bridge, message, "Three wheels")
    shown = get(as_user(member), f"messages/{message.pk}/")
    assert [each["text"] for each in shown["earlier_texts"]] == ["Two wheels"]


def test_strangers_see_nothing_of_an_edited_message(says, bridge, stranger):
    message = first(says, "Two wheels")
    edit(bridge, message, "Three wheels")
    assert as_user(stranger).get(f"/api/v1/messages/{message.pk}/").status_code == 404


def test_the_model_is_never_shown_the_earlier_texts_of_a_message(says, conversation, bridge, model):
    edit(bridge, first(says, "My password is 1234"), "Hello")
    turns.take_turn(conversation.pk)
    assert "1234" not in json.dumps(model.requests[-1].body)


def test_an_edit_while_the_model_answers_makes_the_draft_stale(says, conversation, bridge, model, monkeypatch):
    message = first(says, "Two wheels")
    model.say("Two it is.", "Three it is.")
    asked = model_run.ask

    def interrupted(asking):
        answer = asked(asking)
        if len(model.requests) == 1:
            edit(bridge, message, "Three wheels")
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)
    turns.take_turn(conversation.pk)
    assert list(Message.objects.filter(direction="outbound").values_list("text", flat=True)) == ["Three it is."]


def test_a_message_deleted_while_the_model_answers_is_not_answered(says, conversation, bridge, model, monkeypatch):
    message = first(says, "Two wheels")
    asked = model_run.ask

    def interrupted(asking):
        answer = asked(asking)
        record_revocation(bridge=bridge, event=MessageRevoked("sales", target_id=message.provider_message_id))
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)
    turns.take_turn(conversation.pk)
    assert Turn.objects.get().outcome == "ignored"
    assert not Message.objects.filter(direction="outbound").exists()


def test_a_repeated_deletion_keeps_its_first_time(says, bridge):
    message = first(says, "Two wheels")
    event = MessageRevoked("sales", target_id=message.provider_message_id)
    record_revocation(bridge=bridge, event=event)
    message.refresh_from_db()
    at = message.revoked_at
    record_revocation(bridge=bridge, event=event)
    message.refresh_from_db()
    assert message.revoked_at == at


# --- in any order ---------------------------------------------------------------------------------------------------
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
ID = "3EB00000000000000001"
OTHER = "5511977776666@s.whatsapp.net"
CHAT = read_address(CUSTOMER)


def edited(text: str, second: int) -> MessageEdited:
    return MessageEdited("sales", target_id=ID, text=text, chat=CHAT, at=NOON.replace(second=second))


EDITS = [edited("B", 1), edited("C", 2), edited("B", 3)]


@pytest.mark.parametrize("order", list(permutations(EDITS)))
@pytest.mark.parametrize("received", range(4))
def test_the_last_edit_counts_in_whatever_order_edits_and_message_arrive(bridge, session, order, received):
    events = [*order[:received], message_event("A", number=1), *order[received:], *order[:2]]
    for event in events:
        handle_event(bridge=bridge, event=event)
    message = Message.objects.get()
    assert (message.text, message.edited_at) == ("B", NOON.replace(second=3))
    assert not EarlyChange.objects.exists()


@pytest.mark.parametrize("order", list(permutations([edited("B", 1), edited("C", 1)])))
def test_of_two_edits_at_the_same_time_the_same_one_counts_in_either_order(bridge, says, order):
    message = first(says, "A")
    for event in order:
        record_edit(bridge=bridge, event=event)
    message.refresh_from_db()
    assert message.text == "C"


def test_an_edit_of_the_future_does_not_outlast_the_next(bridge, says):
    message = first(says, "A")
    handle_event(bridge=bridge, event=replace(edited("B", 1), at=timezone.now() + timedelta(days=1)))
    edit(bridge, message, "C")
    message.refresh_from_db()
    assert message.text == "C"


@pytest.mark.parametrize("is_history", [False, True])
@pytest.mark.parametrize("outbound", [False, True])
@pytest.mark.parametrize("chat", [CHAT, None])
def test_a_deletion_that_overtakes_its_message_deletes_it(bridge, session, chat, outbound, is_history):
    handle_event(bridge=bridge, event=MessageRevoked("sales", target_id=ID, chat=chat))
    event = message_event("A", number=1, outbound=outbound, is_history=is_history)
    for _ in range(2):
        handle_event(bridge=bridge, event=event)
    assert Message.objects.get().revoked_at is not None
    assert not EarlyChange.objects.exists()


def test_a_message_whose_deletion_came_first_is_not_answered(bridge, conversation, model):
    handle_event(bridge=bridge, event=MessageRevoked("sales", target_id=ID, chat=CHAT))
    handle_event(bridge=bridge, event=message_event("/help", number=1))
    turns.take_turn(conversation.pk)
    assert (Message.objects.get().status, len(model.requests)) == ("handled", 0)


def test_the_agent_answers_the_edited_text_of_a_message_that_came_after_its_edit(bridge, conversation, model):
    handle_event(bridge=bridge, event=edited("Three wheels", 1))
    handle_event(bridge=bridge, event=message_event("Two wheels", number=1))
    turns.take_turn(conversation.pk)
    assert "Three wheels" in json.dumps(model.requests[-1].body)
    assert "Two wheels" not in json.dumps(model.requests[-1].body)


def test_a_change_that_comes_first_waits_for_the_message_of_its_own_chat(bridge, session):
    handle_event(bridge=bridge, event=MessageRevoked("sales", target_id=ID, chat=read_address(OTHER)))
    handle_event(bridge=bridge, event=message_event("A", number=1))
    settle_early_changes()
    assert Message.objects.get().revoked_at is None
    handle_event(bridge=bridge, event=message_event("B", number=1, chat=OTHER))
    assert Message.objects.get(text="B").revoked_at is not None


def test_a_change_that_arrives_together_with_its_message_is_applied_all_the_same(bridge, says, conversation):
    message = first(says, "A")
    EarlyChange.objects.create(
        session=conversation.session, provider_message_id=message.provider_message_id, is_revoked=True, at=NOON
    )
    settle_early_changes()
    message.refresh_from_db()
    assert message.revoked_at is not None


def test_a_change_whose_message_never_comes_is_deleted_after_a_day(bridge, session):
    handle_event(bridge=bridge, event=edited("A secret", 1))
    settle_early_changes()
    assert EarlyChange.objects.exists()
    EarlyChange.objects.update(created_at=timezone.now() - timedelta(hours=25))
    settle_early_changes()
    assert not EarlyChange.objects.exists()


@pytest.mark.parametrize("is_hidden_first", [True, False])
def test_a_change_under_another_address_waits_until_the_two_are_known_as_one_person(bridge, session, is_hidden_first):
    by_lid = ChatAddress("281474976710655@lid", AliasKind.LID)
    chats = [by_lid, read_address(CUSTOMER)] if is_hidden_first else [read_address(CUSTOMER), by_lid]
    handle_event(bridge=bridge, event=message_event("A", number=1, chat=chats[0]))
    handle_event(bridge=bridge, event=replace(edited("B", 1), chat=chats[1]))
    EarlyChange.objects.update(created_at=timezone.now() - timedelta(days=6))
    settle_early_changes()
    assert Message.objects.get().text == "A"
    both = replace(by_lid, phone="+5511988887777")
    handle_event(bridge=bridge, event=message_event("By the way", number=2, chat=both))
    settle_early_changes()
    assert Message.objects.order_by("created_at")[0].text == "B"
    assert not EarlyChange.objects.exists()


def test_a_change_whose_message_is_in_another_chat_is_deleted_after_a_week(bridge, session):
    handle_event(bridge=bridge, event=message_event("A", number=1, chat=OTHER))
    handle_event(bridge=bridge, event=edited("B", 1))
    EarlyChange.objects.update(created_at=timezone.now() - timedelta(days=8))
    settle_early_changes()
    assert not EarlyChange.objects.exists()


@pytest.mark.parametrize("event", [edited("B", 1), MessageRevoked("sales", target_id=ID, chat=CHAT)])
def test_a_change_that_is_reported_again_waits_once(bridge, session, event):
    for _ in range(2):
        handle_event(bridge=bridge, event=event)
    assert EarlyChange.objects.count() == 1


def test_of_edits_without_a_time_that_come_before_their_message_the_last_counts(bridge, session):
    for text in ("x", "y", "x", "x"):
        handle_event(bridge=bridge, event=replace(edited(text, 1), at=None))
    handle_event(bridge=bridge, event=message_event("A", number=1))
    assert Message.objects.get().text == "x"
    assert not EarlyChange.objects.exists()


def test_an_edit_to_nothing_takes_no_text_away(says, bridge):
    message = first(says, "Two wheels")
    edit(bridge, message, "")
    message.refresh_from_db()
    assert (message.text, message.edited_at) == ("Two wheels", None)
