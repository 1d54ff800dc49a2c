"""Answers that cannot be sent as they are, and prompts that a server does not take."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agent.turns import turn as turns
from commands.models import CommandRun
from messaging import control
from messaging.history.prompt_marks import strip_prompt_marks
from messaging.models import Conversation, Fact, Message, Summary, Turn
from sessions_app.models import AgentProfile, Bridge
from tests.support.fake_openai import ModelReply

pytestmark = pytest.mark.usefixtures("profile")

REMEMBER = ("remember", {"fact": "Ana likes tea"})


@pytest.fixture
def tools(profile):
    AgentProfile.objects.update(tools=["remember", "hand_off"])


def replies() -> list[str]:
    messages = Message.objects.filter(direction="outbound").order_by("created_at", "id")
    return list(messages.values_list("text", flat=True))


def prompt_text(request) -> str:
    return str(request.body.get("messages") or request.body["input"])


def talked(conversation: Conversation, *texts: str) -> None:
    """Messages of the contact that were handled, a second apart, an hour ago."""
    begin = timezone.now() - timedelta(hours=1)
    for at, text in enumerate(texts):
        Message.objects.create(
            session=conversation.session, conversation=conversation, sender=conversation.contact, text=text,
            direction="inbound", author="contact", status="handled", said_at=begin + timedelta(seconds=at),
        )  # fmt: skip


# --- text beside a tool call ---


def test_the_text_beside_a_tool_call_is_part_of_the_answer(says, conversation, model, api, tools):
    model.call_tools(REMEMBER, text="Yes, it is R$ 120.")
    model.say("Anything else?")
    says("How much is it? I like tea")
    turns.take_turn(conversation.pk)
    assert replies() == ["Yes, it is R$ 120.\n\nAnything else?"]


def test_a_text_that_is_repeated_after_a_tool_call_is_sent_once(says, conversation, model, tools):
    model.call_tools(REMEMBER, text="Yes, it is R$ 120.")
    model.say("Noted. Yes, it is  R$ 120.")
    says("How much is it?")
    turns.take_turn(conversation.pk)
    assert replies() == ["Noted. Yes, it is  R$ 120."]


@pytest.mark.parametrize("outcome", ["empty", "blank", "null", "cut_before_it_began", "error_500"])
def test_a_failure_after_a_text_beside_a_tool_call_leaves_that_text_as_the_answer(
    says, conversation, model, api, tools, outcome
):
    model.call_tools(REMEMBER, text="Yes, it is R$ 120.")
    says("How much is it?")
    model.fail_after(1, outcome)
    assert turns.take_turn(conversation.pk) is None
    assert replies() == ["Yes, it is R$ 120."]
    assert Turn.objects.get().outcome == "answered"
    assert Fact.objects.count() == 1


def test_an_empty_answer_after_a_tool_call_is_asked_for_once_more_without_tools(says, conversation, model, api, tools):
    model.call_tools(REMEMBER)
    model.say("", "I will remember that.")
    says("I like tea")
    turns.take_turn(conversation.pk)
    assert replies() == ["I will remember that."]
    assert [bool(request.body.get("tools")) for request in model.requests] == [True, True, False]
    assert Fact.objects.count() == 1


# --- cut off ---


def test_the_rest_of_an_answer_that_was_cut_off_is_asked_for_once(says, conversation, model, api):
    model.next_answers.append(ModelReply(text="It costs R$ 12", finish_reason="length"))
    model.say("0 a day. Shall I book?")
    says("How much?")
    turns.take_turn(conversation.pk)
    assert replies() == ["It costs R$ 120 a day. Shall I book?"]
    assert len(model.requests) == 2
    turn = Turn.objects.get()
    assert (turn.outcome, turn.reason[:6], turn.used["was_cut_off"], turn.steps) == ("answered", "length", True, 2)


def test_an_answer_that_is_cut_off_again_ends_at_its_last_sentence(says, conversation, model, api):
    for _ in range(2):
        model.next_answers.append(ModelReply(text="We are open. We close at ei", finish_reason="length"))
    says("When?")
    turns.take_turn(conversation.pk)
    assert replies() == ["We are open."]
    assert len(model.requests) == 2


def test_an_answer_whose_rest_fails_ends_at_its_last_sentence(says, conversation, model):
    model.next_answers.append(ModelReply(text="We are open. We close at ei", finish_reason="length"))
    model.fail_after(1, "error_500")
    says("When?")
    turns.take_turn(conversation.pk)
    assert replies() == ["We are open."]


# --- prompt marks ---


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("[2026-11-27 03:15] Yes, we are.", "Yes, we are."),
        ("Yes,\n[2026-11-27 03:15 UTC] we are.", "Yes,\nwe are."),
        ("Yes.\n\n<notes>\nNow: Friday 2026-11-27 03:15 UTC.\nKnown: x\n</notes>", "Yes."),
        ("< NOTES >secret</ Notes >Yes.", "Yes."),
        ("<earlier>They talked.</earlier>\nYes.", "Yes."),
        ("Yes.\n<notes>\nNow: Friday", "Yes."),
        ("Known about the contact: x\n</notes>\nYes.", "Yes."),
        ("Now: Friday 2026-11-27 03:15 UTC.\nYes.", "Yes."),
        ("**[2026-11-27 03:15]** Yes.", "Yes."),
        ("```\n<notes>\nx\n</notes>\n```\nYes.", "Yes."),
        ("Now: Friday 2026-11-27 03:15 UTC.\nKnown about the contact:\n- Ana is old\n\nYes.", "Yes."),
        ("(in reply to “Are you open?”) Yes.", "Yes."),
        ("[2026-11-27 03:15 America/Sao_Paulo] Yes.", "Yes."),
        ("[Friday 2026-11-27 03:15] Yes.", "Yes."),
        ("(2026-11-27 03:15) Yes.", "Yes."),
        ("[27/11/2026, 03:15] Yes.", "Yes."),
        ("&lt;notes&gt;x&lt;/notes&gt;Yes.", "Yes."),
        ("<earlier/>Yes.", "Yes."),
        ("`<notes>x</notes>`Yes.", "Yes."),
        ("Relevant earlier messages:\n- 2026-11-20 contact: Hi\nYes.", "Yes."),
        ("[The conversation begins.]\nYes.", "Yes."),
        ("[Used the tool remember.]\nYes.", "Yes."),
        ("Come on Friday (2026-11-27 09:00).", "Come on Friday (2026-11-27 09:00)."),
        ("Use x < 3 [1], at 2026-11-27 03:15.", "Use x < 3 [1], at 2026-11-27 03:15."),
    ],
)
def test_prompt_marks_that_the_model_repeats_are_not_sent(says, conversation, model, written, sent):
    model.say(written)
    says("Are you open?")
    turns.take_turn(conversation.pk)
    assert strip_prompt_marks(written) == sent
    assert replies() == [sent]


def test_an_answer_of_prompt_marks_alone_is_asked_for_once_more(says, conversation, model):
    model.say("<notes>\nNow: Friday 2026-11-27 03:15 UTC.\n</notes>", "Yes, we are.")
    says("Are you open?")
    turns.take_turn(conversation.pk)
    assert replies() == ["Yes, we are."]


# --- failed turns ---


def test_a_failed_turn_records_its_steps_and_tokens(says, conversation, model, api, tools):
    model.call_tools(REMEMBER)
    model.fail_after(1, "bad_request")
    says("I like tea")
    turns.take_turn(conversation.pk)
    turn = Turn.objects.get()
    assert (turn.outcome, turn.steps) == ("failed", 2)
    assert turn.prompt_tokens > 0
    assert turn.model


# --- too long ---


def test_a_context_that_is_too_long_is_halved_until_it_fits(says, conversation, model, api):
    AgentProfile.objects.update(tools=[], instructions="Sell.")
    talked(conversation, *(f"old message {number} " + "bla " * 60 for number in range(40)))
    model.max_body_chars = 6500
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert len(replies()) == 1
    assert "old message 39" in prompt_text(model.requests[-1])
    assert "old message 3 " not in prompt_text(model.requests[-1])
    assert Turn.objects.get().outcome == "answered"


@pytest.mark.parametrize("outcome", ["too_long", "too_long_unnamed"])
def test_the_burst_alone_is_shown_if_no_history_fits(says, conversation, model, api, outcome):
    talked(conversation, "old message")
    Conversation.objects.update(summary="They talked.")
    model.fail(outcome, times=1)
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert len(replies()) == 1
    assert "They talked." not in prompt_text(model.requests[-1])
    assert "Hello?" in prompt_text(model.requests[-1])


def test_a_burst_that_is_too_long_itself_is_shortened(says, conversation, model):
    AgentProfile.objects.update(tools=[], instructions="Sell.")
    model.max_body_chars = 6000
    says("x y " * 2000)
    turns.take_turn(conversation.pk)
    assert Turn.objects.get().outcome == "answered"


def test_a_turn_fails_if_not_even_the_burst_fits_the_context(says, conversation, model):
    model.fail("too_long")
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert Turn.objects.get().reason.startswith("context_too_long")
    assert len(model.requests) <= 6


# --- filtered ---


@pytest.mark.parametrize("status", [200, 400])
def test_a_burst_that_the_provider_filters_is_handed_to_a_person_and_not_shown_again(
    says, conversation, model, api, status
):
    model.filtered_words, model.filter_status = ("BADWORD",), status
    says("Something BADWORD")
    turns.take_turn(conversation.pk)
    conversation.refresh_from_db()
    turn = Turn.objects.get()
    assert (turn.outcome, turn.reason[:14]) == ("failed", "content_filter")
    assert replies() == ["I have asked a person to answer you. Please wait a moment."]
    assert (conversation.control, conversation.needs_attention) == ("human", True)
    assert "filtered" in conversation.attention_note
    control.release(conversation=conversation)
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert "Hello?" in replies()[-1]
    assert "BADWORD" not in prompt_text(model.requests[-1])
    assert Turn.objects.get(outcome="answered").steps == 1


def test_a_past_message_that_the_provider_filters_is_left_out_of_later_prompts(says, conversation, model, api):
    says("My name is Ana")
    turns.take_turn(conversation.pk)
    talked(conversation, "Something BADWORD")
    model.filtered_words = ("BADWORD",)
    says("Are you open?")
    turns.take_turn(conversation.pk)
    assert len(replies()) == 2
    model.forget()
    says("And tomorrow?")
    turns.take_turn(conversation.pk)
    assert len(model.requests) == 1
    assert "BADWORD" not in prompt_text(model.requests[0])
    assert "My name is Ana" in prompt_text(model.requests[0])
    assert Message.objects.filter(text="Something BADWORD").exists()


def test_a_summary_that_the_provider_filters_is_dropped(says, conversation, model):
    Conversation.objects.update(summary="They talked about BADWORD.", summary_version=1)
    model.filtered_words = ("BADWORD",)
    for text in ("Are you open?", "And tomorrow?"):
        says(text)
        turns.take_turn(conversation.pk)
    assert [turn.outcome for turn in Turn.objects.all()] == ["answered", "answered"]
    conversation.refresh_from_db()
    assert conversation.summary == ""


# --- commands and summaries ---


def test_a_summary_of_a_command_holds_no_prompt_marks(says, conversation, model, api):
    talked(conversation, "We meet on Monday")
    model.say("[2026-11-27 03:15] They meet on Monday.\n<notes>x</notes>")
    says("/summarize")
    turns.take_turn(conversation.pk)
    assert replies() == ["They meet on Monday."]


def test_a_summary_that_is_cut_off_ends_at_its_last_sentence(says, conversation, model, api):
    talked(conversation, "We meet on Monday")
    model.next_answers.append(ModelReply(text="They meet on Monday. They also", finish_reason="length"))
    says("/summarize")
    turns.take_turn(conversation.pk)
    assert replies() == ["They meet on Monday."]


def test_a_command_whose_context_is_too_long_is_about_the_newest_half(says, conversation, model, api):
    talked(conversation, *(f"old message {number} " + "bla " * 60 for number in range(40)))
    model.max_body_chars = 5000
    model.reply = "They talked [1]."
    says("/summarize")
    turns.take_turn(conversation.pk)
    assert replies() == ["They talked."]
    run = CommandRun.objects.get()
    assert 0 < run.data["count"] < 40
    assert "old message 39" in prompt_text(model.requests[-1])
    evidence = Message.objects.get(pk=run.data["evidence"][0])
    assert evidence.text.startswith(f"old message {40 - run.data['count']} ")


def test_a_message_that_the_provider_filters_is_left_out_of_a_command(says, conversation, model, api):
    talked(conversation, *(f"old message {number}" for number in range(5)), "Something BADWORD", "the last one")
    model.filtered_words = ("BADWORD",)
    model.reply = "They talked."
    for _ in range(2):
        says("/summarize")
        model.forget()
        turns.take_turn(conversation.pk)
    assert replies() == ["They talked."] * 2
    assert len(model.requests) == 1
    assert "old message 0" in prompt_text(model.requests[0])
    assert "the last one" in prompt_text(model.requests[0])


def test_a_history_too_long_to_be_compacted_at_once_is_compacted_in_halves(says, conversation, model, api):
    AgentProfile.objects.update(history_tokens=1000, tools=[])
    talked(conversation, *(f"old message {number} " + "bla " * 30 for number in range(60)))
    model.max_body_chars = 7000
    model.reply = "They talked."
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert not Summary.objects.get().is_plain
    asked = "".join(prompt_text(request) for request in model.requests if "running summary" in prompt_text(request))
    assert "old message 0 " in asked
    assert "<notes>" in asked


def test_a_message_that_the_provider_filters_is_left_out_of_a_summary(says, conversation, model):
    AgentProfile.objects.update(history_tokens=1000, tools=[])
    texts = [f"old message {number} " + "bla " * 30 for number in range(30)]
    talked(conversation, *texts[:10], "Something BADWORD", *texts[10:])
    model.filtered_words = ("BADWORD",)
    model.reply = "They talked."
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert (Summary.objects.get().text, Summary.objects.get().is_plain) == ("They talked.", False)
    assert Message.objects.get(text="Something BADWORD").details == {"withheld": True}


def test_a_long_answer_is_one_message_on_the_cloud_api_where_each_has_a_price(says, conversation, bridge, model):
    Bridge.objects.filter(pk=bridge.pk).update(kind="cloud")
    answer = "\n\n".join(f"Paragraph {number}. " + ("word " * 75).strip() for number in range(10))
    model.say(answer)
    says("Tell me everything")
    turns.take_turn(conversation.pk)
    assert (len(answer) > 3500, replies()) == (True, [answer])
