"""The API's description of itself: without a warning, committed, and served with its pages."""

from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from accounts.openapi import REQUEST_EXAMPLES, RESPONSE_EXAMPLES, schema
from accounts.serializers import ApiKeySerializer, LoginSerializer
from messaging.serializers import MessageCreateSerializer, ReplySerializer, TakeOverSerializer
from messaging.webhooks.views import EndpointCreateSerializer
from sessions_app.serializers import AgentProfileSerializer

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"


def test_the_committed_schema_is_the_present_one(tmp_path):
    made = tmp_path / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(made))
    assert made.read_text() == COMMITTED.read_text(), "run `make docs`, and look at what changed for clients"


def test_the_schema_says_whose_it_is():
    info = schema()["info"]
    assert (info["title"], info["version"]) == ("WhatsApp Agent API", "1.0.0")
    assert info["description"] == "Backend API for WhatsApp Agent System"
    assert schema()["servers"][0]["url"] == "/"


def operations():
    return [
        (path, method, operation)
        for path, methods in schema()["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_says_what_it_does_what_it_needs_and_how_it_fails():
    for path, method, operation in operations():
        assert operation["summary"], (path, method)
        assert "Needs the role" in operation["description"] or "Open to everyone" in operation["description"]
        assert {"400", "401", "429", "500"} <= operation["responses"].keys(), (path, method)


def test_what_creates_or_sends_takes_an_idempotency_key():
    without = {
        path
        for path, method, operation in operations()
        if method == "post" and not any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", []))
    }
    assert without == {
        "/api/v1/auth/token/",
        "/api/v1/auth/token/refresh/",
        "/api/v1/auth/token/verify/",
        "/api/v1/auth/logout/",
        "/api/v1/conversations/{id}/takeover/",  # these change a state, and may be repeated without harm
        "/api/v1/conversations/{id}/release/",
        "/api/v1/conversations/{id}/read/",
        "/api/v1/sessions/{id}/logout/",
        "/api/v1/sessions/{id}/restart/",
    }


def test_every_body_in_json_is_shown_by_an_example_that_fits():
    bodies = [
        (path, operation["requestBody"]["content"]["application/json"]["schema"])
        for path, _, operation in operations()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    named = [(path, body["$ref"].split("/")[-1]) for path, body in bodies if "$ref" in body]
    assert {name for _, name in named} == REQUEST_EXAMPLES.keys()
    assert all(path.startswith("/api/v1/commands/") for path, body in bodies if "$ref" not in body)
    for _, name in named:
        described = schema()["components"]["schemas"][name]
        assert set(described.get("required", [])) <= set(described["example"]) <= set(described["properties"]), name


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("form", "name"),
    [
        (LoginSerializer, "LoginRequest"),
        (ApiKeySerializer, "ApiKeyRequest"),
        (AgentProfileSerializer, "AgentProfileRequest"),
        (MessageCreateSerializer, "MessageCreateRequest"),
        (ReplySerializer, "ReplyRequest"),
        (TakeOverSerializer, "TakeOverRequest"),
        (EndpointCreateSerializer, "EndpointCreateRequest"),
    ],
)
def test_an_example_is_taken_as_it_stands(form, name):
    filled = form(data=REQUEST_EXAMPLES[name])
    assert filled.is_valid(), filled.errors


def test_every_parameter_is_described():
    assert [
        (path, parameter["name"])
        for path, _, operation in operations()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ] == []


@pytest.mark.parametrize("name", RESPONSE_EXAMPLES)
def test_the_example_of_an_answer_is_one(name):
    described = schema()["components"]["schemas"][name]
    shown = described["example"]
    assert set(described.get("required", [])) <= shown.keys() <= described["properties"].keys()
    for field, value in shown.items():
        assert value is not None or described["properties"][field].get("nullable"), field


def test_both_ways_to_authenticate_are_described():
    assert set(schema()["components"]["securitySchemes"]) == {"token", "key"}


def test_the_schema_is_served_as_yaml_and_as_json(db):
    assert yaml.safe_load(Client().get("/api/schema/").content)["openapi"].startswith("3.")
    answer = Client().get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert answer.json()["info"]["title"] == "WhatsApp Agent API"


@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_its_pages_come_from_us_alone(db, uncollected, path):
    answer = Client().get(path)
    page = answer.content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert "https://" not in page.replace("https://www.w3.org", "")
    # Nor may what comes from us ask others: Redoc's own script does.
    sources = [part.split()[1:] for part in answer.headers["Content-Security-Policy"].split("; ")]
    assert {source for of in sources for source in of} <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
