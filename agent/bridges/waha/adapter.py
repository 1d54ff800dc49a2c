"""WAHA, one API over several engines: https://waha.devlike.pro/docs/ (written against 2026.8.1)."""

# ruff: noqa: ARG002  methods name what the interface gives them, also what this bridge has no use for

import hashlib
import hmac
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from math import ceil
from typing import Any
from urllib.parse import quote

from agent.bridges.base import (
    BridgeAdapter,
    Card,
    FetchedMedia,
    Health,
    KnownNumber,
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
from agent.bridges.capabilities import LINKED_DEVICE, Capability
from agent.bridges.common import is_same_secret, quote_name
from agent.bridges.events import BridgeEvent, Kind, Link
from agent.bridges.exchange import (
    CHECK_NUMBER_TIMEOUT_S,
    MAX_PAGE_BYTES,
    MESSAGES_PER_PAGE,
    MESSAGES_TIMEOUT_S,
    NotSent,
    Refused,
    Request,
    Response,
    Steps,
)
from agent.bridges.parsing import Fields
from agent.bridges.waha import answers, files
from agent.bridges.waha.configuration import session_config
from agent.bridges.waha.ids import chat_id, full_id, message_path
from agent.bridges.waha.menus import list_message
from agent.bridges.waha.payloads import read_envelope

CALLS = {
    Kind.IMAGE: "sendImage",
    Kind.VIDEO: "sendVideo",
    Kind.AUDIO: "sendVoice",  # it has no call for a playable file of another kind
    Kind.VOICE: "sendVoice",
    Kind.STICKER: "sendSticker",
    Kind.DOCUMENT: "sendFile",
}
CAPTIONED = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.DOCUMENT})
UNCONVERTED = {Kind.VIDEO: "video/mp4", Kind.VOICE: "audio/ogg", Kind.AUDIO: "audio/ogg"}
MAX_INLINE_BYTES = 36 * 1024 * 1024  # a body may have 50 MB, and base64 adds a third


