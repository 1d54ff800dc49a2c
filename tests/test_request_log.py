"""What the log says of requests."""

from tests.conftest import as_user


def test_a_request_is_logged_without_what_it_asks_for(member, session, caplog):
    client = as_user(member)
    with caplog.at_level("WARNING"):
        client.get("/api/v1/messages/?search=diagnosis&kind=nonsense")
    assert "/api/v1/messages/" in caplog.text
    assert "diagnosis" not in caplog.text
