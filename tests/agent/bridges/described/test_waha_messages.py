"""WAHA's contract page, where no recorded payload shows what it says."""

from typing import Any

import pytest

from tests.support.bridges.described import ANA, AT_ISO, GROUP, LIA, LID, OWN, meanings, waha, waha_message
from tests.support.bridges.descriptions import assert_matches

PERSON = {"address": f"{ANA}@c.us", "phone": f"+{ANA}"}
LIA_BY_LID = {"address": LID, "phone": f"+{LIA}"}
OURSELVES = {"address": f"{OWN}@c.us", "phone": f"+{OWN}"}
FILE = {"url": "http://localhost:3000/api/files/sales/3EB0A1.jpeg", "mimetype": "image/jpeg", "filename": None}
TEXT = {"event": "message", "kind": "text", "text": "Oi", "direction": "inbound", "answerable": True}
SERIALIZED = f"false_{ANA}@c.us_3EB0A1"
NOWEB_KEY = {"remoteJid": LID, "fromMe": False, "id": "3EB0A1"}


def in_group(participant: str, *, from_me: bool = False, **changes: Any) -> dict[str, Any]:
    message_id = f"{str(from_me).lower()}_{GROUP}_3EB0A1_{participant}"
    more = {"id": message_id, "from": GROUP, "fromMe": from_me, "participant": participant}
    return waha_message(**(more | changes))


MESSAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the chat is the second part of the id, whatever from says (WEBJS, typed on the phone)": (
        waha_message(id=f"true_{ANA}@c.us_3EB0A1", **{"from": f"{OWN}@c.us", "to": f"{ANA}@c.us", "fromMe": True}),
        {"direction": "outbound", "chat": PERSON, "sender": OURSELVES, "echo": False, "answerable": False},
    ),
    "typed on the phone, NOWEB: from is the chat and to is null": (
        waha_message(id=f"true_{ANA}@c.us_3EB0A1", fromMe=True),
        {"direction": "outbound", "chat": PERSON, "sender": OURSELVES, "echo": False},
    ),
    "our echo is told by its source": (
        waha_message(id=f"true_{ANA}@c.us_3EB0A1", fromMe=True, source="api"),
        {"direction": "outbound", "echo": True, "answerable": False},
    ),
    "an old release has no source": (
        {
            name: value
            for name, value in waha_message(id=f"true_{ANA}@c.us_3EB0A1", fromMe=True).items()
            if name != "source"
        },
        {"direction": "outbound", "echo": False},
    ),
    "a device suffix is removed": (
        waha_message(id=f"false_{ANA}:12@c.us_3EB0A1", **{"from": f"{ANA}:12@c.us"}),
        TEXT | {"chat": PERSON, "sender": PERSON},
    ),
    "the domain of _data is the same person's": (
        waha_message(id=f"false_{ANA}@s.whatsapp.net_3EB0A1", **{"from": f"{ANA}@s.whatsapp.net"}),
        TEXT | {"chat": PERSON},
    ),
    "the sender of a group's message is the participant (NOWEB: to is the group)": (
        in_group("5521977776666@c.us", to=GROUP, _data={"pushName": "Bruno"}),
        {
            "is_group": True,
            "chat": {"address": GROUP, "phone": None},
            "answerable": False,
            "sender": {"address": "5521977776666@c.us", "phone": "+5521977776666", "name": "Bruno"},
        },
    ),
    "the sender of a group's message is the participant (GOWS: to is the sender)": (
        in_group("5521977776666@c.us", to="5521977776666@c.us", _data={"Info": {"PushName": "Bruno"}}),
        {"is_group": True, "chat": {"address": GROUP}, "sender": {"address": "5521977776666@c.us", "name": "Bruno"}},
    ),
    "a hidden participant's phone is in participantAlt (NOWEB)": (
        in_group(
            LID, _data={"key": {"remoteJid": GROUP, "participant": LID, "participantAlt": f"{LIA}@s.whatsapp.net"}}
        ),
        {"chat": {"address": GROUP, "phone": None}, "sender": LIA_BY_LID},
    ),
    "a hidden participant's phone is in SenderAlt (GOWS)": (
        in_group(LID, _data={"Info": {"SenderAlt": f"{LIA}@s.whatsapp.net", "PushName": "Lia"}}),
        {"chat": {"address": GROUP, "phone": None}, "sender": LIA_BY_LID | {"name": "Lia"}},
    ),
    "what we type in a group is ours": (
        in_group(f"{OWN}@c.us", from_me=True),
        {"direction": "outbound", "chat": {"address": GROUP}, "sender": OURSELVES, "is_group": True},
    ),
    "a hidden number's phone is in remoteJidAlt (NOWEB)": (
        waha_message(
            id=f"false_{LID}_3EB0A1",
            **{"from": LID},
            _data={"key": NOWEB_KEY | {"remoteJidAlt": f"{LIA}@s.whatsapp.net"}, "pushName": "Lia"},
        ),
        TEXT | {"chat": LIA_BY_LID, "sender": LIA_BY_LID | {"name": "Lia"}},
    ),
    "what we typed to a hidden number: the recipient's phone is in RecipientAlt (GOWS)": (
        waha_message(
            id=f"true_{LID}_3EB0A1",
            fromMe=True,
            **{"from": LID},
            _data={"Info": {"SenderAlt": f"{OWN}@s.whatsapp.net", "RecipientAlt": f"{LIA}@s.whatsapp.net"}},
        ),
        {"direction": "outbound", "chat": LIA_BY_LID, "sender": OURSELVES},
    ),
    "an alternate that is a LID too tells no phone": (
        waha_message(id=f"false_{LID}_3EB0A1", **{"from": LID}, _data={"key": NOWEB_KEY | {"remoteJidAlt": LID}}),
        TEXT | {"chat": {"address": LID, "phone": None}},
    ),
    "me is null before linking": (
        waha_message(id=f"true_{ANA}@c.us_3EB0A1", fromMe=True),
        {"direction": "outbound", "chat": PERSON},
    ),
    "the name of WEBJS": (
        waha_message(_data={"notifyName": "Ana", "type": "chat"}),
        TEXT | {"sender": PERSON | {"name": "Ana"}},
    ),
    "the name of NOWEB": (waha_message(_data={"pushName": "Ana"}), TEXT | {"sender": PERSON | {"name": "Ana"}}),
    "the name of GOWS": (
        waha_message(_data={"Info": {"PushName": "Ana"}}),
        TEXT | {"sender": PERSON | {"name": "Ana"}},
    ),
    "no _data at all": (
        {name: value for name, value in waha_message().items() if name != "_data"},
        TEXT | {"sent_at": AT_ISO},
    ),
    "an acknowledgement that is null and unknown": (waha_message(ack=None, ackName="UNKNOWN"), TEXT),
    "body null and nothing else": (
        waha_message(body=None),
        {"event": "message", "kind": "unknown", "text": None, "answerable": False},
    ),
    "body empty and nothing else": (
        waha_message(body=""),
        {"event": "message", "kind": "unknown", "text": None, "answerable": False},
    ),
    # --- kinds -------------------------------------------------------------------------------------------------
    "a live location with text coordinates": (
        waha_message(
            body=None,
            location={
                "live": True,
                "latitude": "-23.5",
                "longitude": "-46.6",
                "name": None,
                "address": None,
                "url": None,
                "description": None,
                "thumbnail": None,
            },
        ),
        {
            "kind": "location",
            "location": {"latitude": -23.5, "longitude": -46.6, "name": None, "address": None},
            "text": None,
            "answerable": True,
        },
    ),
    "a location comes before what else is there": (
        waha_message(body="aqui", location={"latitude": -23.5, "longitude": -46.6}, hasMedia=True, media=FILE),
        {"kind": "location", "location": {"latitude": -23.5, "longitude": -46.6}},
    ),
    "two cards": (
        waha_message(
            body=None,
            vCards=[
                "BEGIN:VCARD\nVERSION:3.0\nFN:Carla\nTEL;type=CELL;waid=5531955554444:+55 31 95555-4444\nEND:VCARD",
                "BEGIN:VCARD\nVERSION:3.0\nFN:Beto\nTEL:+55 31 3333-2222\nEND:VCARD",
            ],
        ),
        {
            "kind": "contact",
            "contacts": [{"name": "Carla", "phone": "+5531955554444"}, {"name": "Beto", "phone": "+553133332222"}],
        },
    ),
    "a file that is not downloaded by configuration (media null)": (
        waha_message(body="veja", hasMedia=True, media=None, _data={"type": "image"}),
        {
            "kind": "image",
            "text": "veja",
            "media": {"mime_type": None, "ref": None, "downloadable": False},
            "answerable": True,
        },
    ),
    "a file that is not downloaded by configuration (url null, 2026.8)": (
        waha_message(
            body=None,
            hasMedia=True,
            media={"url": None, "mimetype": "application/pdf", "filename": "a.pdf", "error": None},
        ),
        {
            "kind": "document",
            "media": {"mime_type": "application/pdf", "filename": "a.pdf", "ref": None, "downloadable": False},
        },
    ),
    "a download that failed": (
        waha_message(
            body=None,
            hasMedia=True,
            media={"url": None, "mimetype": "image/jpeg", "filename": None, "error": "timeout"},
        ),
        {"kind": "image", "media": {"mime_type": "image/jpeg", "ref": None, "downloadable": False}},
    ),
    "a file stored in S3 has its address too": (
        waha_message(body=None, hasMedia=True, media=FILE | {"s3": {"Bucket": "b", "Key": "k"}}),
        {"kind": "image", "media": {"ref": FILE["url"], "downloadable": True}},
    ),
    "an old release has mediaUrl in place of media": (
        {
            **{name: value for name, value in waha_message(body="veja", hasMedia=True).items() if name != "media"},
            "mediaUrl": FILE["url"],
            "_data": {"type": "image"},
        },
        {"kind": "image", "text": "veja", "media": {"ref": FILE["url"], "downloadable": True}},
    ),
    "a file of no known type with a caption is told by its caption": (
        waha_message(body="veja", hasMedia=True, media=None),
        {"kind": "text", "text": "veja", "media": {"ref": None, "downloadable": False}, "answerable": True},
    ),
    "a file of no known type is unknown": (
        waha_message(body=None, hasMedia=True, media=None),
        {"kind": "unknown", "text": None, "media": {"ref": None, "downloadable": False}, "answerable": False},
    ),
    "image/webp may be a sticker": (
        waha_message(body=None, hasMedia=True, media=FILE | {"mimetype": "image/webp"}),
        {"kind": "sticker", "media": {"mime_type": "image/webp"}},
    ),
    "image/webp that the engine calls an image": (
        waha_message(
            body="foto", hasMedia=True, media=FILE | {"mimetype": "image/webp"}, _data={"message": {"imageMessage": {}}}
        ),
        {"kind": "image", "text": "foto"},
    ),
    "a voice note of WEBJS": (
        waha_message(
            body=None, hasMedia=True, media=FILE | {"mimetype": "audio/ogg; codecs=opus"}, _data={"type": "ptt"}
        ),
        {"kind": "voice"},
    ),
    "a voice note of NOWEB": (
        waha_message(
            body=None,
            hasMedia=True,
            media=FILE | {"mimetype": "audio/ogg"},
            _data={"message": {"audioMessage": {"ptt": True}}},
        ),
        {"kind": "voice"},
    ),
    "a voice note of GOWS": (
        waha_message(
            body=None,
            hasMedia=True,
            media=FILE | {"mimetype": "audio/ogg"},
            _data={"Message": {"audioMessage": {"PTT": True}}},
        ),
        {"kind": "voice"},
    ),
    "a file's kind without the engine's object": (
        waha_message(body=None, hasMedia=True, media=FILE | {"mimetype": "audio/mpeg"}),
        {"kind": "audio"},
    ),
    **{
        f"{web_type} of WEBJS is no text": (
            waha_message(body="Qual cor?", _data={"type": web_type}),
            {"kind": "unknown", "answerable": False},
        )
        for web_type in ("poll_creation", "revoked", "e2e_notification", "call_log", "ciphertext")
    },
    "several cards of WEBJS": (
        waha_message(
            body="BEGIN:VCARD",
            vCards=["BEGIN:VCARD\nFN:Carla\nTEL;waid=5531955554444:+55 31 95555-4444\nEND:VCARD"],
            _data={"type": "multi_vcard"},
        ),
        {"kind": "contact", "text": None, "contacts": [{"name": "Carla", "phone": "+5531955554444"}]},
    ),
    "a disappearing message of NOWEB": (
        waha_message(_data={"message": {"ephemeralMessage": {"message": {"extendedTextMessage": {"text": "Oi"}}}}}),
        TEXT,
    ),
    "a reply's id is bare": (
        waha_message(
            replyTo={
                "id": "3EB0FF",
                "participant": f"{OWN}@c.us",
                "body": "Seria o azul?",
                "hasMedia": False,
                "media": None,
                "_data": {},
            }
        ),
        TEXT | {"quoted_id": "3EB0FF"},
    ),
    "a reply's id that is serialised all the same": (
        waha_message(replyTo={"id": f"true_{ANA}@c.us_3EB0FF"}),
        TEXT | {"quoted_id": "3EB0FF"},
    ),
    "an id as WEBJS itself has it": (
        waha_message(id={"fromMe": False, "remote": f"{ANA}@c.us", "id": "3EB0A1", "_serialized": SERIALIZED}),
        TEXT | {"chat": PERSON, "provider_message_id": SERIALIZED, "stanza_id": "3EB0A1"},
    ),
    "a text and a quote that only the engine's own object has": (
        waha_message(
            body=None,
            replyTo=None,
            _data={"message": {"extendedTextMessage": {"text": "Oi", "contextInfo": {"stanzaId": "3EB0FF"}}}},
        ),
        TEXT | {"quoted_id": "3EB0FF"},
    ),
    "a card of WEBJS that is only in the body": (
        waha_message(body="BEGIN:VCARD\nFN:Carla\nTEL:+5531955554444\nEND:VCARD", vCards=None, _data={"type": "vcard"}),
        {"kind": "contact", "text": None, "contacts": [{"name": "Carla", "phone": "+5531955554444"}]},
    ),
    "an answer to a button of a flow": (
        waha_message(body=None, _data={"Message": {"interactiveResponseMessage": {"body": {"text": "Oi"}}}}),
        {"kind": "interactive", "text": "Oi", "answerable": True},
    ),
    **{
        f"{name} of {engine} is no text though it has a body": (
            waha_message(body="Oi", _data={engine: {name: {"name": "Qual cor?"}}}),
            {"kind": "unknown", "answerable": False},
        )
        for engine in ("message", "Message")
        for name in ("pollCreationMessageV3", "albumMessage", "protocolMessage")
    },
}


