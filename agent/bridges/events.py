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
    group's name; `username` is for display alone, because it may pass to somebody else; `alternates` are further
    addresses of the same person.
    """

    address: str
    kind: AliasKind
    phone: str | None = None
    name: str | None = None
    is_group: bool = False
    alternates: tuple["ChatAddress", ...] = ()
    username: str | None = None

    @property
    def aliases(self) -> tuple[tuple[AliasKind, str], ...]:
        """Return every (kind, value) to find this person or group by, the most reliable first."""
        own = [(AliasKind.PHONE, self.phone)] if self.phone else []
        if self.phone is None or self.kind in {AliasKind.LID, AliasKind.BSUID}:
            own.append((self.kind, self.address))
        return tuple(dict.fromkeys([*own, *(alias for other in self.alternates for alias in other.aliases)]))


@dataclass(frozen=True, slots=True)
class MediaRef:
    """An attached file. `ref` is the id or URL to fetch it by; None if it cannot be fetched.

    `is_inline`: the webhook request itself has the bytes as well. `transcript`: the bridge has written down the speech.
    `error`: why the platform itself could not get it.
    """

    mime_type: str | None = None
    filename: str | None = None
    ref: str | None = None
    downloadable: bool = False
    size_bytes: int | None = None
    is_inline: bool = False
    transcript: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message. `outbound`: typed on the linked phone, or the echo of a message that was sent through the bridge.

    Which of the two, some bridges say: `is_typed` and `is_echo`; neither is set where it is not known.

    Times are aware UTC and as the bridge states them, by whatever clock; None if it does not say. `sent_at` is when the
    message was written, `posted_at` when the bridge posted it. `details` holds what the kind has beside text:
    {"location": {latitude, longitude, name, address}}, {"contacts": [{name, phone}]}, or for a reaction
    {"emoji": text or None if removed, "target_id"}. `answerable` is false for what no agent should answer: reactions,
    unknown kinds, texts without a visible character. `is_history` marks messages of a history sync, `is_standby` those
    of a chat that another agent of the platform holds. `is_missed` marks those that the bridge was asked for.

    `called` are those whom a message in a group mentions, and whose message it answers: phones (E.164) and addresses.
    `own_lid` is the session's own hidden address, if the event holds it.

    `provider_message_id` is WhatsApp's own id, unique within a chat; `full_id` is the form in which the bridge takes it
    as a parameter, where that is another one.
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
    full_id: str = ""
    is_echo: bool = False
    is_typed: bool = False
    is_standby: bool = False
    is_missed: bool = False
    called: tuple[str, ...] = ()
    own_lid: str | None = None


class Receipt(StrEnum):
    """The status of an outbound message. It only rises; `failed` is final."""

    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A receipt. `chat` is where the message is, if the event says; `recipient` whose receipt it is, in a group.

    `error` is a text for staff and `error_code` the platform's own code; `error_meaning` is what it means in the words
    of `BridgeError.code`. `pricing` is what the platform says it charges: {billable, model, type, category}.
    """

    session: str
    provider_message_id: str
    status: Receipt
    at: datetime | None = None
    error: str = ""
    chat: ChatAddress | None = None
    full_id: str = ""
    recipient: ChatAddress | None = None
    error_code: int | None = None
    error_meaning: str = ""
    is_retryable: bool = False
    is_payment: bool = False  # the account has to be paid for before anything more is delivered
    pricing: dict[str, Any] | None = None
    tracker: str = ""
    is_standby: bool = False


class Link(StrEnum):
    """The status of a session's link to WhatsApp."""

    INITIALIZING = "initializing"
    QR_WAITING = "qr_waiting"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LOGGED_OUT = "logged_out"
    FAILED = "failed"  # stopped by an error; stored as disconnected


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """`code` is the bridge's reason as a short text; `will_reconnect`: the bridge is reconnecting by itself.

    `restrictions` are the limits that WhatsApp sets on the account: {kind, active, until}, with more by kind.
    """

    session: str
    status: Link
    phone: str | None = None
    name: str | None = None
    code: str = ""
    will_reconnect: bool = False
    at: datetime | None = None
    qr_png: bytes | None = None
    pairing_code: str | None = None
    restrictions: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class MessageEdited:
    """The writer edited a text. `at` is when, as the bridge states it; None if it does not say."""

    session: str
    target_id: str
    text: str
    chat: ChatAddress | None = None
    sender: ChatAddress | None = None
    outbound: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageRevoked:
    session: str
    target_id: str
    chat: ChatAddress | None = None
    sender: ChatAddress | None = None
    outbound: bool = False


class CallStatus(StrEnum):
    RINGING = "ringing"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    MISSED = "missed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CallChanged:
    """A call. `is_offline`: it happened while the bridge was not connected. `is_group`: several are called.

    `duration_s` is set where somebody picked it up, if the bridge says so. `reports_acceptance`: the bridge says that
    somebody did; otherwise nobody knows whether it was missed.
    """

    session: str
    call_id: str
    status: CallStatus
    chat: ChatAddress
    sender: ChatAddress
    outbound: bool = False
    is_video: bool = False
    at: datetime | None = None
    duration_s: int | None = None
    is_offline: bool = False
    is_group: bool = False
    reports_acceptance: bool = True


@dataclass(frozen=True, slots=True)
class HandoverChanged:
    """Who holds a chat on the platform: we (`is_ours`), or another agent of the same number."""

    session: str
    chat: ChatAddress
    type: str
    is_ours: bool
    previous_owner_role: str = ""
    new_owner_role: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContactIdChanged:
    """A person has another phone number, or another id: `old` and `new` are the same person."""

    session: str
    old: ChatAddress
    new: ChatAddress
    is_number: bool
    provider_message_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """`action` is `join`, `leave`, `promote`, `demote` or `update`; no participants: it is about ourselves."""

    session: str
    chat: ChatAddress
    action: str
    participants: tuple[ChatAddress, ...] = ()
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HistorySynced:
    """A part of the past. `count` says how many messages came; those that can be stored are in `messages`.

    `changes` are the edits and deletions among them.
    """

    session: str
    count: int
    messages: tuple[MessageReceived, ...] = ()
    phase: int | None = None
    chunk_order: int | None = None
    progress: int | None = None
    is_latest: bool | None = None
    changes: tuple[MessageEdited | MessageRevoked, ...] = ()


@dataclass(frozen=True, slots=True)
class PlatformError:
    """An error that the platform reports of the account or session, not of one message."""

    session: str
    code: int | None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A known event that is not needed. `is_of_account`: the bridge has to be asked how its sessions stand now."""

    reason: str
    is_of_account: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """An event that cannot be read. It is not stored; the other events of its webhook request are."""

    reason: str


BridgeEvent = (
    MessageReceived
    | StatusChanged
    | SessionChanged
    | MessageEdited
    | MessageRevoked
    | CallChanged
    | HandoverChanged
    | ContactIdChanged
    | GroupChanged
    | HistorySynced
    | PlatformError
    | Ignored
    | Malformed
)
