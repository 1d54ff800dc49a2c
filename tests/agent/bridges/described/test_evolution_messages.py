"""The contract page of Evolution API, where no recorded payload shows what it says."""

from typing import Any

import pytest

from tests.support.bridges.described import (
    ANA,
    AT,
    AT_ISO,
    GROUP,
    LIA,
    LID,
    OWN,
    evolution,
    evolution_message,
    meanings,
)
from tests.support.bridges.descriptions import assert_matches

JID = f"{ANA}@s.whatsapp.net"
PERSON = {"address": JID, "phone": f"+{ANA}"}
OURSELVES = {"address": f"{OWN}@s.whatsapp.net", "phone": f"+{OWN}"}
TEXT = {"event": "message", "kind": "text", "text": "Oi", "direction": "inbound", "answerable": True}
OI = {"conversation": "Oi"}
FILE = {
    "url": "https://mmg.whatsapp.net/o1/v/enc",
    "mimetype": "image/jpeg",
    "fileLength": "80123",
    "mediaKey": {"0": 1, "1": 2},
    "jpegThumbnail": "/9j/4A==",
}

MESSAGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a long text that was not rewritten": (
        evolution_message({"extendedTextMessage": {"text": "Oi", "contextInfo": {"stanzaId": "3EB0FF"}}}),
        TEXT | {"quoted_id": "3EB0FF"},
    ),
    "a time of two halves": (
        evolution_message(OI, messageTimestamp={"low": AT, "high": 0, "unsigned": True}),
        TEXT | {"sent_at": AT_ISO},
    ),
    "a time as text": (evolution_message(OI, messageTimestamp=str(AT)), TEXT | {"sent_at": AT_ISO}),
    "a participant that is empty": (
        evolution_message(OI, key={"participant": ""}),
        TEXT | {"chat": PERSON, "sender": PERSON},
    ),
    "a device suffix": (evolution_message(OI, key={"remoteJid": f"{ANA}:7@s.whatsapp.net"}), TEXT | {"chat": PERSON}),
    "the alternate is the same again": (
        evolution_message(OI, key={"remoteJidAlt": JID}),
        TEXT | {"chat": PERSON, "aliases": [f"+{ANA}"]},
    ),
    "the alternate is the reverse": (
        evolution_message(OI, key={"remoteJidAlt": LID}),
        TEXT | {"chat": PERSON, "aliases": [f"+{ANA}", LID]},
    ),
    "the mode says lid where the address is a phone": (
        evolution_message(OI, key={"addressingMode": "lid"}),
        TEXT | {"chat": PERSON},
    ),
    "a hidden number and its phone": (
        evolution_message(OI, key={"remoteJid": LID, "remoteJidAlt": f"{LIA}@s.whatsapp.net", "addressingMode": "lid"}),
        TEXT | {"chat": {"address": LID, "phone": f"+{LIA}"}, "aliases": [f"+{LIA}", LID]},
    ),
    "a hidden number whose alternate is hidden too": (
        evolution_message(OI, key={"remoteJid": LID, "remoteJidAlt": LID}),
        TEXT | {"chat": {"address": LID, "phone": None}},
    ),
    "a hidden member of a group": (
        evolution_message(OI, key={"remoteJid": GROUP, "participant": LID, "participantAlt": f"{LIA}@s.whatsapp.net"}),
        {
            "is_group": True,
            "chat": {"address": GROUP, "phone": None},
            "sender": {"address": LID, "phone": f"+{LIA}", "name": "Ana Souza"},
            "answerable": False,
        },
    ),
    "what we type in a group": (
        evolution_message(
            OI, key={"remoteJid": GROUP, "participant": f"{OWN}:3@s.whatsapp.net", "fromMe": True}, pushName="Você"
        ),
        {"direction": "outbound", "is_group": True, "sender": OURSELVES | {"name": None}, "chat": {"address": GROUP}},
    ),
    "what we type to a hidden number": (
        evolution_message(
            OI, key={"remoteJid": LID, "remoteJidAlt": f"{LIA}@s.whatsapp.net", "fromMe": True}, pushName="Você"
        ),
        {
            "direction": "outbound",
            "chat": {"address": LID, "phone": f"+{LIA}", "name": None},
            "sender": OURSELVES,
            "echo": False,
        },
    ),
    "no name": (
        {name: value for name, value in evolution_message(OI).items() if name != "pushName"},
        TEXT | {"sender": PERSON | {"name": None}},
    ),
    "no context": (
        {name: value for name, value in evolution_message(OI).items() if name != "contextInfo"},
        TEXT | {"quoted_id": None},
    ),
    "a quote beside the message": (
        evolution_message(
            OI,
            contextInfo={
                "stanzaId": "3EB0FF",
                "participant": JID,
                "quotedMessage": {"conversation": "x"},
                "mentionedJid": [],
            },
        ),
        TEXT | {"quoted_id": "3EB0FF"},
    ),
    "the quoted id of a document with a caption is inside": (
        evolution_message(
            {
                "documentMessage": {
                    "caption": "segue",
                    "fileName": "a.pdf",
                    "mimetype": "application/pdf",
                    "contextInfo": {"stanzaId": "3EB0FF"},
                }
            }
        ),
        {
            "kind": "document",
            "text": "segue",
            "quoted_id": "3EB0FF",
            "media": {"filename": "a.pdf", "mime_type": "application/pdf", "ref": "3EB0A1", "downloadable": True},
        },
    ),
    "a document in its wrapper": (
        evolution_message(
            {
                "documentWithCaptionMessage": {
                    "message": {
                        "documentMessage": {"caption": "segue", "fileName": "a.pdf", "mimetype": "application/pdf"}
                    }
                }
            }
        ),
        {"kind": "document", "text": "segue", "media": {"filename": "a.pdf"}},
    ),
    "a disappearing text, with its own context": (
        evolution_message(
            {
                "ephemeralMessage": {
                    "message": {
                        "extendedTextMessage": {
                            "text": "Oi",
                            "contextInfo": {"stanzaId": "3EB0FF", "expiration": 86400},
                        }
                    }
                }
            }
        ),
        TEXT | {"quoted_id": "3EB0FF"},
    ),
    **{
        f"{wrapper} is unwrapped": (
            evolution_message({wrapper: {"message": {"imageMessage": FILE | {"caption": "veja"}}}}),
            {
                "kind": "image",
                "text": "veja",
                "media": {"mime_type": "image/jpeg", "ref": "3EB0A1", "downloadable": True},
                "answerable": True,
            },
        )
        for wrapper in ("ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2")
    },
    "a view-once image that disappears": (
        evolution_message(
            {"ephemeralMessage": {"message": {"viewOnceMessageV2": {"message": {"imageMessage": FILE}}}}}
        ),
        {"kind": "image", "text": None},
    ),
    "a voice note": (
        evolution_message({"audioMessage": {"ptt": True, "seconds": 4, "mimetype": "audio/ogg; codecs=opus"}}),
        {"kind": "voice", "text": None, "answerable": True},
    ),
    "an audio file": (evolution_message({"audioMessage": {"ptt": False, "mimetype": "audio/mpeg"}}), {"kind": "audio"}),
    "a file in S3": (
        evolution_message(
            {"videoMessage": {"mimetype": "video/mp4", "caption": "veja"}, "mediaUrl": "https://s3.example/x.mp4"}
        ),
        {"kind": "video", "text": "veja", "media": {"ref": "3EB0A1", "downloadable": True}},
    ),
    "a live location": (
        evolution_message(
            {"liveLocationMessage": {"degreesLatitude": -23.5, "degreesLongitude": -46.6, "caption": "a caminho"}}
        ),
        {"kind": "location", "location": {"latitude": -23.5, "longitude": -46.6, "name": None, "address": None}},
    ),
    "a reaction taken away": (
        evolution_message({"reactionMessage": {"text": "", "key": {"remoteJid": JID, "fromMe": True, "id": "3EB0FF"}}}),
        {"event": "reaction", "emoji": None, "target_id": "3EB0FF"},
    ),
    **{
        f"{name} is of a kind we do not know": (
            evolution_message({name: {"name": "Qual cor?", "options": []}}),
            {"kind": "unknown", "text": None, "answerable": False},
        )
        for name in (
            "pollCreationMessage",
            "pollCreationMessageV3",
            "pollUpdateMessage",
            "eventMessage",
            "somethingNew",
        )
    },
    "a time of one half": (
        evolution_message(OI, messageTimestamp={"low": AT, "unsigned": True}),
        TEXT | {"sent_at": AT_ISO},
    ),
    "the old domain of a person": (evolution_message(OI, key={"remoteJid": f"{ANA}@c.us"}), TEXT | {"chat": PERSON}),
    "an answer to a button of a flow": (
        evolution_message(
            {
                "interactiveResponseMessage": {
                    "body": {"text": "Quero", "format": "DEFAULT"},
                    "nativeFlowResponseMessage": {"name": "menu", "paramsJson": '{"id": "b1"}', "version": 3},
                }
            }
        ),
        {"kind": "interactive", "text": "Quero", "payload": '{"id": "b1"}', "answerable": True},
    ),
    "an order": (
        evolution_message({"orderMessage": {"orderId": "1", "itemCount": 2, "message": "por favor"}}),
        {"kind": "order", "text": "por favor", "answerable": True},
    ),
    **{
        f"{wrapper} is unwrapped": (evolution_message({wrapper: {"message": {"conversation": "Oi"}}}), TEXT)
        for wrapper in ("botInvokeMessage", "associatedChildMessage", "viewOnceMessageV2Extension")
    },
    "a voice note with its transcript": (
        evolution_message({"audioMessage": {"ptt": True}, "speechToText": " Vocês abrem hoje? "}),
        {"kind": "voice", "text": None, "media": {"transcript": "Vocês abrem hoje?"}, "answerable": True},
    ),
    "an image beside an empty text": (
        evolution_message({"conversation": "", "imageMessage": {"caption": "veja", "mimetype": "image/png"}}),
        {"kind": "image", "text": "veja", "media": {"mime_type": "image/png"}},
    ),
    "no message at all": (evolution_message(None), {"kind": "unknown", "text": None, "answerable": False}),
    "context alone": (
        evolution_message({"messageContextInfo": {"messageSecret": "x"}}),
        {"kind": "unknown", "answerable": False},
    ),
    "an empty text": (evolution_message({"conversation": ""}), {"kind": "text", "text": None, "answerable": False}),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_is_parsed_as_the_documentation_describes(case: str):
    data, expected = MESSAGES[case]

    assert_matches(meanings("evolution", evolution("messages.upsert", data)), [{"event": "message"} | expected])
