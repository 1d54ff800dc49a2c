"""What bridges leave out or mix up: our own number in another's place, ids cut short, changes without their content."""

from typing import Any

import pytest

from tests.support.bridges.described import (
    ANA,
    AT,
    GROUP,
    LID,
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

OWN_JID, ANA_JID = f"{OWN}@s.whatsapp.net", f"{ANA}@s.whatsapp.net"
OWN_LID = "99887766554433@lid"
OI = {"conversation": "Oi"}
NOWHERE: dict[str, Any] = {"target_id": "3EB0A1", "chat": None}
HIDDEN: dict[str, Any] = {"chat": {"address": LID, "phone": None}}
LIMITS = {
    "reachoutTimelock": {"isActive": True, "timeEnforcementEnds": AT},
    "messageCapping": {"cappingStatus": "CAPPED", "totalQuota": 10, "usedQuota": 10, "cycleEnd": AT},
}
BOTH_LIMITS = {"event": "session", "restrictions": [{"kind": "timelock"}, {"kind": "capping"}]}


def edit_of(**key: Any) -> dict[str, Any]:
    return {"key": {"id": "3EB0A1", **key}, "type": 14, "editedMessage": OI, "timestampMs": str(AT * 1000)}


def noweb(jid: str, alternate: str, *, from_me: bool = False) -> dict[str, Any]:
    """A message of a direct chat, with what NOWEB adds to it."""
    key = {"remoteJid": jid, "remoteJidAlt": alternate, "fromMe": from_me, "id": "3EB0A1"}
    return waha_message(
        id=f"{'true' if from_me else 'false'}_{jid}_3EB0A1",
        fromMe=from_me,
        _data={"key": key},
        **{"from": jid, "to": jid},
    )


def update(**values: Any) -> dict[str, Any]:
    return evolution("messages.update", {"keyId": "3EB0FF", "status": "READ", "messageId": "cmrow1", **values})


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "an edit as its writer sees it: the chat with us": (
        "evolution",
        evolution("messages.edited", edit_of(remoteJid=OWN_JID, fromMe=True)),
        {"event": "edit", "text": "Oi", **NOWHERE},
    ),
    "an edit as its writer sees it, from a device": (
        "evolution",
        evolution("messages.edited", edit_of(remoteJid=f"{OWN}:7@s.whatsapp.net", fromMe="True")),
        {"event": "edit", **NOWHERE},
    ),
    "a deletion as its writer sees it": (
        "evolution",
        evolution("messages.edited", {"key": {"remoteJid": OWN_JID, "fromMe": True, "id": "3EB0A1"}, "type": "REVOKE"}),
        {"event": "revoke", **NOWHERE},
    ),
    "an edit that names an id alone": (
        "evolution",
        evolution("messages.edited", edit_of(remoteJid="")),
        {"event": "edit", **NOWHERE},
    ),
    "an edit in its carrier names the chat": (
        "evolution",
        evolution(
            "messages.upsert", evolution_message({"protocolMessage": edit_of(remoteJid=OWN_JID, fromMe=True)})
        ),
        {"event": "edit", "target_id": "3EB0A1", "chat": {"address": ANA_JID}, "direction": "inbound"},
    ),
    "an edit to nothing": (
        "evolution",
        evolution("messages.edited", edit_of(remoteJid=ANA_JID) | {"editedMessage": {"conversation": ""}}),
        {"event": "ignored"},
    ),
    "our number beside a hidden customer (Evolution)": (
        "evolution",
        evolution("messages.upsert", evolution_message(OI, key={"remoteJid": LID, "remoteJidAlt": OWN_JID})),
        {"event": "message", **HIDDEN},
    ),
    "our number beside a hidden member of a group (Evolution)": (
        "evolution",
        evolution(
            "messages.upsert",
            evolution_message(OI, key={"remoteJid": GROUP, "participant": LID, "participantAlt": OWN_JID}),
        ),
        {"event": "message", "sender": {"address": LID, "phone": None}},
    ),
    "our number beside a hidden customer (NOWEB)": (
        "waha", waha("message", noweb(LID, OWN_JID)), {"event": "message", **HIDDEN}
    ),
    "our number beside a hidden customer we wrote to (NOWEB)": (
        "waha", waha("message.any", noweb(LID, OWN_JID, from_me=True)), {"direction": "outbound", **HIDDEN}
    ),
    "our number beside our own hidden number": (
        "waha",
        waha("message.any", noweb(OWN_LID, OWN_JID, from_me=True)),
        {"direction": "outbound", "chat": {"address": OWN_LID, "phone": f"+{OWN}"}},
    ),
    "our hidden number beside a customer": (
        "waha",
        waha("message", noweb(f"{ANA}@c.us", OWN_LID)),
        {"event": "message", "chat": {"phone": f"+{ANA}"}, "aliases": [f"+{ANA}"]},
    ),
    "an id with underscores in a direct chat": (
        "waha",
        waha("message", waha_message(id=f"false_{ANA}@c.us_3EB0_A1_2")),
        {"event": "message", "stanza_id": "3EB0_A1_2", "chat": {"phone": f"+{ANA}"}},
    ),
    "a message to ourselves, which WEBJS names twice": (
        "waha",
        waha("message.any", waha_message(id=f"true_{OWN}@c.us_3EB0A1_out", fromMe=True)),
        {"event": "message", "stanza_id": "3EB0A1", "chat": {"phone": f"+{OWN}"}},
    ),
    "a participant in a group": (
        "waha",
        waha("message", waha_message(id=f"false_{GROUP}_3EB0A1_{ANA}@c.us", **{"from": GROUP})),
        {"event": "message", "stanza_id": "3EB0A1", "sender": {"phone": f"+{ANA}"}},
    ),
    "a call in a group that its chat alone shows": (
        "evolution",
        evolution("call", {"id": "C1", "chatId": GROUP, "from": LID, "status": "timeout", "date": AT}),
        {"event": "call", "chat": {"address": GROUP}, "sender": {"address": LID}},
    ),
    "an edit whose text is null": (
        "waha", waha("message.edited", waha_message(body=None, editedMessageId="3EB0A1")), {"event": "ignored"}
    ),
    "an edit of a file whose caption is null": (
        "waha",
        waha("message.edited", waha_message(body=None, hasMedia=True, editedMessageId="3EB0A1")),
        {"event": "ignored"},
    ),
    "a caption that was taken away": (
        "waha",
        waha("message.edited", waha_message(body="", hasMedia=True, editedMessageId="3EB0A1")),
        {"event": "edit", "text": "", "target_stanza_id": "3EB0A1"},
    ),
    "a deletion that only an id with its chat names": (
        "waha",
        waha("message.revoked", {"revokedMessageId": f"false_{GROUP}_3EB0A1_{ANA}@c.us"}),
        {"event": "revoke", "target_stanza_id": "3EB0A1", "chat": {"address": GROUP}},
    ),
    "a receipt that names an id alone": (
        "evolution",
        update(),
        {"event": "status", "status": "read", "provider_message_id": "3EB0FF", "recipient": None},
    ),
    "a receipt without its chat of a message to us": ("evolution", update(fromMe=False), {"event": "ignored"}),
    "two limits at once": (
        "waha",
        waha("session.status", {"name": "sales", "status": "WORKING", "data": LIMITS}),
        BOTH_LIMITS,
    ),
    "limits beside our number": (
        "waha",
        waha("session.status", {"name": "sales", "status": "WORKING", "data": None}, me=LIMITS),
        BOTH_LIMITS,
    ),
    **{
        f"fromMe is {word!r}": (
            "evolution",
            evolution("messages.upsert", evolution_message(OI, key={"fromMe": word})),
            {"event": "message", "direction": direction},
        )
        for word, direction in [
            ("True", "outbound"), ("TRUE", "outbound"), ("1", "outbound"), (1, "outbound"),
            ("False", "inbound"), ("0", "inbound"), (0, "inbound"), ("", "inbound"),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_event_with_our_number_or_an_id_in_an_odd_place_is_read_on_the_safe_side(case: str):
    kind, body, expected = CASES[case]

    assert_matches(meanings(kind, body), [expected])


def test_an_edit_and_a_deletion_in_a_history_are_among_its_changes():
    edit = {"original_message_id": "wamid.1", "message": {"type": "text", "text": {"body": "Olá"}}}
    messages = [
        cloud_message("text", {"body": "Oi"}),
        cloud_message("edit", edit, id="wamid.2"),
        cloud_message("revoke", {"original_message_id": "wamid.3"}, id="wamid.4"),
    ]
    body = cloud({"history": [{"threads": [{"id": ANA, "messages": messages}]}]}, field="history")

    (history,) = meanings("cloud", body)

    assert (history["count"], len(history["messages"])) == (3, 1)
    assert [(each["target_id"], each.get("text")) for each in history["changes"]] == [
        ("wamid.1", "Olá"),
        ("wamid.3", None),
    ]
