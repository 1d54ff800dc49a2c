"""`turns/` of the API, and what a stranger gets."""

import pytest

from messaging.models import Conversation, Message
from tests.conftest import as_user
from tests.support.messaging.api import NOBODYS_ID, V1, get, post


def test_a_turn_has_its_messages_and_its_tool_calls(client, failed_turn):
    (row,) = get(client, "turns/")["results"]
    assert (row["outcome"], row["reason"]) == ("failed", "timeout")
    turn = get(client, f"turns/{failed_turn.pk}/")
    assert [message["text"] for message in turn["messages"]] == ["Hello"]
    assert [call["name"] for call in turn["tool_calls"]] == ["search"]


def test_a_failed_turn_is_run_again_once(client, failed_turn):
    assert post(client, f"turns/{failed_turn.pk}/retry/").status_code == 202
    assert Conversation.objects.get().due_at is not None
    assert post(client, f"turns/{failed_turn.pk}/retry/").status_code == 409


def test_a_stranger_sees_nothing_and_changes_nothing(stranger, session, failed_turn):
    client, conversation, message = as_user(stranger), Conversation.objects.get(), Message.objects.get()
    for path in ("conversations/", "messages/", "turns/"):
        assert get(client, path)["results"] == []
    for path in (
        f"conversations/{conversation.pk}/",
        f"conversations/{conversation.pk}/messages/",
        f"messages/{message.pk}/",
        f"turns/{failed_turn.pk}/",
    ):
        assert client.get(V1 + path).status_code == 404, path
    for path, body in (
        (f"conversations/{conversation.pk}/takeover/", {}),
        (f"conversations/{conversation.pk}/release/", {}),
        (f"conversations/{conversation.pk}/read/", {}),
        (f"conversations/{conversation.pk}/messages/", {"text": "x"}),
        (f"messages/{message.pk}/retry/", {}),
        (f"turns/{failed_turn.pk}/retry/", {}),
        ("messages/", {"conversation": str(conversation.pk), "text": "x"}),
        ("messages/", {"session": str(session.pk), "to": "+5511977776666", "text": "x"}),
    ):
        assert post(client, path, **body).status_code == 404, path
    assert Message.objects.count() == 1
    conversation.refresh_from_db()
    assert (conversation.control, conversation.unread_count, conversation.due_at) == ("agent", 1, None)


@pytest.mark.parametrize("identifier", ["nonsense", NOBODYS_ID, "0", "%00", "9" * 400, "%ff"])
@pytest.mark.parametrize("area", ["sessions", "conversations", "messages", "turns"])
def test_an_invalid_id_is_not_found(client, area, identifier):
    answer = client.get(f"{V1}{area}/{identifier}/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
