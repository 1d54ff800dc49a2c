"""WAHA's contract page, where no recorded payload shows what it says."""

from typing import Any

import pytest

from tests.support.bridges.described import ANA, AT, AT_ISO, GROUP, LID, OWN, meanings, waha, waha_message
from tests.support.bridges.descriptions import assert_matches

PERSON = {"address": f"{ANA}@c.us", "phone": f"+{ANA}"}
OURSELVES = {"address": f"{OWN}@c.us", "phone": f"+{OWN}"}
TEXT = {"event": "message", "kind": "text", "text": "Oi", "direction": "inbound", "answerable": True}


def in_group(participant: str, *, from_me: bool = False, **changes: Any) -> dict[str, Any]:
    message_id = f"{str(from_me).lower()}_{GROUP}_3EB0A1_{participant}"
    more = {"id": message_id, "from": GROUP, "fromMe": from_me, "participant": participant}
    return waha_message(**(more | changes))


def vote(
    chat: str = f"{ANA}@c.us", *, options: Any = ("Awesome!",), ours: bool = True, **changes: Any
) -> dict[str, Any]:
    """Return the vote of a person in a poll, in a direct chat or a group."""
    by = {"id": f"false_{chat}_3EB0VOTE", "to": "me", "from": f"{ANA}@c.us", "fromMe": False, "timestamp": AT}
    poll = {"id": f"{str(ours).lower()}_{chat}_3EB0POLL", "to": chat, "from": "me", "fromMe": ours}
    return waha("poll.vote", {"vote": by | {"selectedOptions": options} | changes, "poll": poll})


