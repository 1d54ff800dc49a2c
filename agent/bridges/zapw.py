"""zapw, a small service that keeps numbers linked as companion devices: https://github.com/tonylampada/zapw"""

import json
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpx

from agent.bridges.addresses import reachable_digits
from agent.bridges.base import (
    BridgeAdapter,
    BridgeConfig,
    BridgeError,
    Capability,
    Card,
    Health,
    NotSent,
    OutgoingFile,
    Place,
    Refused,
    Sent,
    SessionState,
    Unconfirmed,
)
from agent.bridges.events import (
    AliasKind,
    BridgeEvent,
    ChatAddress,
    Kind,
    Link,
    Malformed,
)
from agent.bridges.parsing import Fields, WrongShape, read_json
from agent.bridges.zapw_payloads import read_event, read_session
from whatsapp_agent.errors import InvalidInput, UnreadableWebhookRequest
from whatsapp_agent.http.retry_after import parse_retry_after
from whatsapp_agent.text.sanitize import storable

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_EXPIRY_S = 3.0  # Node closes idle connections after 5 s; one closed as we write leaves a send unconfirmed
MAX_REQUEST_BYTES = 100 * 1024  # above it zapw answers 500, which would look as if the message may have gone
MAX_RESPONSE_BYTES = 8 * 1024 * 1024

# A request may have 100 KiB (above): base64 adds a third, and a caption of 1024 characters up to 4 KiB.
MAX_INLINE_BYTES = 70 * 1024
FILE_TYPES = {Kind.IMAGE: "image", Kind.VIDEO: "video", Kind.AUDIO: "audio", Kind.DOCUMENT: "document"}
SUPPORTED_MIME_TYPES = {
    Kind.IMAGE: {"image/jpeg", "image/png"},
    Kind.VIDEO: {"video/mp4"},
    Kind.AUDIO: {"audio/ogg"},
    Kind.DOCUMENT: {"application/pdf"},
}


