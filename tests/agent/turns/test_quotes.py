"""Replies quote the message they answer where that helps: in groups, and where something was written in between."""

from collections.abc import Iterator

import pytest
from django.utils import timezone

from agent.sender import deliver
from agent.turns import model_run
from agent.turns import turn as turns
from messaging import control
from messaging.models import Conversation, Message
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.messaging.admin import create_outbound

GROUP = "120363041234567890@g.us"
ANA = "5511988887777@s.whatsapp.net"


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges, waha, settings) -> Bridge:
    settings.SEND_GAP_S = 0
    return connect_default_bridge("waha", waha)


def quoted() -> list[str | None]:
    """Return the ids that our replies quote, in their order."""
    replies = Message.objects.filter(direction="outbound", author="agent", status="queued")
    return [reply.quoted_provider_id for reply in replies.order_by("created_at", "id")]


def inbound(kept) -> Message:
    return Message.objects.get(pk=kept.message_id)


def test_an_answer_in_a_private_chat_quotes_nothing(says, conversation, model):
    says("Hello")
    turns.take_turn(conversation.pk)
    assert quoted() == [""]


def test_an_answer_in_a_group_quotes_the_last_message_of_the_burst(says, profile, session, model):
    WhatsAppSession.objects.update(group_policy="all")
    says("Hello", chat=GROUP, sender=ANA)
    last = inbound(says("When do you open?", chat=GROUP, sender=ANA))
    turns.take_turn(last.conversation_id)
    assert quoted() == [last.provider_message_id]
    assert Message.objects.get(direction="outbound").quoted == last


def test_only_the_first_part_of_a_long_answer_quotes(says, profile, session, model):
    WhatsAppSession.objects.update(group_policy="all")
    model.say("\n\n".join(f"Paragraph {number}. " + "word " * 200 for number in range(10)))
    last = inbound(says("Tell me everything", chat=GROUP, sender=ANA))
    turns.take_turn(last.conversation_id)
    first, *others = quoted()
    assert (first, set(others)) == (last.provider_message_id, {""})


def test_an_answer_quotes_where_we_wrote_after_the_question(says, conversation, model):
    last = inbound(says("When do you open?"))
    create_outbound(conversation, author="api", status="sent", text="Our news", said_at=timezone.now())
    turns.take_turn(conversation.pk)
    assert quoted() == [last.provider_message_id]


def test_an_answer_quotes_where_the_contact_has_written_more_meanwhile(says, conversation, model, monkeypatch):
    asked = model_run.ask

    def interrupted(asking):
        says("and another thing")
        return asked(asking)

    monkeypatch.setattr(model_run, "ask", interrupted)
    says("When do you open?")
    turns.take_turn(conversation.pk)
    (quoted_id,) = quoted()
    handled = Message.objects.filter(status="handled").order_by("-said_at").first()
    assert handled is not None
    assert quoted_id == handled.provider_message_id


def test_a_message_deleted_meanwhile_is_not_quoted(says, profile, session, model, monkeypatch):
    WhatsAppSession.objects.update(group_policy="all")
    asked = model_run.ask

    def interrupted(asking):
        answer = asked(asking)
        Message.objects.filter(direction="inbound").update(revoked_at=timezone.now())
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)
    last = inbound(says("Hello", chat=GROUP, sender=ANA))
    turns.take_turn(last.conversation_id)
    assert quoted() == [""]


def test_a_bridge_that_cannot_quote_is_not_asked_to(says, conversation, bridge, model):
    Bridge.objects.filter(pk=bridge.pk).update(kind="zapw")
    says("When do you open?")
    create_outbound(conversation, author="api", status="sent", text="Our news", said_at=timezone.now())
    turns.take_turn(conversation.pk)
    assert quoted() == [""]


def test_the_result_of_a_command_in_a_group_quotes_the_command(says, profile, session, model):
    WhatsAppSession.objects.update(group_policy="all")
    command = inbound(says("/help", chat=GROUP, sender=ANA))
    says("And who comes tonight?", chat=GROUP, sender=ANA)
    turns.take_turn(command.conversation_id)
    assert quoted()[0] == command.provider_message_id


def test_the_bridge_is_given_the_id_of_the_quoted_message(says, conversation, waha, model):
    last = inbound(says("When do you open?", full_id="false_5511988887777@c.us_3EB00000000000000001"))
    create_outbound(conversation, author="api", status="sent", text="Our news", said_at=timezone.now())
    turns.take_turn(conversation.pk)
    deliver(conversation.pk)
    (sent,) = [request.json() for request in waha.requests if request.path == "/api/sendText"]
    assert sent["reply_to"] == last.details["full_id"]


