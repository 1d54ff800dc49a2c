"""The contract page of Meta's Cloud API, where no recorded payload shows what it says."""

import json
from typing import Any

import pytest

from agent.bridges.base import BridgeConfig, WebhookRequest
from agent.bridges.cloud import CloudBridge
from tests.support.bridges.described import ANA, AT_ISO, OWN, cloud, cloud_message, meanings
from tests.support.bridges.descriptions import assert_matches

USER = "BR.11223344556677889900"
PARENT = "BR.ENT.44556677889900112233"
OTHER_USER = "BR.99887766554433221100"
GROUP = "Y2FwaV9ncm91cDo1NTExOTk5OTkwMDAwOjEyMDM2MzA0"
PERSON = {"address": ANA, "phone": f"+{ANA}"}
BY_USER_ID = {"address": USER, "phone": None, "user_id": USER}
CONTACT = {"profile": {"name": "Ana"}, "wa_id": ANA, "user_id": USER}
TEXT = {"event": "message", "kind": "text", "text": "Oi", "direction": "inbound", "answerable": True, "sent_at": AT_ISO}
FILE = {"id": "65463453", "mime_type": "image/jpeg", "sha256": "x"}
OI = {"body": "Oi"}


def one(*messages: Any, contacts: Any = (CONTACT,), field: str = "messages", **value: Any) -> dict[str, Any]:
    return cloud({"contacts": list(contacts), "messages": list(messages)} | value, field=field)


def without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


MESSAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no phone: the business-scoped id": (
        one(
            without(cloud_message("text", OI, from_user_id=USER), "from"),
            contacts=[{"profile": {"name": "Ana", "username": "@ana"}, "user_id": USER}],
        ),
        TEXT | {"chat": BY_USER_ID, "sender": BY_USER_ID | {"name": "Ana", "username": "@ana"}},
    ),
    "no phone, no contact": (
        one(without(cloud_message("text", OI, from_user_id=USER), "from"), contacts=[]),
        TEXT | {"chat": BY_USER_ID},
    ),
    "no phone in the message, but in the contact": (
        one(without(cloud_message("text", OI, from_user_id=USER), "from")),
        TEXT | {"chat": PERSON | {"user_id": USER, "name": "Ana"}},
    ),
    "the parent id is another alias": (
        one(cloud_message("text", OI, from_user_id=USER, from_parent_user_id=PARENT), contacts=[]),
        TEXT | {"chat": PERSON | {"user_id": USER, "parent_user_id": PARENT}, "aliases": [f"+{ANA}", USER, PARENT]},
    ),
    "contacts in another order than messages": (
        one(
            cloud_message("text", OI),
            contacts=[{"profile": {"name": "Bia"}, "wa_id": "5521977776666", "user_id": OTHER_USER}, CONTACT],
        ),
        TEXT | {"sender": PERSON | {"name": "Ana", "user_id": USER}},
    ),
    "a contact matched by user id alone": (
        one(cloud_message("text", OI, from_user_id=USER), contacts=[{"profile": {"name": "Ana"}, "user_id": USER}]),
        TEXT | {"sender": PERSON | {"name": "Ana", "user_id": USER}},
    ),
    "contacts missing": (cloud({"messages": [cloud_message("text", OI)]}), TEXT | {"sender": PERSON | {"name": None}}),
    "a phone written with a plus": (one(cloud_message("text", OI, **{"from": f"+{ANA}"})), TEXT | {"chat": PERSON}),
    "a reply": (
        one(cloud_message("text", OI, context={"from": OWN, "id": "wamid.q"})),
        TEXT | {"quoted_id": "wamid.q", "forwarded": False},
    ),
    "forwarded, nothing quoted": (
        one(cloud_message("text", OI, context={"forwarded": True})),
        TEXT | {"quoted_id": None, "forwarded": True},
    ),
    "forwarded many times": (
        one(cloud_message("text", OI, context={"frequently_forwarded": True})),
        TEXT | {"forwarded": True},
    ),
    "asked about a product": (
        one(
            cloud_message(
                "text",
                OI,
                context={
                    "from": OWN,
                    "id": "wamid.q",
                    "referred_product": {"catalog_id": "c1", "product_retailer_id": "p1"},
                },
            )
        ),
        TEXT | {"quoted_id": "wamid.q", "product": {"catalog_id": "c1", "product_retailer_id": "p1"}},
    ),
    "came through an ad": (
        one(
            cloud_message(
                "text",
                OI,
                referral={
                    "source_id": "ad1",
                    "source_url": "https://fb.me/x",
                    "headline": "Promo",
                    "ctwa_clid": "clid",
                },
            )
        ),
        TEXT | {"referral_source_id": "ad1"},
    ),
    "a video": (
        one(cloud_message("video", FILE | {"mime_type": "video/mp4", "caption": "veja"})),
        {"kind": "video", "text": "veja", "media": {"ref": "65463453", "downloadable": True}},
    ),
    "a document": (
        one(
            cloud_message("document", FILE | {"mime_type": "application/pdf", "filename": "a.pdf", "caption": "segue"})
        ),
        {"kind": "document", "text": "segue", "media": {"filename": "a.pdf"}},
    ),
    "an audio file": (
        one(cloud_message("audio", FILE | {"mime_type": "audio/mpeg", "voice": False})),
        {"kind": "audio", "text": None},
    ),
    "an animated sticker": (
        one(cloud_message("sticker", FILE | {"mime_type": "image/webp", "animated": True})),
        {"kind": "sticker", "answerable": True},
    ),
    "a file without an id": (
        one(cloud_message("image", {"mime_type": "image/jpeg", "url": "https://lookaside.fbsbx.com/x"})),
        {"kind": "image", "media": {"ref": None, "downloadable": False}},
    ),
    "a location with an address": (
        one(
            cloud_message(
                "location",
                {"latitude": -23.5, "longitude": -46.6, "name": "MASP", "address": "Av. Paulista", "url": "https://x"},
            )
        ),
        {
            "kind": "location",
            "location": {"latitude": -23.5, "longitude": -46.6, "name": "MASP", "address": "Av. Paulista"},
        },
    ),
    "two cards, one of a number on WhatsApp": (
        one(
            cloud_message(
                "contacts",
                [
                    {
                        "name": {"formatted_name": "Carla"},
                        "phones": [{"phone": "+55 31 95555-4444", "wa_id": "553195554444", "type": "CELL"}],
                    },
                    {"name": {"formatted_name": "Beto"}, "phones": [{"phone": "+55 31 3333-2222"}]},
                    {"name": {"formatted_name": "Nobody"}},
                ],
            )
        ),
        {
            "kind": "contact",
            "contacts": [
                {"name": "Carla", "phone": "+553195554444"},
                {"name": "Beto", "phone": "+553133332222"},
                {"name": "Nobody", "phone": None},
            ],
        },
    ),
    "a reaction taken away: emoji missing": (
        one(cloud_message("reaction", {"message_id": "wamid.t"})),
        {"event": "reaction", "emoji": None, "target_id": "wamid.t"},
    ),
    "a reaction taken away: emoji empty": (
        one(cloud_message("reaction", {"message_id": "wamid.t", "emoji": ""})),
        {"event": "reaction", "emoji": None, "target_id": "wamid.t"},
    ),
    "a button": (
        one(cloud_message("interactive", {"type": "button_reply", "button_reply": {"id": "b1", "title": "Sim"}})),
        {"kind": "interactive", "text": "Sim", "payload": "b1", "answerable": True},
    ),
    "a row of a list": (
        one(
            cloud_message(
                "interactive",
                {"type": "list_reply", "list_reply": {"id": "r1", "title": "Azul", "description": "claro"}},
            )
        ),
        {"kind": "interactive", "text": "Azul", "payload": "r1"},
    ),
    "an image that Meta could not get": (
        one(cloud_message("image", None, errors=[{"code": 131052, "title": "Media download error"}])),
        {"event": "message", "kind": "image", "media": {"ref": None, "downloadable": False}, "answerable": True},
    ),
    "a user id in the place of the phone": (
        one(cloud_message("text", OI, **{"from": USER})),
        TEXT | {"sender": PERSON | {"name": "Ana", "user_id": USER}},
    ),
    "a form": (
        one(
            cloud_message(
                "interactive",
                {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"a": "b"}'}},
            )
        ),
        {"kind": "interactive", "text": "Sent", "payload": '{"a": "b"}', "answerable": True},
    ),
    "a template's quick reply": (
        one(cloud_message("button", {"text": "Quero", "payload": "q1"})),
        {"kind": "interactive", "text": "Quero", "payload": "q1", "answerable": True},
    ),
    "an order": (
        one(
            cloud_message(
                "order",
                {
                    "catalog_id": "c1",
                    "text": "por favor",
                    "product_items": [
                        {"product_retailer_id": "p1", "quantity": "2", "item_price": "39.9", "currency": "BRL"}
                    ],
                },
            )
        ),
        {
            "kind": "order",
            "text": "por favor",
            "order": {
                "catalog_id": "c1",
                "items": [{"product": "p1", "quantity": 2, "price": 39.9, "currency": "BRL"}],
            },
            "answerable": True,
        },
    ),
    "unsupported, with its type": (
        one(
            cloud_message(
                "unsupported", {"type": "poll_creation"}, errors=[{"code": 131051, "title": "Message type unknown"}]
            )
        ),
        {"kind": "unsupported", "text": None, "answerable": False, "error_code": 131051, "type": "poll_creation"},
    ),
    "unsupported, without anything": (one(cloud_message("unsupported")), {"kind": "unsupported", "answerable": False}),
    "the chat was opened, nothing was said": (
        one(cloud_message("request_welcome")),
        {"kind": "unknown", "text": None, "answerable": False},
    ),
    "a type of tomorrow": (
        one(cloud_message("hologram", {"body": "x"})),
        {"kind": "unknown", "text": None, "answerable": False},
    ),
    "no type": (one(without(cloud_message(), "type")), {"kind": "unknown", "answerable": False}),
    "a member of a group": (
        one(cloud_message("text", OI, group_id=GROUP)),
        TEXT | {"is_group": True, "chat": {"address": GROUP, "phone": None}, "sender": PERSON, "answerable": False},
    ),
    "a phone with a plus finds its contact": (
        one(cloud_message("text", OI, **{"from": f"+{ANA}"})),
        TEXT | {"sender": PERSON | {"name": "Ana", "user_id": USER}},
    ),
    "a file whose id is no text": (
        one(cloud_message("image", {"id": 7, "mime_type": "image/jpeg"})),
        {"kind": "image", "media": {"ref": None, "downloadable": False}},
    ),
    "an answer without a word": (
        one(
            cloud_message("interactive", {"type": "call_permission_reply", "call_permission_reply": {"response": "x"}})
        ),
        {"kind": "unsupported", "answerable": False},
    ),
    "an edit whose content nobody knows": (
        one(cloud_message("edit", {"original_message_id": "wamid.o", "message": {"type": "hologram"}})),
        {"event": "ignored"},
    ),
    "an edited text": (
        one(
            cloud_message(
                "edit", {"original_message_id": "wamid.o", "message": {"type": "text", "text": {"body": "Oi!"}}}
            )
        ),
        {
            "event": "edit",
            "at": AT_ISO,
            "target_id": "wamid.o",
            "text": "Oi!",
            "chat": PERSON,
            "direction": "inbound",
            "answerable": False,
        },
    ),
    "a deleted message": (
        one(cloud_message("revoke", {"original_message_id": "wamid.o"})),
        {"event": "revoke", "target_id": "wamid.o", "chat": PERSON},
    ),
    "a new number, with ids": (
        one(
            cloud_message(
                "system",
                {
                    "type": "user_changed_number",
                    "wa_id": "5511977776666",
                    "user_id": OTHER_USER,
                    "previous_user_id": USER,
                    "body": "x",
                },
            ),
            contacts=[],
        ),
        {
            "event": "contact_changed_number",
            "from": PERSON | {"user_id": USER},
            "to": {"address": "5511977776666", "phone": "+5511977776666", "user_id": OTHER_USER},
            "answerable": False,
        },
    ),
    "a new id with its parents": (
        one(
            without(
                cloud_message(
                    "system",
                    {
                        "type": "user_changed_user_id",
                        "user_id": OTHER_USER,
                        "previous_user_id": USER,
                        "parent_user_id": "BR.ENT.2",
                        "previous_parent_user_id": PARENT,
                    },
                ),
                "from",
            ),
            contacts=[],
        ),
        {
            "event": "contact_changed_user_id",
            "from": BY_USER_ID | {"parent_user_id": PARENT},
            "to": {"address": OTHER_USER, "user_id": OTHER_USER, "parent_user_id": "BR.ENT.2"},
        },
    ),
    "a new identity key": (
        one(cloud_message("system", {"type": "customer_identity_changed", "body": "x"}), contacts=[]),
        {"event": "ignored"},
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_is_parsed_as_the_documentation_describes(case: str):
    body, expected = MESSAGES[case]

    assert_matches(meanings("cloud", body), [{"event": "message"} | expected])


@pytest.mark.parametrize("own", [OWN, OWN[:4] + OWN[5:]])
def test_what_our_number_wrote_is_ours_in_each_spelling_of_its_phone(own: str):
    thread = {"id": ANA, "messages": [cloud_message("text", OI, **{"from": own})]}
    body = cloud({"history": [{"threads": [thread]}]}, field="history")
    (history,) = CloudBridge(BridgeConfig()).parse_webhook(WebhookRequest(json.dumps(body).encode()))
    (message,) = history.messages
    assert (message.outbound, message.chat.phone) == (True, f"+{ANA}")