VOTE = {"event": "message", "kind": "interactive", "direction": "inbound", "quoted_id": "3EB0POLL", "sender": PERSON}
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a vote in our poll": (vote(), VOTE | {"text": "Awesome!", "stanza_id": "3EB0VOTE", "sent_at": AT_ISO}),
    "a vote for several options": (vote(options=["Awesome!", "Good!"]), VOTE | {"text": "Awesome!, Good!"}),
    "a vote in a group": (vote(GROUP), VOTE | {"is_group": True, "chat": {"address": GROUP, "phone": None}}),
    "a vote taken back": (vote(options=[]), {"event": "ignored"}),
    "a vote that is no text": (vote(options=[None, 1, {}]), {"event": "ignored"}),
    "a vote in the poll of another": (vote(ours=False), {"event": "ignored"}),
    "our own vote": (vote(id=f"true_{ANA}@c.us_3EB0VOTE", fromMe=True), {"event": "ignored"}),
    "a reaction taken away; its time has decimals": (
        waha(
            "message.reaction",
            {
                "id": f"false_{ANA}@c.us_3EB0R1",
                "from": f"{ANA}@c.us",
                "fromMe": False,
                "source": "app",
                "participant": None,
                "to": None,
                "timestamp": AT + 0.5,
                "reaction": {"text": "", "messageId": f"true_{ANA}@c.us_3EB0FF"},
            },
        ),
        {
            "event": "reaction",
            "emoji": None,
            "target_stanza_id": "3EB0FF",
            "sent_at": "2026-09-21T14:30:01.500Z",
            "direction": "inbound",
        },
    ),
    "a reaction of ours": (
        waha(
            "message.reaction",
            {
                "id": f"true_{ANA}@c.us_3EB0R1",
                "from": f"{ANA}@c.us",
                "fromMe": True,
                "source": "app",
                "timestamp": AT,
                "reaction": {"text": "👍", "messageId": f"false_{ANA}@c.us_3EB0FF"},
            },
        ),
        {"event": "reaction", "emoji": "👍", "direction": "outbound", "sender": OURSELVES},
    ),
    "a reaction in a group": (
        waha(
            "message.reaction",
            {
                "id": f"false_{GROUP}_3EB0R1_5521977776666@c.us",
                "from": GROUP,
                "fromMe": False,
                "participant": "5521977776666@c.us",
                "timestamp": AT,
                "reaction": {"text": "👍", "messageId": f"true_{GROUP}_3EB0FF_{OWN}@c.us"},
            },
        ),
        {
            "event": "reaction",
            "is_group": True,
            "target_stanza_id": "3EB0FF",
            "sender": {"address": "5521977776666@c.us"},
        },
    ),
    **{
        f"acknowledgement {ack} is {status}": (
            waha(
                "message.ack",
                {
                    "id": f"true_{ANA}@c.us_3EB0FF",
                    "from": f"{ANA}@c.us",
                    "to": None,
                    "participant": None,
                    "fromMe": True,
                    "ack": ack,
                    "ackName": name,
                },
            ),
            {"event": "status", "status": status, "stanza_id": "3EB0FF", "recipient": PERSON},
        )
        for ack, name, status in [
            (-1, "ERROR", "failed"),
            (0, "PENDING", "pending"),
            (1, "SERVER", "sent"),
            (2, "DEVICE", "delivered"),
            (3, "READ", "read"),
            (4, "PLAYED", "played"),
        ]
    },
    "an acknowledgement by name alone": (
        waha(
            "message.ack",
            {"id": f"true_{ANA}@c.us_3EB0FF", "from": f"{ANA}@c.us", "fromMe": True, "ack": None, "ackName": "READ"},
        ),
        {"event": "status", "status": "read"},
    ),
    "what we read of theirs": (
        waha(
            "message.ack",
            {"id": f"false_{ANA}@c.us_3EB0A1", "from": f"{ANA}@c.us", "fromMe": False, "ack": 3, "ackName": "READ"},
        ),
        {"event": "ignored"},
    ),
    "an acknowledgement under the hidden number": (
        waha("message.ack", {"id": f"true_{LID}_3EB0FF", "from": LID, "fromMe": True, "ack": 2, "ackName": "DEVICE"}),
        {"event": "status", "status": "delivered", "stanza_id": "3EB0FF", "recipient": {"address": LID, "phone": None}},
    ),
    "a member of a group has read": (
        waha(
            "message.ack.group",
            {
                "id": f"true_{GROUP}_3EB0FF_{OWN}@c.us",
                "from": GROUP,
                "to": GROUP,
                "participant": "5521977776666@c.us",
                "fromMe": True,
                "ack": 3,
                "ackName": "READ",
            },
        ),
        {
            "event": "status",
            "status": "read",
            "stanza_id": "3EB0FF",
            "recipient": {"address": "5521977776666@c.us", "phone": "+5521977776666"},
        },
    ),
    "an edit whose own id is another (NOWEB, GOWS)": (
        waha(
            "message.edited",
            waha_message(id=f"false_{ANA}@c.us_3EB0EDIT", body="Oi, tudo bem?", editedMessageId="3EB0A1"),
        ),
        {
            "event": "edit",
            "target_stanza_id": "3EB0A1",
            "text": "Oi, tudo bem?",
            "chat": PERSON,
            "sender": PERSON,
            "direction": "inbound",
        },
    ),
    "an edit that names only the message itself (WEBJS)": (
        waha("message.edited", waha_message(body="Oi, tudo bem?", editedMessageId=None)),
        {"event": "edit", "target_stanza_id": "3EB0A1", "text": "Oi, tudo bem?", "chat": PERSON, "at": AT_ISO},
    ),
    "an edit with the time of the message itself (WEBJS)": (
        waha("message.edited", waha_message(body="Oi, tudo bem?"), engine="WEBJS", timestamp=(AT + 60) * 1000),
        {"event": "edit", "at": "2026-09-21T14:31:01Z"},
    ),
    "an acknowledgement whose id is as WEBJS itself has it": (
        waha(
            "message.ack",
            {"id": {"id": "3EB0FF", "_serialized": f"true_{ANA}@c.us_3EB0FF"}, "fromMe": True, "ack": 3},
        ),
        {"event": "status", "status": "read", "stanza_id": "3EB0FF", "recipient": PERSON},
    ),
    "an edit of ours on the phone": (
        waha(
            "message.edited",
            waha_message(id=f"true_{ANA}@c.us_3EB0EDIT", fromMe=True, body="Olá", editedMessageId="3EB0FF"),
        ),
        {"event": "edit", "direction": "outbound", "target_stanza_id": "3EB0FF", "text": "Olá", "chat": PERSON},
    ),
    "a deletion of a message that WAHA does not have": (
        waha(
            "message.revoked",
            {
                "after": waha_message(id=f"false_{ANA}@c.us_3EB0DEL", body=None),
                "before": None,
                "revokedMessageId": "3EB0A1",
            },
        ),
        {"event": "revoke", "target_stanza_id": "3EB0A1", "chat": PERSON, "direction": "inbound"},
    ),
    "a deletion that names the message only as WEBJS itself has it": (
        waha(
            "message.revoked",
            {
                "after": waha_message(id=f"false_{ANA}@c.us_3EB0DEL", body=None),
                "before": waha_message(id={"id": "3EB0A1", "_serialized": f"false_{ANA}@c.us_3EB0A1"}),
            },
        ),
        {"event": "revoke", "target_stanza_id": "3EB0A1", "chat": PERSON},
    ),
    "a deletion of ours": (
        waha(
            "message.revoked",
            {
                "after": waha_message(id=f"true_{ANA}@c.us_3EB0DEL", fromMe=True, body=None),
                "before": None,
                "revokedMessageId": "3EB0FF",
            },
        ),
        {"event": "revoke", "target_stanza_id": "3EB0FF", "direction": "outbound"},
    ),
    "a deletion in a group": (
        waha(
            "message.revoked",
            {"after": in_group("5521977776666@c.us", body=None), "before": None, "revokedMessageId": "3EB0A1"},
        ),
        {
            "event": "revoke",
            "target_stanza_id": "3EB0A1",
            "is_group": True,
            "sender": {"address": "5521977776666@c.us"},
        },
    ),
    "a message that is not decrypted yet": (waha("message.waiting", waha_message(body=None)), {"event": "ignored"}),
    "a passkey is wanted": (
        waha(
            "session.status",
            {
                "name": "sales",
                "status": "PASSKEY_REQUIRED",
                "statuses": [{"status": "PASSKEY_REQUIRED", "timestamp": AT * 1000}],
                "data": {"challenge": "abc"},
            },
        ),
        {"event": "session", "session": "sales", "status": "qr"},
    ),
    "a passkey is to be confirmed": (
        waha(
            "session.status",
            {"name": "sales", "status": "PASSKEY_CONFIRMATION_REQUIRED", "statuses": [], "data": {"code": "1234"}},
        ),
        {"event": "session", "session": "sales", "status": "qr"},
    ),
    "the quota of new contacts is used up": (
        waha(
            "session.status",
            {
                "name": "sales",
                "status": "WORKING",
                "statuses": [],
                "data": {
                    "messageCapping": {
                        "cappingStatus": "CAPPED",
                        "totalQuota": 1000,
                        "usedQuota": 1000,
                        "cycleStart": AT,
                        "cycleEnd": AT + 3600,
                        "mvStatus": "NOT_ACTIVE",
                        "oteStatus": "NOT_ACTIVE",
                    }
                },
            },
        ),
        {
            "event": "session",
            "status": "connected",
            "restriction": {"kind": "capping", "active": True, "status": "CAPPED", "used": 1000, "total": 1000},
        },
    ),
    "a warning of the quota holds nothing back": (
        waha(
            "session.status",
            {
                "name": "sales",
                "status": "WORKING",
                "data": {"messageCapping": {"cappingStatus": "SECOND_WARNING", "totalQuota": 1000, "usedQuota": 900}},
            },
        ),
        {
            "event": "session",
            "status": "connected",
            "restriction": {"kind": "capping", "active": False, "status": "SECOND_WARNING"},
        },
    ),
    "a timelock of a type that nobody knows": (
        waha(
            "session.status",
            {
                "name": "sales",
                "status": "WORKING",
                "data": {
                    "reachoutTimelock": {
                        "enforcementType": "SOMETHING_NEW",
                        "isActive": True,
                        "timeEnforcementEnds": AT,
                    }
                },
            },
        ),
        {"event": "session", "restriction": {"kind": "timelock", "active": True, "until": AT_ISO}},
    ),
    "a timelock that has ended": (
        waha(
            "session.status",
            {
                "name": "sales",
                "status": "WORKING",
                "data": {
                    "reachoutTimelock": {"enforcementType": "DEFAULT", "isActive": False, "timeEnforcementEnds": None}
                },
            },
        ),
        {"event": "session", "restriction": {"kind": "timelock", "active": False, "until": None}},
    ),
    "a status of the session that nobody knows": (
        waha("session.status", {"name": "sales", "status": "NEW"}),
        {"event": "ignored"},
    ),
    **{
        f"a member's change in a group: {action}": (
            waha(
                "group.v2.participants",
                {
                    "type": action,
                    "timestamp": AT,
                    "group": {"id": GROUP},
                    "participants": [{"id": "5521977776666@c.us", "role": "left"}, {"id": LID, "role": "admin"}],
                },
            ),
            {
                "event": "group",
                "action": action,
                "chat": {"address": GROUP},
                "at": AT_ISO,
                "participants": [
                    {"address": "5521977776666@c.us", "phone": "+5521977776666"},
                    {"address": LID, "phone": None},
                ],
            },
        )
        for action in ("join", "leave", "promote", "demote")
    },
    **{
        f"about ourselves in a group: {action}": (
            waha(f"group.v2.{action}", {"group": {"id": GROUP}, "timestamp": AT}),
            {"event": "group", "action": action, "chat": {"address": GROUP}, "participants": []},
        )
        for action in ("join", "leave", "update")
    },
    **{
        f"{event}, of a hidden number": (
            waha(event, {"id": "CALL1", "from": LID, "timestamp": AT, "isVideo": True, "isGroup": False}),
            {
                "event": "call",
                "status": status,
                "call_id": "CALL1",
                "sender": {"address": LID, "phone": None},
                "is_video": True,
                "at": AT_ISO,
                "answerable": False,
            },
        )
        for event, status in [
            ("call.received", "ringing"),
            ("call.accepted", "accepted"),
            ("call.rejected", "rejected"),
        ]
    },
    **{
        f"a call of {engine}": (
            waha("call.received", {"id": "CALL1", "from": f"{ANA}@c.us", "timestamp": AT}, engine=engine),
            {"event": "call", "status": "ringing", "is_video": False, "reports_acceptance": reports_acceptance},
        )
        for engine, reports_acceptance in [("WEBJS", False), ("WPP", True), ("NOWEB", True), ("GOWS", True)]
    },
    **{
        f"not needed: {event}": (waha(event, payload), {"event": "ignored"})
        for event, payload in [
            ("presence.update", {"id": f"{ANA}@c.us", "presences": []}),
            ("poll.vote", {"vote": {}, "poll": {}}),
            ("poll.vote.failed", {"vote": {}, "poll": {}}),
            ("event.response", {}),
            ("label.upsert", {"id": "1", "name": "x"}),
            ("chat.archive", {"id": f"{ANA}@c.us", "archived": True}),
            ("state.change", {"state": "CONNECTED"}),
            ("group.join", {}),
            ("group.leave", {}),
            ("engine.event", None),
        ]
    },
    **{
        f"nobody to answer: {chat}": (
            waha("message", waha_message(id=f"false_{chat}_3EB0A1", **{"from": chat})),
            {"event": "ignored"},
        )
        for chat in ("120363041234567890@newsletter", "1234567890@broadcast", "status@broadcast")
    },
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_event_is_parsed_as_the_documentation_describes(case: str):
    body, expected = OTHERS[case]

    assert_matches(meanings("waha", body), [expected])


def test_an_envelope_that_knows_its_worker_is_read():
    environment = {
        "version": "2026.1.4",
        "engine": "WPP",
        "tier": "PLUS",
        "platform": "linux/amd64",
        "worker": {"id": "w"},
    }

    assert_matches(meanings("waha", waha("message", waha_message(), environment=environment, engine="WPP")), [TEXT])
