"""What the log says of requests."""

from tests.conftest import as_user


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
