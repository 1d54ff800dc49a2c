"""The brake on loops: an agent stops where the other side is a machine."""

import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from messaging import control, leases, loops, outbox
from messaging.inbound import receive_own_message
from messaging.models import Event, Message, Turn
from messaging.outbound import send_text
from sessions_app.models import AgentProfile
from tests.conftest import message_event
from tests.support.messaging.turns import settle

AUTOMATIC_REPLY = "Thank you for your message! Our office is closed, we will answer on Monday."
QUESTIONS = [
    "Hi", "are you there", "I want to buy the blue chair", "how much is it", "do you deliver?", "to Recife",
    "when", "and in red?", "how many are left", "can I pay with pix", "ok", "two please", "my name is Ana",
    "what do I do now", "hello?", "sorry", "the address is Rua das Flores 12", "thanks", "bye", "one more thing",
]  # fmt: skip


@pytest.fixture
def exchange(says, conversation):
    """Receive a text and let the agent answer it, unless it is paused; returns whether it answered."""

    def act(text, *, is_sent=True, pace_s=None):
        says(text)
        if pace_s is not None:
            inbound = Message.objects.filter(status="received").latest("created_at")
            sent = Message.objects.filter(direction="outbound").order_by("created_at").last()
            if sent and sent.sending_at:
                Message.objects.filter(pk=sent.pk).update(sending_at=inbound.created_at - timedelta(seconds=pace_s))
        lease = leases.take(conversation.pk)
        if lease is None or leases.pause_if_looping(lease):
            return False
        settle(lease, conversation, replies=["One moment."], even_if_stale=True)
        if is_sent:
            claimed = outbox.claim_next_message(conversation.pk)
            outbox.mark_sent(claimed, provider_message_id=f"OUT{claimed.message_id.hex}", at=None)
        return True

    return act


def answers(exchange, texts, **options):
    return sum(exchange(text, **options) for text in texts)


def test_a_machine_that_repeats_itself_is_answered_a_few_times_only(exchange, conversation):
    assert answers(exchange, [AUTOMATIC_REPLY] * 30, pace_s=20) == 5
    conversation.refresh_from_db()
    assert (conversation.control, conversation.needs_attention) == ("human", True)
    assert (conversation.attention_reason, conversation.due_at) == ("loop", None)
    assert "machine" in conversation.attention_note
    assert conversation.control_until is not None
    events = Event.objects.filter(type="conversation.needs_attention")
    assert [event.data for event in events] == [{"reason": "loop"}]


def test_a_program_that_names_a_new_reference_each_time_is_limited_by_the_number_of_turns_alone(exchange):
    texts = [f"Please look up the state of this order #INV-{number:05d}" for number in range(40)]
    assert answers(exchange, texts, pace_s=0.3) == 30


def test_a_machine_that_repeats_one_reference_is_stopped_as_soon_as_without_it(exchange):
    assert answers(exchange, [f"{AUTOMATIC_REPLY} Your case: #INV-1042"] * 30, pace_s=20) == 5


def test_a_number_alone_is_no_reference(exchange):
    assert answers(exchange, [f"{AUTOMATIC_REPLY} Ticket #{number}-2026" for number in range(30)], pace_s=20) == 5


@pytest.mark.parametrize(
    "texts",
    [
        [f"{AUTOMATIC_REPLY} (ticket {number}, {number}:15)" for number in range(30)],
        [AUTOMATIC_REPLY.upper() if number % 2 else f"{AUTOMATIC_REPLY} 🙏" for number in range(30)],
        [f"Obrigado pelo contato! Já já respondemos. Protocolo A{number}F" for number in range(30)],
        [f"{AUTOMATIC_REPLY} {greeting}" for greeting in ["Hello", "Bye", "Hi", "Regards", "Yours"] * 6],
        [text for _ in range(15) for text in (AUTOMATIC_REPLY, "Type 1 for sales or 2 for support, please.")],
        ["Oi"] * 30,
        ["1"] * 30,
    ],
)
def test_a_machine_whose_text_changes_a_little_is_stopped_too(exchange, texts):
    assert answers(exchange, texts, pace_s=0.5) <= 10


def test_two_models_that_talk_to_each_other_at_a_machines_pace_are_stopped(exchange, conversation):
    texts = [f"{'abcdefghijklmnopqrstuvwxyz'[n]}{'zyxwvutsrqponmlkjihgfedcba'[n]} " * (3 + n) for n in range(26)]
    assert answers(exchange, texts, pace_s=0.3) == 12
    conversation.refresh_from_db()
    assert conversation.attention_reason == "loop"


def test_no_conversation_gets_more_than_so_many_answers_within_the_window(exchange, conversation):
    AgentProfile.objects.update(loop_max_turns=8, loop_window_s=600)
    assert answers(exchange, QUESTIONS, is_sent=False) == 8
    Turn.objects.update(created_at=timezone.now() - timedelta(seconds=601))
    control.release(conversation=conversation)
    assert exchange("And now?", is_sent=False)


def test_a_person_who_types_fast_is_not_stopped(exchange, conversation):
    assert answers(exchange, QUESTIONS, pace_s=2) == len(QUESTIONS)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.needs_attention) == ("agent", False)


@pytest.mark.parametrize("text", ["ok", "sim", "1"])
def test_a_person_who_confirms_again_and_again_is_not_stopped(exchange, text):
    assert answers(exchange, [text] * 10, pace_s=8) == 10


