"""An instant reaction: an emoji on the first message of a burst, at once, and only where an answer follows."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.inbox import process_webhook_request
from messaging import control
from messaging.models import Conversation, Message
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha

ME = {"id": "5511999990000@c.us"}


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges, waha) -> Bridge:
    return connect_default_bridge("waha", waha)


@pytest.fixture
def write(bridge, conversation):
    """Let the bridge report a message: `write(1)`; its number makes its id."""
    AgentProfile.objects.update(instant_reaction="👀")

    def post(number: int, **payload: Any) -> None:
        chat = payload.pop("chat", "5511988887777@c.us")
        values = {"id": f"false_{chat}_3EB0{number}", "timestamp": int(time.time()), "from": chat, "body": "Hi"}
        event = {"event": "message.any", "session": "sales", "me": ME, "payload": values | payload}
        process_webhook_request(bridge=bridge, headers={}, body=json.dumps(event).encode())

    return post


def reactions(waha: FakeWaha, *, count: int) -> list[dict[str, str]]:
    give_up_at = time.monotonic() + (20 if count else 0.3)
    while time.monotonic() < give_up_at and (not count or len(waha.requests) < count):
        time.sleep(0.01)
    return [request.json() for request in waha.requests if request.path == "/api/reaction"]


def test_a_message_that_is_going_to_be_answered_gets_the_reaction_at_once(write, waha):
    write(1)
    (reaction,) = reactions(waha, count=1)
    assert (reaction["messageId"], reaction["reaction"]) == ("false_5511988887777@c.us_3EB01", "👀")
    assert Conversation.objects.get().due_at is not None  # it is not answered yet


def test_a_burst_gets_one_reaction_and_a_repeated_message_none(write, waha):
    write(1)
    write(1)
    write(2)
    assert len(reactions(waha, count=1)) == 1
    time.sleep(0.2)
    assert len(reactions(waha, count=1)) == 1


SILENT = {
    "the profile has none": lambda _: AgentProfile.objects.update(instant_reaction=""),
    "a person has control": lambda conversation: control.take_over(conversation=conversation),
    "nobody is answered": lambda _: WhatsAppSession.objects.update(access_policy="nobody"),
}


@pytest.mark.parametrize("prepare", SILENT.values(), ids=SILENT)
def test_a_message_gets_no_reaction_where(write, waha, conversation, prepare):
    prepare(conversation)
    write(1)
    assert reactions(waha, count=0) == []


def test_an_old_message_gets_no_reaction(write, waha):
    write(1, timestamp=int(time.time()) - 7200)
    assert reactions(waha, count=0) == []


def test_a_reaction_that_the_bridge_refuses_loses_nothing(write, waha):
    waha.fail("error_500")
    write(1)
    reactions(waha, count=1)
    assert Message.objects.filter(status="received").count() == 1


def test_a_reaction_from_our_number_does_not_take_over(write, bridge, conversation):
    """Whatever the bridge says of its source: it may be our own."""
    payload = {
        "id": "true_5511988887777@c.us_AAA", "from": "5511988887777@c.us", "fromMe": True,
        "timestamp": int(time.time()),
        "reaction": {"text": "👀", "messageId": "false_5511988887777@c.us_3EB01"},
    }  # fmt: skip
    event = {"event": "message.reaction", "session": "sales", "me": ME, "payload": payload}
    process_webhook_request(bridge=bridge, headers={}, body=json.dumps(event).encode())
    assert Conversation.objects.get().control == "agent"


@pytest.mark.parametrize(("emoji", "status"), [("👀", 200), ("", 200), ("ok", 400), ("👀 x", 400), ("👍🏽", 200)])
def test_the_reaction_of_a_profile_is_an_emoji(admin, profile, emoji, status):
    answer = as_user(admin).patch(f"/api/v1/agents/{profile.pk}/", {"instant_reaction": emoji}, format="json")
    assert answer.status_code == status, answer.json()
