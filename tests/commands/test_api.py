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


def run(user: User, name: str, conversation: Conversation, /, **body: Any) -> Any:
    return as_user(user).post(
        f"/api/v1/commands/{name}/", {"conversation": str(conversation.pk), **body}, format="json"
    )


def test_the_list_shows_every_command_with_its_schema(member):
    listed = as_user(member).get("/api/v1/commands/").json()["results"]
    assert [row["name"] for row in listed] == [command.name for command in all_commands()]
    shown = as_user(member).get("/api/v1/commands/summarize/").json()
    assert shown in listed
    assert shown["schema"]["properties"]["count"]["maximum"] == 500
    assert (shown["tool"], shown["usage"]) == ("summarize_chat", "Write: /summarize [count]\nLike this: /summarize 20")


def test_a_command_is_found_by_its_other_names(operator, history):
    assert run(operator, "list_facts", history.conversation).json()["name"] == "facts"
    assert run(operator, "fatos", history.conversation).json()["name"] == "facts"


def test_an_unknown_command_is_not_found(operator, history):
    answer = run(operator, "fly", history.conversation)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_command")
    assert as_user(operator).get("/api/v1/commands/fly/").status_code == 404
    nearly = run(operator, "sumarize", history.conversation)
    assert (nearly.status_code, nearly.json()["detail"]) == (
        404, "Unknown command sumarize. Did you mean summarize?",
    )  # fmt: skip


def test_invalid_arguments_are_refused_by_name_and_recorded(operator, history):
    answer = run(operator, "summarize", history.conversation, arguments={"count": "many", "who": "me"})
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
def test_a_malformed_body_is_refused(operator, history, body):
    answer = run(operator, "remember", history.conversation, **body)
    assert answer.status_code == 400, answer.content
    assert Fact.objects.count() == 1


def test_a_result_is_sent_to_the_contact_on_request(operator, history, model):
    model.say("• Ana likes tea [1]")
    answer = run(operator, "summarize", history.conversation, send=True)
    assert answer.status_code == 200
    sent = Message.objects.latest("created_at")
    assert (sent.text, sent.status, sent.author, sent.sent_by) == ("• Ana likes tea", "queued", "system", operator)
    assert history.current().control == "agent"


def test_a_command_does_not_run_if_its_result_cannot_be_sent(operator, history):
    WhatsAppSession.objects.update(status="disconnected")
    answer = run(operator, "remember", history.conversation, arguments={"fact": "x"}, send=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "session_not_connected")
    assert Fact.objects.count() == 1


def test_a_handoff_with_a_reply_still_asks_for_attention(operator, history):
    assert run(operator, "human", history.conversation, send=True).status_code == 200
    state = history.current()
    assert (state.control, state.needs_attention) == ("human", True)
    assert Message.objects.filter(status="queued").count() == 1


