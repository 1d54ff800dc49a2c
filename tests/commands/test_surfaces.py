"""Every command on all four surfaces: the same effect on each that may run it, and none on the others."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import User
from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import By, all_commands, get
from messaging import control
from messaging.models import Conversation, Message, ToolCall
from sessions_app.models import AgentProfile
from tests.commands.conftest import Place
from tests.conftest import as_user

pytestmark = pytest.mark.usefixtures("profile")

OWNER = "5511977776666@s.whatsapp.net"


@dataclass(frozen=True)
class Case:
    """`effect` is what the command brings about: told from `Place` before it is `before`, and afterwards `after`."""

    effect: Callable[[Place], Any]
    after: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    typed: str = ""
    model_says: str = ""
    given: Callable[[Conversation], Any] = id


def ids(place: Place, *numbers: int) -> list[str]:
    return [str(place.said[number].pk) for number in numbers]


TASKS = json.dumps(
    {
        "tasks": [
            {"what": "bring the tea", "who": "Ana", "for": "us", "due": "Monday", "messages": [3, 99]},
            {"what": "made up", "who": None, "for": None, "due": None, "messages": [77]},
        ]
    }
)
CASES: dict[str, Case] = {
    "help": Case(lambda p: "summarize" in str(p.data()), True),
    "status": Case(lambda p: (p.data().get("control"), p.data().get("agent_profile")), ("agent", "Assistant")),
    "reset": Case(lambda p: p.now().context_from is not None, True),
    "human": Case(
        lambda p: (p.now().control, p.now().needs_attention, p.now().attention_note.split("\n")[0]),
        ("human", True, "wants a refund"),
        arguments={"reason": "wants a refund"},
        typed="wants a refund",
    ),
    "agent": Case(
        lambda p: (p.now().control, p.now().needs_attention),
        ("agent", False),
        given=lambda conversation: (
            control.take_over(conversation=conversation),
            Conversation.objects.filter(pk=conversation.pk).update(needs_attention=True),
        ),
    ),
    "pause": Case(
        lambda p: (p.now().control, p.now().control_until is not None),
        ("muted", True),
        arguments={"minutes": 30},
        typed="30",
    ),
    "resume": Case(
        lambda p: p.now().control, "agent", given=lambda conversation: control.mute(conversation=conversation)
    ),
    "summarize": Case(
        lambda p: (p.data().get("summary"), p.data().get("evidence") == ids(p, 0)),
        ("• Ana likes tea", True),
        arguments={"count": 10},
        typed="10",
        model_says="• Ana likes tea [1] [99]",
    ),
    "tasks": Case(
        lambda p: [(task["what"], task["who"], task["messages"] == ids(p, 2)) for task in p.data().get("tasks", [])],
        [("bring the tea", "Ana", True)],
        model_says=f"Here they are:\n```json\n{TASKS}\n```",
    ),
    "search": Case(
        lambda p: [result["message"] for result in p.data().get("results", [])][:1] == ids(p, 2),
        True,
        arguments={"words": "bring Monday"},
        typed="bring Monday",
    ),
    "stats": Case(
        lambda p: (p.data().get("first_at") == p.said[0].said_at.isoformat(), p.data().get("from_us")), (True, 1)
    ),
    "facts": Case(lambda p: [fact["text"] for fact in p.data().get("facts", [])], ["Ana is kind"]),
    "remember": Case(
        lambda p: p.facts(),
        ["Ana is kind", "Ana likes tea"],
        arguments={"fact": "Ana likes tea"},
        typed="Ana likes tea",
    ),
    "forget": Case(lambda p: p.facts(), [], arguments={"fact": "kind"}, typed="kind"),
    "persona": Case(
        lambda p: p.now().session.agent_profile.instructions,
        "You sell tea.",
        arguments={"instructions": "You sell tea."},
        typed="You sell tea.",
    ),
    "draft": Case(
        lambda p: p.data().get("draft"),
        "We will be there.",
        arguments={"wish": "agree"},
        typed="agree",
        model_says="We will be there.",
    ),
}


Door = Callable[[str, Case, Place], None]


@pytest.fixture
def through_the_chat(says, model) -> Door:
    """Typed by the contact, or by the owner who names the contact where it is not for contacts."""

    def run(name: str, case: Case, place: Place) -> None:
        if case.model_says:
            model.say(case.model_says)
        if By.CONTACT in get(name).allowed:
            kept = says(f"/{name} {case.typed}")
        else:
            kept = says(f"/{name} @Ana {case.typed}", chat=OWNER)
        take_turn(kept.conversation_id)
        reply = Message.objects.filter(conversation=kept.conversation_id, direction="outbound").latest("created_at")
        assert reply.text == CommandRun.objects.get().text

    return run


@pytest.fixture
def through_the_api(db) -> Door:
    def run(name: str, case: Case, place: Place) -> None:
        admin = User.objects.create_superuser("boss", password="a long password 1")
        body = {"conversation": str(place.conversation.pk), "arguments": case.arguments}
        answer = as_user(admin).post(f"/api/v1/commands/{name}/", body, format="json")
        assert answer.status_code == 200, answer.content
        assert answer.json()["data"] == place.data()

    return run


@pytest.fixture
def through_the_model(says, model) -> Door:
    def run(name: str, case: Case, place: Place) -> None:
        AgentProfile.objects.update(tools=[name])
        model.call_tools((get(name).tool_name, case.arguments))
        if case.model_says and By.MODEL in get(name).allowed:
            model.say(case.model_says)
        model.say("Well.")
        says("Please")
        take_turn(place.conversation.pk)
        for call in ToolCall.objects.filter(status="done"):
            if not get(name).changes_control:  # those take effect with the answer
                assert json.loads(call.result) == place.data()

    return run


@pytest.fixture
def through_the_terminal() -> Door:
    def run(name: str, case: Case, place: Place) -> None:
        words = [f"{key}={value}" for key, value in case.arguments.items()]
        told = io.StringIO()
        call_command("run_command", name, *words, conversation=place.conversation.pk, stdout=told)
        assert told.getvalue() == f"{CommandRun.objects.get().text}\n"

    return run


DOORS = {"chat": {By.CONTACT, By.OWNER}, "api": {By.STAFF, By.ADMIN}, "model": {By.MODEL}, "terminal": {By.ADMIN}}


def is_open(name: str, door: str) -> bool:
    return any(get(name).may_be_run_by(by) for by in DOORS[door])


def test_every_command_is_tried():
    assert set(CASES) == {command.name for command in all_commands()}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", CASES)
def test_a_command_has_the_same_effect_through_every_door_that_is_open_to_it(request, place, model, name, door):
    case = CASES[name]
    enter = request.getfixturevalue({"chat": "through_the_chat", "api": "through_the_api", "model": "through_the_model",
                                     "terminal": "through_the_terminal"}[door])  # fmt: skip
    case.given(place.conversation)
    assert case.effect(place) != case.after
    if door in {"api", "terminal"} and case.model_says:
        model.say(case.model_says)
    enter(name, case, place)
    if is_open(name, door):
        assert case.effect(place) == case.after
        run = CommandRun.objects.get()
        assert (run.name, run.status, run.conversation) == (name, "done", place.conversation)
    else:
        assert case.effect(place) != case.after
        assert not CommandRun.objects.exclude(status="refused").exists()
        assert not ToolCall.objects.exclude(status="refused").exists()
