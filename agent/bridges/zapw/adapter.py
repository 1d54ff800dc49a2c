"""zapw, a small service that keeps numbers linked as companion devices: https://github.com/tonylampada/zapw"""

from base64 import b64encode
from http import HTTPStatus
from typing import Any

from agent.bridges.addresses import reachable_digits
from agent.bridges.base import (
    NOT_SUPPORTED,
    BridgeAdapter,
    Card,
    Health,
    MessageRef,
    OutgoingFile,
    Place,
    Sent,
    SessionState,
    WebhookTarget,
)
from agent.bridges.capabilities import Capability
from agent.bridges.common import quote_name
from agent.bridges.events import BridgeEvent, Kind, Link
from agent.bridges.exchange import (
    BridgeError,
    Refused,
    Request,
    Response,
    Steps,
    Unconfirmed,
    failure,
    session_failure,
)
from agent.bridges.parsing import Fields, WrongShape
from agent.bridges.zapw.payloads import read_event, read_session
from whatsapp_agent.http.retry_after import parse_retry_after

# zapw answers 500 to a request of more than 100 KiB, which would look as if the message may have gone. Base64 adds a
# third, and a caption of 1024 characters up to 4 KiB.
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
    health_path = "/health"
    capabilities = frozenset(
        {
            Capability.SEND_TEXT,
            Capability.SEND_MEDIA,
            Capability.SEND_LOCATION,
            Capability.SEND_CONTACT,
            Capability.LINK_BY_QR,
        }
    )

    max_request_bytes = 100 * 1024

    def request_headers(self) -> dict[str, str]:
        return {"X-API-Key": self.config.api_key} if self.config.api_key else {}

    # --- webhook requests ----------------------------------------------------------------------------------------
    def read_events(self, body: Fields) -> list[BridgeEvent]:
        return [read_event(body)]

    # --- addresses -----------------------------------------------------------------------------------------------
    def unreachable_reason(self, *, address: str, is_group: bool) -> str | None:
        if reason := super().unreachable_reason(address=address, is_group=is_group or address.endswith("@g.us")):
            return reason
        return None if reachable_digits(address) else "This bridge can only write to a person's phone number."

    # --- sending -------------------------------------------------------------------------------------------------
    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        """Send a text; zapw cannot quote, so `quoted` is not used.

        Refused with `unsupported_recipient`, without asking the bridge, for whatever is not a person's phone.
        """
        return self._send(session, address, {"type": "text", "text": text})

    def send_media(
        self,
        *,
        session: str,
        address: str,
        file: OutgoingFile,
        caption: str = "",
        quoted: MessageRef | None = None,  # noqa: ARG002
    ) -> Steps[Sent]:
        """Send a file: inline if it is small, else zapw fetches it from `file.url`."""
        denial_reason = self.file_denial_reason(
            kind=file.kind, mime_type=file.mime_type, size_bytes=file.size_bytes, has_url=bool(file.url)
        )
        if denial_reason:
            raise Refused(denial_reason, code=NOT_SUPPORTED)
        body = {"type": FILE_TYPES[file.kind]}
        if file.size_bytes <= MAX_INLINE_BYTES:
            body["mediaBase64"] = b64encode(file.read()).decode()
        else:
            body["mediaUrl"] = file.url
        if file.kind == Kind.DOCUMENT:
            body["fileName"] = file.filename
        if caption and file.kind != Kind.AUDIO:
            body["caption"] = caption
        return self._send(session, address, body)

    def file_denial_reason(self, *, kind: Kind, mime_type: str, size_bytes: int, has_url: bool) -> str | None:
        """zapw sets the MIME type by itself: a file of another type would arrive mislabelled."""
        if mime_type not in SUPPORTED_MIME_TYPES.get(kind, ()):
            return "zapw sends only images (JPEG, PNG), videos (MP4), audio (Ogg) and documents (PDF)."
        if size_bytes > MAX_INLINE_BYTES and not has_url:
            return (
                f"zapw takes files of more than {MAX_INLINE_BYTES // 1024} KiB only by fetching them from us: "
                "set PUBLIC_URL to where it can reach this server."
            )
        return None

    def send_location(
        self,
        *,
        session: str,
        address: str,
        place: Place,
        quoted: MessageRef | None = None,  # noqa: ARG002
    ) -> Steps[Sent]:
        body: dict[str, Any] = {"type": "location", "latitude": place.latitude, "longitude": place.longitude}
        body |= {name: text for name in ("name", "address") if (text := getattr(place, name))}
        return self._send(session, address, body)

    def send_contact(self, *, session: str, address: str, card: Card, quoted: MessageRef | None = None) -> Steps[Sent]:  # noqa: ARG002
        body = {"type": "contact", "contactName": card.name, "contactNumber": card.phone}
        return self._send(session, address, body)

    def _send(self, session: str, address: str, body: dict[str, Any]) -> Steps[Sent]:
        digits = reachable_digits(address)
        if digits is None:
            raise Refused("zapw can only write to a person's phone number.", code="unsupported_recipient")
        return parse_sent((yield Request("POST", f"{_path(session)}/messages", json={"to": digits, **body})))

    # --- sessions ------------------------------------------------------------------------------------------------
    def start_session(self, *, name: str, webhook: WebhookTarget | None = None) -> Steps[SessionState]:  # noqa: ARG002
        """Make a session and wait, 30 s at most on zapw's side, for its QR code.

        Raises Refused (`already_exists`), or BridgeError (`bridge_failure`) when WhatsApp could not be reached; then no
        session remains at the bridge.
        """
        _path(name)
        # zapw itself gives up after 30 s; giving up before it would leave a session that nobody knows of.
        timeout_s = self.config.timeout_s * 4 / 3
        state = parse_session((yield Request("POST", "/sessions", json={"sessionId": name}, timeout_s=timeout_s)))
        if state.status == Link.DISCONNECTED and state.qr_png is None:
            yield from self._forget(name)
            raise BridgeError("zapw could not reach WhatsApp: the session closed at once.", code="bridge_failure")
        return state

    def _forget(self, name: str) -> Steps[None]:
        try:
            yield from self.delete_session(name=name)
        except BridgeError:
            return  # starting has failed already, which is what the caller should hear

    def session_state(self, *, name: str) -> Steps[SessionState | None]:
        """How the session stands. Asking is also what has zapw replace a code of more than 60 s: the answer is then
        `connecting` without a code, and the next has the new one. Ask every few seconds while someone wants to scan.
        """
        response = yield Request("GET", _path(name))
        return None if _is_unknown_session(response) else parse_session(response)

    def list_sessions(self) -> Steps[list[SessionState]]:
        response = yield Request("GET", "/sessions")
        if response.status != HTTPStatus.OK:
            raise session_failure(_failure(response))
        try:
            listed = _data(response)
            if not isinstance(listed, list):
                raise WrongShape("the sessions are no list")
            return [read_session(Fields(one)) for one in listed]
        except WrongShape as exc:
            raise BridgeError("zapw listed its sessions in an unknown format.", code="bridge_failure") from exc

    def delete_session(self, *, name: str) -> Steps[None]:
        """Forget the session at the bridge. The device stays listed on the phone: zapw does not log out."""
        response = yield Request("DELETE", _path(name))
        if not response.is_success and not _is_unknown_session(response):
            raise session_failure(_failure(response))

    def read_health(self, response: Response) -> Health:
        state = Fields(_data(response))
        is_healthy = response.status == HTTPStatus.OK and state.short("status") == "ok"
        return Health(is_healthy, at=state.time("timestamp"))


