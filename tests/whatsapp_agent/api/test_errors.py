"""An error of the API has one shape, wherever it arises: in a view, before one, or while the answer is written."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.conftest import as_user

V1 = "/api/v1/"


@pytest.fixture
def client(member) -> APIClient:
    return as_user(member)


def is_an_error(answer: Any, status: int, code: str) -> bool:
    return (answer.status_code, answer.json()["code"]) == (status, code) and bool(answer.json()["detail"])


@pytest.mark.parametrize("path", ["/api", "/api/", "/nothing", "/api/v1/nothing", "/api/v2/messages/"])
def test_an_unknown_api_path_is_answered_in_json(client, path):
    assert is_an_error(client.get(path), 404, "not_found")
    assert is_an_error(client.post(path, {}, format="json"), 404, "not_found")


def test_an_unknown_page_is_answered_with_a_page(admin, log_in):
    answer = log_in(admin).get("/admin/nothing/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize("path", ["/health/", "/health", "/health/ready/", "/api/v1/webhooks/default/wrong/"])
def test_an_unknown_method_is_refused_in_json(db, path):
    method = "delete" if "webhooks" in path else "post"
    answer = getattr(Client(enforce_csrf_checks=True), method)(path)
    assert is_an_error(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"]


@pytest.mark.parametrize("path", ["messages/", "auth/token/", "auth/me/", "events/"])
def test_a_refused_method_is_answered_with_the_allowed_ones(client, path):
    for method in ("options", "put"):
        answer = getattr(client, method)(f"{V1}{path}")
        assert is_an_error(answer, 405, "method_not_allowed")
        allowed = answer.headers["Allow"].split(", ")
        assert allowed
        assert method.upper() not in allowed


def test_an_unknown_host_is_refused_in_json(client):
    assert is_an_error(client.get(f"{V1}messages/", headers={"Host": "elsewhere.example"}), 400, "bad_request")


@pytest.mark.parametrize("path", ["messages/", "events/", "sessions/"])
def test_too_many_parameters_are_refused(client, path):
    assert is_an_error(client.get(f"{V1}{path}?{'&a=' * 1100}"), 400, "parse_error")


@pytest.mark.parametrize("parts", [{f"f{number}": "x" for number in range(1100)}, "files"])
def test_a_form_with_too_many_parts_is_refused(client, conversation, parts):
    if parts == "files":
        part = '--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nx\r\n'
        body = {"data": part * 150 + "--b--\r\n", "content_type": "multipart/form-data; boundary=b"}
    else:
        body = {"data": parts, "format": "multipart"}
    assert is_an_error(client.post(f"{V1}conversations/{conversation.pk}/messages/", **body), 400, "parse_error")


@pytest.mark.parametrize(
    "body",
    [
        r'{"name": "CRM", "scopes": ["events:read"], "\ud800": 1}',
        r'{"name": "CRM", "scopes": ["\ud800"]}',
    ],
)
def test_a_lone_surrogate_is_reported_and_not_echoed(client, body):
    answer = client.post(f"{V1}auth/keys/", body, content_type="application/json")
    assert is_an_error(answer, 400, "invalid")
    assert answer.json()["fields"]


def test_an_answer_that_cannot_be_rendered_is_an_error_with_the_id_in_the_log(client, monkeypatch, caplog):
    def fail(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("whatsapp_agent.api.json.OrjsonRenderer.render", fail)
    client.raise_request_exception = False
    answer = client.get(f"{V1}messages/")
    assert is_an_error(answer, 500, "server_error")
    assert "secret" not in answer.content.decode()
    assert answer.json()["id"] in caplog.text


# --- web pages of other origins -----------------------------------------------------------------------------------


def preflight(origin: str) -> Any:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return Client().options(f"{V1}messages/", headers=headers)


def test_an_allowed_origin_may_send_and_read_the_headers_of_the_api(settings):
    (origin,) = settings.CORS_ALLOWED_ORIGINS
    answer = preflight(origin)
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"authorization", "content-type", "idempotency-key"} <= set(allowed)
    told = Client().get(f"{V1}nothing/", headers={"Origin": origin}).headers["Access-Control-Expose-Headers"]
    assert {"retry-after", "ratelimit-remaining", "idempotent-replayed"} <= set(told.split(", "))


def test_another_origin_gets_no_cors_headers():
    assert "Access-Control-Allow-Origin" not in preflight("https://elsewhere.example").headers
