"""What the log says of requests."""

import pytest

from tests.conftest import as_user

ID = "01a21c8a-5a29-75af-9de8-d64083c71241"


def test_a_request_is_logged_without_what_it_asks_for(member, session, caplog):
    client = as_user(member)
    with caplog.at_level("WARNING"):
        client.get("/api/v1/messages/?search=diagnosis&kind=nonsense")
    assert "/api/v1/messages/" in caplog.text
    assert "diagnosis" not in caplog.text


def test_the_log_shows_the_peers_address_and_not_a_forged_header(member, session, caplog):
    with caplog.at_level("WARNING"):
        as_user(member).get("/api/v1/messages/?kind=nonsense", headers={"X-Forwarded-For": "203.0.113.9"})
    assert "'ip': '127.0.0.1'" in caplog.text
    assert "203.0.113.9" not in caplog.text


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/api/v1/conversations/5511988887777/", "/api/v1/conversations/.../"),
        (f"/api/v1/conversations/{ID}/", f"/api/v1/conversations/{ID}/"),
        ("/api/v1/no-such-route/Ana/", "/api/v1/.../.../"),
        ("/media/a-token-that-opens-a-file/", "/media/.../"),
        ("/+5511988887777", "/..."),
    ],
)
def test_a_path_is_logged_with_its_route_and_ids_and_without_what_else_it_holds(member, session, caplog, path, logged):
    with caplog.at_level("WARNING"):
        as_user(member).get(path)
    assert f"GET {logged}'" in caplog.text
    assert "55119" not in caplog.text