def test_the_model_is_not_shown_what_its_own_replies_quoted(says, conversation, model):
    says("When do you open?")
    create_outbound(conversation, author="api", status="sent", text="Our news", said_at=timezone.now())
    turns.take_turn(conversation.pk)
    says("Thanks")
    turns.take_turn(conversation.pk)
    assert "in reply to" not in str(
        [said for said in model.requests[-1].body["messages"] if said["role"] == "assistant"]
    )


def test_a_released_conversation_is_answered_with_a_quote_where_a_person_wrote_in_between(says, conversation, model):
    last = inbound(says("When do you open?"))
    control.take_over(conversation=conversation)
    create_outbound(conversation, author="staff", status="sent", text="One moment", said_at=timezone.now())
    control.release(conversation=Conversation.objects.get(pk=conversation.pk))
    turns.take_turn(conversation.pk)
    assert quoted() == [last.provider_message_id]


def send_a_quoting_reply(says, conversation, waha) -> Message:
    """Answer a question after we wrote ourselves; WAHA's answers are as they were told to be."""
    says("When do you open?")
    create_outbound(conversation, author="api", status="sent", text="Our news", said_at=timezone.now())
    turns.take_turn(conversation.pk)
    deliver(conversation.pk)
    return Message.objects.get(author="agent")


def requested_quotes(waha) -> list[str]:
    return [request.json().get("reply_to", "") for request in waha.requests if request.path == "/api/sendText"]


def test_a_reply_whose_quote_is_refused_is_sent_without_it(says, conversation, waha, model):
    waha.fail("invalid", times=1)

    reply = send_a_quoting_reply(says, conversation, waha)

    assert (reply.status, reply.quoted, reply.quoted_provider_id) == ("sent", None, "")
    assert [bool(quote) for quote in requested_quotes(waha)] == [True, False]
    assert len(waha.sent) == 1


def test_a_reply_that_is_refused_without_its_quote_too_fails_after_two_requests(says, conversation, waha, model):
    waha.fail("invalid")

    reply = send_a_quoting_reply(says, conversation, waha)

    assert (reply.status, reply.error_code) == ("failed", "invalid")
    assert len(requested_quotes(waha)) == 2


@pytest.mark.parametrize("outcome", ["error_500", "error_500_after", "drop_after", "nonsense"])
def test_a_reply_that_may_have_been_sent_is_not_sent_again_without_its_quote(says, conversation, waha, model, outcome):
    waha.fail(outcome)

    reply = send_a_quoting_reply(says, conversation, waha)

    assert reply.status == "unconfirmed"
    assert reply.quoted_provider_id
    assert len(requested_quotes(waha)) == 1


def test_a_reply_that_the_account_may_not_send_keeps_its_quote(says, conversation, waha, model):
    waha.fail("timelock")

    reply = send_a_quoting_reply(says, conversation, waha)

    assert (reply.status, reply.error_code) == ("failed", "restricted")
    assert reply.quoted_provider_id
    assert len(requested_quotes(waha)) == 1


def test_a_message_without_a_quote_is_refused_after_one_request(says, conversation, waha, model):
    waha.fail("invalid")
    says("When do you open?")
    turns.take_turn(conversation.pk)
    deliver(conversation.pk)

    assert Message.objects.get(author="agent").status == "failed"
    assert len(requested_quotes(waha)) == 1


@pytest.fixture
def evolution(bridge) -> Iterator[FakeEvolution]:
    with FakeEvolution() as server:
        server.add_session("sales", phone="5511999990000")
        connect_default_bridge("evolution", server)
        yield server


@pytest.mark.parametrize(
    ("outcome", "status", "quotes"),
    [
        ("error_400_after", "unconfirmed", [True]),
        ("invalid", "sent", [True, False]),
    ],
)
def test_a_reply_is_sent_again_without_its_quote_only_if_evolution_says_that_it_is_not_valid(
    says, conversation, evolution, model, outcome, status, quotes
):
    evolution.fail(outcome, times=1)

    reply = send_a_quoting_reply(says, conversation, evolution)

    requests = [request.json() for request in evolution.requests if request.path.startswith("/message/sendText/")]
    assert (reply.status, ["quoted" in request for request in requests]) == (status, quotes)
    assert len(evolution.sent) == 1
