"""A bridge without WhatsApp, for the phone simulator, `manage.py chat` and tests. It makes no requests."""

import mmap
import re
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from io import BytesIO
from time import monotonic
from typing import Any, TypeVar

import segno
from django.core.files.storage import default_storage

from agent.bridges.addresses import called_persons, phone_of_digits, read_address
from agent.bridges.base import (
    BridgeAdapter,
    BridgeConfig,
    Card,
    FetchedMedia,
    Health,
    Menu,
    MessageRef,
    OutgoingFile,
    Place,
    Poll,
    Sent,
    SessionState,
    WebhookRequest,
    WebhookTarget,
)
from agent.bridges.capabilities import Capability
from agent.bridges.common import is_answerable, read_place
from agent.bridges.events import (
    BridgeEvent,
    ChatAddress,
    Ignored,
    Kind,
    Link,
    Malformed,
    MediaRef,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Receipt,
    SessionChanged,
    StatusChanged,
)
from agent.bridges.exchange import Refused, Steps, without_request
from agent.bridges.parsing import (
    MAX_MIME_TYPE_LENGTH,
    MAX_NAME_LENGTH,
    MAX_SESSION_NAME_LENGTH,
    Fields,
    WrongShape,
    read_json,
)

SCANNED_AFTER_S = 5.0
UPLOADS = "simulator"  # folder of the storage for what its page uploads
UPLOADED = re.compile(UPLOADS + r"/[0-9a-f]{32}(?:\.[0-9a-z]{1,8})?")
QR_LIFE = timedelta(seconds=60)
# When a session's code was shown, by its name's checksum; 0 when never. Web processes are forked from one that has
# this, so that each of them knows what another showed; two names with the same number only wait for each other.
_shown_since = memoryview(mmap.mmap(-1, 8 * 4096)).cast("d")
Choice = TypeVar("Choice", bound=StrEnum)


