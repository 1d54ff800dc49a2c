"""Voice notes, stickers and reactions by the API: in each bridge's own form, refused where the bridge cannot."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from agent.bridges.capabilities import Capability
from agent.bridges.events import Receipt, StatusChanged
from agent.inbox import process_webhook_request
from agent.sender import deliver
from messaging.models import Conversation, Message
from messaging.receipts import record_status
from sessions_app.bridges import adapter_for
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.messaging.files import JPEG, OGG, WEBP

MESSAGES = "/api/v1/messages/"
FAKES: dict[str, Any] = {"waha": FakeWaha, "evolution": FakeEvolution, "cloud": FakeCloud}
SENT = {  # what a bridge is asked for: the last part of the path, and what its body says of the kind
    ("waha", "voice"): ("sendVoice", {}),
    ("waha", "sticker"): ("sendSticker", {}),
    ("evolution", "voice"): ("sales", {"encoding": True}),
    ("evolution", "sticker"): ("sales", {}),
    ("cloud", "voice"): ("messages", {"type": "audio"}),
    ("cloud", "sticker"): ("messages", {"type": "sticker"}),
}
FILES = {"voice": ("hello.ogg", OGG), "sticker": ("cat.webp", WEBP)}


@pytest.fixture(autouse=True)
def kept_apart(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.SEND_GAP_S = 0.0


@pytest.fixture
def server(request: pytest.FixtureRequest, conversation: Conversation) -> Iterator[Any]:
    """A fake server with the session of the conversation, whose contact has just written."""
    name = NUMBER if request.param == "cloud" else "sales"
    with FAKES[request.param]() as fake:
        fake.row = connect_default_bridge(request.param, fake)
        fake.add_session(name, phone="5511999990000")
        WhatsAppSession.objects.update(name=name)
        address = adapter_for(fake.row).person_address("5511988887777")
        Conversation.objects.update(address=address)
        fake.question = conversation.messages.create(
            session=conversation.session,
            direction="inbound",
            author="contact",
            status="handled",
            text="Hi",
            provider_message_id="3EB0AA",
            written_at=timezone.now(),
        )
        yield fake


def every(*kinds: str) -> Any:
    return pytest.mark.parametrize("server", kinds or tuple(FAKES), indirect=True)


def upload(client: Any, conversation: Conversation, name: str, content: bytes, **fields: str) -> Any:
    body = {"conversation": str(conversation.pk), "file": SimpleUploadedFile(name, content), **fields}
    return client.post(MESSAGES, body, format="multipart")


def react(client: Any, conversation: Conversation, message: Message, emoji: str = "👍") -> Any:
    reaction = {"message": str(message.pk), "emoji": emoji}
    path = f"/api/v1/conversations/{conversation.pk}/messages/"
    return client.post(path, {"reaction": reaction}, format="json")


@every()
@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_sent_as_the_kind_that_is_asked_for(server: Any, conversation: Any, member: Any, kind: str) -> None:
    answer = upload(as_user(member), conversation, *FILES[kind], kind=kind)
    deliver(conversation.pk)
    message = Message.objects.get(pk=answer.json()["id"])
    (entry,) = server.sent
    path, body = SENT[server.row.kind, kind]
    assert (answer.status_code, message.kind, message.status) == (201, kind, "sent")
    asked = server.requests[-1]
    assert asked.path.rpartition("/")[2] == path
    assert asked.json() | body == asked.json()
    assert kind == "sticker" or server.row.kind != "cloud" or asked.json()["audio"]["voice"] is True
    assert entry["id"] == message.provider_message_id


@pytest.mark.parametrize("kind", FILES)
def test_a_kind_that_the_bridge_has_not_is_refused_before_it_is_tried(
    conversation: Conversation, member: Any, kind: str
) -> None:
    answer = upload(as_user(member), conversation, *FILES[kind], kind=kind)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("name", "content", "fields"),
    [
        ("photo.jpg", JPEG, {"kind": "sticker"}),
        ("photo.jpg", JPEG, {"kind": "voice"}),
        ("photo.jpg", JPEG, {"kind": "hologram"}),
    ],
)
@every("waha")
def test_a_file_that_cannot_be_of_that_kind_is_refused_by_name(
    server: Any, conversation: Any, member: Any, name: str, content: bytes, fields: Any
) -> None:
    answer = upload(as_user(member), conversation, name, content, **fields)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["kind"])


@every("waha")
def test_a_kind_without_a_file_and_a_caption_of_a_sticker_are_refused(
    server: Any, conversation: Any, member: Any
) -> None:
    client = as_user(member)
    body = {"conversation": str(conversation.pk), "text": "Hi", "kind": "voice"}
    alone = client.post(MESSAGES, body, format="json")
    captioned = upload(client, conversation, *FILES["sticker"], kind="sticker", text="Look")
    assert [(each.status_code, list(each.json()["fields"])) for each in (alone, captioned)] == [
        (400, ["kind"]),
        (400, ["text"]),
    ]


@every()
@pytest.mark.parametrize("emoji", ["👍", ""])
def test_a_reaction_reaches_the_message_it_is_for(server: Any, conversation: Any, member: Any, emoji: str) -> None:
    answer = react(as_user(member), conversation, server.question, emoji)
    deliver(conversation.pk)
    message = Message.objects.get(pk=answer.json()["id"])
    asked = server.requests[-1].json()
    assert answer.status_code == 201, answer.json()
    assert (message.kind, message.status) == ("reaction", "sent")
    assert message.details == {"emoji": emoji or None, "target_id": "3EB0AA"}
    assert "3EB0AA" in json.dumps(asked)
    given = asked["reaction"]["emoji"] if server.row.kind == "cloud" else asked["reaction"]
    assert given == emoji


@every("evolution", "cloud")
def test_a_reaction_that_whatsapp_did_not_deliver_has_failed(server: Any, conversation: Any, member: Any) -> None:
    answer = react(as_user(member), conversation, server.question)
    deliver(conversation.pk)
    message = Message.objects.get(pk=answer.json()["id"])
    assert message.provider_message_id
    event = StatusChanged(message.session.name, message.provider_message_id, Receipt.FAILED)
    record_status(bridge=server.row, event=event)
    message.refresh_from_db()
    assert message.status == "failed"


@every("waha")
def test_a_reaction_of_staff_takes_nothing_over_answers_nothing_and_moves_nothing(
    server: Any, conversation: Any, member: Any
) -> None:
    Conversation.objects.update(unread_count=3)
    conversation.refresh_from_db()
    asked_at = conversation.last_message_at
    react(as_user(member), conversation, server.question)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.unread_count) == ("agent", 3)
    assert conversation.last_message_at == asked_at


@every("waha")
def test_the_echo_of_a_reaction_is_known_by_its_target_and_emoji(server: Any, conversation: Any, member: Any) -> None:
    react(as_user(member), conversation, server.question)
    deliver(conversation.pk)
    for emoji in ("👍", "👍", "🎉"):  # ours, ours again, and one of another program
        payload = {
            "id": f"true_5511988887777@c.us_3EB0E{emoji == '🎉'}",
            "timestamp": time.time(),
            "from": "5511988887777@c.us",
            "fromMe": True,
            "source": "api",
            "reaction": {"text": emoji, "messageId": "false_5511988887777@c.us_3EB0AA"},
        }
        event = {"event": "message.reaction", "session": "sales", "payload": payload}
        process_webhook_request(bridge=server.row, headers={}, body=json.dumps(event).encode())
    stored = Message.objects.filter(kind="reaction").order_by("created_at")
    assert [(each.details["emoji"], each.provider_message_id, each.author) for each in stored] == [
        ("👍", "3EB0EFalse", "staff"),
        ("🎉", "3EB0ETrue", "api"),
    ]


@every("waha")
def test_a_reaction_that_may_have_been_sent_is_unconfirmed_and_not_sent_again(
    server: Any, conversation: Any, member: Any
) -> None:
    server.fail("drop_after", call="reaction")
    answer = react(as_user(member), conversation, server.question)
    deliver(conversation.pk)
    deliver(conversation.pk)
    assert Message.objects.get(pk=answer.json()["id"]).status == "unconfirmed"
    assert len([each for each in server.requests if each.path == "/api/reaction"]) == 1


def test_a_reaction_is_refused_where_the_bridge_cannot(conversation: Conversation, member: Any, says: Any) -> None:
    says("Hi")
    answer = react(as_user(member), conversation, Message.objects.get())
    assert Capability.REACT not in adapter_for(Bridge.objects.get(slug="default")).capabilities
    assert (answer.status_code, answer.json()["code"]) == (409, "not_supported")


@every("cloud")
@pytest.mark.parametrize(
    "changes",
    [
        {"provider_message_id": None},  # not sent yet
        {"kind": "reaction"},
        {"revoked_at": timezone.now()},
        {"said_at": timezone.now() - timedelta(days=31)},
    ],
)
def test_what_cannot_be_reacted_to_is_refused(server: Any, conversation: Any, member: Any, changes: Any) -> None:
    Message.objects.filter(pk=server.question.pk).update(**changes)
    answer = react(as_user(member), conversation, server.question)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["reaction"])


@every("waha")
@pytest.mark.parametrize("emoji", ["ok", " ", "👍 yes", "x" * 17])
def test_what_is_no_emoji_is_refused(server: Any, conversation: Any, member: Any, emoji: str) -> None:
    assert react(as_user(member), conversation, server.question, emoji).status_code == 400


@every("waha")
def test_a_reaction_to_a_message_of_another_conversation_is_refused(
    server: Any, conversation: Any, member: Any, stranger: Any
) -> None:
    contact = conversation.contact.__class__.objects.create(session=conversation.session, phone="+5511977776666")
    other = Conversation.objects.create(session=conversation.session, contact=contact, address="5511977776666@c.us")
    assert react(as_user(member), other, server.question).status_code == 400
    assert react(as_user(stranger), conversation, server.question).status_code == 404


@every("cloud")
def test_a_reaction_is_refused_once_the_window_is_closed(server: Any, conversation: Any, member: Any) -> None:
    Message.objects.update(written_at=timezone.now() - timedelta(hours=25))
    answer = react(as_user(member), conversation, server.question)
    assert (answer.status_code, answer.json()["code"]) == (409, "window_closed")
