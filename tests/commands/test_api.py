"""Commands through the API: found, run, refused and recorded."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.credentials.keys import create_key
from accounts.models import User
from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import all_commands
from messaging.models import Conversation, Fact, Message
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user, with_key

pytestmark = pytest.mark.usefixtures("profile")


def ask(user: User, name: str, conversation: Conversation, /, **body: Any) -> Any:
    return as_user(user).post(
        f"/api/v1/commands/{name}/", {"conversation": str(conversation.pk), **body}, format="json"
    )


def test_the_registry_is_shown_with_the_schema_of_each(member):
    listed = as_user(member).get("/api/v1/commands/").json()["results"]
    assert [row["name"] for row in listed] == [command.name for command in all_commands()]
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
