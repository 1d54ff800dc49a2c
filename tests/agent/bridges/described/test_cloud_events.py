"""The contract page of Meta's Cloud API, where no recorded payload shows what it says."""

from typing import Any

import pytest

from tests.support.bridges.described import ANA, AT, AT_ISO, OWN, cloud, cloud_message, meanings
from tests.support.bridges.descriptions import assert_matches

USER = "BR.11223344556677889900"
GROUP = "Y2FwaV9ncm91cDo1NTExOTk5OTkwMDAwOjEyMDM2MzA0"
PERSON = {"address": ANA, "phone": f"+{ANA}"}
BY_USER_ID = {"address": USER, "phone": None, "user_id": USER}
OURSELVES = {"address": OWN, "phone": f"+{OWN}"}
CONTACT = {"profile": {"name": "Ana"}, "wa_id": ANA, "user_id": USER}
FILE = {"id": "65463453", "mime_type": "image/jpeg", "sha256": "x"}
OI = {"body": "Oi"}


def one(*messages: Any, contacts: Any = (CONTACT,), field: str = "messages", **value: Any) -> dict[str, Any]:
    return cloud({"contacts": list(contacts), "messages": list(messages)} | value, field=field)


def without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


def status(word: str = "delivered", **changes: Any) -> dict[str, Any]:
    return {"id": "wamid.s", "status": word, "timestamp": str(AT), "recipient_id": ANA} | changes


def statuses(*items: Any) -> dict[str, Any]:
    return cloud({"statuses": list(items)})


def echo(content: dict[str, Any]) -> dict[str, Any]:
    return cloud(
        {"message_echoes": [{"from": OWN, "to": ANA, "id": "wamid.e", "timestamp": str(AT)} | content]},
        field="smb_message_echoes",
    )


def calls(**changes: Any) -> dict[str, Any]:
    call = {
        "id": "wacid.1",
        "from": ANA,
        "to": OWN,
        "event": "terminate",
        "timestamp": str(AT),
        "direction": "USER_INITIATED",
    }
    return cloud({"contacts": [CONTACT], "calls": [call | changes]}, field="calls")


def handover(kind: str, *, details: Any = None, sender: Any = None) -> dict[str, Any]:
    roles = {"previous_owner_role": "escalation", "new_owner_role": "ai_agent"}
    value = {
        "messaging_product": "whatsapp",
        "recipient": {"display_phone_number": OWN, "phone_number_id": "330011223344556"},
        "sender": sender or {"phone_number": ANA},
        "timestamp": str(AT),
        "type": kind,
        kind: roles if details is None else details,
    }
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"value": value, "field": "messaging_handovers"}]}],
    }


ERRORS: dict[int, tuple[str, bool]] = {
    131047: ("window_closed", False),
    131026: ("not_on_whatsapp", False),
    131021: ("not_on_whatsapp", False),
    131042: ("restricted", False),
    131048: ("restricted", False),
    131031: ("restricted", False),
    368: ("restricted", False),
    130497: ("restricted", False),
    131064: ("restricted", False),
    131037: ("restricted", False),
    131045: ("restricted", False),
    133010: ("restricted", False),
    131030: ("refused", False),
    131049: ("refused", False),
    131050: ("refused", False),
    130472: ("refused", False),
    137000: ("refused", False),
    130429: ("rate_limited", True),
    131056: ("rate_limited", True),
    131053: ("invalid", False),
    131009: ("invalid", False),
    132001: ("invalid", False),
    132015: ("invalid", False),
    131062: ("invalid", False),
    131000: ("bridge_failure", True),
    131016: ("bridge_failure", True),
    999999: ("refused", False),
}

OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{
        f"the status {word}": (
            statuses(status(word)),
            {
                "event": "status",
                "status": word,
                "provider_message_id": "wamid.s",
                "recipient": PERSON,
                "at": AT_ISO,
                "error": None,
            },
        )
        for word in ("sent", "delivered", "read", "played")
    },
    **{
        f"failed with {code}": (
            statuses(
                status(
                    "failed",
                    errors=[
                        {
                            "code": code,
                            "title": "x",
                            "message": "x",
                            "error_data": {"details": "y"},
                            "href": "https://x",
                        }
                    ],
                )
            ),
            {
                "event": "status",
                "status": "failed",
                "error": {"code": code, "meaning": meaning, "retryable": retryable},
            },
        )
        for code, (meaning, retryable) in ERRORS.items()
    },
    "a status that nobody knows": (statuses(status("warning")), {"event": "ignored"}),
    "the status of a message to a business-scoped id": (
        statuses(without(status(recipient_user_id=USER), "recipient_id")),
        {"event": "status", "status": "delivered", "recipient": BY_USER_ID},
    ),
    "a recipient that is a business-scoped id": (
        statuses(status(recipient_id=USER)),
        {"event": "status", "status": "delivered", "recipient": BY_USER_ID},
    ),
    "a status without a recipient": (
        statuses(without(status(), "recipient_id")),
        {"event": "status", "status": "delivered", "recipient": None},
    ),
    "a recipient of an unknown form": (
        statuses(status(recipient_id="someone new")),
        {"event": "status", "status": "delivered", "recipient": None},
    ),
    "the status of one member of a group": (
        statuses(status(recipient_id=GROUP, recipient_type="group", recipient_participant_id=ANA)),
        {"event": "status", "status": "delivered", "recipient": PERSON},
    ),
    "the status of a group": (
        statuses(status(recipient_id=GROUP, recipient_type="group")),
        {"event": "status", "status": "delivered", "recipient": None},
    ),
    "a free reply within the thousand": (
        statuses(
            status(
                pricing={
                    "billable": False,
                    "pricing_model": "PMP",
                    "type": "free_customer_service",
                    "category": "service",
                },
                conversation={"id": "c1"},
            )
        ),
        {
            "event": "status",
            "pricing": {"billable": False, "model": "PMP", "type": "free_customer_service", "category": "service"},
        },
    ),
    "a price that does not tell everything": (
        statuses(status(pricing={"category": "general_purpose_ai"})),
        {"event": "status", "pricing": {"billable": None, "category": "general_purpose_ai"}},
    ),
    "our own id comes back": (statuses(status(biz_opaque_callback_data="42")), {"event": "status", "tracker": "42"}),
    "an error of the value itself": (
        cloud(
            {
                "errors": [
                    {
                        "code": 130429,
                        "title": "Rate limit hit",
                        "message": "x",
                        "error_data": {"details": "y"},
                        "href": "https://x",
                    }
                ]
            }
        ),
        {"event": "error", "code": 130429},
    ),
    # --- typed in the phone's app ---------------------------------------------------------------------------------
    "a picture sent with the phone": (
        echo({"type": "image", "image": FILE | {"caption": "veja"}}),
        {
            "event": "message",
            "direction": "outbound",
            "kind": "image",
            "text": "veja",
            "chat": PERSON,
            "sender": OURSELVES,
            "answerable": False,
        },
    ),
    "an edit on the phone": (
        echo(
            {
                "type": "edit",
                "edit": {"original_message_id": "wamid.o", "message": {"type": "text", "text": {"body": "Oi!"}}},
            }
        ),
        {"event": "edit", "direction": "outbound", "target_id": "wamid.o", "text": "Oi!", "chat": PERSON},
    ),
    "written to a business-scoped id with the phone": (
        echo({"to": USER, "type": "text", "text": OI}),
        {"event": "message", "direction": "outbound", "chat": BY_USER_ID, "text": "Oi"},
    ),
    "written to a group on the phone": (
        echo({"to": GROUP, "recipient_type": "group", "type": "text", "text": OI}),
        {"event": "message", "direction": "outbound", "is_group": True, "chat": {"address": GROUP, "phone": None}},
    ),
    # --- chats that Meta's own agent holds --------------------------------------------------------------------------
    "a status of what Meta's agent wrote": (
        cloud({"standby": {"statuses": [status("read")]}}, field="standby"),
        {"event": "status", "status": "read", "standby": True},
    ),
    "standby with its lists beside the metadata": (
        one(cloud_message("text", OI), field="standby"),
        {"event": "message", "standby": True, "answerable": False, "chat": PERSON},
    ),
    "what Meta's agent asks with buttons": (
        cloud(
            {
                "standby": {
                    "message_echoes": [
                        {
                            "id": "wamid.e",
                            "timestamp": str(AT),
                            "message": {
                                "to": ANA,
                                "type": "interactive",
                                "interactive": {"type": "button", "body": {"text": "Qual cor?"}, "action": {}},
                            },
                        }
                    ]
                }
            },
            field="standby",
        ),
        {"event": "message", "direction": "outbound", "kind": "interactive", "text": "Qual cor?", "standby": True},
    ),
    "a picture that Meta's agent sent": (
        cloud(
            {
                "standby": {
                    "message_echoes": [
                        {"id": "wamid.e", "timestamp": str(AT), "message": {"to": ANA, "type": "image", "image": FILE}}
                    ]
                }
            },
            field="standby",
        ),
        {
            "event": "message",
            "direction": "outbound",
            "kind": "image",
            "echo": True,
            "standby": True,
            "chat": PERSON,
            "answerable": False,
        },
    ),
    "control is taken from us": (
        handover("control_taken"),
        {
            "event": "handover",
            "owner": "other",
            "type": "control_taken",
            "chat": PERSON,
            "previous_owner_role": "escalation",
            "new_owner_role": "ai_agent",
            "at": AT_ISO,
        },
    ),
    "control is passed to us, without roles": (
        handover("control_passed", details={}),
        {"event": "handover", "owner": "us", "previous_owner_role": "", "new_owner_role": ""},
    ),
    "control over a chat with a business-scoped id": (
        handover("control_taken", sender={"user_id": USER}),
        {"event": "handover", "owner": "other", "chat": BY_USER_ID},
    ),
    "a handover of a type that nobody knows": (handover("control_requested"), {"event": "ignored"}),
    # --- calls ------------------------------------------------------------------------------------------------------
    "a call that somebody picked up": (
        calls(status="COMPLETED", start_time=str(AT - 60), end_time=str(AT), duration=60),
        {
            "event": "call",
            "status": "ended",
            "duration_s": 60,
            "sender": PERSON,
            "direction": "inbound",
            "call_id": "wacid.1",
        },
    ),
    "a call that nobody picked up, said to be completed": (
        calls(status="COMPLETED"),
        {"event": "call", "status": "missed", "duration_s": None},
    ),
    "a call that nobody picked up, said to have failed": (
        calls(status="FAILED"),
        {"event": "call", "status": "missed"},
    ),
    "a call of ours that nobody picked up": (
        calls(direction="BUSINESS_INITIATED", status="FAILED", **{"from": OWN, "to": ANA}),
        {"event": "call", "status": "ended", "direction": "outbound", "chat": PERSON, "sender": OURSELVES},
    ),
    "a call of a business-scoped id": (
        cloud(
            {
                "calls": [
                    {
                        "id": "wacid.1",
                        "from_user_id": USER,
                        "to": OWN,
                        "event": "connect",
                        "timestamp": str(AT),
                        "direction": "USER_INITIATED",
                    }
                ]
            },
            field="calls",
        ),
        {"event": "call", "status": "ringing", "sender": BY_USER_ID},
    ),
    # --- history ----------------------------------------------------------------------------------------------------
    "history was declined": (
        cloud(
            {"history": [{"errors": [{"code": 2593109, "title": "History sharing is turned off"}]}]}, field="history"
        ),
        {"event": "error", "code": 2593109},
    ),
    "history of both sides": (
        cloud(
            {
                "history": [
                    {
                        "metadata": {"phase": 2, "chunk_order": 3, "progress": 100},
                        "threads": [
                            {
                                "id": ANA,
                                "messages": [
                                    cloud_message("text", OI, history_context={"status": "READ"}),
                                    {
                                        "from": OWN,
                                        "to": ANA,
                                        "id": "wamid.2",
                                        "timestamp": str(AT),
                                        "type": "text",
                                        "text": {"body": "Olá"},
                                        "history_context": {"status": "DELIVERED"},
                                    },
                                    cloud_message("media_placeholder", id="wamid.3"),
                                    {"id": "wamid.4"},
                                ],
                            }
                        ],
                    }
                ]
            },
            field="history",
        ),
        {"event": "history", "count": 4, "phase": 2, "chunk_order": 3, "progress": 100, "answerable": False},
    ),
    **{
        f"not needed: {field}": (cloud({"x": "y"}, field=field), {"event": "ignored"})
        for field in (
            "account_update",
            "phone_number_quality_update",
            "message_template_status_update",
            "message_template_quality_update",
            "user_preferences",
            "group_lifecycle_update",
            "group_participants_update",
            "smb_app_state_sync",
            "a_field_of_tomorrow",
        )
    },
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_event_is_parsed_as_the_documentation_describes(case: str):
    body, expected = OTHERS[case]

    assert_matches(meanings("cloud", body), [expected])


