"""An album is announced by a message of its own, then its files come one by one: together they are one burst."""

import json
import time
from typing import Any

import pytest

from agent.inbox import process_webhook_request
from agent.turns import turn as turns
from messaging.history.timeline import describe_content
from messaging.models import Conversation, Message, Turn
from sessions_app.models import Bridge
from tests.support.fake_openai import own_words

CHAT = "5511988887777@s.whatsapp.net"


@pytest.fixture
def bridge(bridges: None) -> Bridge:
    Bridge.objects.filter(slug="default").update(kind="evolution", base_url="http://127.0.0.1:9")
    return Bridge.objects.get(slug="default")


def receive(bridge: Bridge, number: int, message: dict[str, Any]) -> None:
    key = {"remoteJid": CHAT, "fromMe": False, "id": f"3A{number}"}
    data = {"key": key, "message": message, "messageType": next(iter(message)), "messageTimestamp": int(time.time())}
    body = {"event": "messages.upsert", "instance": "sales", "data": data, "sender": "5511999990000@s.whatsapp.net"}
    process_webhook_request(bridge=bridge, headers={}, body=json.dumps(body).encode())


def test_an_album_is_answered_as_one_burst_and_its_announcement_is_not_answered(bridge, conversation, model, settings):
    settings.MEDIA_WAIT_S = 0
    receive(bridge, 1, {"albumMessage": {"expectedImageCount": 2}})
    for number in (2, 3):
        receive(bridge, number, {"imageMessage": {"mimetype": "image/jpeg", "caption": f"wheel {number}"}})
    turns.take_turn(Conversation.objects.get().pk)
    assert Turn.objects.get().messages.filter(direction="inbound").count() == 2
    said = own_words(model.requests[-1].body["messages"][-1]["content"])
    assert ("wheel 2" in said, "wheel 3" in said, "cannot be shown" in said) == (True, True, False)
    assert describe_content(Message.objects.get(provider_message_id="3A1")) == "Album"
