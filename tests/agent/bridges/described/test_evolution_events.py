"""The contract page of Evolution API, where no recorded payload shows what it says."""

import time
from typing import Any

import jwt
import pytest

from agent.bridges.base import BridgeConfig, WebhookRequest
from agent.bridges.evolution import EvolutionBridge
from agent.bridges.exchange import BridgeError, NotSent, Unconfirmed
from agent.turns.presence import TYPING_MARGIN_S
from tests.support.bridges.described import (
    ANA,
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
OI = {"conversation": "Oi"}


def update(**changes: Any) -> dict[str, Any]:
    return {
        "keyId": "3EB0FF",
        "remoteJid": JID,
        "fromMe": True,
        "participant": None,
        "status": "READ",
        "pollUpdates": None,
        "instanceId": "6f1d",
        "messageId": "cmrow1",
    } | changes


def edited(**changes: Any) -> dict[str, Any]:
    return {
        "key": {"remoteJid": JID, "fromMe": False, "id": "3EB0A1"},
        "type": "MESSAGE_EDIT",
        "timestampMs": "1790001030000",
    } | changes


def call(status: str, **changes: Any) -> dict[str, Any]:
    return {"id": "CALL1", "chatId": JID, "from": JID, "status": status, "date": AT_ISO, "offline": False} | changes


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "our own echo": (
        evolution("send.message", evolution_message(OI, key={"fromMe": True}, pushName="Você", status="PENDING")),
        {"event": "message", "direction": "outbound", "echo": True, "answerable": False, "chat": PERSON},
    ),
    "what we sent comes back as a new message": (
        evolution("messages.upsert", evolution_message(OI, key={"fromMe": True})),
        {"event": "message", "direction": "outbound", "echo": False, "answerable": False},
    ),
    **{
        f"the status {word}": (
            evolution("messages.update", update(status=word)),
            {"event": "status", "status": status, "provider_message_id": "3EB0FF", "recipient": PERSON},
        )
        for word, status in [
            ("ERROR", "failed"),
            ("PENDING", "pending"),
            ("SERVER_ACK", "sent"),
            ("DELIVERY_ACK", "delivered"),
            ("READ", "read"),
            ("PLAYED", "played"),
        ]
    },
    "DELETED stands for any update": (evolution("messages.update", update(status="DELETED")), {"event": "ignored"}),
    "an update without a status": (
        evolution("messages.update", {k: v for k, v in update().items() if k != "status"}),
        {"event": "ignored"},
    ),
    "the votes of a poll": (
        evolution("messages.update", update(status=None, pollUpdates=[{"name": "Azul", "voters": []}])),
        {"event": "ignored"},
    ),
    "what we read of theirs": (evolution("messages.update", update(fromMe=False)), {"event": "ignored"}),
    "the status of a message to a hidden number": (
        evolution("messages.update", update(remoteJid=LID)),
        {"event": "status", "recipient": {"address": LID, "phone": None}},
    ),
    "a member of a group has read": (
        evolution("messages.update", update(remoteJid=GROUP, participant="5521977776666@s.whatsapp.net")),
        {
            "event": "status",
            "status": "read",
            "recipient": {"address": "5521977776666@s.whatsapp.net", "phone": "+5521977776666"},
        },
    ),
    "an edit of a long text, its type a number": (
        evolution("messages.edited", edited(type=14, editedMessage={"extendedTextMessage": {"text": "Oi, tudo bem?"}})),
        {"event": "edit", "target_id": "3EB0A1", "text": "Oi, tudo bem?", "chat": PERSON, "direction": "inbound"},
    ),
    "an edit of a caption": (
        evolution("messages.edited", edited(editedMessage={"imageMessage": {"caption": "nova legenda"}})),
        {"event": "edit", "target_id": "3EB0A1", "text": "nova legenda", "at": "2026-09-21T14:30:30Z"},
    ),
    "an edit that is wrapped": (
        evolution("messages.edited", edited(editedMessage={"message": {"conversation": "Olá"}})),
        {"event": "edit", "target_id": "3EB0A1", "text": "Olá"},
    ),
    "an edit whose content nobody knows": (
        evolution("messages.edited", edited(editedMessage={"somethingNew": {"text": "Olá"}})),
        {"event": "ignored"},
    ),
    "deleted, and only its id is known": (
        evolution("messages.delete", {"id": "3EB0FF", "status": "DELETED"}),
        {"event": "revoke", "target_id": "3EB0FF", "chat": None},
    ),
    "an edit of ours": (
        evolution("messages.edited", edited(key={"remoteJid": JID, "fromMe": True, "id": "3EB0FF"}, editedMessage=OI)),
        {"event": "edit", "direction": "outbound", "target_id": "3EB0FF", "text": "Oi"},
    ),
    **{
        f"a protocol message of type {kind} is a deletion": (
            evolution("messages.edited", edited(type=kind)),
            {"event": "revoke", "target_id": "3EB0A1", "chat": PERSON},
        )
        for kind in ("REVOKE", 0, "0")
    },
    **{
        f"a protocol message of type {kind} is nothing": (
            evolution("messages.edited", edited(type=kind, ephemeralExpiration=86400)),
            {"event": "ignored"},
        )
        for kind in ("EPHEMERAL_SETTING", 3, "HISTORY_SYNC_NOTIFICATION", None)
    },
    "a protocol message without a key is nothing": (
        evolution("messages.edited", {"type": "EPHEMERAL_SETTING", "ephemeralExpiration": 86400}),
        {"event": "ignored"},
    ),
    "deleted by a member of a group": (
        evolution(
            "messages.delete",
            {"remoteJid": GROUP, "fromMe": False, "id": "3EB0A1", "participant": "5521977776666@s.whatsapp.net"},
        ),
        {
            "event": "revoke",
            "target_id": "3EB0A1",
            "is_group": True,
            "sender": {"address": "5521977776666@s.whatsapp.net"},
        },
    ),
    "deleted through the API: a row of its database": (
        evolution(
            "messages.delete",
            {
                "id": "cmrow1",
                "key": {"remoteJid": JID, "fromMe": True, "id": "3EB0FF"},
                "status": "DELETED",
                "pushName": "Você",
            },
        ),
        {"event": "revoke", "target_id": "3EB0FF", "direction": "outbound", "chat": PERSON},
    ),
    "an edit made through the API": (
        evolution(
            "send.message.update",
            edited(key={"remoteJid": JID, "fromMe": True, "id": "3EB0FF"}, editedMessage=OI),
        ),
        {"event": "edit", "target_id": "3EB0FF", "text": "Oi", "direction": "outbound", "chat": PERSON},
    ),
    "an edit that names the message alone": (
        evolution("messages.edited", edited(key={"id": "3EB0FF"}, editedMessage=OI)),
        {"event": "edit", "target_id": "3EB0FF", "text": "Oi", "chat": None},
    ),
    "an edit among the messages": (
        evolution(
            "messages.upsert",
            evolution_message({"protocolMessage": edited(key={"id": "3EB0A0", "remoteJid": OWN}, editedMessage=OI)}),
        ),
        {"event": "edit", "target_id": "3EB0A0", "text": "Oi", "chat": PERSON, "at": "2026-09-21T14:30:30Z"},
    ),
    "a deletion among the messages": (
        evolution(
            "messages.upsert", evolution_message({"protocolMessage": {"key": {"id": "3EB0A0"}, "type": "REVOKE"}})
        ),
        {"event": "revoke", "target_id": "3EB0A0", "chat": PERSON},
    ),
    "a setting among the messages": (
        evolution("messages.upsert", evolution_message({"protocolMessage": {"type": "EPHEMERAL_SETTING"}})),
        {"event": "ignored"},
    ),
    "history of an older release": (
        evolution(
            "messages.set",
            [evolution_message(OI), evolution_message(OI, key={"id": "3EB0A2", "fromMe": True}), None, {"key": {}}],
        ),
        {"event": "history", "count": 4, "progress": None, "is_latest": None, "answerable": False},
    ),
    "the limit of codes is reached": (
        evolution("qrcode.updated", {"message": "QR code limit reached, please login again", "statusCode": 500}),
        {"event": "session", "session": "sales", "status": "failed", "code": 500},
    ),
    "nobody scanned in time": (
        evolution("connection.update", {"instance": "sales", "state": "refused", "statusReason": 500}),
        {"event": "session", "status": "failed"},
    ),
    **{
        f"it gives up with {code}": (
            evolution("connection.update", {"instance": "sales", "state": "close", "statusReason": code}),
            {"event": "session", "status": status, "code": code},
        )
        for code, status in [(401, "logged_out"), (402, "disconnected"), (403, "disconnected"), (406, "disconnected")]
    },
    "linked, our address with its device": (
        evolution(
            "connection.update",
            {
                "instance": "sales",
                "state": "open",
                "statusReason": 200,
                "wuid": f"{OWN}:5@s.whatsapp.net",
                "profileName": "Loja Azul",
                "profilePictureUrl": None,
            },
        ),
        {"event": "session", "status": "connected", "phone": f"+{OWN}", "name": "Loja Azul", "code": None},
    ),
    "closed for another reason": (
        evolution(
            "status.instance",
            {
                "instance": "sales",
                "status": "closed",
                "disconnectionAt": AT_ISO,
                "disconnectionReasonCode": 403,
                "disconnectionObject": "{}",
            },
        ),
        {"event": "session", "status": "disconnected", "code": 403},
    ),
    "the instance was removed": (
        evolution("remove.instance", None),
        {"event": "session", "session": "sales", "status": "logged_out"},
    ),
    **{
        f"members of a group: {word}": (
            evolution(
                "group-participants.update",
                {
                    "id": GROUP,
                    "author": JID,
                    "participants": [LID],
                    "action": word,
                    "participantsData": [
                        {"jid": LID, "phoneNumber": f"{LIA}@s.whatsapp.net", "name": "Lia", "imgUrl": None}
                    ],
                },
            ),
            {
                "event": "group",
                "action": action,
                "chat": {"address": GROUP},
                "participants": [{"address": LID, "phone": f"+{LIA}"}],
            },
        )
        for word, action in [
            ("add", "join"),
            ("remove", "leave"),
            ("promote", "promote"),
            ("demote", "demote"),
            ("modify", "update"),
        ]
    },
    "members of a group without their data": (
        evolution(
            "group-participants.update", {"id": GROUP, "author": JID, "participants": [LID, JID], "action": "remove"}
        ),
        {"event": "group", "action": "leave", "participants": [{"address": LID, "phone": None}, PERSON]},
    ),
    **{
        f"a call: {word}": (
            evolution("call", call(word, isVideo=True)),
            {
                "event": "call",
                "status": status,
                "call_id": "CALL1",
                "sender": PERSON,
                "is_video": True,
                "at": AT_ISO,
                "offline": False,
                "answerable": False,
            },
        )
        for word, status in [
            ("offer", "ringing"),
            ("ringing", "ringing"),
            ("accept", "accepted"),
            ("reject", "rejected"),
            ("timeout", "missed"),
            ("terminate", "ended"),
        ]
    },
    "a call of a hidden number while it was offline": (
        evolution("call", call("timeout", **{"from": LID, "chatId": LID}, offline=True)),
        {
            "event": "call",
            "status": "missed",
            "sender": {"address": LID, "phone": None},
            "offline": True,
            "is_video": False,
        },
    ),
    "a call to a group": (
        evolution("call", call("offer", isGroup=True, groupJid=GROUP)),
        {"event": "call", "is_group": True, "chat": {"address": GROUP}, "sender": PERSON},
    ),
    "a call's word that nobody knows": (evolution("call", call("preaccept")), {"event": "ignored"}),
    **{
        f"not needed: {event}": (evolution(event, data), {"event": "ignored"})
        for event, data in [
            ("presence.update", {"id": JID, "presences": {JID: {"lastKnownPresence": "composing"}}}),
            ("contacts.upsert", {"remoteJid": JID, "pushName": "Ana"}),
            ("contacts.update", [{"remoteJid": JID}]),
            ("chats.set", []),
            ("chats.update", [{"remoteJid": JID}]),
            ("labels.edit", {"id": "1"}),
            ("groups.upsert", [{"id": GROUP}]),
            ("groups.update", [{"id": GROUP}]),
            ("typebot.start", {}),
            ("instance.create", {"instanceName": "sales", "instanceId": "6f1d"}),
            ("instance.delete", {"instanceName": "sales", "instanceId": "6f1d"}),
            ("application.startup", None),
        ]
    },
    **{
        f"nobody to answer: {chat}": (
            evolution("messages.upsert", evolution_message(OI, key={"remoteJid": chat})),
            {"event": "ignored"},
        )
        for chat in ("120363041234567890@newsletter", "1234567890@broadcast", "status@broadcast")
    },
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_event_is_parsed_as_the_documentation_describes(case: str):
    body, expected = OTHERS[case]

    assert_matches(meanings("evolution", body), [expected])


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        7,
        {},
        {"key": None},
        {"key": {"remoteJid": JID}},
        {"key": {"id": "3EB0A1"}},
        {"key": {"remoteJid": "", "id": "3EB0A1"}},
    ],
    ids=repr,
)
def test_a_message_that_names_no_chat_or_id_is_malformed(data: Any):
    assert_matches(meanings("evolution", evolution("messages.upsert", data)), [{"event": "malformed"}])


