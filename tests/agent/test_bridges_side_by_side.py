"""Two bridges in one installation: each number is answered through its own, and a number moves in mid-conversation."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agent.sender import deliver
from messaging.models import Contact, Conversation, Message
from messaging.outbound import send_text
from sessions_app.links.reconciliation import sync_bridge
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import move_session, start_session
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha

PHONE = "5511988887777"
ID = "3EB0AAAA"  # WhatsApp's ids are unique within a chat only


@pytest.fixture(autouse=True)
def at_once(settings: Any) -> None:
    settings.SEND_GAP_S = 0.0


def add_bridge(slug: str, server: Any) -> Bridge:
    return Bridge.objects.create(
        slug=slug, kind=slug, base_url=server.url, api_key=server.api_key, webhook_secret=f"secret-of-{slug}"
    )


@pytest.fixture
def waha(profile: Any) -> Iterator[Any]:
    with FakeWaha(echoes=False, acks=()) as server:
        server.add_session("sales", phone="5511999990000")
        server.row = add_bridge("waha", server)
        yield server


@pytest.fixture
def evolution(profile: Any) -> Iterator[Any]:
    with FakeEvolution(echoes=False, updates=()) as server:
        server.add_session("sales", phone="5521999990000")
        server.row = add_bridge("evolution", server)
        yield server


def link(server: Any, profile: Any) -> WhatsAppSession:
    return WhatsAppSession.objects.create(bridge=server.row, name="sales", status="connected", agent_profile=profile)


def post(server: Any, body: dict[str, Any], *, secret: str = "") -> int:
    path = f"/api/v1/webhooks/{server.row.slug}/{secret or server.row.webhook_secret}/"
    return Client().post(path, json.dumps(body), content_type="application/json").status_code


def waha_text(server: Any, text: str, message_id: str = ID, **more: Any) -> dict[str, Any]:
    payload = server.message(text, phone=PHONE, message_id=message_id) | more
    return {"event": "message.any", "session": "sales", "me": {"id": "5511999990000@c.us"}, "payload": payload}


def evolution_text(server: Any, text: str, message_id: str = ID) -> dict[str, Any]:
    data = server.message(text, phone=PHONE, message_id=message_id)
    return {"event": "messages.upsert", "instance": "sales", "data": data, "sender": "5521999990000@s.whatsapp.net"}


def chat_of(session: WhatsAppSession) -> Conversation:
    return Conversation.objects.select_related("session__bridge", "contact").get(session=session)


def answer(conversation: Conversation, text: str) -> Message:
    message = send_text(conversation=conversation, text=text, author=Message.Author.API)
    deliver(conversation.pk)
    message.refresh_from_db()
    return message


def test_one_person_who_writes_to_two_numbers_is_answered_by_each_through_its_own_bridge(
    waha: Any, evolution: Any, profile: Any
) -> None:
    first, second = link(waha, profile), link(evolution, profile)  # both are called "sales"
    assert post(waha, waha_text(waha, "To the first")) == 200
    assert post(evolution, evolution_text(evolution, "To the second")) == 200
    assert post(evolution, evolution_text(evolution, "To the second")) == 200  # twice

    answers = {session: answer(chat_of(session), f"From {session.bridge.slug}") for session in (second, first)}

    assert [(each["text"], each["to"]) for each in waha.sent] == [("From waha", f"{PHONE}@c.us")]
    assert [each["text"] for each in evolution.sent] == ["From evolution"]
    assert {session.bridge.slug: message.status for session, message in answers.items()} == {
        "waha": "sent",
        "evolution": "sent",
    }
    stored = Message.objects.filter(direction="inbound").order_by("text")
    assert [(each.text, each.session, each.provider_message_id) for each in stored] == [
        ("To the first", first, ID),
        ("To the second", second, ID),
    ]
    assert Contact.objects.count() == 2  # what one number knows of a person is not the other's


def test_a_receipt_settles_the_message_of_its_own_bridge_alone(waha: Any, evolution: Any, profile: Any) -> None:
    first, second = link(waha, profile), link(evolution, profile)
    post(waha, waha_text(waha, "Hi"))
    post(evolution, evolution_text(evolution, "Hi"))
    answers = [answer(chat_of(session), "Yes") for session in (first, second)]
    Message.objects.filter(pk__in=[each.pk for each in answers]).update(provider_message_id="3EB0SAME")
    chat = f"{PHONE}@c.us"
    read = {"id": f"true_{chat}_3EB0SAME", "from": chat, "fromMe": True, "ack": 3, "ackName": "READ"}
    assert post(waha, {"event": "message.ack", "session": "sales", "payload": read}) == 200
    statuses = [Message.objects.get(pk=each.pk).status for each in answers]
    assert statuses == ["read", "sent"]


def test_a_webhook_is_taken_only_with_the_secret_of_its_own_bridge(waha: Any, evolution: Any, profile: Any) -> None:
    link(waha, profile)
    link(evolution, profile)
    assert post(waha, waha_text(waha, "Hi"), secret=evolution.row.webhook_secret) in {401, 403, 404}
    assert not Message.objects.exists()


def test_a_bridge_that_is_down_does_not_hold_the_other_up(waha: Any, evolution: Any, profile: Any) -> None:
    first, second = link(waha, profile), link(evolution, profile)
    post(waha, waha_text(waha, "Hi"))
    post(evolution, evolution_text(evolution, "Hi"))
    waha.fail("error_500")
    assert [answer(chat_of(session), "Yes").status for session in (first, second)] == ["unconfirmed", "sent"]


def test_a_number_that_moves_in_mid_conversation_keeps_it_and_is_answered_at_the_new_bridge(
    waha: Any, evolution: Any, profile: Any
) -> None:
    session = link(waha, profile)
    post(waha, waha_text(waha, "Before"))
    waiting = send_text(conversation=chat_of(session), text="Queued before the move", author=Message.Author.API)

    moved = move_session(session, to=evolution.row)
    WhatsAppSession.objects.filter(pk=moved.pk).update(status="connected", status_changed_at=timezone.now())
    assert post(evolution, evolution_text(evolution, "After", "3EB0BBBB")) == 200
    deliver(waiting.conversation_id)
    last = answer(chat_of(moved), "Sent after the move")

    assert (waha.sent, [each["text"] for each in evolution.sent]) == (
        [],
        ["Queued before the move", "Sent after the move"],
    )
    conversation = Conversation.objects.get()
    assert last.conversation == conversation
    assert [each.text for each in conversation.messages.order_by("said_at", "id")] == [
        "Before",
        "Queued before the move",
        "After",
        "Sent after the move",
    ]
    assert conversation.contact.phone == f"+{PHONE}"


OTHER_PHONE = "5531999990000"


def late_events(server: Any) -> list[dict[str, Any]]:
    chat = f"{PHONE}@c.us"
    me = {"id": "5511999990000@c.us"}
    return [
        waha_text(server, "Late", "3EB0LATE"),
        waha_text(server, "Typed late", "3EB0TYPED", id=f"true_{chat}_3EB0TYPED", fromMe=True, source="app"),
        {
            "event": "message.ack",
            "session": "sales",
            "payload": {"id": f"true_{chat}_3EB0OURS", "from": chat, "fromMe": True, "ack": 3},
        },
        {"event": "call.received", "session": "sales", "payload": {"id": "CALL1", "from": chat}},
        {"event": "session.status", "session": "sales", "payload": {"name": "sales", "status": "WORKING"}, "me": me},
        {"event": "session.status", "session": "sales", "payload": {"name": "sales", "status": "FAILED"}},
    ]


@pytest.mark.parametrize("number", range(6))
def test_what_the_old_bridge_still_reports_after_a_move_is_ignored(
    waha: Any, evolution: Any, profile: Any, number: int
) -> None:
    session = link(waha, profile)
    WhatsAppSession.objects.update(phone="+5511999990000")
    post(waha, waha_text(waha, "Before"))
    move_session(session, to=evolution.row)

    assert post(waha, late_events(waha)[number]) == 200
    sync_bridge(waha.row)  # it still lists the number

    assert [each.text for each in Message.objects.all()] == ["Before"]
    assert WhatsAppSession.objects.get().bridge == evolution.row


def test_another_number_at_the_old_bridge_under_the_name_of_one_that_moved_is_a_new_one(
    waha: Any, evolution: Any, profile: Any
) -> None:
    session = link(waha, profile)
    WhatsAppSession.objects.update(phone="+5511999990000")
    moved = move_session(session, to=evolution.row)

    body = waha_text(waha, "Is this the new shop?")
    assert post(waha, body | {"me": {"id": f"{OTHER_PHONE}@c.us"}}) == 200

    new = WhatsAppSession.objects.exclude(pk=moved.pk).get()
    assert (new.bridge, new.name, new.phone) == (waha.row, "sales", f"+{OTHER_PHONE}")
    assert Message.objects.get().session == new


def test_a_number_that_moves_back_receives_again_where_it_was(waha: Any, evolution: Any, profile: Any) -> None:
    session = link(waha, profile)
    move_session(session, to=evolution.row)
    move_session(session, to=waha.row)

    assert post(waha, waha_text(waha, "Hi again")) == 200
    assert post(evolution, evolution_text(evolution, "Late")) == 200

    assert [(each.text, each.session) for each in Message.objects.all()] == [("Hi again", session)]


def test_a_name_that_a_moved_number_had_can_be_linked_anew(waha: Any, evolution: Any, profile: Any) -> None:
    moved = move_session(link(waha, profile), to=evolution.row)
    waha.sessions.clear()

    new = start_session(name="sales", bridge=waha.row)
    assert post(waha, waha_text(waha, "Hi")) == 200

    assert new != moved
    assert Message.objects.get().session == new