def test_a_person_who_asks_about_one_product_after_the_other_is_not_stopped(exchange):
    colours = ["blue", "red", "green", "black", "white", "yellow", "brown", "grey"]
    assert answers(exchange, [f"How much is the {colour} chair?" for colour in colours], pace_s=6) == len(colours)


def test_texts_that_came_before_the_reply_was_sent_are_no_answers_to_it(exchange):
    assert answers(exchange, [AUTOMATIC_REPLY] * 10, is_sent=False) == 10


@pytest.mark.parametrize("field", ["loop_repeats", "loop_fast_replies", "loop_max_turns"])
def test_a_loop_limit_that_is_too_low_is_refused(db, field):
    profile = AgentProfile(name="Bia", **{field: 2})
    with pytest.raises(ValidationError, match="at least 3"):
        profile.full_clean()


def test_a_limit_of_zero_is_off(exchange):
    AgentProfile.objects.update(loop_repeats=0, loop_fast_replies=0, loop_max_turns=0)
    assert answers(exchange, [AUTOMATIC_REPLY] * 40, pace_s=0.2) == 40


def test_after_a_release_the_agent_answers_again_and_the_brake_counts_from_zero(exchange, conversation):
    answers(exchange, [AUTOMATIC_REPLY] * 8, pace_s=20)
    control.release(conversation=conversation)
    Message.objects.filter(status="received").update(status="handled")
    assert answers(exchange, [AUTOMATIC_REPLY] * 30, pace_s=20) == 5


def test_the_last_message_of_a_loop_stays_unanswered(exchange):
    answers(exchange, [AUTOMATIC_REPLY] * 6, pace_s=20)
    assert Message.objects.filter(status="received").count() == 1


def test_a_pause_of_zero_lasts_until_the_conversation_is_released(exchange, conversation):
    AgentProfile.objects.update(loop_pause_s=0)
    answers(exchange, [AUTOMATIC_REPLY] * 6, pace_s=20)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.control_until) == ("human", None)


def test_a_takeover_at_the_moment_of_a_pause_wins(exchange, says, conversation, member):
    answers(exchange, [AUTOMATIC_REPLY] * 5, pace_s=20)
    says(AUTOMATIC_REPLY)
    lease = leases.take(conversation.pk)
    control.take_over(conversation=conversation, by=member, reason="mine")
    assert leases.pause_if_looping(lease)
    conversation.refresh_from_db()
    assert (conversation.control_reason, conversation.needs_attention) == ("mine", False)


@pytest.mark.django_db(transaction=True)
def test_workers_that_come_at_once_pause_a_conversation_once(exchange, says, conversation):
    answers(exchange, [AUTOMATIC_REPLY] * 5, pace_s=20)
    says(AUTOMATIC_REPLY)
    paused = []

    def work():
        try:
            lease = leases.take(conversation.pk)
            paused.append(lease is not None and leases.pause_if_looping(lease))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    conversation.refresh_from_db()
    assert (sum(paused), conversation.control_epoch) == (1, 1)


# --- our own number -------------------------------------------------------------------------------------------------


def echo(bridge, text, *, number):
    receive_own_message(bridge=bridge, event=message_event(text, number=1000 + number))


def test_another_program_that_answers_on_our_number_asks_for_attention(says, bridge, conversation):
    for number in range(3):
        says(f"Question {number}")
        echo(bridge, "Welcome! An assistant will be with you shortly.", number=number)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.attention_reason) == ("human", "other_program")


def test_a_person_who_answers_on_the_phone_asks_for_no_attention(says, bridge, conversation):
    for number in range(5):
        says(f"Question {number}")
        Message.objects.update(created_at=timezone.now() - timedelta(seconds=5))
        echo(bridge, "Yes, we have that.", number=number)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.needs_attention) == ("human", False)


def test_a_persons_answers_that_arrive_together_after_an_outage_ask_for_no_attention(says, bridge, conversation):
    for number in range(5):
        says(f"Question {number}", age=timedelta(minutes=9 - number))
        echo(bridge, "Yes, we have that.", number=number)
    conversation.refresh_from_db()
    assert not conversation.needs_attention


def test_staff_who_write_in_the_admin_ask_for_no_attention(says, conversation, member):
    for number in range(4):
        says(f"Question {number}")
        send_text(conversation=conversation, text="Yes, we have that.", by=member)
    conversation.refresh_from_db()
    assert not conversation.needs_attention


# --- what is alike --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("We are closed today!", "WE ARE CLOSED, today", True),
        ("Estamos fechados até 2ª-feira.", "Estamos fechados ate 3ª-feira", True),
        ("Ticket 4711 was opened for you", "Ticket 4712 was opened for you", True),
        ("1", "2", False),
        ("room 12", "room 13", False),
        ("yes", "yes!", True),
        ("How much is the blue chair?", "How much is the red chair?", False),
        ("I would like to cancel my order", "Do you deliver on Saturdays?", False),
        ("你好，我们已经下班了，请稍后再联系我们吧", "你好，我们已经下班了，请稍后再联系我们", True),
    ],
)
def test_texts_are_compared_without_case_accents_marks_and_numbers(one, other, expected):
    assert loops.is_similar(loops.normalize(one), loops.normalize(other)) is expected
