"""Every route of the URL configuration, asked by everyone, against the table in accounts.permissions."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import Client
from django.urls import URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials.keys import create_key
from accounts.models import Role, Scope, User
from accounts.permissions import MATRIX, as_markdown
from commands.models import CommandRun
from messaging.models import (
    Contact,
    ContactMerge,
    Conversation,
    Knowledge,
    LibraryFile,
    Media,
    Message,
    MessageTemplate,
    Note,
    SavedReply,
    Turn,
)
from messaging.webhooks.deliveries import send_test
from messaging.webhooks.endpoints import create_endpoint
from sessions_app.models import AgentProfile, Membership, WhatsAppSession
from tests.conftest import as_user, with_key

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
# Routes that are not the API's: open ones, and pages for staff who logged in with a cookie.
OPEN_PAGES = ["health/", "health/ready/"]
STAFF_PAGES = ("admin/", "simulator/")
# Below them; browsers ask for a manifest without cookies, and for a script that holds nothing of anybody.
OPEN_NAMES = {"login", "logout", "inbox-manifest", "inbox-worker"}
REFUSED = {401, 403, 404}


@cache
def routes() -> list[tuple[str, str | None, Any]]:
    return list(walk(get_resolver(), ""))


def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, str | None, Any]]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLResolver):
            yield from walk(pattern, path)
        else:
            yield path, pattern.name, pattern.callback


def api_calls() -> list[tuple[str, str]]:
    """`(route name, method)` of everything the API's views answer."""
    calls = []
    for path, name, callback in routes():
        if path.startswith("api/") and hasattr(callback, "cls"):
            names = set(callback.cls.http_method_names) - {"head", "options", "trace"}
            methods = getattr(callback, "actions", None) or {
                method: method for method in ("get", "post", "put", "patch", "delete") if hasattr(callback.cls, method)
            }
            calls += [(str(name), method.upper()) for method in methods if method in names]
    return sorted(set(calls))  # each command has a path of its own, of one name


def test_the_matrix_lists_exactly_the_calls_of_the_api():
    assert api_calls() == sorted((route, method) for route, methods in MATRIX.items() for method in methods)


def test_the_permissions_page_shows_the_matrix():
    assert DOCUMENT.read_text().endswith(as_markdown()), "run `make docs`"


def test_every_other_route_is_listed_here():
    """A page nobody thought of here is a page nobody thought about."""
    known = ("api/", "webhooks", "simulator", "admin/", "health", "media/", "metrics")
    assert [path for path, _, _ in routes() if path and not path.startswith(known)] == []  # "" leads to the admin