def test_the_clock_of_the_envelope_is_not_used():
    for event, data in [
        ("messages.upsert", evolution_message(OI, messageTimestamp=None)),
        ("messages.update", update()),
    ]:
        (meant,) = meanings("evolution", evolution(event, data))
        assert meant.get("sent_at", meant.get("at")) is None


def test_history_keeps_the_good_messages_of_its_chunk():
    data = [evolution_message(OI), None, {"key": {}}, evolution_message(OI, key={"id": "3EB0A2"})]

    (meant,) = meanings("evolution", evolution("messages.set", data, progress=100, isLatest=True))

    assert [message["provider_message_id"] for message in meant["messages"]] == ["3EB0A1", "3EB0A2"]
    assert (meant["count"], meant["progress"], meant["is_latest"]) == (4, 100, True)


KEY = "a key of at least thirty-two bytes"


def is_taken(*, key: str = KEY, **changes: Any) -> bool:
    now = int(time.time())
    claims = {"iat": now, "exp": now + 600, "app": "evolution", "action": "webhook"} | changes
    headers = {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='HS256')}"}
    return EvolutionBridge(BridgeConfig(signing_key=KEY)).is_authentic(WebhookRequest(b"{}", headers))


@pytest.mark.parametrize("seconds", [-120, 0, 120])
def test_a_token_of_a_bridge_whose_clock_differs_a_little_is_taken(seconds: int):
    now = int(time.time()) + seconds

    assert is_taken(iat=now, exp=now + 600)


@pytest.mark.parametrize(
    "changes", [{"exp": 1790001001}, {"app": "another"}, {"action": "login"}, {"key": "x" * 32}], ids=repr
)
def test_a_token_that_is_not_for_our_webhook_or_not_for_now_is_refused(changes: dict[str, Any]):
    assert not is_taken(**changes)


# --- typing: the answer comes when it has ended -------------------------------------------------------------------
def typing_steps() -> Any:
    steps = EvolutionBridge(BridgeConfig()).show_typing(session="sales", address=JID)
    request = next(steps)
    assert request.json["delay"] == (EvolutionBridge.typing_lasts_s - TYPING_MARGIN_S) * 1000
    assert request.timeout_s <= 2
    return steps


def test_typing_is_shown_until_it_is_shown_again_and_nobody_waits_for_its_end():
    with pytest.raises(StopIteration):
        typing_steps().throw(Unconfirmed(code="timeout"))


@pytest.mark.parametrize("failure", [NotSent(code="bridge_unreachable"), Unconfirmed(code="bridge_failure")], ids=repr)
def test_typing_that_the_bridge_did_not_take_is_a_failure(failure: BridgeError):
    with pytest.raises(type(failure)):
        typing_steps().throw(failure)
