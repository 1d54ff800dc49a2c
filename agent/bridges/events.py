"""The events that adapters parse from raw payloads, the same for every bridge."""

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
    """The kind of id that a contact was seen under."""

    PHONE = "phone"  # E.164
    JID = "jid"  # a group, or a person's address where no phone can be read from it
    LID = "lid"  # a person whose phone is hidden; stable
    BSUID = "bsuid"  # the Cloud API's business-scoped user id
    USERNAME = "username"


@dataclass(frozen=True, slots=True)
class ChatAddress:
    """The WhatsApp address of a person or group.

    `address` is what to send to, without a device suffix; `phone` is E.164 or None; `name` is the profile's or
    group's name; `alternates` are further addresses of the same person.
    """

    address: str
    kind: AliasKind
    phone: str | None = None
    name: str | None = None
    is_group: bool = False
    alternates: tuple["ChatAddress", ...] = ()

    @property
    def aliases(self) -> tuple[tuple[AliasKind, str], ...]:
        """Return every (kind, value) to find this person or group by, the most reliable first."""
        own = (AliasKind.PHONE, self.phone) if self.phone else (self.kind, self.address)
        every = (own, *(alias for other in self.alternates for alias in other.aliases))
        return tuple(dict.fromkeys(every))


@dataclass(frozen=True, slots=True)
class MediaRef:
    """An attached file. `ref` is the id or URL to fetch it by; None if it cannot be fetched."""

    mime_type: str | None = None
    filename: str | None = None
    ref: str | None = None
    downloadable: bool = False
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message. `outbound`: typed on the linked phone, or the echo of a message we sent.

    Times are aware UTC and as the bridge states them, by whatever clock; None if it does not say. `sent_at` is when the
    message was written, `posted_at` when the bridge posted it. `details` holds what the kind has beside text:
    {"location": {latitude, longitude, name, address}}, {"contacts": [{name, phone}]}, or for a reaction
    {"emoji": text or None if removed, "target_id"}. `answerable` is false for what no agent should answer: reactions,
    unknown kinds, texts without a visible character. `is_history` marks messages of a history sync.
    """

    session: str
    provider_message_id: str
    chat: ChatAddress
    sender: ChatAddress
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
    own_phone: str | None = None  # the session's number, if the event holds it
    posted_at: datetime | None = None


class Receipt(StrEnum):
    """The status of an outbound message. It only rises; `failed` is final."""

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
    chat: ChatAddress | None = None


class Link(StrEnum):
    """The status of a session's link to WhatsApp."""

    INITIALIZING = "initializing"
    QR_WAITING = "qr_waiting"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LOGGED_OUT = "logged_out"


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """`code` is the bridge's reason as a short text; `will_reconnect`: the bridge is reconnecting by itself."""

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
    chat: ChatAddress | None = None


@dataclass(frozen=True, slots=True)
class MessageRevoked:
    session: str
    target_id: str
    chat: ChatAddress | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A known event that is not needed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """An event that cannot be read. It is not stored; the other events of its webhook request are."""

    reason: str


BridgeEvent = MessageReceived | StatusChanged | SessionChanged | MessageEdited | MessageRevoked | Ignored | Malformed