# --- the walk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world(simulator, profile, settings, tmp_path):
    """One row of everything, in a session of the simulator; which row stands for a route is told by its name."""
    settings.MEDIA_ROOT = tmp_path
    own_profile = AgentProfile.objects.create(name="Spare")
    session = WhatsAppSession.objects.create(
        bridge=simulator, name="walk", status="connected", agent_profile=own_profile, phone="+5511999990000"
    )
    contact = Contact.objects.create(session=session, phone="+5511988887777")
    conversation = Conversation.objects.create(
        session=session, contact=contact, address="5511988887777@s.whatsapp.net", control="human"
    )
    turn = Turn.objects.create(conversation=conversation, outcome="failed", started_at=timezone.now())
    message = Message.objects.create(
        session=session, conversation=conversation, direction="outbound", author="agent", status="failed", text="Hi"
    )
    users = {
        "stranger": person("stranger", "operator"),
        "outsider": person("outsider", "viewer"),
        "viewer": person("viewer", "viewer", session),
        "nothing": person("nothing", None, session),
        "operator": person("operator", "operator", session),
        "admin": person("admin", "admin"),
    }
    key, _ = create_key(user=users["admin"], name="walk", scopes=["messages:read"])
    endpoint = create_endpoint(owner=users["operator"], url="https://nobody.invalid/hook")
    return {
        "users": users,
        "ids": {
            "session": session.pk,
            "agent": own_profile.pk,
            "contact": contact.pk,
            "conversation": conversation.pk,
            "merge": ContactMerge.objects.create(
                session=session, contact=contact, merged_id=contact.pk, status="proposed", reason="phones"
            ).pk,
            "message": message.pk,
            "note": Note.objects.create(conversation=conversation, text="Call back").pk,
            "turn": turn.pk,
            "command": "facts",
            "bridge": "simulator",
            "run": CommandRun.objects.create(
                conversation=conversation, name="facts", surface="api", caller="staff", status="done"
            ).pk,
            "key": key.pk,
            "knowledge": Knowledge.objects.create(agent_profile=own_profile, title="Opening", text="At nine.").pk,
            "library-file": LibraryFile.objects.create(
                agent_profile=own_profile, name="prices", kind="document", mime_type="application/pdf", size_bytes=5
            ).pk,
            "saved-reply": SavedReply.objects.create(session=session, shortcut="hours", text="We open at 9.").pk,
            "template": MessageTemplate.objects.create(
                session=session, account="1", name="hello", language="en", status="APPROVED", synced_at=timezone.now()
            ).pk,
            "media": Media.objects.create(message=message, file=ContentFile(b"%PDF-", name="receipt.pdf")).pk,
            "webhook-endpoint": endpoint.pk,
            "webhook-delivery": send_test(endpoint).pk,
        },
    }


def person(name: str, role: str | None, *sessions: WhatsAppSession) -> User:
    user = User.objects.create_user(name, password="a long password 1")
    if role:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    for session in sessions:
        Membership.objects.create(session=session, user=user)
    return user


def url_of(route: str, world: dict[str, Any]) -> str:
    path = next(path for path, name, callback in routes() if name == route and hasattr(callback, "cls"))
    while "<" in path:
        area = next((area for area in world["ids"] if f"{route}-".startswith(f"{area}-")), route)
        start = min(at for at in (path.find("(?P<"), path.find("<")) if at >= 0)
        end = path.index(")", start) if path[start] == "(" else path.index(">", start)
        assert area in world["ids"], f"say in `world` which row stands for {route}"
        path = path[:start] + str(world["ids"][area]) + path[end + 1 :]
    return f"/{path.replace('^', '').replace('$', '')}"


@contextmanager
def undone() -> Iterator[None]:
    """Whatever is changed inside is as it was before."""
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


def ask(client: APIClient, route: str, method: str, world: dict[str, Any]) -> int:
    with undone():
        body = {} if method in {"POST", "PATCH"} else None
        answer = getattr(client, method.lower())(url_of(route, world), body, format="json")
    assert answer.status_code < 500, answer.content
    assert answer.status_code not in {405, 429}
    return answer.status_code


def is_one_row(route: str, world: dict[str, Any]) -> bool:
    """Whether the route names a row that only some may see: a command is no row."""
    return any(str(pk) in url_of(route, world) for pk in world["ids"].values() if not isinstance(pk, str))


# A test asks all routes of an area: `world` takes longer than most of the requests.
AREAS = sorted({route.partition("-")[0] for route, _ in api_calls()})


def calls_of(area: str) -> list[tuple[str, str]]:
    return [(route, method) for route, method in api_calls() if route.partition("-")[0] == area]


@pytest.mark.parametrize("area", AREAS)
def test_a_call_is_allowed_to_the_roles_in_the_matrix(world, uncollected, area):
    for route, method in calls_of(area):
        check_roles(world, route, method)


