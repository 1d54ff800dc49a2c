"""Evolution API, a large service over Baileys: https://doc.evolution-api.com/v2 (written against 2.3.7)."""

# ruff: noqa: ARG002  methods name what the interface gives them, also what this bridge has no use for

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Any

from agent.bridges.base import (
    BridgeAdapter,
    Card,
    FetchedMedia,
    Health,
    KnownNumber,
    MessageRef,
    OutgoingFile,
    Place,
    Poll,
    Sent,
    SessionState,
    WebhookRequest,
    WebhookTarget,
)
from agent.bridges.capabilities import LINKED_DEVICE
from agent.bridges.common import is_same_secret, quote_name
from agent.bridges.events import BridgeEvent, Kind, Link
from agent.bridges.evolution import answers
from agent.bridges.evolution.media import MAX_REST_BYTES, parse_media
from agent.bridges.evolution.payloads import read_envelope
from agent.bridges.evolution.requests import (
    HEADER,
    is_signed,
    iso_time,
    message_key,
    number_of,
    webhook_settings,
)
from agent.bridges.exchange import (
    CHECK_NUMBER_TIMEOUT_S,
    FILE_TIMEOUT_S,
    MAX_PAGE_BYTES,
    MESSAGES_PER_PAGE,
    MESSAGES_TIMEOUT_S,
    BridgeError,
    Refused,
    Request,
    Response,
    Steps,
    Unconfirmed,
)
from agent.bridges.parsing import Fields

MEDIA_TYPES = {Kind.IMAGE: "image", Kind.VIDEO: "video", Kind.AUDIO: "audio", Kind.DOCUMENT: "document"}
TYPING_MS = 7000  # until it is shown again; then Evolution itself reports that we paused
TYPING_TIMEOUT_S = 2.0  # its answer comes only when the typing has ended, which nobody waits for


