"""Every command on all four surfaces: the same effect on each that may run it, and none on the others."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command

from accounts.models import User
from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import By, all_commands, get
from messaging import control
from messaging.library import entries
from messaging.media.files import take
from messaging.models import Conversation, Message, ToolCall
from sessions_app.models import AgentProfile
from tests.commands.conftest import History
from tests.conftest import as_user
from tests.support.messaging.files import PDF

pytestmark = pytest.mark.usefixtures("profile")

OWNER = "5511977776666@s.whatsapp.net"


@dataclass(frozen=True)
class Case:
    """`effect` reads from the history what the command changes; after a run it is `after`."""

    effect: Callable[[History], Any]
    after: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    typed: str = ""
    model_says: str = ""
    given: Callable[[Conversation], Any] = id


def ids(history: History, *numbers: int) -> list[str]:
    return [str(history.messages[number].pk) for number in numbers]


TASKS = json.dumps(
    {
        "tasks": [
            {"what": "bring the tea", "who": "Ana", "for": "us", "due": "Monday", "messages": [3, 99]},
            {"what": "made up", "who": None, "for": None, "due": None, "messages": [77]},
        ]
    }
)
CASES: dict[str, Case] = {
    "help": Case(lambda h: "summarize" in str(h.last_data()), True),
    "status": Case(
        lambda h: (h.last_data().get("control"), h.last_data().get("agent_profile")), ("agent", "Assistant")
    ),
    "reset": Case(lambda h: h.current().context_from is not None, True),
    "human": Case(
        lambda h: (h.current().control, h.current().needs_attention, h.current().attention_note.split("\n")[0]),
        ("human", True, "wants a refund"),
        arguments={"reason": "wants a refund"},
        typed="wants a refund",
    ),
    "agent": Case(
        lambda h: (h.current().control, h.current().needs_attention),
        ("agent", False),
        given=lambda conversation: (
            control.take_over(conversation=conversation),
            Conversation.objects.filter(pk=conversation.pk).update(needs_attention=True),
        ),
    ),
    "pause": Case(
        lambda h: (h.current().control, h.current().control_until is not None),
        ("muted", True),
        arguments={"minutes": 30},
        typed="30",
    ),
    "resume": Case(
        lambda h: h.current().control, "agent", given=lambda conversation: control.mute(conversation=conversation)
    ),
    "bot": Case(
        lambda h: (h.current().control, h.current().control_until),
        ("muted", None),
        arguments={"is_on": False},
        typed="off",
    ),
    "summarize": Case(
        lambda h: (h.last_data().get("summary"), h.last_data().get("evidence") == ids(h, 0)),
        ("• Ana likes tea", True),
        arguments={"count": 10},
        typed="10",
        model_says="• Ana likes tea [1] [99]",
    ),
    "tasks": Case(
        lambda h: [
            (task["what"], task["who"], task["messages"] == ids(h, 2)) for task in h.last_data().get("tasks", [])
        ],
        [("bring the tea", "Ana", True)],
        model_says=f"Here they are:\n```json\n{TASKS}\n```",
    ),
    "search": Case(
        lambda h: [result["message"] for result in h.last_data().get("results", [])][:1] == ids(h, 2),
        True,
        arguments={"words": "bring Monday"},
        typed="bring Monday",
    ),
    "stats": Case(
        lambda h: (h.last_data().get("first_at") == h.messages[0].said_at.isoformat(), h.last_data().get("from_us")),
        (True, 1),
    ),
    "facts": Case(lambda h: [fact["text"] for fact in h.last_data().get("facts", [])], ["Ana is kind"]),
    "remember": Case(
        lambda h: h.facts(),
        ["Ana is kind", "Ana likes tea"],
        arguments={"fact": "Ana likes tea"},
        typed="Ana likes tea",
    ),
    "forget": Case(lambda h: h.facts(), [], arguments={"fact": "kind"}, typed="kind"),
    "persona": Case(
        lambda h: h.current().session.agent_profile.instructions,
        "You sell tea.",
        arguments={"instructions": "You sell tea."},
        typed="You sell tea.",
    ),
    "file": Case(
        lambda h: list(h.current().messages.filter(kind="document").values_list("status", flat=True)),
        ["queued"],
        arguments={"name": "price list"},
        typed="price list",
        given=lambda conversation: entries.add_file(
            agent_profile=conversation.session.agent_profile,
            name="price list",
            file=take(ContentFile(PDF), name="prices.pdf", size_bytes=len(PDF)),
        ),
    ),
    "choices": Case(
        lambda h: h.last_data().get("choices"),
        ["Today", "Tomorrow"],
        arguments={"choices": "Today; Tomorrow"},
        typed='choices="Today; Tomorrow"',
    ),
    "draft": Case(
        lambda h: h.last_data().get("draft"),
        "We will be there.",
        arguments={"wish": "agree"},
        typed="agree",
        model_says="We will be there.",
    ),
}


Run = Callable[[str, Case, History], None]


@pytest.fixture
def run_in_chat(says, model) -> Run:
    """Typed by the contact, or by the owner who names the contact where it is not for contacts."""

    def run(name: str, case: Case, history: History) -> None:
        if case.model_says:
            model.say(case.model_says)
        if By.CONTACT in get(name).allowed:
            received = says(f"/{name} {case.typed}")
        else:
            received = says(f"/{name} @Ana {case.typed}", chat=OWNER)
        take_turn(received.conversation_id)
        replies = Message.objects.filter(conversation=received.conversation_id, direction="outbound", kind="text")
        reply = replies.latest("created_at")
        assert reply.text == CommandRun.objects.get().text

    return run


@pytest.fixture
def run_by_api(db) -> Run:
    def run(name: str, case: Case, history: History) -> None:
        admin = User.objects.create_superuser("boss", password="a long password 1")
        body = {"conversation": str(history.conversation.pk), "arguments": case.arguments}
        answer = as_user(admin).post(f"/api/v1/commands/{name}/", body, format="json")
        assert answer.status_code == 200, answer.content
        assert answer.json()["data"] == history.last_data()

    return run


@pytest.fixture
def run_as_tool(says, model) -> Run:
    def run(name: str, case: Case, history: History) -> None:
        AgentProfile.objects.update(tools=[name])
        model.call_tools((get(name).tool_name, case.arguments))
        if case.model_says and By.MODEL in get(name).allowed:
            model.say(case.model_says)
        model.say("Well.")
        says("Please")
        take_turn(history.conversation.pk)
        for call in ToolCall.objects.filter(status="done"):
            if not get(name).changes_control:  # those take effect with the answer
                assert json.loads(call.result) == history.last_data()

    return run


@pytest.fixture
def run_in_terminal() -> Run:
    def run(name: str, case: Case, history: History) -> None:
        words = [f"{key}={value}" for key, value in case.arguments.items()]
        output = io.StringIO()
        call_command("run_command", name, *words, conversation=history.conversation.pk, stdout=output)
        assert output.getvalue() == f"{CommandRun.objects.get().text}\n"

    return run


SURFACES = {"chat": {By.CONTACT, By.OWNER}, "api": {By.STAFF, By.ADMIN}, "model": {By.MODEL}, "terminal": {By.ADMIN}}


def may_run(name: str, surface: str) -> bool:
    return any(get(name).may_be_run_by(by) for by in SURFACES[surface])


def test_every_command_has_a_case():
    assert set(CASES) == {command.name for command in all_commands()}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", CASES)
def test_a_command_has_the_same_effect_on_every_surface_that_may_run_it(request, history, model, name, surface):
    case = CASES[name]
    run_on_surface = request.getfixturevalue({"chat": "run_in_chat", "api": "run_by_api", "model": "run_as_tool",
                                     "terminal": "run_in_terminal"}[surface])  # fmt: skip
    case.given(history.conversation)
    assert case.effect(history) != case.after
    if surface in {"api", "terminal"} and case.model_says:
        model.say(case.model_says)
    run_on_surface(name, case, history)
    if may_run(name, surface):
        assert case.effect(history) == case.after
        run = CommandRun.objects.get()
        assert (run.name, run.status, run.conversation) == (name, "done", history.conversation)
    else:
        assert case.effect(history) != case.after
        assert not CommandRun.objects.exclude(status="refused").exists()
        assert not ToolCall.objects.exclude(status="refused").exists()
