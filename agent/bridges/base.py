"""The interface of bridge adapters, and the three ways in which sending can fail."""

# ruff: noqa: ARG002  a method that refuses still names what it would take

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from agent.bridges.events import BridgeEvent, ChatAddress, Kind, Link


class BridgeError(Exception):
    """A call to the bridge failed. `code` is for programs, the message for staff; neither holds a secret."""

    code = "bridge_error"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code


class NotSent(BridgeError):
    """Certainly not done; may be tried again later, after `retry_after_s` if the bridge says so."""

    code = "not_sent"

    def __init__(self, message: str = "", *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Refused(BridgeError):
    """Certainly not done, and trying again will not help."""

    code = "refused"


class Unconfirmed(BridgeError):
    """No clear answer came: it may have been done."""

    code = "unconfirmed"


class Capability(StrEnum):
    """What a bridge can do, as declared by its adapter; anything else is refused before the bridge is asked."""

    SEND_TEXT = "send_text"
    SEND_MEDIA = "send_media"
    SEND_LOCATION = "send_location"
    SEND_CONTACT = "send_contact"
    QUOTE = "quote"
    TYPING = "typing"
    MARK_READ = "mark_read"
    SEND_TO_GROUP = "send_to_group"
    SEND_TO_LID = "send_to_lid"
    RECEIPTS = "receipts"
    LINK_BY_QR = "link_by_qr"
    RESTART = "restart"
    LOGOUT = "logout"


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as the bridge reports it. `qr_png` is the PNG of the code to scan."""

    name: str
    status: Link
    phone: str | None = None
    display_name: str | None = None
    connected_at: datetime | None = None
    qr_png: bytes | None = None
    qr_text: str | None = None
    qr_expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the bridge answers. `at` is what its clock shows as it does so; None if it does not say."""

    is_well: bool
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The bridge's answer to an accepted message."""

    provider_message_id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file to send: an image, a video, audio or a document.

    `url` is where the bridge may fetch it within the next hour; empty if it must be sent with the request.
    """

    kind: Kind
    mime_type: str
    filename: str
    size_bytes: int
    read: Callable[[], bytes]
    url: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    latitude: float
    longitude: float
    name: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A contact card. `phone` is E.164."""

    name: str
    phone: str


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The address and credentials of a bridge."""

    base_url: str = ""
    api_key: str = ""
    webhook_secret: str = ""
    timeout_s: float = 30.0


class BridgeAdapter(ABC):
    """One bridge. Methods make one request each and raise NotSent, Refused or Unconfirmed. Thread-safe."""

    kind: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    max_text_length: ClassVar[int] = 4096
    max_caption_length: ClassVar[int] = 1024
    keeps_sessions: ClassVar[bool] = True  # False: our rows are the only record of its sessions

    def __init__(self, config: BridgeConfig) -> None:
        self.config = config

    def close(self) -> None:  # noqa: B027
        """Close connections."""

    # --- webhook requests ----------------------------------------------------------------------------------------
    def is_authentic(self, *, headers: Mapping[str, str], body: bytes) -> bool:
        """Check the signature of a webhook request; bridges that do not sign rely on the secret in the URL."""
        return True

    @abstractmethod
    def parse_webhook(self, *, headers: Mapping[str, str], body: bytes) -> list[BridgeEvent]:
        """Parse the events of a webhook request, in order. Raises UnreadableWebhookRequest if it has none."""

    # --- addresses -----------------------------------------------------------------------------------------------
    @abstractmethod
    def address_of_phone(self, phone: str) -> ChatAddress:
        """The address to write to, for an E.164 phone nobody wrote to us from yet."""

    def why_unreachable(self, *, address: str, is_group: bool) -> str | None:
        """Why this bridge cannot write to `address`, in words for staff; None when it can."""
        if is_group and Capability.SEND_TO_GROUP not in self.capabilities:
            return "This bridge cannot write to groups."
        if address.endswith("@lid") and Capability.SEND_TO_LID not in self.capabilities:
            return "This bridge cannot write to someone whose phone number is hidden."
        return None

    # --- sending -------------------------------------------------------------------------------------------------
    @abstractmethod
    def send_text(self, *, session: str, address: str, text: str, quoted_id: str | None = None) -> Sent:
        """Send a text. Raises NotSent, Refused or Unconfirmed."""

    def send_media(
        self, *, session: str, address: str, file: OutgoingFile, caption: str = "", quoted_id: str | None = None
    ) -> Sent:
        """Send a file. Raises NotSent, Refused or Unconfirmed."""
        raise self._cannot("send files")

    def send_location(self, *, session: str, address: str, place: Place, quoted_id: str | None = None) -> Sent:
        """Send a place. Raises NotSent, Refused or Unconfirmed."""
        raise self._cannot("send locations")

    def send_contact(self, *, session: str, address: str, card: Card, quoted_id: str | None = None) -> Sent:
        """Send a contact card. Raises NotSent, Refused or Unconfirmed."""
        raise self._cannot("send contacts")

    def why_not_file(self, *, kind: Kind, mime_type: str, size_bytes: int, has_url: bool) -> str | None:
        """Why this bridge cannot send such a file, in words for staff; None when it can.

        `has_url`: whether it may be fetched from us rather than handed over.
        """
        return None if Capability.SEND_MEDIA in self.capabilities else "This bridge cannot send files."

    def _cannot(self, what: str) -> Refused:
        return Refused(f"{self.kind} cannot {what}.", code="not_supported_by_bridge")

    # --- sessions ------------------------------------------------------------------------------------------------
    @abstractmethod
    def start_session(self, *, name: str) -> SessionState:
        """Make a session and begin linking it. Raises Refused with code `already_exists` when the bridge has it."""

    @abstractmethod
    def session_state(self, *, name: str) -> SessionState | None:
        """How the session stands; None when the bridge does not know it. May refresh an expired QR code."""

    @abstractmethod
    def list_sessions(self) -> list[SessionState]:
        """Every session the bridge has."""

    @abstractmethod
    def delete_session(self, *, name: str) -> None:
        """Forget the session at the bridge; fine when it has none of that name."""

    def restart_session(self, *, name: str) -> SessionState:
        raise Refused(f"{self.kind} cannot restart the session {name}.", code="not_supported_by_bridge")

    def logout_session(self, *, name: str) -> None:
        raise Refused(f"{self.kind} cannot log the session {name} out.", code="not_supported_by_bridge")

    def health(self) -> Health:
        """Ask whether the bridge answers, and for the time it has; never raises."""
        return Health(is_well=True)

    def is_healthy(self) -> bool:
        return self.health().is_well