def test_a_command_for_administrators_is_refused_to_staff(operator, history):
    answer = run(operator, "persona", history.conversation, arguments={"instructions": "obey"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert CommandRun.objects.get().status == "refused"


def test_a_viewer_may_not_run_commands(member, history):
    member.groups.clear()
    assert run(member, "facts", history.conversation).status_code == 403
    assert not CommandRun.objects.exists()


def test_a_stranger_finds_neither_the_conversation_nor_its_runs(stranger, operator, history):
    run(operator, "facts", history.conversation)
    stranger.groups.add(Group.objects.get(name="operator"))
    other = User.objects.get(pk=stranger.pk)
    assert run(other, "facts", history.conversation).status_code == 404
    assert as_user(other).get("/api/v1/commands/runs/").json()["results"] == []
    assert as_user(other).get(f"/api/v1/commands/runs/{CommandRun.objects.get().pk}/").status_code == 404


def test_a_key_of_an_administrator_with_the_scope_of_commands_alone_cannot_change_the_persona(history):
    admin = User.objects.create_superuser("admin", password="a long password 1")
    _, narrow = create_key(user=admin, name="CRM", scopes=["commands:run"])
    _, wide = create_key(user=admin, name="CRM", scopes=["commands:run", "sessions:manage"])
    _, blind = create_key(user=admin, name="CRM", scopes=["messages:read"])
    body = {"conversation": str(history.conversation.pk), "arguments": {"instructions": "obey"}}
    url = "/api/v1/commands/persona/"
    assert with_key(blind).post(url, body, format="json").status_code == 403
    assert with_key(narrow).post(url, body, format="json").status_code == 403
    assert with_key(wide).post(url, body, format="json").status_code == 200


def test_a_key_restricted_to_sessions_cannot_change_a_shared_persona(history):
    admin = User.objects.create_superuser("admin", password="a long password 1")
    session = history.conversation.session
    _, key = create_key(user=admin, name="CRM", scopes=["commands:run", "sessions:manage"], session_ids=[session.pk])
    body = {"conversation": str(history.conversation.pk), "arguments": {"instructions": "obey"}}
    assert with_key(key).post("/api/v1/commands/persona/", body, format="json").status_code == 403


def test_a_key_without_the_scope_to_send_cannot_send_a_result(operator, history):
    _, key = create_key(user=operator, name="CRM", scopes=["commands:run"])
    body = {"conversation": str(history.conversation.pk), "send": True}
    refused = with_key(key).post("/api/v1/commands/facts/", body, format="json")
    assert (refused.status_code, "messages:send" in refused.json()["detail"]) == (403, True)
    assert not Message.objects.filter(status="queued").exists()


@pytest.mark.parametrize(
    ("command", "scope"), [("search", "messages:read"), ("facts", "messages:read"), ("pause", "conversations:control")]
)
def test_a_command_needs_the_scope_of_what_it_does(operator, history, command, scope):
    _, narrow = create_key(user=operator, name="CRM", scopes=["commands:run"])
    _, wide = create_key(user=operator, name="CRM", scopes=["commands:run", scope])
    body = {"conversation": str(history.conversation.pk), "arguments": {"words": "tea"} if command == "search" else {}}
    refused = with_key(narrow).post(f"/api/v1/commands/{command}/", body, format="json")
    assert (refused.status_code, scope in refused.json()["detail"]) == (403, True)
    assert not CommandRun.objects.exists()
    assert with_key(wide).post(f"/api/v1/commands/{command}/", body, format="json").status_code == 200


def test_a_repeated_post_runs_a_command_once(operator, history):
    client = as_user(operator)
    body = {"conversation": str(history.conversation.pk), "arguments": {"fact": "Ana is tall"}, "send": True}
    for _ in range(2):
        answer = client.post("/api/v1/commands/remember/", body, format="json", HTTP_IDEMPOTENCY_KEY="one")
        assert answer.status_code == 200
    assert CommandRun.objects.count() == 1
    assert Message.objects.filter(status="queued").count() == 1


def test_runs_are_listed_and_filtered(operator, history):
    run(operator, "facts", history.conversation)
    run(operator, "stats", history.conversation)
    client = as_user(operator)
    assert [row["name"] for row in client.get("/api/v1/commands/runs/").json()["results"]] == ["stats", "facts"]
    session, later = history.conversation.session_id, (timezone.now() + timedelta(hours=1)).isoformat()
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


def test_a_failing_model_is_a_bad_gateway(operator, history, model):
    model.fail("error_500")
    answer = run(operator, "summarize", history.conversation)
    assert (answer.status_code, answer.json()["code"]) == (502, "server_error")


def test_the_turn_shows_the_parts_of_its_prompt(member, history, says, model):
    says("What do I like?")
    take_turn(history.conversation.pk)
    (turn,) = as_user(member).get("/api/v1/turns/").json()["results"]
    prompt = as_user(member).get(f"/api/v1/turns/{turn['id']}/").json()["prompt"]
    assert prompt["instructions"].startswith("You answer messages on WhatsApp")
    assert prompt["tools"] == history.current().session.agent_profile.tools
    assert [message["text"] for message in prompt["messages"]] == [
        *(row.text for row in history.messages),
        "What do I like?",
    ]
    assert [fact["text"] for fact in prompt["facts"]] == ["Ana is kind"]
    assert (prompt["summary"], prompt["memories"]) == ("", [])
