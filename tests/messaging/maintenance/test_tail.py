"""`manage.py tail`: the event feed in the terminal."""

import io
import json

import pytest
from django.core.management import CommandError, call_command

from messaging.models import Event, Message

pytestmark = pytest.mark.django_db(transaction=True)


def tail(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("tail", "--no-follow", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().splitlines()


def test_an_event_is_a_line_without_texts_and_numbers(says):
    says("My secret")
    (line,) = tail("--after", "all", "--type", "message.received")
    assert f"message={Message.objects.get().pk}" in line
    assert "secret" not in line
    assert "88887777" not in line


def test_tail_goes_on_behind_a_cursor(says):
    says("One")
    first = [json.loads(line) for line in tail("--after", "all", "--json")]
    assert len(first) == Event.objects.count()
    says("Two")
    later = [json.loads(line) for line in tail("--after", first[-1]["cursor"], "--json")]
    assert [event["type"] for event in later] == ["message.received"]
    assert tail("--after", later[-1]["cursor"]) == []


def test_tail_begins_with_what_comes_next(says):
    says("One")
    assert tail() == []


def test_tail_shows_one_session(says, session):
    says("One")
    assert len(tail("--after", "all", "--session", "sales", "--type", "message.received")) == 1
    with pytest.raises(CommandError, match="no session"):
        tail("--session", "nobody")


def test_a_wrong_cursor_ends_the_command_with_an_error(db):
    with pytest.raises(CommandError, match="cursor"):
        tail("--after", "nonsense!")
