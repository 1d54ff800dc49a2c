"""What is not text reaches the bridge in the bridge's own form."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.core.files.base import ContentFile
from django.test import Client

from agent.bridges.base import Card, Place
from agent.sender import deliver
from messaging.media.files import take
from messaging.models import Conversation, Media, Message
from messaging.outbound import send_again, send_contact, send_location, send_media
from sessions_app.models import Bridge
from tests.support.fake_zapw import FakeZapw
from tests.support.messaging.files import JPEG, OGG, PDF


@pytest.fixture(autouse=True)
def kept_apart(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.SEND_GAP_S = 0.0


@pytest.fixture
def zapw(bridge: Bridge) -> Iterator[FakeZapw]:
    with FakeZapw() as server:
        server.add_session("sales", phone="5511999990000")
        Bridge.objects.filter(pk=bridge.pk).update(base_url=server.url)
        bridge.base_url = server.url
        bridge.api_key = server.api_key or ""
        bridge.save()
        yield server


def send_file(conversation: Conversation, content: bytes, name: str, caption: str = "") -> Message:
    conversation = Conversation.objects.select_related("session__bridge", "contact").get(pk=conversation.pk)
    file = take(io.BytesIO(content), name=name, size_bytes=len(content))
    return send_media(conversation=conversation, file=file, caption=caption, author=Message.Author.API)


def sent_bodies(zapw: FakeZapw) -> list[dict[str, Any]]:
    return [entry["body"] for entry in zapw.sent]


def test_a_small_file_is_handed_over(zapw, conversation):
    message = send_file(conversation, JPEG, "photo.jpg", "Look")
    deliver(conversation.pk)
    message.refresh_from_db()
    assert message.status == "sent"
    (body,) = sent_bodies(zapw)
    assert base64.b64decode(body.pop("mediaBase64")) == JPEG
    assert body == {"to": "5511988887777", "type": "image", "caption": "Look"}


def test_a_document_has_its_name_and_audio_no_caption(zapw, conversation):
    send_file(conversation, PDF, "../invoice 12.pdf", "Invoice")
    send_file(conversation, OGG, "a.ogg")
    deliver(conversation.pk)
    document, audio = sent_bodies(zapw)
    assert (document["type"], document["fileName"], document["caption"]) == ("document", "invoice 12.pdf", "Invoice")
    assert (audio["type"], "caption" in audio) == ("audio", False)


def test_a_large_file_is_fetched_from_us(zapw, conversation, settings):
    settings.PUBLIC_URL = "http://agent.example.com"
    settings.ALLOWED_HOSTS = ["*"]
    send_file(conversation, JPEG + b"\x00" * 200_000, "large.jpg")
    deliver(conversation.pk)
    (body,) = sent_bodies(zapw)
    assert "mediaBase64" not in body
    answer = Client().get(httpx.URL(body["mediaUrl"]).path)
    assert b"".join(answer.streaming_content).startswith(JPEG)


def test_a_file_that_was_lost_fails_for_good(zapw, conversation):
    message = send_file(conversation, JPEG, "photo.jpg")
    Media.objects.get().file.delete(save=False)
    Media.objects.update(file="2026/01/gone.jpg")
    deliver(conversation.pk)
    message.refresh_from_db()
    assert (message.status, message.error_code) == ("failed", "file_gone")
    assert zapw.sent == []


def test_a_file_that_failed_can_be_sent_again(zapw, conversation):
    message = send_file(conversation, JPEG, "photo.jpg")
    Message.objects.update(status="failed")
    message.refresh_from_db()
    send_again(message=message)
    deliver(conversation.pk)
    assert len(zapw.sent) == 1


def test_a_place_and_a_card_are_handed_over(zapw, conversation):
    conversation = Conversation.objects.select_related("session__bridge", "contact").get(pk=conversation.pk)
    place, card = Place(-23.5, -46.6, name="Loja Azul"), Card(name="Bia", phone="+5511977776666")
    send_location(conversation=conversation, place=place, author=Message.Author.API)
    send_contact(conversation=conversation, card=card, author=Message.Author.API)
    deliver(conversation.pk)
    assert sent_bodies(zapw) == [
        {"to": "5511988887777", "type": "location", "latitude": -23.5, "longitude": -46.6, "name": "Loja Azul"},
        {"to": "5511988887777", "type": "contact", "contactName": "Bia", "contactNumber": "+5511977776666"},
    ]


@pytest.mark.parametrize("kind", ["image", "location", "contact"])
def test_the_simulator_takes_everything(conversation, simulator, kind):
    conversation.session.bridge = simulator
    conversation.session.save()
    conversation = Conversation.objects.select_related("session__bridge", "contact").get(pk=conversation.pk)
    match kind:
        case "image":
            file = take(ContentFile(JPEG), name="a.jpg", size_bytes=len(JPEG))
            message = send_media(conversation=conversation, file=file)
        case "location":
            message = send_location(conversation=conversation, place=Place(1.0, 2.0))
        case "contact":
            message = send_contact(conversation=conversation, card=Card("Bia", "+5511977776666"))
    deliver(conversation.pk)
    message.refresh_from_db()
    assert message.status == "sent"
