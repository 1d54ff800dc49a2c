"""What every request passes: CORS, the client's address, trailing slashes, and the health check's fast path."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from accounts.models import LoginFailures
from accounts.openapi import schema
from sessions_app.models import Bridge
from tests.conftest import as_user

V1 = "/api/v1/"
ORIGIN = "http://localhost:8080"


def preflight(path: str, origin: str = ORIGIN, method: str = "POST", headers: str = "content-type") -> Any:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return Client().options(path, headers={"Origin": origin} | asked)


# --- CORS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api/v1/messages/", "/api/v1/webhooks/default/x/", "/health/", "/health/ready", "/admin/", "/nothing", "/"],
)
def test_cors_with_credentials_holds_on_every_path(db, path):
    for answer in (preflight(path), Client().get(path, headers={"Origin": ORIGIN})):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "origin" in answer.headers["Vary"].lower()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"])
def test_cors_allows_every_method_and_header(method):
    answer = preflight(f"{V1}messages/", method=method, headers="x-anything, X-Request-Id,authorization")
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"x-anything", "x-request-id", "authorization"} <= set(allowed)
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")


def test_cors_allows_no_other_origin():
    answer = preflight(f"{V1}messages/", "https://elsewhere.example", headers="x-anything")
    assert not [name for name in answer.headers if name.lower().startswith("access-control-allow")]


def test_an_invalid_list_of_header_names_is_not_repeated():
    answer = preflight(f"{V1}messages/", headers="x-a; evil, (x)")
    assert "evil" not in answer.headers["Access-Control-Allow-Headers"]


def test_with_a_star_every_origin_is_allowed_by_its_name(settings):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    answer = preflight(f"{V1}messages/", "https://any.example:8443")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://any.example:8443"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


# --- trailing slashes ---------------------------------------------------------------------------------------------


def _routes(resolver: URLResolver, prefix: str = "/") -> list[str]:
    paths = []
    for pattern in resolver.url_patterns:
        route = prefix + re.sub(r"\^|\$", "", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            paths += _routes(pattern, route)
        elif isinstance(pattern, URLPattern):
            paths.append(route)
    return paths


def test_every_route_is_served_without_its_trailing_slash(admin, log_in, settings):
    settings.ANONYMOUS_RATE_PER_MINUTE = 0
    client = log_in(admin)
    routes = [route for route in _routes(get_resolver()) if route.endswith("/") and route != "/" and "(" not in route]
    plain = [route for route in routes if "<" not in route]
    assert len(plain) > 30
    for route in plain:
        with_slash, without = client.get(route), client.get(route[:-1])
        assert without.status_code == with_slash.status_code, route
        assert without.headers.get("Location") == with_slash.headers.get("Location"), route


def test_a_post_without_the_trailing_slash_keeps_its_body(member, conversation):
    answer = as_user(member).post(f"{V1}conversations/{conversation.pk}/takeover", {"minutes": 5}, format="json")
    assert answer.status_code in {200, 403}
    answer = APIClient().post(f"{V1}auth/token", {"username": "nobody", "password": "x"}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credentials")


@pytest.mark.parametrize("path", ["messages", "conversations/{id}", "conversations/{id}/messages"])
def test_the_api_answers_the_same_without_the_trailing_slash(member, conversation, path):
    client = as_user(member)
    path = path.format(id=conversation.pk)
    first, second = client.get(f"{V1}{path}/"), client.get(f"{V1}{path}")
    assert (first.status_code, first.content) == (200, second.content)


def test_the_same_idempotency_key_with_and_without_the_slash_is_one_request(member):
    client = as_user(member)
    body, headers = {"name": "CRM", "scopes": ["events:read"]}, {"Idempotency-Key": "one"}
    first = client.post(f"{V1}auth/keys/", body, format="json", headers=headers)
    second = client.post(f"{V1}auth/keys", body, format="json", headers=headers)
    assert (first.status_code, second.json()) == (201, first.json())


def test_an_unknown_route_stays_unknown_without_the_slash(client):
    assert client.get("/admin/nothing").status_code in {302, 404}
    assert client.get("/api/v1/nothing").status_code == 404
    assert client.get("/nothing").status_code == 404


# --- the client's address -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("9.9.9.9, 203.0.113.7:51234", "203.0.113.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:DB8:0::1]:443"', "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("203.0.113.7:", "127.0.0.1"),
    ],
)
def test_a_forwarded_address_is_read_without_its_port(db, settings, forwarded_for, address):
    settings.HTTPS = True
    headers = {"X-Forwarded-For": forwarded_for}
    APIClient().post(f"{V1}auth/token/", {"username": "ana", "password": "x"}, format="json", headers=headers)
    assert LoginFailures.objects.get().address == address


def test_guessing_through_a_proxy_that_adds_ports_is_locked_out(db, settings):
    settings.HTTPS = True
    settings.ANONYMOUS_RATE_PER_MINUTE = 0
    for port in range(50_000, 50_006):
        headers = {"X-Forwarded-For": f"203.0.113.7:{port}"}
        answer = APIClient().post(
            f"{V1}auth/token/", {"username": "ana", "password": "x"}, format="json", headers=headers
        )
    assert answer.status_code == 429


# --- health -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["10.42.8.201:8000", "elsewhere.example", "[2001:db8::1]:80", "_underscore"])
@pytest.mark.parametrize("path", ["/health/", "/health"])
def test_health_answers_any_host(client, path, host):
    answer = client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


def test_readiness_answers_any_host(client, db):
    assert client.get("/health/ready/", headers={"Host": "10.42.8.201:8000"}).status_code in {200, 503}


def test_no_other_route_answers_any_host(client, db):
    for path in ("/healthy/", "/health/x/", "/admin/", f"{V1}messages/"):
        assert client.get(path, headers={"Host": "10.42.8.201:8000"}).status_code == 400


# --- queries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "messages/?page_size=1&page_size=2",
        "messages/?cursor=a&cursor=b",
        "messages/?session=a&session=b",
        "messages/?unknown=a&unknown=a",
        "messages/?since=2026-01-01T00:00:00Z&since=2026-01-02T00:00:00Z",
        "sessions?page_size=1&page_size=1",
        "events/?limit=1&limit=2",
        "commands/?x=1&x=2",
        "auth/me/?x=1&x=2",
        "conversations/{id}/?x=1&x=2",
        "conversations/{id}/messages/?page_size=1&page_size=2",
        "conversations/{id}/search/?q=a&q=b",
    ],
)
def test_a_parameter_that_is_given_twice_is_refused_by_name(member, conversation, path):
    answer = as_user(member).get(f"{V1}{path.format(id=conversation.pk)}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    (errors,) = answer.json()["fields"].values()
    assert errors == ["Duplicate parameter."]


def test_a_post_with_a_parameter_given_twice_is_refused(member):
    answer = as_user(member).post(f"{V1}auth/keys/?x=1&x=2", {"name": "a", "scopes": ["events:read"]}, format="json")
    assert (answer.status_code, answer.json()["fields"]) == (400, {"x": ["Duplicate parameter."]})


def test_a_filter_that_takes_several_values_may_be_given_twice(member, conversation):
    assert as_user(member).get(f"{V1}messages/?status=sent&status=failed").status_code == 200


@pytest.mark.parametrize("value", ["%00", "a%00b"])
def test_nul_in_any_parameter_of_the_api_is_refused(admin, value):
    client = as_user(admin)
    asked = 0
    for path, methods in schema()["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", ()):
            if "{" not in path and parameter["in"] == "query":
                asked += 1
                answer = client.get(f"{path}?{parameter['name']}={value}")
                assert answer.status_code == 400, (path, parameter["name"])
    assert asked > 30


@pytest.mark.parametrize("value", ["%00", "a%00b"])
@pytest.mark.parametrize(
    "path",
    [
        "messaging/message/?q=",
        "messaging/message/?status__exact=",
        "messaging/conversation/?control__exact=",
        "messaging/contact/?q=",
        "accounts/user/?q=",
        "accounts/user/?username=",
        "accounts/apikey/?q=",
        "sessions_app/whatsappsession/?status__exact=",
        "autocomplete/?app_label=messaging&model_name=conversation&field_name=contact&term=",
        "autocomplete/?app_label=sessions_app&model_name=whatsappsession&field_name=agent_profile&term=",
        "autocomplete/?app_label=accounts&model_name=apikey&field_name=user&term=",
    ],
)
def test_nul_in_a_query_of_the_admin_is_not_a_server_error(admin, log_in, path, value):
    assert log_in(admin).get(f"/admin/{path}{value}").status_code in {200, 302, 400, 403, 404}


# --- the admin behind a proxy -------------------------------------------------------------------------------------


def _log_in_page(client: Client, origin: str) -> int:
    page = client.get("/admin/login/", secure=True, headers={"Host": "testserver"})
    token = page.cookies["csrftoken"].value
    return client.post(
        "/admin/login/",
        {"username": "x", "password": "y", "csrfmiddlewaretoken": token},
        secure=True,
        headers={"Host": "testserver", "Origin": origin},
    ).status_code


def test_the_admins_login_works_at_an_origin_that_is_trusted(db, settings, log_in):
    assert _log_in_page(Client(enforce_csrf_checks=True), "https://testserver:8443") == 403
    settings.CSRF_TRUSTED_ORIGINS = ["https://testserver:8443"]
    assert _log_in_page(Client(enforce_csrf_checks=True), "https://testserver:8443") == 200
    assert _log_in_page(Client(enforce_csrf_checks=True), "https://elsewhere.example") == 403


def test_a_webhook_is_served_without_its_trailing_slash(db):
    bridge = Bridge.objects.first()
    slug = bridge.slug if bridge else "default"
    assert Client().post(f"{V1}webhooks/{slug}/wrong", b"{}", content_type="application/json").status_code in {401, 404}