class EvolutionBridge(BridgeAdapter):
    """Evolution API. An instance is its word for a session; a number that links by passkey cannot be linked."""

    kind = "evolution"
    health_path = "/instance/fetchInstances"  # there is no health endpoint
    pairing_code_ttl = timedelta(seconds=45)  # a new one follows with each new code to scan
    max_poll_options = 10
    capabilities = LINKED_DEVICE

    def request_headers(self) -> dict[str, str]:
        return {"apikey": self.config.api_key} if self.config.api_key else {}

    # --- webhook requests ----------------------------------------------------------------------------------------
    def is_authentic(self, request: WebhookRequest) -> bool:
        """Check the secret in our header, or the JWT that Evolution signs with it (the header name `jwt_key`)."""
        if not self.config.signing_key:
            return True
        if (given := request.header(HEADER)) is not None:
            return is_same_secret(given, self.config.signing_key)
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        return scheme.lower() == "bearer" and is_signed(token.strip(), key=self.config.signing_key)

    def read_events(self, body: Fields) -> list[BridgeEvent]:
        return read_envelope(body)

    # --- sending -------------------------------------------------------------------------------------------------
    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:
        if not text:
            raise Refused("There is no text to send.", code="invalid")
        return self._send("sendText", session, address, {"text": text}, quoted)

    def send_media(
        self, *, session: str, address: str, file: OutgoingFile, caption: str = "", quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        """Send a file with the request; it takes 136 MB. A voice note is converted."""
        content = b64encode(file.read()).decode()
        if file.kind == Kind.VOICE:
            body: dict[str, Any] = {"audio": content, "encoding": True}
            return self._send("sendWhatsAppAudio", session, address, body, quoted)
        if file.kind == Kind.STICKER:
            return self._send("sendSticker", session, address, {"sticker": content}, quoted)
        body = {
            "mediatype": MEDIA_TYPES.get(file.kind, "document"),
            "media": content,
            "mimetype": file.mime_type,
            "fileName": file.filename,
        }
        if caption and file.kind != Kind.AUDIO:
            body["caption"] = caption
        return self._send("sendMedia", session, address, body, quoted)

    def send_location(
        self, *, session: str, address: str, place: Place, quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        """Send a place. Name and address are required; coordinates serve where there is none."""
        coordinates = f"{place.latitude:.5f}, {place.longitude:.5f}"
        body = {
            "latitude": place.latitude,
            "longitude": place.longitude,
            "name": place.name or coordinates,
            "address": place.address or coordinates,
        }
        return self._send("sendLocation", session, address, body, quoted)

    def send_contact(self, *, session: str, address: str, card: Card, quoted: MessageRef | None = None) -> Steps[Sent]:
        contact = {"fullName": card.name, "phoneNumber": card.phone, "wuid": card.phone.removeprefix("+")}
        return self._send("sendContact", session, address, {"contact": [contact]}, quoted)

    def send_poll(self, *, session: str, address: str, poll: Poll, quoted: MessageRef | None = None) -> Steps[Sent]:
        """Send a poll; a count of 0 lets people choose as many options as they like."""
        body = {"name": poll.name, "values": poll.options, "selectableCount": 0 if poll.multiple else 1}
        return self._send("sendPoll", session, address, body, quoted)

    def _send(
        self, call: str, session: str, address: str, body: dict[str, Any], quoted: MessageRef | None
    ) -> Steps[Sent]:
        body = {"number": number_of(address), **body}
        if quoted is not None:
            body["quoted"] = {"key": {"id": quoted.provider_message_id}}
            if quoted.text:
                body["quoted"]["message"] = {"conversation": quoted.text}
        return answers.parse_sent((yield Request("POST", f"/message/{call}/{quote_name(session)}", json=body)))

    def send_reaction(self, *, session: str, address: str, target: MessageRef, emoji: str) -> Steps[Sent]:
        body = {"key": message_key(address, target), "reaction": emoji}
        return answers.parse_sent((yield Request("POST", f"/message/sendReaction/{quote_name(session)}", json=body)))

    def edit_text(self, *, session: str, address: str, message: MessageRef, text: str) -> Steps[None]:
        body = {"number": number_of(address), "text": text, "key": message_key(address, message)}
        answers.check_changed((yield Request("POST", f"/chat/updateMessage/{quote_name(session)}", json=body)))

    def revoke(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        body = message_key(address, message)
        answers.check_changed(
            (yield Request("DELETE", f"/chat/deleteMessageForEveryone/{quote_name(session)}", json=body))
        )

    def show_typing(
        self, *, session: str, address: str, last: MessageRef | None = None, is_typing: bool = True
    ) -> Steps[None]:
        presence = "composing" if is_typing else "paused"
        body = {"number": number_of(address), "presence": presence, "delay": TYPING_MS if is_typing else 0}
        request = Request("POST", f"/chat/sendPresence/{quote_name(session)}", json=body, timeout_s=TYPING_TIMEOUT_S)
        try:
            answers.check((yield request))
        except Unconfirmed as exc:
            if exc.code != "timeout":
                raise

    def mark_read(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        body = {"readMessages": [message_key(address, message)]}
        answers.check((yield Request("POST", f"/chat/markMessageAsRead/{quote_name(session)}", json=body)))

    def check_number(self, *, session: str, phone: str) -> Steps[KnownNumber]:
        body = {"numbers": [phone.removeprefix("+")]}
        path = f"/chat/whatsappNumbers/{quote_name(session)}"
        response = yield Request("POST", path, json=body, timeout_s=CHECK_NUMBER_TIMEOUT_S)
        answers.check(response)
        return answers.parse_number(response)

    # --- missed messages -----------------------------------------------------------------------------------------
    def list_messages(self, *, session: str, since: datetime, until: datetime, page: int) -> Steps[list[BridgeEvent]]:
        """Ask for a page. `offset` is its name for the size of one; a time is looked at only if both ends are given.

        https://github.com/EvolutionAPI/evolution-api/blob/main/src/api/services/channel.service.ts
        """
        within = {"gte": iso_time(since), "lte": iso_time(until)}
        body = {"where": {"messageTimestamp": within}, "page": page + 1, "offset": MESSAGES_PER_PAGE}
        path = f"/chat/findMessages/{quote_name(session)}"
        response = yield Request(
            "POST", path, json=body, timeout_s=MESSAGES_TIMEOUT_S, max_response_bytes=MAX_PAGE_BYTES
        )
        answers.check(response)
        return answers.parse_messages(response, session=session)

    # --- received files ------------------------------------------------------------------------------------------
    def fetch_media(
        self, *, session: str, ref: str, address: str, message: MessageRef, max_bytes: int
    ) -> Steps[FetchedMedia]:
        """Fetch a file by the id of its message; the address that the event has leads to encrypted bytes."""
        response = yield Request(
            "POST",
            f"/chat/getBase64FromMediaMessage/{quote_name(session)}",
            json={"message": {"key": {"id": ref}}, "convertToMp4": False},
            headers={"Accept-Encoding": "identity"},  # a small compressed answer could be a huge one
            timeout_s=FILE_TIMEOUT_S,
            max_response_bytes=max_bytes * 4 // 3 + MAX_REST_BYTES,
            to_file=True,
        )
        answers.check_file(response)
        return parse_media(response, max_bytes=max_bytes)

    # --- sessions ------------------------------------------------------------------------------------------------
    def start_session(self, *, name: str, webhook: WebhookTarget | None = None) -> Steps[SessionState]:
        return (yield from self._create(name, webhook=webhook))

    def _create(self, name: str, *, webhook: WebhookTarget | None, **more: str) -> Steps[SessionState]:
        body: dict[str, Any] = {"instanceName": name, "integration": "WHATSAPP-BAILEYS", "qrcode": True, **more}
        if webhook is not None:
            body["webhook"] = webhook_settings(webhook)
        response = yield Request("POST", "/instance/create", json=body)
        answers.check(response)
        return answers.parse_created(response, name=name)

    def session_state(self, *, name: str) -> Steps[SessionState | None]:
        """How the session stands; while it waits for a scan, with the code of this moment."""
        response = yield Request("GET", f"/instance/connectionState/{quote_name(name)}")
        if answers.is_unknown_instance(response):
            return None
        answers.check(response)
        state = answers.parse_state(response, name=name)
        return (yield from self._with_code(name)) if state.status == Link.CONNECTING else state

    def _with_code(self, name: str, *, query: dict[str, str] | None = None) -> Steps[SessionState]:
        response = yield Request("GET", f"/instance/connect/{quote_name(name)}", query=query or {})
        answers.check(response)
        return answers.parse_state(response, name=name)

    def list_sessions(self) -> Steps[list[SessionState]]:
        response = yield Request("GET", "/instance/fetchInstances")
        answers.check(response)
        return answers.parse_sessions(response)

    def delete_session(self, *, name: str) -> Steps[None]:
        """Log the session out and forget it."""
        response = yield Request("DELETE", f"/instance/delete/{quote_name(name)}")
        if not answers.is_unknown_instance(response):
            answers.check(response)

    def restart_session(self, *, name: str) -> Steps[SessionState]:
        response = yield Request("POST", f"/instance/restart/{quote_name(name)}")
        answers.check(response)
        return answers.parse_state(response, name=name)

    def logout_session(self, *, name: str) -> Steps[None]:
        answers.check((yield Request("DELETE", f"/instance/logout/{quote_name(name)}")))

    def request_pairing_code(self, *, name: str, phone: str, webhook: WebhookTarget | None = None) -> Steps[str]:
        """Return the code; an instance that waits for a scan without a number is created anew with it.

        Evolution looks at `number` of `connect` only while the instance is closed:
        https://github.com/EvolutionAPI/evolution-api/blob/main/src/api/controllers/instance.controller.ts
        """
        number = phone.removeprefix("+")
        state = yield from self._with_code(name, query={"number": number})
        if not state.pairing_code and state.status == Link.QR_WAITING:
            listed = yield from self.list_sessions()
            if any(one.name == name and one.phone for one in listed):  # linked, so the code to scan is an old one
                raise BridgeError("Evolution holds a linked number under this name.", code="bridge_failure")
            yield from self.delete_session(name=name)
            state = yield from self._create(name, webhook=webhook, number=number)
        if not state.pairing_code:
            raise BridgeError("Evolution has no pairing code yet: ask again in a moment.", code="bridge_failure")
        return state.pairing_code

    def set_webhook(self, *, name: str, webhook: WebhookTarget) -> Steps[None]:
        answers.check(
            (yield Request("POST", f"/webhook/set/{quote_name(name)}", json={"webhook": webhook_settings(webhook)}))
        )

    def read_health(self, response: Response) -> Health:
        return Health(response.is_success and isinstance(response.json(), list))