class WahaBridge(BridgeAdapter):
    """WAHA. The engine of the server changes the payloads and the answers, so all forms are read."""

    kind = "waha"
    health_path = "/ping"
    media_ttl = timedelta(seconds=180)  # its default; later the file can be asked for by its message
    fetches_by_message = True
    resolves_lids = True
    webhook_restarts_session = True
    reports_scans = True
    reports_end_of_calls = False
    links_passkeys = True  # its engine GOWS, with a browser extension
    # Its engine WEBJS can neither send lists and polls nor be asked for messages, nor NOWEB where its store is off.
    capabilities = LINKED_DEVICE | {Capability.SEND_LIST, Capability.SIGNED_WEBHOOK}

    def request_headers(self) -> dict[str, str]:
        return {"X-Api-Key": self.config.api_key} if self.config.api_key else {}

    # --- webhook requests ----------------------------------------------------------------------------------------
    def is_authentic(self, request: WebhookRequest) -> bool:
        """Check `X-Webhook-Hmac`, the HMAC-SHA512 of the raw body under the session's key."""
        if not self.config.signing_key:
            return True
        given = request.header("X-Webhook-Hmac") or ""
        expected = hmac.new(self.config.signing_key.encode(), request.body, hashlib.sha512).hexdigest()
        return is_same_secret(given.strip().lower(), expected)

    def read_events(self, body: Fields) -> list[BridgeEvent]:
        return [read_envelope(body)]

    # --- addresses -----------------------------------------------------------------------------------------------
    def person_address(self, digits: str) -> str:
        return f"{digits}@c.us"

    # --- sending -------------------------------------------------------------------------------------------------
    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:
        if not text:
            raise Refused("There is no text to send.", code="invalid")
        return self._send("sendText", session, address, {"text": text}, quoted)

    def send_media(
        self, *, session: str, address: str, file: OutgoingFile, caption: str = "", quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        """Send a file with the request; WAHA fetches a large one from `file.url`."""
        body: dict[str, Any] = {"file": {"mimetype": file.mime_type, "filename": file.filename}}
        if file.size_bytes <= MAX_INLINE_BYTES or not file.url:
            body["file"]["data"] = b64encode(file.read()).decode()
        else:
            body["file"]["url"] = file.url
        unconverted = UNCONVERTED.get(file.kind)
        if unconverted and not file.mime_type.startswith(unconverted):
            body["convert"] = True
        if caption and file.kind in CAPTIONED:
            body["caption"] = caption
        return self._send(CALLS.get(file.kind, "sendFile"), session, address, body, quoted)

    def send_location(
        self, *, session: str, address: str, place: Place, quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        title = ", ".join(filter(None, [place.name, place.address]))
        body = {"latitude": place.latitude, "longitude": place.longitude, "title": title}
        return self._send("sendLocation", session, address, body, quoted)

    def send_contact(self, *, session: str, address: str, card: Card, quoted: MessageRef | None = None) -> Steps[Sent]:
        contact = {"fullName": card.name, "phoneNumber": card.phone, "whatsappId": card.phone.removeprefix("+")}
        return self._send("sendContactVcard", session, address, {"contacts": [contact]}, quoted)

    def send_menu(self, *, session: str, address: str, menu: Menu, quoted: MessageRef | None = None) -> Steps[Sent]:
        """Send a list. Its `sendButtons` is deprecated: WhatsApp no longer shows what it sends."""
        if menu.buttons:
            raise self._cannot("send buttons")
        return self._send("sendList", session, address, {"message": list_message(menu)}, quoted)

    def send_poll(self, *, session: str, address: str, poll: Poll, quoted: MessageRef | None = None) -> Steps[Sent]:
        body = {"name": poll.name, "options": poll.options, "multipleAnswers": poll.multiple}
        return self._send("sendPoll", session, address, {"poll": body}, quoted)

    def _send(
        self, call: str, session: str, address: str, body: dict[str, Any], quoted: MessageRef | None
    ) -> Steps[Sent]:
        body = {"session": session, "chatId": chat_id(address), **body}
        if quoted is not None:
            body["reply_to"] = full_id(address, quoted)
        return answers.parse_sent((yield Request("POST", f"/api/{call}", json=body)))

    def send_reaction(self, *, session: str, address: str, target: MessageRef, emoji: str) -> Steps[Sent]:
        body = {"session": session, "messageId": full_id(address, target), "reaction": emoji}
        answers.check_sent((yield Request("PUT", "/api/reaction", json=body)))
        return Sent("")

    def edit_text(self, *, session: str, address: str, message: MessageRef, text: str) -> Steps[None]:
        request = Request("PUT", message_path(session, address, message), json={"text": text})
        answers.check_sent((yield request))

    def revoke(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        answers.check_sent((yield Request("DELETE", message_path(session, address, message))))

    def show_typing(
        self, *, session: str, address: str, last: MessageRef | None = None, is_typing: bool = True
    ) -> Steps[None]:
        call = "startTyping" if is_typing else "stopTyping"
        body = {"session": session, "chatId": chat_id(address)}
        answers.check((yield Request("POST", f"/api/{call}", json=body)))

    def mark_read(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        body: dict[str, Any] = {
            "session": session,
            "chatId": chat_id(address),
            "messageIds": [full_id(address, message)],
        }
        if message.sender and address.endswith("@g.us"):
            body["participant"] = message.sender
        answers.check((yield Request("POST", "/api/sendSeen", json=body)))

    def check_number(self, *, session: str, phone: str) -> Steps[KnownNumber]:
        query = {"phone": phone.removeprefix("+"), "session": session}
        request = Request("GET", "/api/contacts/check-exists", query=query, timeout_s=CHECK_NUMBER_TIMEOUT_S)
        return answers.parse_number((yield request))

    def phone_of_lid(self, *, session: str, lid: str) -> Steps[str | None]:
        path = f"/api/{quote_name(session)}/lids/{quote(lid.removesuffix('@lid'), safe='')}"
        return answers.parse_lid((yield Request("GET", path)))

    # --- missed messages -----------------------------------------------------------------------------------------
    def list_messages(self, *, session: str, since: datetime, until: datetime, page: int) -> Steps[list[BridgeEvent]]:
        """Ask for a page. `offset` moves by the limit, also after a page that is shorter."""
        query = {
            "filter.timestamp.gte": str(int(since.timestamp())),
            "filter.timestamp.lte": str(ceil(until.timestamp())),
            "downloadMedia": "false",
            "limit": str(MESSAGES_PER_PAGE),
            "offset": str(page * MESSAGES_PER_PAGE),
        }
        path = f"/api/{quote_name(session)}/chats/all/messages"
        request = Request("GET", path, query=query, timeout_s=MESSAGES_TIMEOUT_S, max_response_bytes=MAX_PAGE_BYTES)
        return answers.parse_messages((yield request), session=session)

    # --- received files ------------------------------------------------------------------------------------------
    def fetch_media(
        self, *, session: str, ref: str, address: str, message: MessageRef, max_bytes: int
    ) -> Steps[FetchedMedia]:
        """Fetch a file; one that WAHA has deleted meanwhile, or had not downloaded, is asked for by its message."""
        response = None
        if ref:
            response = yield files.request_for(ref, max_bytes)
        if response is None or response.status == HTTPStatus.NOT_FOUND:
            again = yield Request("GET", message_path(session, address, message), query={"downloadMedia": "true"})
            if again.status == HTTPStatus.NOT_FOUND or not (url := files.url_in(again)):
                raise Refused("WAHA no longer has this file.", code="not_found")
            response = yield files.request_for(url, max_bytes)
        if response.status == HTTPStatus.NOT_FOUND or (response.is_success and response.is_empty):
            raise Refused("WAHA no longer has this file.", code="not_found")
        answers.check(response)
        return FetchedMedia(response.open(), mime_type=response.headers.get("content-type", "")[:100])

    # --- sessions ------------------------------------------------------------------------------------------------
    def start_session(self, *, name: str, webhook: WebhookTarget | None = None) -> Steps[SessionState]:
        body = {"name": name, "start": True, "config": session_config({}, webhook)}
        return answers.parse_session((yield Request("POST", "/api/sessions", json=body)))

    def session_state(self, *, name: str) -> Steps[SessionState | None]:
        """How the session stands; while it waits for a scan, with the code of this moment."""
        response = yield Request("GET", f"/api/sessions/{quote_name(name)}")
        if answers.is_unknown_session(response):
            return None
        state = answers.parse_session(response)
        if state.status != Link.QR_WAITING or state.reason:  # no code is scanned while a passkey is asked for
            return state
        try:
            code = yield from self.fetch_qr(name=name)
        except NotSent:  # it no longer waits
            return state
        return replace(state, qr_png=code)

    def fetch_qr(self, *, name: str) -> Steps[bytes]:
        """Return the PNG of the code to scan. Raises NotSent (`not_connected`) unless the session waits for one."""
        path = f"/api/{quote_name(name)}/auth/qr"
        return answers.parse_qr((yield Request("GET", path, headers={"Accept": "application/json"})))

    def list_sessions(self) -> Steps[list[SessionState]]:
        return answers.parse_sessions((yield Request("GET", "/api/sessions", query={"all": "true"})))

    def delete_session(self, *, name: str) -> Steps[None]:
        """Stop the session, log it out and forget it."""
        response = yield Request("DELETE", f"/api/sessions/{quote_name(name)}")
        if not answers.is_unknown_session(response):
            answers.check(response)

    def stop_session(self, *, name: str) -> Steps[SessionState]:
        return answers.parse_session((yield Request("POST", f"/api/sessions/{quote_name(name)}/stop")))

    def restart_session(self, *, name: str) -> Steps[SessionState]:
        return answers.parse_session((yield Request("POST", f"/api/sessions/{quote_name(name)}/restart")))

    def logout_session(self, *, name: str) -> Steps[None]:
        answers.check((yield Request("POST", f"/api/sessions/{quote_name(name)}/logout")))

    def request_pairing_code(self, *, name: str, phone: str, webhook: WebhookTarget | None = None) -> Steps[str]:
        body = {"phoneNumber": phone.removeprefix("+")}
        path = f"/api/{quote_name(name)}/auth/request-code"
        return answers.parse_pairing_code((yield Request("POST", path, json=body)))

    def set_webhook(self, *, name: str, webhook: WebhookTarget) -> Steps[None]:
        """Add our webhook to the session's configuration, which restarts it; others that it has stay."""
        path = f"/api/sessions/{quote_name(name)}"
        present = answers.parse_config((yield Request("GET", path)))
        body = {"name": name, "config": session_config(present, webhook)}
        answers.check((yield Request("PUT", path, json=body)))

    def account_limits(self, *, name: str) -> Steps[list[dict[str, Any]]]:
        """Ask for timelock and capping; those that the engine does not know are left out."""
        limits = []
        for what, parse in (("timelock", answers.parse_timelock), ("capping", answers.parse_capping)):
            response = yield Request("GET", f"/api/sessions/{quote_name(name)}/{what}")
            if response.is_success:
                limits.append(parse(response))
        return limits

    def read_health(self, response: Response) -> Health:
        return Health(response.is_success and response.object().short("message") == "pong")
