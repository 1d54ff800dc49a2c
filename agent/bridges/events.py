"""What a bridge may tell us, in our words. Adapters make these from raw payloads; nothing here knows a bridge."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    VOICE = "voice"
    DOCUMENT = "document"
    STICKER = "sticker"
    LOCATION = "location"
    CONTACT = "contact"
    REACTION = "reaction"
    INTERACTIVE = "interactive"
    ORDER = "order"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"


class AliasKind(StrEnum):
    """Under which sort of id a contact was seen."""

    PHONE = "phone"  # E.164
    JID = "jid"  # a group, or a person's address where no phone can be read from it
    LID = "lid"  # a person whose phone is hidden; stable
    BSUID = "bsuid"  # the Cloud API's business-scoped user id
    USERNAME = "username"


@dataclass(frozen=True, slots=True)
class Address:
    """A person or group as the bridge names it.

    `address` is what to send back to this bridge (device suffix dropped); `phone` is E.164 or None; `name` is what they
    call themselves; `alternates` are further addresses the bridge ties to the same person.
    """

    address: str
    kind: AliasKind
    phone: str | None = None
    name: str | None = None
    is_group: bool = False
    alternates: tuple["Address", ...] = ()

    @property
    def aliases(self) -> tuple[tuple[AliasKind, str], ...]:
        """Every (kind, value) this person or group may be found by, the surest first."""
        own = (AliasKind.PHONE, self.phone) if self.phone else (self.kind, self.address)
        every = (own, *(alias for other in self.alternates for alias in other.aliases))
        return tuple(dict.fromkeys(every))


@dataclass(frozen=True, slots=True)
class MediaRef:
    """Something attached. `ref` is the id or URL to fetch it by; None when it cannot be had."""

    mime_type: str | None = None
    filename: str | None = None
    ref: str | None = None
    downloadable: bool = False
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """One thing said. `outbound` means typed on our own phone, or the echo of what we sent.

    `sent_at` is aware UTC; None when the bridge does not say. `details` holds what the kind has beside text:
    {"location": {latitude, longitude, name, address}}, {"contacts": [{name, phone}]}, or for a reaction
    {"emoji": text or None (taken away), "target_id"}. `answerable` is what the bridge can tell:
    false for what no agent should answer (reactions, unknown kinds, texts without a word). `is_history` marks the past
    being synchronised.
    """

    session: str
    provider_message_id: str
    chat: Address
    sender: Address
    kind: Kind
    text: str = ""
    outbound: bool = False
    sent_at: datetime | None = None
    media: MediaRef | None = None
    details: dict[str, Any] = field(default_factory=dict)
    quoted_id: str | None = None
    answerable: bool = True
    is_history: bool = False
    forwarded: bool = False
    own_phone: str | None = None  # our number, where the event tells it


class Receipt(StrEnum):
    """How far a message of ours has come, as the bridge tells it. It only rises; `failed` ends it."""

    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StatusChanged:
    session: str
    provider_message_id: str
    status: Receipt
    at: datetime | None = None
    error: str = ""


class Link(StrEnum):
    """The state of a session's link, in our words."""

    INITIALIZING = "initializing"
    QR_WAITING = "qr_waiting"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LOGGED_OUT = "logged_out"


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """`code` is the bridge's own reason, as a short text; `will_reconnect` says not to alarm anyone."""

    session: str
    status: Link
    phone: str | None = None
    name: str | None = None
    code: str = ""
    will_reconnect: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageEdited:
    session: str
    target_id: str
    text: str


@dataclass(frozen=True, slots=True)
class MessageRevoked:
    session: str
    target_id: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event we know and do not need."""

    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """An event that makes no sense. Nothing is stored and nothing raised: the others of its delivery are kept."""

    reason: str


BridgeEvent = MessageReceived | StatusChanged | SessionChanged | MessageEdited | MessageRevoked | Ignored | Malformed
