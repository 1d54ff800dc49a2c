"""The interface of bridge adapters: what they can do, what they take and what they return."""

# ruff: noqa: ARG002  a method that refuses still names what it would take

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Any, ClassVar

from agent.bridges.addresses import reachable_digits
from agent.bridges.capabilities import Capability
from agent.bridges.events import AliasKind, BridgeEvent, ChatAddress, Kind, Link, Malformed
from agent.bridges.exchange import BridgeError, Refused, Request, Response, Steps, without_request
from agent.bridges.parsing import Fields, WrongShape, read_json
from agent.bridges.templates import ListedTemplate, Template
from whatsapp_agent.errors import InvalidPhone

NOT_SUPPORTED = "not_supported"
HEALTH_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as the bridge reports it. `qr_png` is the PNG of the code to scan.

    `reason` is why it is not connected, as a short text. `limits` are those that WhatsApp sets on the account, as
    `account_limits` returns them; None where the answer does not say.
    """

    name: str
    status: Link
    phone: str | None = None
    display_name: str | None = None
    connected_at: datetime | None = None
    qr_png: bytes | None = None
    qr_text: str | None = None
    qr_expires_at: datetime | None = None
    pairing_code: str | None = None
    reason: str = ""
    limits: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class PairingCode:
    """A code to type on the phone. `expires_at` is when it is invalid at the latest."""

    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the bridge answers. `at` is what its clock shows as it does so; None if it does not say."""

    is_healthy: bool
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The bridge's answer to an accepted message. `address` is the recipient's, if the bridge knows them by another.

    `is_pending`: the platform has accepted it and holds it back for now.
    """

    provider_message_id: str
    at: datetime | None = None
    address: str | None = None
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message that another one answers or reacts to, or that we have read.

    `full_id` is its id in the form in which the bridge takes it, where that is not the stored one and is known;
    `sender` is the address of its writer, needed in groups.
    """

    provider_message_id: str
    is_ours: bool = False
    full_id: str = ""
    sender: str = ""
    text: str = ""


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
class Menu:
    """A text with buttons, or with a list of rows {title, description} that opens at `button`.

    What is chosen comes back as a message of kind `interactive`: its title, with the id as `payload`.
    """

    text: str
    buttons: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    button: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """A question with options to vote for; `multiple`: for as many as one likes."""

    name: str
    options: list[str]
    multiple: bool = False


@dataclass(frozen=True, slots=True)
class FetchedMedia:
    """A file as received from the bridge. Its type is the sender's claim. The caller closes `file`."""

    file: IO[bytes]
    mime_type: str = ""
    filename: str = ""

    @property
    def content(self) -> bytes:
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True, slots=True)
class KnownNumber:
    """Whether a phone is on WhatsApp, and the address to write to, which may spell the number otherwise."""

    exists: bool
    address: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a bridge shall post its events, and what it shall prove itself with."""

    url: str
    signing_key: str = ""
    verify_token: str = ""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A request that a bridge makes to us. `body` is what came, byte for byte: signatures are over these bytes."""

    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """Return a header by its name in any case; None if it is missing."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The address and credentials of a bridge. `signing_key` empty: the secret in the URL is the only proof."""

    base_url: str = ""
    api_key: str = ""
    signing_key: str = ""
    verify_token: str = ""
    timeout_s: float = 30.0