@pytest.mark.parametrize("case", MESSAGES)
@pytest.mark.parametrize("event", ["message", "message.any"])
def test_a_message_is_parsed_as_the_documentation_describes(event: str, case: str):
    payload, expected = MESSAGES[case]

    assert_matches(meanings("waha", waha(event, payload)), [expected | {"event": "message"}])


def test_what_we_typed_is_known_before_the_session_knows_its_own_number():
    payload = waha_message(id=f"true_{ANA}@c.us_3EB0A1", fromMe=True)

    assert_matches(meanings("waha", waha("message.any", payload, me=None)), [{"direction": "outbound", "chat": PERSON}])


def test_a_hidden_number_and_its_phone_are_one_person_whichever_the_message_names():
    by_phone = waha_message(_data={"Info": {"SenderAlt": LID, "PushName": "Ana"}})
    by_lid = waha_message(
        id=f"false_{LID}_3EB0A1", **{"from": LID}, _data={"Info": {"SenderAlt": f"{ANA}@s.whatsapp.net"}}
    )

    (first,), (second,) = (meanings("waha", waha("message", payload)) for payload in (by_phone, by_lid))

    assert (first["chat"]["address"], second["chat"]["address"]) == (f"{ANA}@c.us", LID)
    assert first["chat"]["phone"] == second["chat"]["phone"] == f"+{ANA}"
    assert first["aliases"] == second["aliases"] == [f"+{ANA}", LID]
