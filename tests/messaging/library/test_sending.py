"""The agent sends a file of its profile's library: chosen by name, once for a burst, and never after a person."""

from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from agent.sender import deliver
from agent.turns import model_run
from agent.turns import turn as turns
from messaging import control
from messaging.library import entries
from messaging.media.files import take
from messaging.models import Conversation, LibraryFile, Message, Turn
from sessions_app.models import AgentProfile
from tests.support.fake_openai import FakeOpenAI
from tests.support.messaging.files import PDF

pytestmark = pytest.mark.usefixtures("media_root")


@pytest.fixture
def media_root(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT, settings.SEND_GAP_S = tmp_path, 0


@pytest.fixture
def prices(session: Any, profile: AgentProfile) -> LibraryFile:
    session.bridge.kind = "simulator"
    session.bridge.save()
    file = take(ContentFile(PDF), name="prices 2026.pdf", size_bytes=len(PDF))
    return entries.add_file(agent_profile=profile, name="price list", description="What bicycles cost.", file=file)


def tools(model: FakeOpenAI, number: int = -1) -> dict[str, str]:
    offered = model.requests[number].body.get("tools", [])
    return {tool["function"]["name"]: tool["function"]["description"] for tool in offered}


def sent() -> list[tuple[str, str]]:
    rows = Message.objects.filter(direction="outbound").order_by("created_at", "id")
    return list(rows.values_list("kind", "text"))


def test_the_prompt_lists_the_files_by_name(says, conversation, model, prices):
    says("What do they cost?")
    turns.take_turn(conversation.pk)
    assert "- price list (document): What bicycles cost." in tools(model)["send_file"]


def test_a_file_that_the_model_sends_leaves_before_its_answer(says, conversation, model, prices):
    model.call_tools(("send_file", {"name": "Price  List"}))
    model.say("Here is our price list.")
    says("What do they cost?")
    turns.take_turn(conversation.pk)
    assert sent() == [("document", ""), ("text", "Here is our price list.")]
    message = Message.objects.get(kind="document")
    assert (message.author, message.media.filename, message.turn) == ("agent", "prices 2026.pdf", Turn.objects.get())
    deliver(conversation.pk)
    assert set(Message.objects.filter(direction="outbound").values_list("status", flat=True)) == {"sent"}


def test_an_interrupted_turn_that_starts_again_sends_the_file_once(says, conversation, model, prices, monkeypatch):
    asked = model_run.ask

    def interrupted(asking):
        answer = asked(asking)
        if len(model.requests) == 2:
            says("Quickly please")
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)
    for _ in range(2):
        model.call_tools(("send_file", {"name": "price list"}))
        model.say("Here it is.")
    says("What do they cost?")
    turns.take_turn(conversation.pk)
    assert [kind for kind, _ in sent()] == ["document", "text"]


def test_a_takeover_cancels_a_file_that_has_not_left(says, conversation, model, prices):
    entries.send_file(conversation=Conversation.objects.get(), name="price list")
    control.take_over(conversation=conversation)
    assert Message.objects.get(kind="document").status == "cancelled"


def test_an_unknown_file_is_named_to_the_model(says, conversation, model, prices):
    model.call_tools(("send_file", {"name": "contract"}))
    model.say("I have none.")
    says("Send me the contract")
    turns.take_turn(conversation.pk)
    assert "There is no such file. Files: price list." in str(model.requests[-1].body["messages"])
    assert sent() == [("text", "I have none.")]


def test_a_bridge_that_cannot_send_the_file_is_not_offered_the_tool(says, conversation, model, prices, session):
    session.bridge.kind = "zapw"
    session.bridge.save()
    LibraryFile.objects.update(size_bytes=5_000_000)
    says("What do they cost?")
    turns.take_turn(conversation.pk)
    assert "send_file" not in tools(model)


def test_a_profile_without_files_is_not_offered_the_tool(says, conversation, model, profile):
    AgentProfile.objects.update(tools=["send_file"])
    says("What do they cost?")
    turns.take_turn(conversation.pk)
    assert "send_file" not in tools(model)


def test_files_of_another_profile_are_out_of_reach(says, conversation, model, prices):
    other = AgentProfile.objects.create(name="Other")
    LibraryFile.objects.update(agent_profile=other)
    says("/file price list")
    turns.take_turn(conversation.pk)
    assert sent() == [("text", "There are no files to send.")]


def test_the_first_file_turns_the_tool_on_and_a_later_one_leaves_it_off(prices, profile):
    profile.refresh_from_db()
    assert "send_file" in profile.tools
    AgentProfile.objects.update(tools=[])
    entries.add_file(
        agent_profile=AgentProfile.objects.get(),
        name="menu",
        file=take(ContentFile(PDF), name="menu.pdf", size_bytes=len(PDF)),
    )
    assert AgentProfile.objects.get().tools == []


def test_a_deleted_file_stays_with_the_messages_it_was_sent_with(conversation, prices):
    message = entries.send_file(conversation=Conversation.objects.get(), name="price list")
    entries.delete_file(LibraryFile.objects.get())
    with message.media.file.open("rb") as file:
        assert file.read() == PDF


def test_the_stored_file_goes_with_its_last_use(prices):
    name = prices.file.name
    entries.delete_file(prices)
    assert not default_storage.exists(name)


def test_deleting_a_message_keeps_the_file_for_the_next(conversation, prices):
    from messaging.maintenance.retention import files_of
    from messaging.models import Media

    entries.send_file(conversation=Conversation.objects.get(), name="price list")
    assert files_of(Media.objects.all()) == []
    assert timezone.now() > prices.created_at
