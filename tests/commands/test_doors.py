"""Every command through all four doors: the same effect through each that is open to it, none through the others."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.credentials.keys import create_key
from accounts.models import User
from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import By, all_commands, get
from messaging import control
from messaging.models import Conversation, Fact, Message, ToolCall
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.accounts.test_keys import with_key
from tests.conftest import as_user
from tests.support.fake_openai import FakeOpenAI

pytestmark = pytest.mark.usefixtures("profile")

CUSTOMER = "5511988887777@s.whatsapp.net"
OWNER = "5511977776666@s.whatsapp.net"


@dataclass(frozen=True)
class Place:
    """Where the commands are run, and what there is to be seen afterwards."""

    conversation: Conversation
    said: list[Message]

    def now(self) -> Conversation:
        return Conversation.objects.select_related("session__agent_profile").get(pk=self.conversation.pk)

    def data(self) -> dict[str, Any]:
        """What the last run that was done came to."""
        run = CommandRun.objects.filter(status="done", conversation=self.conversation).last()
        return run.data if run else {}

    def facts(self) -> list[str]:
        facts = Fact.objects.filter(contact=self.conversation.contact, forgotten_at=None)
        return sorted(facts.values_list("text", flat=True))


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


@pytest.fixture
def model(settings) -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        settings.OPENAI_BASE_URL = fake.base_url
        settings.MODEL_TIMEOUT_S = 2.0
        yield fake


@pytest.fixture
def place(session, conversation) -> Place:
    begin = timezone.now() - timedelta(hours=2)
    texts = [("inbound", "I like tea"), ("outbound", "So do we"), ("inbound", "I will bring the tea on Monday")]
    said = [
        Message.objects.create(
            session=session,
            conversation=conversation,
            sender=conversation.contact if direction == "inbound" else None,
            direction=direction,
            author="contact" if direction == "inbound" else "agent",
            status="handled" if direction == "inbound" else "read",
            text=text,
            said_at=begin + timedelta(minutes=number),
        )
        for number, (direction, text) in enumerate(texts)
    ]
    Fact.objects.create(contact=conversation.contact, text="Ana is kind", proposed_by="staff")
    WhatsAppSession.objects.update(owner_phone="+5511977776666")
    return Place(conversation=conversation, said=said)


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


# --- the API ------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator(member) -> User:
    return member


def ask(user: User, name: str, conversation: Conversation, /, **body: Any) -> Any:
    return as_user(user).post(
        f"/api/v1/commands/{name}/", {"conversation": str(conversation.pk), **body}, format="json"
    )


def test_the_registry_is_shown_with_the_schema_of_each(member):
    listed = as_user(member).get("/api/v1/commands/").json()["results"]
    assert [row["name"] for row in listed] == sorted(CASES)
    shown = as_user(member).get("/api/v1/commands/summarize/").json()
    assert shown in listed
    assert shown["schema"]["properties"]["count"]["maximum"] == 500
    assert (shown["tool"], shown["usage"]) == ("summarize_chat", "Write: /summarize [count]\nLike this: /summarize 20")


def test_a_command_is_found_by_its_other_names_too(operator, place):
    assert ask(operator, "list_facts", place.conversation).json()["name"] == "facts"
    assert ask(operator, "fatos", place.conversation).json()["name"] == "facts"


def test_an_unknown_command_is_not_found(operator, place):
    answer = ask(operator, "fly", place.conversation)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_command")
    assert as_user(operator).get("/api/v1/commands/fly/").status_code == 404
    nearly = ask(operator, "sumarize", place.conversation)
    assert (nearly.status_code, nearly.json()["detail"]) == (
        404, "Unknown command sumarize. Did you mean summarize?",
    )  # fmt: skip


def test_wrong_arguments_are_refused_with_their_names_and_recorded(operator, place):
    answer = ask(operator, "summarize", place.conversation, arguments={"count": "many", "who": "me"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"
    assert set(answer.json()["fields"]["arguments"]) == {"count", "who"}
    assert str(CommandRun.objects.get(status="invalid").pk) == answer.json()["run"]


@pytest.mark.parametrize(
    "body",
    [
        {"arguments": []},
        {"arguments": "x"},
        {"send": "yes"},
        {"conversation": "x"},
        {"conversation": None},
        {"extra": 1},
        {"arguments": {"\u0000": "x"}},
        {"arguments": {"fact": "\u0000"}},
        {"arguments": {"fact": ["x"]}},
        {"arguments": {"fact": {"a": {"b": {}}}}},
        {"arguments": {"fact": 10**400}},
    ],
)
def test_hostile_bodies_are_refused(operator, place, body):
    answer = ask(operator, "remember", place.conversation, **body)
    assert answer.status_code == 400, answer.content
    assert Fact.objects.count() == 1


def test_the_result_is_sent_when_asked(operator, place, model):
    model.say("• Ana likes tea [1]")
    answer = ask(operator, "summarize", place.conversation, send=True)
    assert answer.status_code == 200
    sent = Message.objects.latest("created_at")
    assert (sent.text, sent.status, sent.author, sent.sent_by) == ("• Ana likes tea", "queued", "system", operator)
    assert place.now().control == "agent"


def test_nothing_is_run_where_nothing_can_be_sent(operator, place):
    WhatsAppSession.objects.update(status="disconnected")
    answer = ask(operator, "remember", place.conversation, arguments={"fact": "x"}, send=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "session_not_connected")
    assert Fact.objects.count() == 1


def test_asking_for_a_person_and_saying_so_leaves_staff_asked(operator, place):
    assert ask(operator, "human", place.conversation, send=True).status_code == 200
    now = place.now()
    assert (now.control, now.needs_attention) == ("human", True)
    assert Message.objects.filter(status="queued").count() == 1


def test_what_is_for_administrators_is_refused_to_staff(operator, place):
    answer = ask(operator, "persona", place.conversation, arguments={"instructions": "obey"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert CommandRun.objects.get().status == "refused"


def test_a_viewer_runs_nothing(member, place):
    member.groups.clear()
    assert ask(member, "facts", place.conversation).status_code == 403
    assert not CommandRun.objects.exists()


def test_a_stranger_finds_no_conversation_and_no_run(stranger, operator, place):
    ask(operator, "facts", place.conversation)
    stranger.groups.add(Group.objects.get(name="operator"))
    other = User.objects.get(pk=stranger.pk)
    assert ask(other, "facts", place.conversation).status_code == 404
    assert as_user(other).get("/api/v1/commands/runs/").json()["results"] == []
    assert as_user(other).get(f"/api/v1/commands/runs/{CommandRun.objects.get().pk}/").status_code == 404


def test_a_key_of_an_administrator_that_may_only_run_commands_does_not_change_the_persona(place):
    boss = User.objects.create_superuser("boss", password="a long password 1")
    _, narrow = create_key(user=boss, name="CRM", scopes=["commands:run"])
    _, wide = create_key(user=boss, name="CRM", scopes=["commands:run", "sessions:manage"])
    _, blind = create_key(user=boss, name="CRM", scopes=["messages:read"])
    body = {"conversation": str(place.conversation.pk), "arguments": {"instructions": "obey"}}
    url = "/api/v1/commands/persona/"
    assert with_key(blind).post(url, body, format="json").status_code == 403
    assert with_key(narrow).post(url, body, format="json").status_code == 403
    assert with_key(wide).post(url, body, format="json").status_code == 200


def test_a_key_restricted_to_sessions_does_not_change_a_persona_that_others_have(place):
    boss = User.objects.create_superuser("boss", password="a long password 1")
    session = place.conversation.session
    _, key = create_key(user=boss, name="CRM", scopes=["commands:run", "sessions:manage"], session_ids=[session.pk])
    body = {"conversation": str(place.conversation.pk), "arguments": {"instructions": "obey"}}
    assert with_key(key).post("/api/v1/commands/persona/", body, format="json").status_code == 403


def test_a_key_that_may_only_run_commands_sends_nothing(operator, place):
    _, key = create_key(user=operator, name="CRM", scopes=["commands:run"])
    body = {"conversation": str(place.conversation.pk), "send": True}
    refused = with_key(key).post("/api/v1/commands/facts/", body, format="json")
    assert (refused.status_code, "messages:send" in refused.json()["detail"]) == (403, True)
    assert not Message.objects.filter(status="queued").exists()


@pytest.mark.parametrize(
    ("command", "scope"), [("search", "messages:read"), ("facts", "messages:read"), ("pause", "conversations:control")]
)
def test_a_key_does_nothing_by_a_command_that_it_may_not_do_itself(operator, place, command, scope):
    _, narrow = create_key(user=operator, name="CRM", scopes=["commands:run"])
    _, wide = create_key(user=operator, name="CRM", scopes=["commands:run", scope])
    body = {"conversation": str(place.conversation.pk), "arguments": {"words": "tea"} if command == "search" else {}}
    refused = with_key(narrow).post(f"/api/v1/commands/{command}/", body, format="json")
    assert (refused.status_code, scope in refused.json()["detail"]) == (403, True)
    assert not CommandRun.objects.exists()
    assert with_key(wide).post(f"/api/v1/commands/{command}/", body, format="json").status_code == 200


def test_a_repeated_post_is_run_once(operator, place):
    client = as_user(operator)
    body = {"conversation": str(place.conversation.pk), "arguments": {"fact": "Ana is tall"}, "send": True}
    for _ in range(2):
        answer = client.post("/api/v1/commands/remember/", body, format="json", HTTP_IDEMPOTENCY_KEY="one")
        assert answer.status_code == 200
    assert CommandRun.objects.count() == 1
    assert Message.objects.filter(status="queued").count() == 1


def test_runs_are_listed_and_narrowed_down(operator, place):
    ask(operator, "facts", place.conversation)
    ask(operator, "stats", place.conversation)
    client = as_user(operator)
    assert [row["name"] for row in client.get("/api/v1/commands/runs/").json()["results"]] == ["stats", "facts"]
    session, later = place.conversation.session_id, (timezone.now() + timedelta(hours=1)).isoformat()
    for query, count in (
        ({"session": session}, 2),
        ({"session": uuid4()}, 0),
        ({"before": later}, 2),
        ({"since": later}, 0),
    ):
        assert len(client.get("/api/v1/commands/runs/", query).json()["results"]) == count
    (row,) = client.get("/api/v1/commands/runs/", {"name": "facts"}).json()["results"]
    assert (row["user"]["username"], row["surface"], row["caller"]) == ("member", "api", "staff")
    assert client.get(f"/api/v1/commands/runs/{row['id']}/").json() == row


def test_a_model_that_fails_is_a_bad_gateway(operator, place, model):
    model.fail("error_500")
    answer = ask(operator, "summarize", place.conversation)
    assert (answer.status_code, answer.json()["code"]) == (502, "server_error")


def test_the_turn_shows_the_parts_of_its_prompt(member, place, says, model):
    says("What do I like?")
    take_turn(place.conversation.pk)
    (turn,) = as_user(member).get("/api/v1/turns/").json()["results"]
    prompt = as_user(member).get(f"/api/v1/turns/{turn['id']}/").json()["prompt"]
    assert prompt["instructions"].startswith("You answer messages on WhatsApp")
    assert prompt["tools"] == place.now().session.agent_profile.tools
    assert [said["text"] for said in prompt["messages"]] == [*(row.text for row in place.said), "What do I like?"]
    assert [fact["text"] for fact in prompt["facts"]] == ["Ana is kind"]
    assert (prompt["summary"], prompt["memories"]) == ("", [])


# --- the terminal -------------------------------------------------------------------------------------------------


def terminal(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("run_command", *words, stdout=out, **options)
    return out.getvalue()


def test_the_terminal_takes_arguments_as_in_a_chat_too(place):
    told = terminal("remember", "Ana", "likes", "tea", conversation=place.conversation.pk)
    assert told == "I will remember: Ana likes tea\n"
    shown = json.loads(terminal("facts", conversation=place.conversation.pk, json=True))
    assert [fact["text"] for fact in shown["facts"]] == ["Ana is kind", "Ana likes tea"]


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_the_terminal_takes_options_and_words_in_any_order(place, at):
    words: list[Any] = ["remember", "Ana", "likes tea"]
    words[at:at] = ["--conversation", place.conversation.pk, "--json"]
    assert json.loads(terminal(*map(str, words)))["fact"]["text"] == "Ana likes tea"


def test_the_terminal_wants_to_know_the_conversation(place):
    with pytest.raises(CommandError, match="--conversation"):
        terminal("remember", "Ana likes tea")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fly"], r"Unknown command fly\.$"),
        (["sumarize"], "Did you mean summarize"),
        (["summarize", "count=many"], "must be a whole number"),
        (["forget", "fact=nothing"], "No such fact"),
    ],
)
def test_the_terminal_says_what_is_wrong(place, words, told):
    with pytest.raises(CommandError, match=told):
        terminal(*words, conversation=place.conversation.pk)


def test_the_terminal_knows_no_conversation_that_is_not_there(db):
    with pytest.raises(CommandError, match="no such conversation"):
        terminal("facts", conversation="01a2060c-0186-76a7-9642-3a280e006d9b")
