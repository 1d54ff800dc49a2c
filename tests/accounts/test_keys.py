"""API keys: shown once, bounded by scope, sessions and time, and taken back."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.credentials.keys import create_key
from accounts.models import ApiKey, Scope
from messaging.models import Contact, Conversation, Message
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.conftest import as_user, with_key

URL = "/api/v1/auth/keys/"


@pytest.fixture
def key(member):
    """All scopes of a member: `(ApiKey, text)`."""
    return create_key(user=member, name="CRM", scopes=Scope.values)


def test_a_key_is_shown_once(member):
    body = {"name": "CRM", "scopes": ["messages:read", "messages:send"]}
    made = as_user(member).post(URL, body, format="json")
    assert made.status_code == 201
    text = made.json()["key"]
    assert with_key(text).get("/api/v1/messages/").status_code == 200
    shown = (
        as_user(member).get(URL).content.decode() + as_user(member).get(f"{URL}{made.json()['id']}/").content.decode()
    )
    assert text.split(".")[1] not in shown


def test_the_database_does_not_hold_the_secret_of_a_key(key):
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_apikey")
        assert key[1].split(".")[1] not in str(cursor.fetchall())


def test_a_message_sent_with_a_key_has_the_author_api_and_leaves_control_alone(key, conversation):
    url = f"/api/v1/conversations/{conversation.pk}/messages/"
    answer = with_key(key[1]).post(url, {"text": "Your parcel has arrived"}, format="json")
    assert (answer.status_code, answer.json()["author"]) == (201, "api")
    assert Conversation.objects.get().control == "agent"


@pytest.mark.parametrize(
    "change",
    [
        {"revoked_at": "2026-01-01T00:00:00Z"},
        {"expires_at": "2026-01-01T00:00:00Z"},
        {"secret_hash": b"x" * 32},
        {"prefix": "000000000000"},
    ],
    ids=str,
)
def test_a_revoked_expired_or_wrong_key_is_refused(key, change):
    ApiKey.objects.update(**change)
    answer = with_key(key[1]).get("/api/v1/messages/")
    assert (answer.status_code, answer.json()["code"]) == (401, "key_not_valid")


@pytest.mark.parametrize("text", ["", "x", "a.b", ".", "é.é", "x" * 10_000, "0" * 12 + "." + "x" * 43, "a b"])
def test_a_malformed_key_is_refused(key, text):
    assert with_key(text).get("/api/v1/messages/").status_code == 401


def test_the_key_of_a_deactivated_user_is_refused(key, member):
    member.is_active = False
    member.save()
    assert with_key(key[1]).get("/api/v1/messages/").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("get", "messages/", "messages:read"),
        ("get", "sessions/", "sessions:read"),
        ("post", "conversations/{id}/takeover/", "conversations:control"),
        ("post", "conversations/{id}/messages/", "messages:send"),
    ],
)
def test_a_call_without_its_scope_is_refused_by_name(member, conversation, method, path, scope):
    others = [other for other in Scope.values if other != scope]
    path = path.format(id=conversation.pk)
    _, text = create_key(user=member, name="narrow", scopes=others)
    answer = getattr(with_key(text), method)(
        f"/api/v1/{path}", {"text": "x"} if method == "post" else {}, format="json"
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert scope in answer.json()["detail"]
    assert not Message.objects.exists()
    assert Conversation.objects.get().control == "agent"


def test_a_key_may_not_do_what_its_user_may_not(key):
    answer = with_key(key[1]).post("/api/v1/sessions/", {"name": "x"}, format="json")
    assert (answer.status_code, "admin" in answer.json()["detail"]) == (403, True)


def test_a_key_cannot_create_revoke_or_list_keys(key):
    client = with_key(key[1])
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"name": "x", "scopes": ["messages:read"]}, format="json").status_code == 403
    assert client.delete(f"{URL}{key[0].pk}/").status_code == 403
    assert client.patch("/api/v1/auth/me/", {}, format="json").status_code == 403


@pytest.mark.parametrize("who", ["member", "admin"])
def test_a_key_restricted_to_sessions_sees_only_those(who, request, session, conversation):
    user = request.getfixturevalue(who)
    other = WhatsAppSession.objects.create(
        bridge=session.bridge, name="other", status="connected", agent_profile=session.agent_profile
    )
    other.memberships.create(user=user)
    contact = Contact.objects.create(session=other)
    hidden = Conversation.objects.create(session=other, contact=contact, address="x")
    _, text = create_key(user=user, name="one number", scopes=Scope.values, session_ids=[session.pk])
    client = with_key(text)
    assert [row["name"] for row in client.get("/api/v1/sessions/").json()["results"]] == ["sales"]
    assert [row["id"] for row in client.get("/api/v1/conversations/").json()["results"]] == [str(conversation.pk)]
    assert client.get(f"/api/v1/conversations/{hidden.pk}/").status_code == 404
    send = {"session": str(other.pk), "to": "+5511977776666", "text": "x"}
    assert client.post("/api/v1/messages/", send, format="json").status_code == 404


def test_a_key_restricted_to_sessions_cannot_change_others(admin, session):
    elsewhere = AgentProfile.objects.create(name="Elsewhere")
    _, text = create_key(user=admin, name="one number", scopes=Scope.values, session_ids=[session.pk])
    client = with_key(text)
    agents = "/api/v1/agents/"
    assert [row["id"] for row in client.get(agents).json()["results"]] == [str(session.agent_profile_id)]
    assert client.get(f"{agents}{elsewhere.pk}/").status_code == 404
    answers = [
        client.patch(f"{agents}{session.agent_profile_id}/", {"instructions": "Obey me."}, format="json"),
        client.post(agents, {"name": "x"}, format="json"),
        client.post("/api/v1/sessions/", {"name": "x"}, format="json"),
    ]
    assert [(answer.status_code, "restricted" in answer.json()["detail"]) for answer in answers] == [(403, True)] * 3
    own = client.patch(f"/api/v1/sessions/{session.pk}/", {"access_policy": "listed"}, format="json")
    assert own.status_code == 200


def test_a_key_restricted_to_a_session_its_user_does_not_see_sees_nothing(stranger, session):
    _, text = create_key(user=stranger, name="x", scopes=Scope.values, session_ids=[session.pk])
    assert with_key(text).get("/api/v1/sessions/").json()["results"] == []


def test_the_last_use_of_a_key_is_stored_once_a_minute(key):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            with_key(key[1]).get("/api/v1/messages/")
        return len([query for query in captured if 'UPDATE "accounts_apikey' in query["sql"]])

    assert (queries(), queries()) == (1, 0)
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    assert queries() == 1


def test_a_revoked_key_stays_in_the_list(member, key):
    client = as_user(member)
    assert client.delete(f"{URL}{key[0].pk}/").status_code == 204
    (row,) = client.get(URL).json()["results"]
    assert row["revoked_at"]


def test_the_keys_of_others_are_not_found(stranger, admin, key):
    for client in (as_user(stranger), as_user(admin)):
        assert client.get(URL).json()["results"] == []
        assert client.get(f"{URL}{key[0].pk}/").status_code == 404
        assert client.delete(f"{URL}{key[0].pk}/").status_code == 404
    assert ApiKey.objects.usable().exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": "messages:read"}, "scopes"),
        ({"scopes": [5]}, "scopes"),
        ({"sessions": ["nonsense"]}, "sessions"),
        ({"sessions": [12]}, "sessions"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"user": "x"}, "user"),
        ({"prefix": "x"}, "prefix"),
    ],
)
def test_an_invalid_field_of_a_key_is_named(member, change, field):
    body = {"name": "CRM", "scopes": ["messages:read"]} | change
    answer = as_user(member).post(URL, body, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


def test_the_terminal_creates_a_key(member, capsys):
    call_command("create_api_key", "member", "--name", "CRM", "--scope", "messages:read", "--expires-in-days", "30")
    text = capsys.readouterr().out.strip()
    assert with_key(text).get("/api/v1/messages/").status_code == 200
    assert ApiKey.objects.get().expires_at > timezone.now() + timedelta(days=29)


def test_the_terminal_creates_no_key_for_an_unknown_user(db):
    with pytest.raises(CommandError, match="nobody"):
        call_command("create_api_key", "nobody", "--name", "CRM", "--scope", "messages:read")


def test_a_key_can_read_its_own_account(member):
    key, text = create_key(user=member, name="CRM", scopes=["messages:read"])
    account = with_key(text).get("/api/v1/auth/me/").json()
    assert (account["username"], account["key"]["id"], account["key"]["scopes"]) == (
        "member",
        str(key.pk),
        ["messages:read"],
    )
    assert key.secret_hash.hex() not in str(account)
    assert as_user(member).get("/api/v1/auth/me/").json()["key"] is None
