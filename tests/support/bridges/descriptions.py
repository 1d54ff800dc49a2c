"""Our events and results in the words of the payloads' indexes (tests/payloads/<bridge>/index.json)."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeConfig, FetchedMedia, Health, KnownNumber, Sent, SessionState
from agent.bridges.events import (
    AliasKind,
    BridgeEvent,
    CallChanged,
    ChatAddress,
    ContactIdChanged,
    GroupChanged,
    HandoverChanged,
    HistorySynced,
    Ignored,
    Kind,
    Link,
    Malformed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    PlatformError,
    SessionChanged,
    StatusChanged,
)
from agent.bridges.exchange import BridgeError, NotSent, Refused, Unconfirmed


def iso(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds" if at.microsecond else "seconds").replace("+00:00", "Z")


def _status(link: Link) -> str:
    return {Link.QR_WAITING: "qr", Link.INITIALIZING: Link.CONNECTING.value}.get(link, link.value)


def describe_address(address: ChatAddress | None) -> dict[str, Any] | None:
    if address is None:
        return None
    both = (address, *address.alternates)
    ids = [each.address for each in both if each.kind == AliasKind.BSUID]
    return {
        "address": address.address,
        "phone": address.phone,
        "name": address.name,
        "username": address.username,
        "user_id": next((each for each in ids if ".ENT." not in each), None),
        "parent_user_id": next((each for each in ids if ".ENT." in each), None),
    }


def _parties(event: Any) -> dict[str, Any]:
    return {
        "direction": "outbound" if event.outbound else "inbound",
        "aliases": [value for _, value in event.chat.aliases] if event.chat else [],
        "sender": describe_address(event.sender),
        "chat": describe_address(event.chat),
        "is_group": bool(event.chat and event.chat.is_group),
        "answerable": False,
    }


def describe_event(event: BridgeEvent, *, bridge: str) -> dict[str, Any]:
    match event:
        case MessageReceived(kind=Kind.REACTION):
            target = event.details["target_id"]
            return {
                **_parties(event),
                **_message_ids(event, bridge),
                "event": "reaction",
                "emoji": event.details["emoji"],
                "target_id": event.details.get("target_full_id", target),
                "target_stanza_id": target,
                "sent_at": iso(event.sent_at),
            }
        case MessageReceived():
            return _describe_message(event, bridge)
        case StatusChanged():
            error = {"code": event.error_code, "retryable": event.is_retryable, "meaning": event.error_meaning}
            return {
                **_message_ids(event, bridge),
                "event": "status",
                "status": event.status.value,
                "recipient": describe_address(event.recipient),
                "at": iso(event.at),
                "error": error if event.error_code is not None else None,
                "pricing": event.pricing,
                "tracker": event.tracker,
                "standby": event.is_standby,
            }
        case SessionChanged():
            restrictions = [each | {"until": iso(each["until"])} for each in event.restrictions]
            return {
                "event": "session",
                "session": event.session,
                "status": _status(event.status),
                "phone": event.phone,
                "name": event.name,
                "code": int(event.code) if event.code.isdecimal() else None,
                "will_reconnect": event.will_reconnect,
                "qr": event.qr_png,
                "pairing_code": event.pairing_code,
                "restriction": next(iter(restrictions), None),
                "restrictions": restrictions,
            }
        case MessageEdited() | MessageRevoked():
            target = "target_stanza_id" if bridge == "waha" else "target_id"
            kind = "edit" if isinstance(event, MessageEdited) else "revoke"
            more = {"text": event.text, "at": iso(event.at)} if isinstance(event, MessageEdited) else {"text": None}
            return {**_parties(event), "event": kind, target: event.target_id} | more
        case CallChanged():
            return {
                **_parties(event),
                "event": "call",
                "status": event.status.value,
                "call_id": event.call_id,
                "is_video": event.is_video,
                "at": iso(event.at),
                "duration_s": event.duration_s,
                "offline": event.is_offline,
                "reports_acceptance": event.reports_acceptance,
                "phone_number_id": event.session,
            }
        case HandoverChanged():
            return {
                "event": "handover",
                "type": event.type,
                "owner": "us" if event.is_ours else "other",
                "chat": describe_address(event.chat),
                "previous_owner_role": event.previous_owner_role,
                "new_owner_role": event.new_owner_role,
                "at": iso(event.at),
                "phone_number_id": event.session,
                "answerable": False,
            }
        case ContactIdChanged():
            return {
                "event": "contact_changed_number" if event.is_number else "contact_changed_user_id",
                "from": describe_address(event.old),
                "to": describe_address(event.new),
                "provider_message_id": event.provider_message_id,
                "sent_at": iso(event.at),
                "answerable": False,
            }
        case GroupChanged():
            return {
                "event": "group",
                "chat": describe_address(event.chat),
                "action": event.action,
                "participants": [describe_address(each) for each in event.participants],
                "at": iso(event.at),
            }
        case HistorySynced():
            assert all(message.is_history for message in event.messages)
            return asdict(event) | {"event": "history", "answerable": False}
        case PlatformError():
            return {"event": "error", "code": event.code, "title": event.title}
        case Ignored():
            return {"event": "ignored"}
        case Malformed():
            return {"event": "malformed"}
    raise AssertionError(event)


def _message_ids(event: Any, bridge: str) -> dict[str, Any]:
    ids = {"provider_message_id": event.full_id or event.provider_message_id}
    return ids | {"stanza_id": event.provider_message_id} if bridge == "waha" else ids


def _describe_message(event: MessageReceived, bridge: str) -> dict[str, Any]:
    media = event.media and {
        "mime_type": event.media.mime_type,
        "filename": event.media.filename,
        "ref": event.media.ref,
        "downloadable": event.media.downloadable,
        "inline": event.media.is_inline,
        "transcript": event.media.transcript or None,
    }
    referral = event.details.get("referral") or {}
    return {
        **event.details,
        **_parties(event),
        **_message_ids(event, bridge),
        "event": "message",
        "kind": event.kind.value,
        "text": event.text or None,
        "media": media,
        "sent_at": iso(event.sent_at or event.posted_at),
        "quoted_id": event.quoted_id,
        # Whether groups are answered is for the agent profile to say; the index takes its default. Whether the bridge
        # can write there is found out in the turn, which asks for a person's attention if it cannot.
        "answerable": event.answerable and not event.chat.is_group and _is_reachable(event.chat, bridge),
        "forwarded": event.forwarded,
        "echo": event.is_echo,
        "standby": event.is_standby,
        "phone_number_id": event.session,
        "referral_source_id": referral.get("source_id"),
    }


def _is_reachable(chat: ChatAddress, bridge: str) -> bool:
    adapter = ADAPTERS[bridge](BridgeConfig())
    return adapter.unreachable_reason(address=chat.address, is_group=chat.is_group) is None


def describe_result(result: Any) -> dict[str, Any]:
    match result:
        case Sent():
            return {
                "result": "accepted" if result.is_pending else "sent",
                "provider_message_id": result.provider_message_id,
                "stanza_id": result.provider_message_id,
                "sent_at": iso(result.at),
                "address": result.address,
            }
        case SessionState():
            return {
                "result": "qr" if result.pairing_code else "session",
                "status": _status(result.status),
                "phone": result.phone,
                "name": result.display_name,
                "qr": result.qr_png,
                "qr_expires_at": iso(result.qr_expires_at),
                "pairing_code": result.pairing_code,
            }
        case [SessionState(), *_]:
            sessions = [describe_result(each) | {"session": each.name} for each in result]
            return {"result": "sessions", "count": len(result), "sessions": sessions}
        case [dict() as limit, *_]:
            if limit["kind"] == "timelock":
                return {"result": "timelock", "active": limit["active"], "until": iso(limit["until"])}
            return limit | {"result": "capping", "resets_at": iso(limit["until"])}
        case KnownNumber():
            return asdict(result) | {"result": "number"}
        case FetchedMedia():
            return {"result": "media", "mime_type": result.mime_type, "bytes": len(result.content)}
        case Health():
            return {"result": "healthy" if result.is_healthy else "unhealthy"}
        case bytes():
            return {"result": "qr", "qr": result}
        case str() if result.startswith("+"):
            return {"result": "number", "phone": result}
        case str():
            return {"result": "pairing_code", "code": result}
        case None:
            return {"result": "ok"}
    raise AssertionError(result)


def describe_failure(failure: BridgeError) -> dict[str, Any]:
    if isinstance(failure, Unconfirmed) or type(failure) is BridgeError:
        return {"result": "error", "error": failure.code, "retryable": "unknown"}
    assert isinstance(failure, NotSent | Refused)
    # A message that a refused key keeps from leaving waits; it is not sent again by itself.
    retryable = isinstance(failure, NotSent) and failure.code != "unauthorized"
    wait_s = getattr(failure, "retry_after_s", None)
    return {"result": "error", "error": failure.code, "retryable": retryable, "wait_s": wait_s}


FREE_TEXT_KEYS = {"reason", "next", "token"}


def assert_matches(meant: Any, expected: Any, where: str = "") -> None:
    """Check that `meant` has everything that an index expects; it may have more."""
    if isinstance(expected, dict):
        assert isinstance(meant, dict), where
        for key, value in expected.items():
            if key == "qr":
                assert meant["qr"].startswith(b"\x89PNG"), where
            elif key == "retryable" and str(value).startswith("unknown"):
                assert meant[key] == "unknown", where
            elif key not in FREE_TEXT_KEYS:
                assert_matches(meant.get(key), value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(meant) == len(expected), where
        for number, (one, wanted) in enumerate(zip(meant, expected, strict=True)):
            assert_matches(one, wanted, f"{where}[{number}]")
    else:
        assert meant == expected, where