class SimulatorBridge(BridgeAdapter):
    """A bridge without WhatsApp. What is posted to its webhook is one event, or a list of them:

        {"event": "message", "session": "main", "id": "ABC", "chat": "5511988887777@s.whatsapp.net"}
            sender       address of who wrote; needed in groups (`…@g.us`), else it is `chat`
            name         what the sender calls themselves; `chat_name` what the group is called
            kind         a value of `Kind`; default `text`
            text         the text, or the caption
            sent_at      milliseconds since 1970, or ISO 8601 with a zone; without it: now
            outbound     true: typed on our own phone; with `echo` true: sent through the bridge
            history      true: the past being synchronised
            forwarded    true
            quoted_id    id of the message this one answers
            mentions     addresses of whom it mentions in a group; a text may also name them: @5511999990000
            emoji, target_id   of a reaction; no emoji takes it away
            media        {mime_type, filename, ref}; `ref` of a file that the simulator's page has uploaded
            location     {latitude, longitude, name, address}
            contacts     [{name, phone}]
        {"event": "status", "session": "main", "id": "sim-…", "status": "delivered" | "read" | "failed", "error": ""}
        {"event": "edit", "session": "main", "target_id": "ABC", "text": "…"}
        {"event": "revoke", "session": "main", "target_id": "ABC"}
        {"event": "session", "session": "main", "status": "connected", "phone", "name", "code", "will_reconnect"}

    Sends are taken at once, and their ids begin with `sim-`. It keeps no sessions: one is connected as soon as it is
    started, and `list_sessions` is empty (`stores_sessions`). So that linking can be tried, a session whose name begins
    with `qr-` first shows a code, which scans itself after some seconds.
    """

    kind = "simulator"
    stores_sessions = False
    capabilities = frozenset(
        {
            Capability.SEND_TEXT,
            Capability.SEND_MEDIA,
            Capability.SEND_LOCATION,
            Capability.SEND_CONTACT,
            Capability.SEND_BUTTONS,
            Capability.SEND_LIST,
            Capability.SEND_POLL,
            Capability.SEND_VOICE,
            Capability.QUOTE,
            Capability.REACT,
            Capability.EDIT,
            Capability.REVOKE,
            Capability.TYPING,
            Capability.MARK_READ,
            Capability.RECEIVE_MEDIA,
            Capability.SEND_TO_GROUP,
            Capability.SEND_TO_LID,
            Capability.RECEIPTS,
            Capability.LINK_BY_QR,
            Capability.RESTART,
            Capability.LOGOUT,
        }
    )

    def __init__(self, config: BridgeConfig | None = None) -> None:
        super().__init__(config or BridgeConfig())

    # --- webhook requests ----------------------------------------------------------------------------------------
    def parse_webhook(self, request: WebhookRequest) -> list[BridgeEvent]:
        value = read_json(request.body)
        return [_read(raw) for raw in (value if isinstance(value, list) else [value])]

    # --- sending -------------------------------------------------------------------------------------------------
    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        if not text:
            raise Refused("There is no text to send.", code="invalid")
        return self._send(address)

    def send_media(
        self,
        *,
        session: str,  # noqa: ARG002
        address: str,
        file: OutgoingFile,
        caption: str = "",  # noqa: ARG002
        quoted: MessageRef | None = None,  # noqa: ARG002
    ) -> Steps[Sent]:
        if not file.read():
            raise Refused("The file is empty.", code="invalid")
        return self._send(address)

    def send_location(
        self,
        *,
        session: str,  # noqa: ARG002
        address: str,
        place: Place,  # noqa: ARG002
        quoted: MessageRef | None = None,  # noqa: ARG002
    ) -> Steps[Sent]:
        return self._send(address)

    def send_contact(self, *, session: str, address: str, card: Card, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        return self._send(address)

    def send_menu(self, *, session: str, address: str, menu: Menu, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        return self._send(address)

    def send_poll(self, *, session: str, address: str, poll: Poll, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        return self._send(address)

    def send_reaction(self, *, session: str, address: str, target: MessageRef, emoji: str) -> Steps[Sent]:  # noqa: ARG002
        return without_request(Sent(""))

    def edit_text(self, *, session: str, address: str, message: MessageRef, text: str) -> Steps[None]:  # noqa: ARG002
        return without_request(None)

    def revoke(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:  # noqa: ARG002
        return without_request(None)

    def show_typing(
        self,
        *,
        session: str,  # noqa: ARG002
        address: str,  # noqa: ARG002
        last: MessageRef | None = None,  # noqa: ARG002
        is_typing: bool = True,  # noqa: ARG002
    ) -> Steps[None]:
        return without_request(None)

    def mark_read(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:  # noqa: ARG002
        return without_request(None)

    def fetch_media(
        self,
        *,
        session: str,  # noqa: ARG002
        ref: str,
        address: str,  # noqa: ARG002
        message: MessageRef,  # noqa: ARG002
        max_bytes: int,  # noqa: ARG002  the file was small enough to be uploaded
    ) -> Steps[FetchedMedia]:
        """Hand over an uploaded file. The simulator is its own bridge: the file lies in our storage."""
        if not UPLOADED.fullmatch(ref) or not default_storage.exists(ref):
            raise Refused("The simulator no longer has this file.", code="not_found")
        return without_request(FetchedMedia(default_storage.open(ref, "rb")))

    def _send(self, address: str) -> Steps[Sent]:
        try:
            recipient = read_address(address)
        except WrongShape as exc:
            raise Refused("This is no address.", code="unsupported_recipient") from exc
        if recipient is None:
            raise Refused("Nobody can be written to there.", code="unsupported_recipient")
        return without_request(Sent(provider_message_id=f"sim-{uuid.uuid4().hex}", at=datetime.now(UTC)))

    # --- sessions ------------------------------------------------------------------------------------------------
    def start_session(self, *, name: str, webhook: WebhookTarget | None = None) -> Steps[SessionState]:  # noqa: ARG002
        if name.startswith("qr-"):
            _shown_since[_slot(name)] = monotonic()
        return without_request(self._state(name))

    def session_state(self, *, name: str) -> Steps[SessionState | None]:
        return without_request(self._state(name))

    def _state(self, name: str) -> SessionState:
        shown_since = _shown_since[_slot(name)]
        if shown_since and monotonic() - shown_since < SCANNED_AFTER_S:
            code = f"simulator:{name}"
            return SessionState(
                name=name,
                status=Link.QR_WAITING,
                qr_png=_png(code),
                qr_text=code,
                qr_expires_at=datetime.now(UTC) + QR_LIFE,
            )
        _shown_since[_slot(name)] = 0.0
        return SessionState(
            name=name,
            status=Link.CONNECTED,
            phone=_made_up_phone(name),
            display_name=name,
            connected_at=datetime.now(UTC),
        )

    def list_sessions(self) -> Steps[list[SessionState]]:
        return without_request([])

    def delete_session(self, *, name: str) -> Steps[None]:
        _shown_since[_slot(name)] = 0.0
        return without_request(None)

    def restart_session(self, *, name: str) -> Steps[SessionState]:
        return without_request(self._state(name))

    def logout_session(self, *, name: str) -> Steps[None]:
        return self.delete_session(name=name)

    def health(self) -> Steps[Health]:
        return without_request(Health(is_healthy=True))


def _png(code: str) -> bytes:
    image = BytesIO()
    segno.make(code, error="m").save(image, kind="png", scale=6, border=4)
    return image.getvalue()


def _slot(name: str) -> int:
    return zlib.crc32(name.encode(errors="replace")) % len(_shown_since)


def _made_up_phone(name: str) -> str:
    """The same number for the same name, of a range (+1 555) that is nobody's."""
    return f"+1555{zlib.crc32(name.encode(errors='replace')) % 10_000_000:07d}"


# --- events ------------------------------------------------------------------------------------------------------
def _read(raw: Any) -> BridgeEvent:
    try:
        return _event(Fields(raw))
    except WrongShape as exc:
        return Malformed(str(exc))


def _event(raw: Fields) -> BridgeEvent:
    match raw.needed("event"):
        case "message":
            return _message(raw)
        case "status":
            return StatusChanged(
                session=raw.needed("session", longest=MAX_SESSION_NAME_LENGTH),
                provider_message_id=raw.needed("id"),
                status=_choice(Receipt, raw, "status"),
                at=raw.time("at"),
                error=raw.short("error") or "",
                chat=_chat(raw),
            )
        case "session":
            return SessionChanged(
                session=raw.needed("session", longest=MAX_SESSION_NAME_LENGTH),
                status=_choice(Link, raw, "status"),
                phone=phone_of_digits((raw.short("phone") or "").removeprefix("+")),
                name=raw.short("name", longest=MAX_NAME_LENGTH),
                code=raw.short("code", longest=16) or "",
                will_reconnect=raw.flag("will_reconnect"),
                at=raw.time("at"),
            )
        case "edit":
            return MessageEdited(
                raw.needed("session", longest=MAX_SESSION_NAME_LENGTH),
                target_id=raw.needed("target_id"),
                text=raw.text("text"),
                chat=_chat(raw),
            )
        case "revoke":
            return MessageRevoked(
                raw.needed("session", longest=MAX_SESSION_NAME_LENGTH),
                target_id=raw.needed("target_id"),
                chat=_chat(raw),
            )
    return Ignored("unknown event")


def _chat(raw: Fields) -> ChatAddress | None:
    """The chat a receipt, an edit or a revocation is about; None when it is not given."""
    chat = raw.short("chat")
    return read_address(chat) if chat else None


def _message(raw: Fields) -> BridgeEvent:
    name = raw.short("name", longest=MAX_NAME_LENGTH)
    chat_raw = raw.needed("chat")
    sender_raw = raw.short("sender") or chat_raw
    chat = read_address(
        chat_raw, name=name if sender_raw == chat_raw else raw.short("chat_name", longest=MAX_NAME_LENGTH)
    )
    sender = read_address(sender_raw, name=name)
    if chat is None or sender is None:
        return Ignored("a story, a broadcast list or a channel")
    kind = _choice(Kind, raw, "kind") if "kind" in raw else Kind.TEXT
    text = raw.text("text")
    media, details = raw.maybe_object("media"), _details(kind, raw)
    return MessageReceived(
        session=raw.needed("session", longest=MAX_SESSION_NAME_LENGTH),
        provider_message_id=raw.needed("id"),
        chat=chat,
        sender=sender,
        kind=kind,
        text=text,
        outbound=raw.flag("outbound") or raw.flag("echo"),
        is_echo=raw.flag("echo"),
        sent_at=raw.time("sent_at") or datetime.now(UTC),
        media=MediaRef(
            mime_type=media.short("mime_type", longest=MAX_MIME_TYPE_LENGTH),
            filename=media.short("filename"),
            ref=media.short("ref"),
            downloadable="ref" in media,
        )
        if media
        else None,
        details=details,
        quoted_id=raw.short("quoted_id"),
        called=called_persons(raw.listed("mentions"), text=text) if chat.is_group else (),
        answerable=is_answerable(kind, text, details),
        is_history=raw.flag("history"),
        forwarded=raw.flag("forwarded"),
    )


def _details(kind: Kind, raw: Fields) -> dict[str, Any]:
    if kind == Kind.REACTION:
        return {"emoji": raw.short("emoji"), "target_id": raw.needed("target_id")}
    if kind == Kind.LOCATION and (place := raw.maybe_object("location")):
        return {"location": read_place(place)}
    if kind == Kind.CONTACT:
        return {
            "contacts": [
                {"name": card.short("name", longest=MAX_NAME_LENGTH), "phone": card.short("phone")}
                for card in raw.objects("contacts")
            ]
        }
    return {}


def _choice(choices: type[Choice], raw: Fields, name: str) -> Choice:
    try:
        return choices(raw.needed(name))
    except ValueError as exc:
        raise WrongShape(f"{name} has an unknown value") from exc