def test_every_item_of_a_batch_is_read_in_order():
    body = one(cloud_message("text", OI), {"id": 7}, cloud_message("text", {"body": "dois"}, id="wamid.2"))
    body["entry"][0]["changes"][0]["value"]["statuses"] = [status("sent"), None, status("read")]
    body["entry"] += [None, {"id": "2", "changes": [None, *statuses(status("played"))["entry"][0]["changes"]]}]

    expected = [
        {"event": "message", "provider_message_id": "wamid.1"},
        {"event": "malformed"},
        {"event": "message", "provider_message_id": "wamid.2"},
        {"event": "status", "status": "sent"},
        {"event": "malformed"},
        {"event": "status", "status": "read"},
        {"event": "malformed"},
        {"event": "malformed"},
        {"event": "status", "status": "played"},
    ]

    assert_matches(meanings("cloud", body), expected)


@pytest.mark.parametrize("name", ["messages", "statuses", "contacts", "errors"])
@pytest.mark.parametrize("value", [None, {}, "x", 7, [], [None]], ids=repr)
def test_a_list_that_is_none_loses_nothing_else(name: str, value: Any):
    body = one(cloud_message("text", OI), statuses=[status()])
    body["entry"][0]["changes"][0]["value"][name] = value

    events = {meant["event"] for meant in meanings("cloud", body)}

    assert {"message", "status"} - {"messages": {"message"}, "statuses": {"status"}}.get(name, set()) <= events


def test_a_message_without_a_sender_is_malformed():
    assert_matches(
        meanings("cloud", one(without(cloud_message("text", OI), "from"), contacts=[])), [{"event": "malformed"}]
    )
