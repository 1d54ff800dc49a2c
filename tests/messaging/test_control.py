"""A person wins: from the moment someone takes over, nothing of the agent leaves."""

from datetime import timedelta

import pytest
from django.utils import timezone

from messaging import control, leases, outbox
from messaging.models import Conversation, Message, Turn
from messaging.outbound import send_text
from sessions_app.models import AgentProfile
from tests.support.messaging.turns import settle


def test_a_reply_being_written_when_someone_takes_over_is_dropped(says, conversation):
    says("Hello")
    lease = leases.take(conversation.pk)
    control.take_over(conversation=conversation)
    assert settle(lease, conversation) is None
    assert not Message.objects.filter(direction="outbound").exists()
    assert not Turn.objects.exists()


def test_a_reply_being_written_is_dropped_even_if_the_agent_has_control_again(says, conversation):
    says("Hello")
    lease = leases.take(conversation.pk)
    control.take_over(conversation=conversation)
    control.release(conversation=conversation)
    assert settle(lease, conversation) is None


def test_a_queued_reply_is_cancelled_when_someone_takes_over(says, conversation):
    says("Hello")
    settle(leases.take(conversation.pk), conversation)
    control.take_over(conversation=conversation)
    assert Message.objects.get(direction="outbound").status == "cancelled"
    assert outbox.claim_next_message(conversation.pk) is None


def test_a_queued_reply_of_an_older_epoch_never_leaves(says, conversation):
    says("Hello")
    settle(leases.take(conversation.pk), conversation)
    Conversation.objects.update(control_epoch=7)
    assert outbox.claim_next_message(conversation.pk) is None
    outbox.drop_outdated()
    assert Message.objects.get(direction="outbound").status == "cancelled"


def test_the_words_of_a_person_leave_while_a_person_has_control(says, conversation):
    says("Hello")
    send_text(conversation=conversation, text="This is Bia.")
    assert outbox.claim_next_message(conversation.pk).text == "This is Bia."


def test_a_staff_message_takes_over_for_the_time_of_the_profile_and_answers_what_was_unanswered(says, conversation):
    AgentProfile.objects.update(takeover_s=60)
    says("Hello")
    send_text(conversation=conversation, text="This is Bia.")
    conversation.refresh_from_db()
    assert conversation.control == "human"
    assert conversation.control_until <= timezone.now() + timedelta(seconds=60)
    assert Message.objects.get(direction="inbound").unanswered == "person"
    assert conversation.due_at is None


def test_writing_does_not_shorten_a_takeover_that_lasts_until_it_is_released(conversation):
    control.take_over(conversation=conversation)
    send_text(conversation=conversation, text="This is Bia.")
    conversation.refresh_from_db()
    assert conversation.control_until is None


def test_a_program_that_sends_does_not_take_over(conversation):
    send_text(conversation=conversation, text="Your order is on its way.", author=Message.Author.API)
    conversation.refresh_from_db()
    assert conversation.control == "agent"


def test_release_makes_a_fresh_unanswered_message_due(says, conversation):
    control.take_over(conversation=conversation)
    says("Anyone?")
    control.release(conversation=conversation)
    assert leases.take(conversation.pk) is not None


def test_release_does_not_answer_what_is_no_longer_fresh(says, conversation):
    control.take_over(conversation=conversation)
    says("Anyone?")
    Message.objects.update(said_at=timezone.now() - timedelta(hours=1))
    control.release(conversation=conversation)
    assert leases.take(conversation.pk) is None
    assert Message.objects.get().unanswered == "stale"


def test_a_takeover_ends_by_itself_when_its_time_is_up(conversation):
    control.take_over(conversation=conversation, until=timezone.now() - timedelta(seconds=1))
    assert control.release_expired() == 1
    conversation.refresh_from_db()
    assert conversation.control == "agent"


