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
def said(conversation: Conversation) -> list[Message]:
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


def ask(name: str, conversation: Conversation) -> CommandRun:
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
def test_a_task_names_the_message_it_came_from(conversation, said, model, numbers):
    model.say(task(messages=numbers))
    done = ask("tasks", conversation)
    assert [one["messages"] for one in done.data["tasks"]] == [[str(said[1].pk)]]
    assert done.text == (
        f"• *Ana*: bring the tea, until Monday\n   “I will bring the tea on Monday” ({said[1].said_at:%Y-%m-%d})"
    )


@pytest.mark.parametrize("numbers", [[], None, [99], "²", ["²"], ["9" * 5000], [10**4000], {"2": 2}, [[2, [2]]]])
def test_a_task_without_a_message_that_exists_is_not_shown(conversation, said, model, numbers):
    model.say(task(messages=numbers))
    done = ask("tasks", conversation)
    assert (done.status, done.data) == ("done", {"tasks": []})


@pytest.mark.parametrize("claimed", ["", "[99]", "[0]", "[²]", f"[{'9' * 5000}]", "[99, 2]"])
def test_a_summary_names_only_messages_there_are(conversation, said, model, claimed):
    model.say(f"• Ana likes tea {claimed}")
    evidence = ask("summarize", conversation).data["evidence"]
    assert evidence
    assert set(evidence) <= {str(message.pk) for message in said}


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
def test_an_answer_that_is_no_list_of_tasks_is_a_failure_that_is_told(conversation, said, model, answer):
    model.say(answer)
    done = ask("tasks", conversation)
    assert (done.status, done.error_code) == ("failed", "malformed")


@pytest.mark.parametrize("around", ["{}", "As asked [in JSON]:\n{}\nThat is all.", "```json\n{}\n```"])
def test_the_list_is_found_in_what_the_model_talks_around_it(conversation, said, model, around):
    model.say(around.replace("{}", task(messages=[2])))
    assert len(ask("tasks", conversation).data["tasks"]) == 1


def test_what_the_database_does_not_take_is_left_out(conversation, said, model):
    model.say('{"tasks": [{"what": "nul \\u0000 and half \\ud83d a pair", "who": "\\u0000", "messages": [1]}]}')
    (one,) = ask("tasks", conversation).data["tasks"]
    assert one["what"].startswith("nul and half")
    assert one["messages"] == [str(said[0].pk)]


def test_the_command_itself_is_no_part_of_what_it_reads(conversation, said, says, model):
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
