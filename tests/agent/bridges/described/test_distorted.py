"""Payloads that are almost what the contract pages describe: a bridge has a bug, or is of a release not seen here.

What may be ours, or says nothing, is not answered; nothing goes into the conversation of another person.
"""

from typing import Any

import pytest

from tests.support.bridges.described import (
    ANA,
    AT,
    GROUP,
    OWN,
    cloud,
    cloud_message,
    evolution,
    evolution_message,
    meanings,
    waha,
    waha_message,
)
from tests.support.bridges.descriptions import assert_matches

JID = f"{ANA}@s.whatsapp.net"
USER = "BR.11223344556677889900"
OURS = {"event": "message", "direction": "outbound", "answerable": False, "text": "Oi"}
NOTHING = {"event": "message", "direction": "inbound", "answerable": False}
OI = {"conversation": "Oi"}
CALL = {"id": "CALL1", "chatId": JID, "from": JID, "status": "timeout", "date": "2026-09-21T15:04:00.000Z"}


def of_waha(**changes: Any) -> dict[str, Any]:
    return waha("message.any", waha_message(**changes))


def of_evolution(message: Any, **changes: Any) -> dict[str, Any]:
    return evolution("messages.upsert", evolution_message(message, **changes))


def call_of_cloud(**changes: Any) -> dict[str, Any]:
    call = {"id": "wacid.1", "from": OWN, "to": ANA, "event": "terminate", "timestamp": str(AT)} | changes
    return cloud({"calls": [call]}, field="calls")


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{
        f"WAHA: the id says that it is ours, fromMe is {value!r}": (
            "waha",
            of_waha(id=f"true_{ANA}@c.us_3EB0A1", fromMe=value),
            OURS,
        )
        for value in (None, False, 0, "", "no", {}, [], "true")
    },
    "WAHA: fromMe as text where the id is bare": ("waha", of_waha(id="3EB0A1", fromMe="true"), OURS),
    "WAHA: fromMe as a number where the id is bare": ("waha", of_waha(id="3EB0A1", fromMe=1), OURS),
    "Evolution: fromMe as text": ("evolution", of_evolution(OI, key={"fromMe": "true"}), OURS),
    "Evolution: fromMe as text, and false": ("evolution", of_evolution(OI, key={"fromMe": "false"}), {"text": "Oi"}),
    "Evolution: an echo that does not say that it is ours": (
        "evolution",
        evolution("send.message", evolution_message(OI, key={"fromMe": ""})),
        OURS | {"echo": True, "sender": {"phone": f"+{OWN}"}},
    ),
    "WAHA: an empty location beside a text": (
        "waha",
        of_waha(location={}),
        {"kind": "text", "text": "Oi", "answerable": True},
    ),
    "WAHA: cards that are none beside a text": (
        "waha",
        of_waha(vCards=["", "x", None, {}]),
        {"kind": "text", "text": "Oi", "answerable": True},
    ),
    "WAHA: a card that is spelled otherwise": (
        "waha",
        of_waha(body="", vCards=["begin:vcard\nfn:Carla\ntel:+5531955554444\nend:vcard"]),
        {"kind": "contact", "contacts": [{"name": "Carla", "phone": "+5531955554444"}], "answerable": True},
    ),
    "WAHA: a type of file in capitals": (
        "waha",
        of_waha(hasMedia=True, media={"url": "http://localhost:3000/api/files/a", "mimetype": " IMAGE/WEBP "}),
        {"kind": "sticker"},
    ),
    "Evolution: a location without a place": ("evolution", of_evolution({"locationMessage": {"name": None}}), NOTHING),
    "Evolution: cards without a card": ("evolution", of_evolution({"contactsArrayMessage": {"contacts": []}}), NOTHING),
    "Evolution: an answer to a list without a choice": (
        "evolution",
        of_evolution({"listResponseMessage": {}}),
        NOTHING,
    ),
    "Cloud: a location without a place": ("cloud", cloud({"messages": [cloud_message("location", {})]}), NOTHING),
    "Evolution: the title and the description of what was chosen": (
        "evolution",
        of_evolution(
            {
                "listResponseMessage": {
                    "title": "Saturday",
                    "description": "9 to 12",
                    "singleSelectReply": {"selectedRowId": "sat"},
                }
            }
        ),
        {
            "kind": "interactive",
            "text": "Saturday",
            "description": "9 to 12",
            "payload": "sat",
            "answerable": True,
        },
    ),
    "Evolution: a poll within another version of itself": (
        "evolution",
        of_evolution({"pollCreationMessageV4": {"message": {"pollCreationMessageV3": {"name": "Qual cor?"}}}}),
        {"kind": "unknown", "poll": {"name": "Qual cor?", "options": []}, "answerable": False},
    ),
    "Evolution: a call to a group that only the group's address tells": (
        "evolution",
        evolution("call", CALL | {"groupJid": GROUP}),
        {"event": "call", "is_group": True, "chat": {"address": GROUP}, "sender": {"phone": f"+{ANA}"}},
    ),
    "Evolution: a call to a group whose address is a person's": (
        "evolution",
        evolution("call", CALL | {"isGroup": True, "groupJid": "5511977776666@s.whatsapp.net"}),
        {"event": "call", "chat": {"phone": f"+{ANA}"}},
    ),
    "Cloud: a call of ours without its direction": (
        "cloud",
        call_of_cloud(),
        {"event": "call", "direction": "outbound", "status": "ended", "chat": {"phone": f"+{ANA}"}},
    ),
    "Cloud: a call of ours from the other spelling of our number": (
        "cloud",
        call_of_cloud(**{"from": "551199990000"}),
        {"event": "call", "direction": "outbound", "status": "ended"},
    ),
    "Cloud: digits that are no phone, beside an id": (
        "cloud",
        cloud({"messages": [cloud_message("text", {"body": "Oi"}, **{"from": "0", "from_user_id": USER})]}),
        {"event": "message", "chat": {"address": USER, "phone": None}},
    ),
    "Cloud: a group that cannot be read": (
        "cloud",
        cloud({"messages": [cloud_message("text", {"body": "Oi"}, group_id=7)]}),
        {"event": "malformed"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_payload_that_is_almost_as_described_is_read_on_the_safe_side(case: str) -> None:
    kind, body, expected = CASES[case]

    assert_matches(meanings(kind, body), [expected])


OTHER_KINDS = (
    "buttonsMessage",
    "commentMessage",
    "encCommentMessage",
    "encReactionMessage",
    "eventMessage",
    "groupInviteMessage",
    "groupStatusMentionMessage",
    "groupStatusMessageV2",
    "interactiveMessage",
    "invoiceMessage",
    "keepInChatMessage",
    "listMessage",
    "newsletterAdminInviteMessage",
    "pinInChatMessage",
    "pollUpdateMessage",
    "productMessage",
    "requestPaymentMessage",
    "scheduledCallCreationMessage",
    "sendPaymentMessage",
    "stickerPackMessage",
    "templateMessage",
)


@pytest.mark.parametrize(
    "inner", [None, [], "x", {}, {"message": {}}, {"key": {"id": "3EB0FF"}, "text": "x"}], ids=repr
)
@pytest.mark.parametrize("kind", ["waha", "evolution"])
def test_what_is_no_kind_of_ours_is_stored_as_unknown(kind: str, inner: Any) -> None:
    for name in OTHER_KINDS:
        body = (
            of_evolution({name: inner}) if kind == "evolution" else of_waha(body=None, _data={"message": {name: inner}})
        )
        assert_matches(meanings(kind, body), [NOTHING | {"kind": "unknown", "text": None}])
