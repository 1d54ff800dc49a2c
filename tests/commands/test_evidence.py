"""Summaries and tasks name messages that exist, whatever the model claims."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import By, Caller, get
from commands.run import run
from messaging.models import Conversation, Message

pytestmark = pytest.mark.usefixtures("profile")


@pytest.fixture
def messages(conversation: Conversation) -> list[Message]:
    """Two messages."""
    return [
        Message.objects.create(
            session=conversation.session,
            conversation=conversation,
            sender=conversation.contact,
            direction="inbound",
            author="contact",
            status="handled",
            text=text,
            said_at=timezone.now() - timedelta(minutes=10 - number),
        )
        for number, text in enumerate(["I like tea", "I will bring the tea on Monday"])
    ]


def run_command(name: str, conversation: Conversation) -> CommandRun:
    return run(
        get(name),
        arguments={},
        caller=Caller(by=By.STAFF),
        conversation=conversation,
        surface=CommandRun.Surface.API,
    )


def task(**values: Any) -> str:
    return json.dumps({"tasks": [{"what": "bring the tea", "who": "Ana", "for": None, "due": "Monday"} | values]})


@pytest.mark.parametrize("numbers", [[2], 2, "2", "[2]", ["[2]", 99], [2, 0, -1, 3, None, True, 2.5, {}, []]])
def test_a_task_cites_the_message_it_was_taken_from(conversation, messages, model, numbers):
    model.say(task(messages=numbers))
    done = run_command("tasks", conversation)
    assert [one["messages"] for one in done.data["tasks"]] == [[str(messages[1].pk)]]
    assert done.text == (
        f"• *Ana*: bring the tea, until Monday\n   “I will bring the tea on Monday” ({messages[1].said_at:%Y-%m-%d})"
    )


@pytest.mark.parametrize("numbers", [[], None, [99], "²", ["²"], ["9" * 5000], [10**4000], {"2": 2}, [[2, [2]]]])
def test_a_task_that_cites_no_existing_message_is_dropped(conversation, messages, model, numbers):
    model.say(task(messages=numbers))
    done = run_command("tasks", conversation)
    assert (done.status, done.data) == ("done", {"tasks": []})


@pytest.mark.parametrize("claimed", ["", "[99]", "[0]", "[²]", f"[{'9' * 5000}]", "[99, 2]"])
def test_a_summary_cites_only_existing_messages(conversation, messages, model, claimed):
    model.say(f"• Ana likes tea {claimed}")
    evidence = run_command("summarize", conversation).data["evidence"]
    assert evidence
    assert set(evidence) <= {str(message.pk) for message in messages}


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        "no list at all",
        '{"tasks": 7}',
        "[" * 60_000,
        "{" * 60_000,
        "[" * 60_000 + "]" * 60_000,
        '{"tasks": [{"what": "x", "messages": [' + "9" * 5000 + "]}]}",
    ],
)
def test_an_answer_that_is_no_list_of_tasks_fails_the_run(conversation, messages, model, answer):
    model.say(answer)
    done = run_command("tasks", conversation)
    assert (done.status, done.error_code) == ("failed", "malformed")


@pytest.mark.parametrize("around", ["{}", "As asked [in JSON]:\n{}\nThat is all.", "```json\n{}\n```"])
def test_a_list_of_tasks_is_found_within_other_text(conversation, messages, model, around):
    model.say(around.replace("{}", task(messages=[2])))
    assert len(run_command("tasks", conversation).data["tasks"]) == 1


def test_characters_that_the_database_refuses_are_left_out_of_tasks(conversation, messages, model):
    model.say('{"tasks": [{"what": "nul \\u0000 and half \\ud83d a pair", "who": "\\u0000", "messages": [1]}]}')
    (one,) = run_command("tasks", conversation).data["tasks"]
    assert one["what"].startswith("nul and half")
    assert one["messages"] == [str(messages[0].pk)]


def test_a_command_does_not_read_itself(conversation, messages, says, model):
    model.say("• Ana likes tea [1]", "• Ana likes tea [1]")
    says("/summarize 2", age=timedelta(seconds=1))
    says("/tasks")
    while take_turn(conversation.pk) is not None:
        pass
    asked = [request.body["messages"][-1]["content"] for request in model.requests]
    assert len(asked) == 2
    for material in asked:
        assert "I like tea" in material
        assert "/" not in material.replace("</messages>", "")
