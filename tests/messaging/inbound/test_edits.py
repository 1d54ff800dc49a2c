"""What a contact edits or deletes after sending: the model sees the new text, staff also what was there before."""

import json

from agent.bridges.events import MessageEdited, MessageRevoked
from agent.turns import model_run
from agent.turns import turn as turns
from messaging.models import Message, Turn
from messaging.receipts import MAX_EARLIER_TEXTS, record_edit, record_revocation
from tests.conftest import as_user
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