@pytest.mark.parametrize("act", [control.take_over, control.mute])
def test_a_takeover_that_ends_with_an_old_question_asks_for_attention_with_a_reason(says, conversation, act):
    says("Is it still available?")
    Message.objects.update(said_at=timezone.now() - timedelta(hours=2))
    act(conversation=conversation, until=timezone.now() - timedelta(seconds=1))
    control.release_expired()
    conversation.refresh_from_db()
    assert (conversation.control, conversation.needs_attention) == ("agent", True)
    assert (conversation.attention_reason, conversation.due_at) == ("unanswered", None)
    assert "too old" in conversation.attention_note


def test_a_takeover_that_ends_with_a_fresh_question_is_answered_and_asks_for_no_attention(says, conversation):
    control.take_over(conversation=conversation, until=timezone.now() - timedelta(seconds=1))
    says("Is it still available?")
    control.release_expired()
    conversation.refresh_from_db()
    assert (conversation.due_at is not None, conversation.needs_attention) == (True, False)


def test_a_takeover_that_ends_after_everything_was_answered_asks_for_no_attention(says, conversation):
    says("Is it still available?")
    send_text(conversation=conversation, text="Yes, it is.")
    Message.objects.update(said_at=timezone.now() - timedelta(hours=2))
    Conversation.objects.update(control_until=timezone.now() - timedelta(seconds=1))
    control.release_expired()
    conversation.refresh_from_db()
    assert (conversation.control, conversation.needs_attention) == ("agent", False)


def test_a_new_reason_for_attention_is_added_to_one_that_nobody_has_seen_yet(conversation):
    rows = Conversation.objects.filter(pk=conversation.pk)
    rows.update(needs_attention=True, attention_reason="handoff", attention_note="Wants money back.")
    for _ in range(2):
        rows.ask_for_attention(Conversation.Attention.NOT_SENT, note="A message was not sent.")
    assert rows.get().attention_note == "Wants money back.\nA message was not sent."


def test_a_takeover_that_was_prolonged_meanwhile_does_not_end(conversation):
    control.take_over(conversation=conversation, until=timezone.now() + timedelta(hours=1))
    control.release(conversation=conversation, if_expired=True)
    conversation.refresh_from_db()
    assert conversation.control == "human"


@pytest.mark.parametrize("act", [control.take_over, control.mute])
def test_every_change_of_control_raises_the_epoch_and_takes_the_lease_away(says, conversation, act):
    says("Hello")
    lease = leases.take(conversation.pk)
    act(conversation=conversation)
    assert conversation.control_epoch == lease.epoch + 1
    assert leases.renew(lease) == set()


def test_writing_does_not_shorten_a_takeover_that_lasts_until_later(conversation):
    evening = timezone.now() + timedelta(hours=8)
    control.take_over(conversation=conversation, until=evening)
    send_text(conversation=conversation, text="This is Bia.")
    conversation.refresh_from_db()
    assert conversation.control_until == evening


def test_what_was_to_be_answered_by_a_reply_that_never_left_is_answered_after_the_release(says, conversation):
    says("Hello")
    settle(leases.take(conversation.pk), conversation)
    control.take_over(conversation=conversation)
    control.release(conversation=conversation)
    turn = settle(leases.take(conversation.pk), conversation)
    assert Message.objects.get(direction="inbound").turn == turn


def test_what_a_person_answered_instead_is_not_answered_after_the_release(says, conversation):
    says("Hello")
    settle(leases.take(conversation.pk), conversation)
    send_text(conversation=conversation, text="This is Bia.")
    control.release(conversation=conversation)
    assert leases.take(conversation.pk) is None


def test_what_was_answered_in_part_is_not_answered_again_after_the_release(says, conversation):
    says("Hello")
    settle(leases.take(conversation.pk), conversation, replies=["part one", "part two"])
    outbox.claim_next_message(conversation.pk)
    control.take_over(conversation=conversation)
    control.release(conversation=conversation)
    assert leases.take(conversation.pk) is None
