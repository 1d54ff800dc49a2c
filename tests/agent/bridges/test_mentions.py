"""Whom a message in a group mentions, as each bridge says it."""

import json
from typing import Any

import pytest

from agent.bridges import ADAPTERS
from agent.bridges.addresses import called_persons
from agent.bridges.base import BridgeConfig, WebhookRequest
from agent.bridges.events import MessageReceived

GROUP = "120363041234567890@g.us"
CONTEXT = {"mentionedJid": ["5511999990000@s.whatsapp.net", "99887766554433@lid"]}


def parse(kind: str, body: Any) -> MessageReceived:
    adapter = ADAPTERS[kind](BridgeConfig())
    (event,) = adapter.parse_webhook(WebhookRequest(body=json.dumps(body).encode()))
    assert isinstance(event, MessageReceived), event
    return event


def waha(**payload: Any) -> MessageReceived:
    values = {
        "id": f"false_{GROUP}_3EB0AA_5511988887777@c.us",
        "timestamp": 1790001001,
        "from": GROUP,
        "participant": "5511988887777@c.us",
        "body": "Hey",
    }
    me = {"id": "5511999990000@c.us", "lid": "99887766554433@lid"}
    return parse("waha", {"event": "message", "session": "sales", "me": me, "payload": values | payload})


def evolution(message: Any, *, from_me: bool = False, participant: str = "5511988887777@s.whatsapp.net", **data: Any):
    key = {"remoteJid": GROUP, "fromMe": from_me, "id": "3EB0AA", "participant": participant}
    values = {"key": key, "message": message, "messageType": "conversation", "messageTimestamp": 1790003001} | data
    sender = "5511999990000@s.whatsapp.net"
    return parse("evolution", {"event": "messages.upsert", "instance": "sales", "data": values, "sender": sender})


GOWS_CONTEXT = {"mentionedJID": ["5511999990000@s.whatsapp.net"]}
ENGINES = [
    {"_data": {"mentionedJidList": ["5511999990000@c.us"]}},  # WEBJS
    {"_data": {"mentionedJidList": [{"_serialized": "5511999990000@c.us"}]}},
    {"_data": {"message": {"extendedTextMessage": {"text": "Hey", "contextInfo": CONTEXT}}}},  # NOWEB
    {"_data": {"Message": {"extendedTextMessage": {"text": "Hey", "contextInfo": GOWS_CONTEXT}}}},
    {"body": "Hey @5511999990000"},
    {"replyTo": {"id": "AA", "participant": "5511999990000@c.us", "body": "Nine"}},
]


@pytest.mark.parametrize("payload", ENGINES)
def test_waha_reports_whom_a_message_mentions_with_every_engine(payload):
    assert "+5511999990000" in waha(**payload).called


def test_waha_reports_what_our_hidden_address_is():
    assert waha().own_lid == "99887766554433@lid"


def test_evolution_reports_whom_a_message_mentions():
    event = evolution({"conversation": "Hey"}, contextInfo=CONTEXT)
    assert event.called == ("+5511999990000", "99887766554433@lid")


def test_evolution_reports_whose_message_is_answered():
    event = evolution({"conversation": "Hey"}, contextInfo={"stanzaId": "AA", "participant": "99887766554433@lid"})
    assert event.called == ("99887766554433@lid",)


def test_a_caption_of_evolution_mentions_too():
    event = evolution({"imageMessage": {"caption": "Look @5511999990000", "contextInfo": CONTEXT}})
    assert "+5511999990000" in event.called


def test_evolution_names_our_hidden_address_where_we_write():
    event = evolution({"conversation": "Hi"}, from_me=True, participant="99887766554433:12@lid")
    assert event.own_lid == "99887766554433@lid"


def test_a_message_of_one_person_mentions_nobody():
    event = parse("waha", {"event": "message", "session": "sales", "payload": {
        "id": "false_5511988887777@c.us_AA", "from": "5511988887777@c.us", "timestamp": 1790001001,
        "body": "Hey @5511999990000"}})  # fmt: skip
    assert event.called == ()


@pytest.mark.parametrize(
    "jids", [[None, 7, {}, "nonsense", "status@broadcast", GROUP, "@", "x" * 10_000], ["a" * 70 + "@lid"]]
)
def test_what_is_no_person_is_left_out(jids):
    assert called_persons(jids) == ()


def test_an_email_address_is_no_mention():
    assert called_persons([], text="write to me@5511999990000.com or 12@55119999900001@x") == ()


def test_a_text_of_mentions_alone_is_bounded():
    assert len(called_persons(["5511999990000@c.us"] * 10_000, text="@5511999990000 " * 10_000)) <= 3
