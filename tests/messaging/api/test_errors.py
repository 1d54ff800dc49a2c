"""Requests that the API cannot read or that fail."""

import pytest

from tests.support.messaging.api import V1, post


def test_an_unknown_route_answers_in_json(client):
    for path in ("nonsense/", "nonsense", ""):
        answer = client.get(V1 + path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_method_a_route_does_not_have_answers_in_json(client):
    answer = client.delete(f"{V1}messages/")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"text": NaN}',
        b"[" * 100_000,
        b'{"text": ' + b"9" * 10_000 + b"}",
        b"null",
        b"5",
        b"[]",
        b'{"text": 1e999}',
    ],
)
def test_a_body_that_cannot_be_read_is_a_mistake_of_the_caller(client, conversation, body):
    answer = client.post(f"{V1}conversations/{conversation.pk}/messages/", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["code"] in {"parse_error", "invalid"}


def test_a_body_that_is_too_large_is_refused(client, conversation):
    body = b'{"text": "' + b"x" * 1024 * 1024 + b'"}'
    answer = client.post(f"{V1}messages/", data=body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_another_kind_of_body_is_refused(client):
    answer = client.post(f"{V1}messages/", data="<x/>", content_type="application/xml")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_server_error_has_an_id_that_is_in_the_log(client, conversation, monkeypatch, caplog):
    def fail(**_):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("messaging.views.send_text", fail)
    answer = post(client, f"conversations/{conversation.pk}/messages/", text="Hello")
    assert (answer.status_code, answer.json()["code"]) == (500, "server_error")
    assert "secret" not in answer.content.decode()
    assert answer.json()["id"] in caplog.text