class BridgeAdapter(ABC):
    """One bridge: parses what it posts, says what to request of it and what its answers mean. Does no I/O.

    Methods that return `Steps` are run by a transport, and raise NotSent, Refused or Unconfirmed there.
    """

    kind: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    max_text_length: ClassVar[int] = 4096
    max_caption_length: ClassVar[int] = 1024
    max_poll_options: ClassVar[int] = 12
    max_request_bytes: ClassVar[int | None] = None
    default_base_url: ClassVar[str] = ""
    health_path: ClassVar[str] = "/"
    reply_window: ClassVar[timedelta | None] = None  # how long after a person's last message anything may be sent
    max_reaction_age: ClassVar[timedelta | None] = None  # of the message; an older one takes no reaction
    max_edit_age: ClassVar[timedelta] = timedelta(minutes=15)  # WhatsApp's own, of a message that is edited
    max_revoke_age: ClassVar[timedelta] = timedelta(hours=60)  # of one that is deleted for everyone
    webhook_fields: ClassVar[tuple[str, ...]] = ()  # to be subscribed to by hand at the platform before events come
    free_replies_per_month: ClassVar[int | None] = None  # of a number; None: the platform charges for no message
    media_ttl: ClassVar[timedelta | None] = None  # how long a received file can be fetched; None: undocumented
    typing_lasts_s: ClassVar[float] = 10.0  # then the contact sees it no longer
    fetches_by_message: ClassVar[bool] = False  # True: a file can be asked for without a `ref`, by its message
    resolves_lids: ClassVar[bool] = False  # True: it can be asked for the phone of a hidden number
    stores_sessions: ClassVar[bool] = True  # False: our rows are the only record of its sessions
    lists_sessions: ClassVar[bool] = True  # False: it can only be asked for one that we name
    webhook_restarts_session: ClassVar[bool] = False  # True: `set_webhook` does so
    reports_scans: ClassVar[bool] = False  # True: after `qr_waiting` it is `connecting` only once a code was used
    reports_end_of_calls: ClassVar[bool] = True  # False: it never says that a caller gave up
    links_passkeys: ClassVar[bool] = False  # True: accounts that demand a passkey can be linked, with a person's help
    pairing_code_ttl: ClassVar[timedelta] = timedelta(seconds=160)  # when a linking WhatsApp Web ends without a scan

    def __init__(self, config: BridgeConfig) -> None:
        self.config = config

    @property
    def base_url(self) -> str:
        return self.config.base_url or self.default_base_url

    def request_headers(self) -> dict[str, str]:
        """Return the headers that every request has: our key."""
        return {}

    # --- webhook requests ----------------------------------------------------------------------------------------
    def is_authentic(self, request: WebhookRequest) -> bool:
        """Check the signature of a webhook request; bridges that do not sign rely on the secret in the URL."""
        return True

    def answer_challenge(self, query: Mapping[str, str]) -> str | None:
        """Return what a GET of the webhook's URL has to be answered with; None if that is not to be answered."""
        return None

    def parse_webhook(self, request: WebhookRequest) -> list[BridgeEvent]:
        """Parse the events of a webhook request, in order. Raises UnreadableWebhookRequest if it is no JSON."""
        body = read_json(request.body)
        try:
            return self.read_events(Fields(body))
        except WrongShape as exc:
            return [Malformed(str(exc))]

    def read_events(self, body: Fields) -> list[BridgeEvent]:
        """Return the events of a webhook request's body. Raises WrongShape."""
        raise NotImplementedError

    # --- addresses -----------------------------------------------------------------------------------------------
    def address_of_phone(self, phone: str) -> ChatAddress:
        """Return the address to write to, for an E.164 phone nobody wrote to us from yet. Raises InvalidPhone."""
        digits = reachable_digits(phone)
        if digits is None or "@" in phone:
            raise InvalidPhone
        return ChatAddress(self.person_address(digits), AliasKind.PHONE, phone=f"+{digits}")

    def person_address(self, digits: str) -> str:
        """Return the address of the person with this phone, in the one form that this bridge's events use."""
        return f"{digits}@s.whatsapp.net"

    def unreachable_reason(self, *, address: str, is_group: bool) -> str | None:
        """Why this bridge cannot write to `address`, in words for staff; None when it can."""
        if is_group and Capability.SEND_TO_GROUP not in self.capabilities:
            return "This bridge cannot write to groups."
        if address.endswith("@lid") and Capability.SEND_TO_LID not in self.capabilities:
            return "This bridge cannot write to someone whose phone number is hidden."
        return None

    # --- sending -------------------------------------------------------------------------------------------------
    @abstractmethod
    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:
        """Send a text."""

    def send_media(
        self, *, session: str, address: str, file: OutgoingFile, caption: str = "", quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        """Send a file."""
        raise self._cannot("send files")

    def send_location(
        self, *, session: str, address: str, place: Place, quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        """Send a place."""
        raise self._cannot("send locations")

    def send_contact(self, *, session: str, address: str, card: Card, quoted: MessageRef | None = None) -> Steps[Sent]:
        """Send a contact card."""
        raise self._cannot("send contacts")

    def send_template(
        self, *, session: str, address: str, template: Template, file: OutgoingFile | None = None
    ) -> Steps[Sent]:
        """Send a template, which may be sent at any time. `file` is that of its header."""
        raise self._cannot("send templates")

    def send_menu(self, *, session: str, address: str, menu: Menu, quoted: MessageRef | None = None) -> Steps[Sent]:
        """Send buttons or a list to choose from. Choices are numbered from 1, which is their id."""
        raise self._cannot("send buttons and lists")

    def send_poll(self, *, session: str, address: str, poll: Poll, quoted: MessageRef | None = None) -> Steps[Sent]:
        """Send a poll."""
        raise self._cannot("send polls")

    def list_templates(self, *, account: str) -> Steps[list[ListedTemplate]]:
        """Ask for the templates of a business account."""
        raise self._cannot("list templates")

    def send_reaction(self, *, session: str, address: str, target: MessageRef, emoji: str) -> Steps[Sent]:
        """React to a message; an empty `emoji` takes the reaction away. The id is empty where the bridge names none."""
        raise self._cannot("react to messages")

    def edit_text(self, *, session: str, address: str, message: MessageRef, text: str) -> Steps[None]:
        """Change a text that we sent. Raises NotSent, Refused or Unconfirmed, as a send does."""
        raise self._cannot("edit messages")

    def revoke(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        """Delete a message that we sent for everyone. Raises what `edit_text` raises."""
        raise self._cannot("delete messages")

    def show_typing(
        self, *, session: str, address: str, last: MessageRef | None = None, is_typing: bool = True
    ) -> Steps[None]:
        """Show that we are typing, or no longer. `last` is the last message of the contact."""
        raise self._cannot("show typing")

    def mark_read(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        """Mark a message of the contact as read."""
        raise self._cannot("mark messages as read")

    def fetch_media(
        self, *, session: str, ref: str, address: str, message: MessageRef, max_bytes: int
    ) -> Steps[FetchedMedia]:
        """Fetch the file of a message by the `ref` of its event. Raises Refused (`not_found`, `too_large`)."""
        raise self._cannot("hand over received files")

    def check_number(self, *, session: str, phone: str) -> Steps[KnownNumber]:
        """Ask whether a phone (E.164) is on WhatsApp."""
        raise self._cannot("look numbers up")

    def phone_of_lid(self, *, session: str, lid: str) -> Steps[str | None]:
        """Ask for the phone (E.164) of a hidden number, `…@lid`; None if the bridge does not know it either."""
        raise self._cannot("tell the phones of hidden numbers")

    def account_limits(self, *, name: str) -> Steps[list[dict[str, Any]]]:
        """Ask for the limits that WhatsApp sets on the session's account: {kind, active, until}, with more by kind."""
        return without_request([])

    def list_messages(self, *, session: str, since: datetime, until: datetime, page: int) -> Steps[list[BridgeEvent]]:
        """Ask for the messages of all chats that were written within this time, ours too, in any order.

        Pages count from 0; the one after the last is empty. Times are by the clock of the bridge.
        """
        raise self._cannot("be asked for messages")

    def file_denial_reason(self, *, kind: Kind, mime_type: str, size_bytes: int, has_url: bool) -> str | None:
        """Why this bridge cannot send such a file, in words for staff; None when it can.

        `has_url`: whether it may be fetched from us rather than handed over.
        """
        return None if Capability.SEND_MEDIA in self.capabilities else "This bridge cannot send files."

    def _cannot(self, what: str) -> Refused:
        return Refused(f"{self.kind} cannot {what}.", code=NOT_SUPPORTED)

    # --- sessions ------------------------------------------------------------------------------------------------
    @abstractmethod
    def start_session(self, *, name: str, webhook: WebhookTarget | None = None) -> Steps[SessionState]:
        """Make a session and begin linking it. Raises Refused with code `already_exists` when the bridge has it."""

    @abstractmethod
    def session_state(self, *, name: str) -> Steps[SessionState | None]:
        """How the session stands; None when the bridge does not know it. May refresh an expired QR code."""

    @abstractmethod
    def list_sessions(self) -> Steps[list[SessionState]]:
        """Every session the bridge has."""

    def subscribe_account(self, *, account: str) -> Steps[None]:
        """Let the app of our key receive the events of a business account (WABA)."""
        raise self._cannot("subscribe to the events of an account")

    def list_numbers(self, *, account: str) -> Steps[list[SessionState]]:
        """Ask for the numbers of a business account (WABA), with the names to link them by."""
        raise self._cannot("list the numbers of an account")

    @abstractmethod
    def delete_session(self, *, name: str) -> Steps[None]:
        """Forget the session at the bridge; fine when it has none of that name."""

    def stop_session(self, *, name: str) -> Steps[SessionState | None]:
        """Stop the session without unlinking it; does nothing, and returns None, where the bridge cannot."""
        return without_request(None)

    def restart_session(self, *, name: str) -> Steps[SessionState]:
        raise self._cannot(f"restart the session {name}")

    def logout_session(self, *, name: str) -> Steps[None]:
        raise self._cannot(f"log the session {name} out")

    def register_session(self, *, name: str, pin: str) -> Steps[None]:
        """Put a number on the platform, with the PIN of its two-step verification, or with a new one if it has none."""
        raise self._cannot("register numbers")

    def request_pairing_code(self, *, name: str, phone: str, webhook: WebhookTarget | None = None) -> Steps[str]:
        """Return the code to type on the phone (E.164) instead of scanning.

        `webhook` is configured where the session has to be created anew for it.
        """
        raise self._cannot("link by a pairing code")

    def set_webhook(self, *, name: str, webhook: WebhookTarget) -> Steps[None]:
        """Configure where the bridge posts the events of a session."""
        raise self._cannot("configure a webhook address by a call")

    def health(self) -> Steps[Health]:
        """Whether the bridge answers, and the time it has; raises nothing."""
        try:
            request = Request("GET", self.health_path, timeout_s=min(HEALTH_TIMEOUT_S, self.config.timeout_s))
            return self.read_health((yield request))
        except (BridgeError, WrongShape):
            return Health(is_healthy=False)

    def read_health(self, response: Response) -> Health:
        """Return what the answer to the request of `health_path` says. Raises WrongShape."""
        raise NotImplementedError