# --- answers: `{"status": "success", "data": …}`, or `{"status": "error", "error": …}` with 4xx and 5xx ------------
def parse_sent(response: Response) -> Sent:
    """Return the id of the sent message. Raises NotSent, Refused or Unconfirmed."""
    if response.status != HTTPStatus.OK:
        raise _failure(response)
    try:
        sent = Fields(_data(response))
        return Sent(provider_message_id=sent.needed("messageId"), at=sent.past_time("timestamp"))
    except WrongShape as exc:
        raise Unconfirmed("zapw took the message without naming its id.", code="bridge_failure") from exc


def parse_session(response: Response) -> SessionState:
    if response.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise session_failure(_failure(response))
    try:
        return read_session(Fields(_data(response)))
    except WrongShape as exc:
        raise BridgeError("zapw described a session in an unknown format.", code="bridge_failure") from exc


def _data(response: Response) -> Any:
    """What the answer holds; its documentation shows it without the wrapper, so both are read."""
    value = response.json()
    return value["data"] if isinstance(value, dict) and "data" in value else value


def _error(response: Response) -> str:
    """Return zapw's error text, which may hold a phone number: match it, do not show or log it."""
    try:
        return (response.object().short("error") or "").lower()
    except WrongShape:
        return ""


def _is_unknown_session(response: Response) -> bool:
    """Return whether this is zapw's own 404; one in HTML comes from something else at this address."""
    return response.status == HTTPStatus.NOT_FOUND and "not found" in _error(response)


def _path(session: str) -> str:
    return f"/sessions/{quote_name(session)}"


def _failure(response: Response) -> BridgeError:
    """What a status other than success says of a send."""
    match response.status:
        case 400 if "not connected" in _error(response):
            return failure("not_connected", "The number is not connected.")
        case 401 | 403:
            return failure("unauthorized", "zapw refuses our API key.")
        case 404:
            return failure("not_found", "zapw does not know this session.")
        case 409:
            return failure("already_exists", "zapw has a session of this name.")
        case 429:
            wait_s = parse_retry_after(response.headers)
            return failure("rate_limited", "zapw asks us to slow down.", retry_after_s=wait_s)
        case status if 400 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
            return failure("invalid", "zapw says that the request is not valid.")
        case status:
            return failure("bridge_failure", f"zapw answered with status {status}.")