def check_roles(world: dict[str, Any], route: str, method: str) -> None:
    access = MATRIX[route][method]
    answers = {name: ask(as_user(user), route, method, world) for name, user in world["users"].items()}
    nobody = ask(as_user(), route, method, world)
    if access.role is None:
        assert not {nobody, *answers.values()} & {403, 404}, f"{method} {route}"
        return
    assert nobody == 401, f"{method} {route}"
    roles = {"viewer": Role.VIEWER, "nothing": Role.VIEWER, "operator": Role.OPERATOR, "admin": Role.ADMIN}
    if route == "key-detail":  # whose it is
        roles = {"admin": Role.ADMIN}
    if route.startswith("webhook-") and is_one_row(route, world):  # likewise the operator's; administrators see all
        roles = {"operator": Role.OPERATOR, "admin": Role.ADMIN}
    for name, role in roles.items():
        assert (answers[name] not in REFUSED) == (role >= access.role), f"{method} {route}, {name}: {answers[name]}"
        assert role >= access.role or answers[name] == 403, f"{method} {route}, {name}: {answers[name]}"
    others = answers["stranger"], answers["outsider"]
    if is_one_row(route, world):
        assert others == (404, 404), f"{method} {route}"
    else:
        assert (others[0] == 403) == (access.role > Role.OPERATOR), f"{method} {route}"


@pytest.mark.parametrize("area", AREAS)
def test_a_key_may_do_only_what_its_scopes_allow(world, area):
    for route, method in calls_of(area):
        with undone():
            check_scopes(world, route, method)


def check_scopes(world: dict[str, Any], route: str, method: str) -> None:
    access, admin = MATRIX[route][method], world["users"]["admin"]
    if access.role is None:
        return
    _, without = create_key(
        user=admin, name="without", scopes=[scope for scope in Scope.values if scope != access.scope]
    )
    refused = ask(with_key(without), route, method, world)
    if access.any_key:
        assert refused not in REFUSED, f"{method} {route}"
        return
    assert refused == 403, f"{method} {route}"
    if access.scope is not None:
        _, only = create_key(user=admin, name="only", scopes=[access.scope])
        assert ask(with_key(only), route, method, world) not in REFUSED, f"{method} {route}"


@pytest.mark.parametrize("area", AREAS)
def test_an_unknown_field_is_refused_by_name(world, area):
    client = as_user(world["users"]["admin"])
    for route, method in calls_of(area):
        if method in {"POST", "PATCH"}:
            answer = getattr(client, method.lower())(url_of(route, world), {"nonsense": 1}, format="json")
            assert (answer.status_code, "nonsense" in answer.json()["fields"]) == (400, True), f"{method} {route}"


# --- what is not the API's ----------------------------------------------------------------------------------------


def staff_pages() -> list[str]:
    """Pages whose address holds no id, and with one that is nobody's where it does."""
    nobody = "00000000-0000-0000-0000-000000000000"
    pages = []
    for path, name, _ in routes():
        if path.startswith(STAFF_PAGES) and "(?P" not in path and name not in OPEN_NAMES:
            for parameter in ("<path:object_id>", "<uuid:session_id>", "<uuid:conversation_id>"):
                path = path.replace(parameter, nobody)
            pages.append(path.replace("<int:content_type_id>", "1").replace("<path:content_type_id>", "1"))
    return sorted(set(pages))


@pytest.mark.parametrize("path", staff_pages())
def test_a_page_for_staff_is_refused_to_others(path, member, client: Client, uncollected):
    url = "/" + path.split("<")[0]
    for ask in (client.get, client.post):
        assert is_refused(ask(url)), url
    client.force_login(member)
    for ask in (client.get, client.post):
        assert is_refused(ask(url)), url


def is_refused(answer: Any) -> bool:
    is_to_login = answer.status_code == 302 and "/admin/login/" in answer.headers["Location"]
    return is_to_login or answer.status_code in {401, 403, 404, 405}


@pytest.mark.parametrize("path", OPEN_PAGES)
def test_the_health_pages_are_open_to_everyone(path, client: Client, db):
    assert client.get(f"/{path}").status_code in {200, 503}


def test_a_webhook_requires_its_secret(client: Client, bridges):
    for path in ("default/", "default/wrong/", "unknown/x/"):
        assert client.post(f"/api/v1/webhooks/{path}", "{}", content_type="application/json").status_code == 401