class ZapwBridge(BridgeAdapter):
    """zapw. Its wire contract was recorded from a running service (Express 4, Baileys 6.7.17) in November 2026.

    It can write only to persons whose phone is known: whatever else it is given as a recipient it reduces to digits,
    sends to whoever has that number, and reports success. So recipients are checked here, before anything is asked.
    """

    kind = "zapw"
    capabilities = frozenset(
        {
            Capability.SEND_TEXT,
            Capability.SEND_MEDIA,
            Capability.SEND_LOCATION,
            Capability.SEND_CONTACT,
            Capability.LINK_BY_QR,
        }
    )

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__(config)
        try:
            self._http = httpx.Client(
                base_url=config.base_url,
                headers={"X-API-Key": config.api_key} if config.api_key else None,
                # httpx looks at every idle connection for each request: many may be open, few are kept.
                limits=httpx.Limits(
                    max_connections=None, max_keepalive_connections=20, keepalive_expiry=KEEPALIVE_EXPIRY_S
                ),
                follow_redirects=False,
                trust_env=False,
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as exc:
            raise Refused("The bridge's address or key cannot be used.", code="invalid_configuration") from exc

    def close(self) -> None:
        self._http.close()

    # --- webhook requests ----------------------------------------------------------------------------------------
    def parse_webhook(self, *, headers: Mapping[str, str], body: bytes) -> list[BridgeEvent]:  # noqa: ARG002
        """Parse the one event of a webhook request. The header `X-Webhook-Event` only repeats what the body says."""
        try:
            return [read_event(Fields(read_json(body)))]
        except WrongShape as exc:
            return [Malformed(str(exc))]

    # --- addresses -----------------------------------------------------------------------------------------------
    def address_of_phone(self, phone: str) -> ChatAddress:
        digits = reachable_digits(phone)
        if digits is None or "@" in phone:
            raise InvalidInput("This is not a phone number with its country code.")
        return ChatAddress(f"{digits}@s.whatsapp.net", AliasKind.PHONE, phone=f"+{digits}")

    def why_unreachable(self, *, address: str, is_group: bool) -> str | None:
        if reason := super().why_unreachable(address=address, is_group=is_group or address.endswith("@g.us")):
            return reason
        return None if reachable_digits(address) else "This bridge can only write to a person's phone number."

    # --- sending -------------------------------------------------------------------------------------------------
    def send_text(self, *, session: str, address: str, text: str, quoted_id: str | None = None) -> Sent:  # noqa: ARG002
        """Send a text; zapw cannot quote, so `quoted_id` is not used.

        Refused with `unsupported_recipient`, without asking the bridge, for whatever is not a person's phone.
        """
        return self._send(session, address, {"type": "text", "text": storable(text)})

    def send_media(
        self,
        *,
        session: str,
        address: str,
        file: OutgoingFile,
        caption: str = "",
        quoted_id: str | None = None,  # noqa: ARG002
    ) -> Sent:
        """Send a file: inline if it is small, else zapw fetches it from `file.url`."""
        denial_reason = self.why_not_file(
            kind=file.kind, mime_type=file.mime_type, size_bytes=file.size_bytes, has_url=bool(file.url)
        )
        if denial_reason:
            raise Refused(denial_reason, code="not_supported_by_bridge")
        body = {"type": FILE_TYPES[file.kind]}
        if file.size_bytes <= MAX_INLINE_BYTES:
            body["mediaBase64"] = b64encode(file.read()).decode()
        else:
            body["mediaUrl"] = file.url
        if file.kind == Kind.DOCUMENT:
            body["fileName"] = storable(file.filename)
        if caption and file.kind != Kind.AUDIO:
            body["caption"] = storable(caption)
        return self._send(session, address, body)

    def why_not_file(self, *, kind: Kind, mime_type: str, size_bytes: int, has_url: bool) -> str | None:
        """zapw sets the MIME type by itself: a file of another type would arrive mislabelled."""
        if mime_type not in SUPPORTED_MIME_TYPES.get(kind, ()):
            return "zapw sends only images (JPEG, PNG), videos (MP4), audio (Ogg) and documents (PDF)."
        if size_bytes > MAX_INLINE_BYTES and not has_url:
            return (
                f"zapw takes files of more than {MAX_INLINE_BYTES // 1024} KiB only by fetching them from us: "
                "set PUBLIC_URL to where it can reach this server."
            )
        return None

    def send_location(self, *, session: str, address: str, place: Place, quoted_id: str | None = None) -> Sent:  # noqa: ARG002
        body: dict[str, Any] = {"type": "location", "latitude": place.latitude, "longitude": place.longitude}
        body |= {name: storable(text) for name in ("name", "address") if (text := getattr(place, name))}
        return self._send(session, address, body)

    def send_contact(self, *, session: str, address: str, card: Card, quoted_id: str | None = None) -> Sent:  # noqa: ARG002
        body = {"type": "contact", "contactName": storable(card.name), "contactNumber": card.phone}
        return self._send(session, address, body)

    def _send(self, session: str, address: str, body: dict[str, Any]) -> Sent:
        digits = reachable_digits(address)
        if digits is None:
            raise Refused("zapw can only write to a person's phone number.", code="unsupported_recipient")
        answer = self._request("POST", f"{_path(session)}/messages", {"to": digits, **body})
        if answer.status != HTTPStatus.OK:
            raise _failure(answer)
        try:
            sent = Fields(answer.data())
            return Sent(provider_message_id=sent.needed("messageId"), at=sent.past_time("timestamp"))
        except (WrongShape, UnreadableWebhookRequest) as exc:
            raise Unconfirmed("zapw took the message without naming its id.", code="bridge_failure") from exc

    # --- sessions ------------------------------------------------------------------------------------------------
    def start_session(self, *, name: str) -> SessionState:
        """Make a session and wait, 30 s at most on zapw's side, for its QR code.

        Raises Refused (`already_exists`), or BridgeError (`bridge_failure`) when WhatsApp could not be reached; then no
        session remains at the bridge.
        """
        _path(name)
        # zapw itself gives up after 30 s; giving up before it would leave a session that nobody knows of.
        answer = self._request("POST", "/sessions", {"sessionId": name}, timeout_s=self.config.timeout_s * 4 / 3)
        if answer.status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
            raise _session_failure(answer)
        state = _one_session(answer)
        if state.status == Link.DISCONNECTED and state.qr_png is None:
            self._forget(name)
            raise BridgeError("zapw could not reach WhatsApp: the session closed at once.", code="bridge_failure")
        return state

    def _forget(self, name: str) -> None:
        try:
            self.delete_session(name=name)
        except BridgeError:
            return  # starting has failed already, which is what the caller should hear

    def session_state(self, *, name: str) -> SessionState | None:
        """How the session stands. Asking is also what has zapw replace a code of more than 60 s: the answer is then
        `connecting` without a code, and the next has the new one. Ask every few seconds while someone wants to scan.
        """
        answer = self._request("GET", _path(name))
        if answer.is_unknown_session():
            return None
        if answer.status != HTTPStatus.OK:
            raise _session_failure(answer)
        return _one_session(answer)

    def list_sessions(self) -> list[SessionState]:
        answer = self._request("GET", "/sessions")
        if answer.status != HTTPStatus.OK:
            raise _session_failure(answer)
        try:
            listed = answer.data()
            if not isinstance(listed, list):
                raise WrongShape("the sessions are no list")
            return [read_session(Fields(one)) for one in listed]
        except (WrongShape, UnreadableWebhookRequest) as exc:
            raise BridgeError("zapw listed its sessions in an unknown format.", code="bridge_failure") from exc

    def delete_session(self, *, name: str) -> None:
        """Forget the session at the bridge. The device stays listed on the phone: zapw does not log out."""
        answer = self._request("DELETE", _path(name))
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES and not answer.is_unknown_session():
            raise _session_failure(answer)

    def health(self) -> Health:
        try:
            answer = self._request("GET", "/health", timeout_s=min(CONNECT_TIMEOUT_S, self.config.timeout_s))
            state = Fields(answer.data())
        except (BridgeError, UnreadableWebhookRequest, WrongShape):
            return Health(is_well=False)
        is_well = answer.status == HTTPStatus.OK and state.short("status") == "ok"
        return Health(is_well, at=state.time("timestamp"))

    # --- requests ---------------------------------------------------------------------------------------------------
    def _request(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None) -> "_Answer":
        """Ask once; the whole answer must come within the time-out. Raises NotSent, Refused or Unconfirmed."""
        timeout_s = timeout_s or self.config.timeout_s
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        if content is not None and len(content) > MAX_REQUEST_BYTES:
            raise Refused("zapw takes at most 100 KB at once.", code="invalid")
        give_up_at = monotonic() + timeout_s
        try:
            with self._http.stream(
                method,
                path,
                content=content,
                headers=None if content is None else {"Content-Type": "application/json"},
                timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            ) as response:
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > MAX_RESPONSE_BYTES or monotonic() > give_up_at:
                        raise Unconfirmed("zapw's answer did not end.", code="bridge_failure")
                return _Answer(response.status_code, response.headers, bytes(received))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as exc:
            raise NotSent("zapw cannot be reached.", code="bridge_unreachable") from exc
        except httpx.InvalidURL as exc:
            raise Refused("The bridge's address cannot be used.", code="invalid_configuration") from exc
        except httpx.TimeoutException as exc:
            raise Unconfirmed("zapw did not answer in time.", code="timeout") from exc
        except httpx.HTTPError as exc:
            raise Unconfirmed("zapw broke off without an answer.", code="bridge_failure") from exc


class _Answer:
    """What zapw answered: `{"status": "success", "data": …}`, or `{"status": "error", "error": …}` with 4xx and 5xx."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def data(self) -> Any:
        """What the answer holds; its documentation shows it without the wrapper, so both are read."""
        value = read_json(self.body)
        return value["data"] if isinstance(value, dict) and "data" in value else value

    def error(self) -> str:
        """Return zapw's error text, which may hold a phone number: match it, do not show or log it."""
        try:
            return Fields(read_json(self.body)).short("error") or ""
        except (UnreadableWebhookRequest, WrongShape):
            return ""

    def is_unknown_session(self) -> bool:
        """Return whether this is zapw's own 404; one in HTML comes from something else at this address."""
        return self.status == HTTPStatus.NOT_FOUND and "not found" in self.error().lower()


def _path(session: str) -> str:
    if not session or session in {".", ".."}:
        raise Refused("This cannot be the name of a session.", code="invalid")
    return f"/sessions/{quote(storable(session), safe='')}"


def _failure(answer: _Answer) -> BridgeError:
    """What a status other than success says of a send."""
    match answer.status:
        case 400 if "not connected" in answer.error().lower():
            return NotSent("The session is not connected.", code="not_connected")
        case 401 | 403:
            return NotSent("zapw refuses our API key.", code="unauthorized")
        case 404:
            return Refused("zapw does not know this session.", code="not_found")
        case 409:
            return Refused("zapw has a session of this name.", code="already_exists")
        case 429:
            wait_s = parse_retry_after(answer.headers)
            return NotSent("zapw asks us to slow down.", code="rate_limited", retry_after_s=wait_s)
        case status if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
            return Refused("zapw says that the request is not valid.", code="invalid")
        case status:
            return Unconfirmed(f"zapw answered with status {status}.", code="bridge_failure")


def _session_failure(answer: _Answer) -> BridgeError:
    """The same for calls about sessions, where nothing waits to be sent: a refused key is final."""
    failure = _failure(answer)
    if failure.code == "unauthorized":
        return Refused(str(failure), code=failure.code)
    return BridgeError(str(failure), code=failure.code) if isinstance(failure, Unconfirmed) else failure


def _one_session(answer: _Answer) -> SessionState:
    try:
        return read_session(Fields(answer.data()))
    except (WrongShape, UnreadableWebhookRequest) as exc:
        raise BridgeError("zapw described a session in an unknown format.", code="bridge_failure") from exc
