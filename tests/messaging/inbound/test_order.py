"""The order of messages in a conversation."""

from datetime import timedelta

from django.utils import timezone

from messaging.history.transcript import load_history
from messaging.inbound import receive_own_message
from messaging.models import Message
from tests.conftest import as_user, message_event
from tests.support.messaging.messages import queued


def test_a_conversation_is_ordered_as_it_happened_here_whatever_the_writers_clock_shows(says, conversation):
    for number in (1, 2):
        says(f"q{number}", age=timedelta(minutes=2))  # the writer's clock is behind ours
        Message.objects.update(status="handled")
        queued(conversation, status="sent", text=f"a{number}")
    assert [message.text for message in load_history(conversation)] == ["q1", "a1", "q2", "a2"]
    said = Message.objects.order_by("said_at", "id").values_list("text", flat=True)
    assert list(said) == ["q1", "a1", "q2", "a2"]


def test_a_message_of_our_phone_is_ordered_by_its_arrival(says, bridge):
    says("q1")
    own = message_event("a1", number=9, outbound=True, age=timedelta(minutes=2))
    receive_own_message(bridge=bridge, event=own)
    says("q2", age=timedelta(minutes=3))
    assert list(Message.objects.order_by("said_at").values_list("text", flat=True)) == ["q1", "a1", "q2"]


def test_the_writers_time_is_stored(says):
    written_at = timezone.now() - timedelta(minutes=2)
    says("Hello", sent_at=written_at)
    assert Message.objects.get().written_at == written_at


def test_imported_history_is_ordered_as_it_was_written(says, bridge):
    says("now")
    says("second", is_history=True, age=timedelta(days=1))
    old = message_event("first", number=9, outbound=True, is_history=True, age=timedelta(days=2))
    receive_own_message(bridge=bridge, event=old)
    assert list(Message.objects.order_by("said_at").values_list("text", flat=True)) == ["first", "second", "now"]


def test_the_api_lists_a_conversation_as_it_happened_here(says, conversation, member):
    for number in (1, 2):
        says(f"q{number}", age=timedelta(minutes=2))
        queued(conversation, status="sent", text=f"a{number}")
    rows = as_user(member).get(f"/api/v1/conversations/{conversation.pk}/messages/").json()["results"]
    assert [row["text"] for row in rows] == ["a2", "q2", "a1", "q1"]
    assert rows[1]["written_at"] < rows[1]["said_at"]
    shown = as_user(member).get(f"/api/v1/conversations/{conversation.pk}/").json()
    assert shown["last_message"]["text"] == "a2"
