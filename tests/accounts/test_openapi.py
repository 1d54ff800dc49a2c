"""The API's description of itself: without a warning, committed, and served with its pages."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
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


def test_the_schema_has_the_title_version_and_description_of_the_plan():
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


def test_every_operation_documents_its_purpose_access_and_errors():
    for path, method, operation in operations():
        assert operation["summary"], (path, method)
        assert "Needs the role" in operation["description"] or "Open to everyone" in operation["description"]
        assert {"400", "401", "429", "500"} <= operation["responses"].keys(), (path, method)


def test_every_post_that_creates_or_sends_takes_an_idempotency_key():
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
        "/api/v1/conversations/import/",  # so is a chat
        "/api/v1/contacts/{id}/forget/",  # once or twice is the same
        "/api/v1/conversations/{id}/takeover/",  # these change a state, and may be repeated without harm
        "/api/v1/conversations/{id}/release/",
        "/api/v1/conversations/{id}/read/",
        "/api/v1/conversations/{id}/assign/",
        "/api/v1/conversations/{id}/labels/",
        "/api/v1/conversations/{id}/snooze/",
        "/api/v1/conversations/{id}/done/",
        "/api/v1/conversations/{id}/reopen/",
        "/api/v1/sessions/{id}/logout/",
        "/api/v1/sessions/{id}/pairing-code/",  # a code is not stored, and an old one is of no use
        "/api/v1/sessions/{id}/register/",
        "/api/v1/sessions/{id}/restart/",
    }


def test_every_json_body_has_a_fitting_example():
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
def test_a_request_example_is_accepted_as_it_stands(form, name):
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
def test_a_response_example_has_the_fields_of_its_schema(name):
    described = schema()["components"]["schemas"][name]
    shown = described["example"]
    assert set(described.get("required", [])) <= shown.keys() <= described["properties"].keys()
    for field, value in shown.items():
        assert value is not None or described["properties"][field].get("nullable"), field


def test_both_ways_to_authenticate_are_described():
    assert set(schema()["components"]["securitySchemes"]) == {"token", "key"}


def test_the_schema_is_served_as_yaml_and_as_json(db):
    assert yaml.safe_load(Client().get("/api/schema/").content)["openapi"].startswith("3.")
    for accept in ("application/vnd.oai.openapi+json", "application/json"):
        answer = Client().get("/api/schema/", headers={"Accept": accept})
        assert answer.json()["info"]["title"] == "WhatsApp Agent API"


@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_the_documentation_pages_load_nothing_from_other_hosts(db, uncollected, path):
    answer = Client().get(path)
    page = answer.content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert "https://" not in page.replace("https://www.w3.org", "")
    # Nor may what comes from us ask others: Redoc's own script does.
    sources = [part.split()[1:] for part in answer.headers["Content-Security-Policy"].split("; ")]
    assert {source for of in sources for source in of} <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 as a JSON schema, to the letter: `nullable` widens the `type` beside it and means nothing else.

    An object has the properties that are named, and no others.
    """
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: as_json_schema(member) for name, member in node.items() if name not in {"example", "nullable"}}
    if node.get("nullable") and isinstance(node.get("type"), str):
        made["type"] = [node["type"], "null"]
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def nodes(node: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(node, dict):
        yield path, node
        for name, member in node.items():
            if name != "example":
                yield from nodes(member, (*path, str(name)))
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from nodes(item, (*path, str(index)))


def test_every_example_is_valid_by_its_schema():
    described = yaml.safe_load(COMMITTED.read_text())
    components = as_json_schema(described["components"])
    examples = [(path, node) for path, node in nodes(described) if "example" in node and path[-1] != "properties"]
    assert len(examples) > 20
    for path, node in examples:
        validator = jsonschema.Draft7Validator(
            as_json_schema(node) | {"components": components}, format_checker=jsonschema.FormatChecker()
        )
        assert [error.message for error in validator.iter_errors(node["example"])] == [], path


def test_nullable_never_stands_without_a_type():
    for path, node in nodes(yaml.safe_load(COMMITTED.read_text())):
        assert "nullable" not in node or "type" in node or path[-1] == "properties", path


def test_every_operation_has_security_and_every_schema_is_used():
    described = yaml.safe_load(COMMITTED.read_text())
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert isinstance(operation["security"], list), (path, method)
    text = COMMITTED.read_text()
    unused = [name for name in described["components"]["schemas"] if f"#/components/schemas/{name}" not in text]
    assert unused == []
    assert described["info"]["license"]["name"] == "MIT"


ASK_FOR_THE_SCHEMA_AT_ONCE = """
import django
django.setup()
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from accounts.openapi import schema
at_once = Barrier(8)
def ask(_):
    at_once.wait()
    return id(schema())
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(ask, range(8)))))
"""


def test_many_first_requests_at_once_build_the_schema_once():
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"}
    root = COMMITTED.parents[1]
    command = [sys.executable, "-c", ASK_FOR_THE_SCHEMA_AT_ONCE]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["1"], done.stderr[-2000:]
