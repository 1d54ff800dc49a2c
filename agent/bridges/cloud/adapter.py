"""Meta's WhatsApp Cloud API (Graph v26.0): https://developers.facebook.com/documentation/business-messaging/whatsapp/"""

# ruff: noqa: ARG002  methods name what the interface gives them, also what this bridge has no use for

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from agent.bridges.base import (
    BridgeAdapter,
    Card,
    FetchedMedia,
    Health,
    Menu,
    MessageRef,
    OutgoingFile,
    Place,
    Sent,
    SessionState,
    WebhookRequest,
    WebhookTarget,
)
from agent.bridges.capabilities import Capability
from agent.bridges.cloud import answers, files
from agent.bridges.cloud.menus import interactive
from agent.bridges.cloud.payloads import read_body
from agent.bridges.cloud.requests import account_path, number_path, recipient
from agent.bridges.cloud.templates import components, parse_templates
from agent.bridges.common import is_same_secret
from agent.bridges.events import BridgeEvent, Kind
from agent.bridges.exchange import BridgeError, NotSent, Refused, Request, Response, Steps, Unconfirmed, file_request
from agent.bridges.parsing import Fields
from agent.bridges.templates import ListedTemplate, Template

TEMPLATE_FIELDS = "name,language,status,category,components"
MAX_TEMPLATE_PAGES = 60  # an account may have 6,000
NUMBER_FIELDS = "display_phone_number,verified_name,quality_rating,status"


class CloudBridge(BridgeAdapter):
    """The Cloud API. A session is a business number, and its name the number's `phone_number_id`.

    There is nothing to link: a number is connected while Meta says so.
    """

    kind = "cloud"
    default_base_url = "https://graph.facebook.com/v26.0"
    lists_sessions = False
    reply_window = timedelta(hours=24)
    max_reaction_age = timedelta(days=30)
    free_replies_per_month = 1000
    typing_lasts_s = 25.0
    media_ttl = timedelta(days=7)
    webhook_fields = ("messages", "standby", "messaging_handovers", "calls", "smb_message_echoes")
    capabilities = frozenset(
        {
            Capability.LOGOUT,
            Capability.REGISTER,
            Capability.SET_WEBHOOK,
            Capability.SEND_TEXT,
            Capability.SEND_MEDIA,
            Capability.SEND_VOICE,
            Capability.SEND_STICKER,
            Capability.SEND_LOCATION,
            Capability.SEND_CONTACT,
            Capability.SEND_TEMPLATE,
            Capability.SEND_BUTTONS,
            Capability.SEND_LIST,
            Capability.QUOTE,
            Capability.REACT,
            Capability.TYPING,
            Capability.MARK_READ,
            Capability.SEND_TO_GROUP,
            Capability.RECEIPTS,
            Capability.RECEIVE_MEDIA,
            Capability.OWN_PHONE,
            Capability.SIGNED_WEBHOOK,
        }
    )

    def request_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.config.api_key}"}

    # --- webhook requests ----------------------------------------------------------------------------------------
    def is_authentic(self, request: WebhookRequest) -> bool:
        """Check `X-Hub-Signature-256`, the HMAC-SHA256 of the raw body under the app secret; Meta always sends it."""
        if not self.config.signing_key:
            return False
        given = request.header("X-Hub-Signature-256") or ""
        digest = hmac.new(self.config.signing_key.encode(), request.body, hashlib.sha256).hexdigest()
        return is_same_secret(given.strip().lower(), f"sha256={digest}")

    def answer_challenge(self, query: Mapping[str, str]) -> str | None:
        """Return the challenge of Meta's verification of our webhook's URL; None if the token is not ours."""
        is_ours = is_same_secret(query.get("hub.verify_token", ""), self.config.verify_token)
        if query.get("hub.mode") != "subscribe" or not self.config.verify_token or not is_ours:
            return None
        return query.get("hub.challenge") or None

    def read_events(self, body: Fields) -> list[BridgeEvent]:
        return read_body(body)

    # --- addresses -----------------------------------------------------------------------------------------------
    def person_address(self, digits: str) -> str:
        return digits

    def unreachable_reason(self, *, address: str, is_group: bool) -> str | None:
        if address.endswith(("@lid", "@g.us")):
            return "The Cloud API does not know this address: it belongs to a linked phone."
        return super().unreachable_reason(address=address, is_group=is_group)

    # --- sending -------------------------------------------------------------------------------------------------
    def send_text(self, *, session: str, address: str, text: str, quoted: MessageRef | None = None) -> Steps[Sent]:
        if not text:
            raise Refused("There is no text to send.", code="invalid")
        return self._send(session, address, "text", {"body": text, "preview_url": False}, quoted)

    def send_media(
        self, *, session: str, address: str, file: OutgoingFile, caption: str = "", quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        """Upload a file, then send it by its id."""
        denial_reason = self.file_denial_reason(
            kind=file.kind, mime_type=file.mime_type, size_bytes=file.size_bytes, has_url=bool(file.url)
        )
        if denial_reason:
            raise self._cannot_send(denial_reason)
        part: dict[str, Any] = {"id": (yield from self._upload(session, file))}
        if caption and file.kind in files.CAPTIONED:
            part["caption"] = caption
        if file.kind == Kind.DOCUMENT:
            part["filename"] = file.filename
        if file.kind == Kind.VOICE:
            part["voice"] = True
        return (yield from self._send(session, address, files.MEDIA_TYPES[file.kind], part, quoted))

    def _upload(self, session: str, file: OutgoingFile) -> Steps[str]:
        """Return the id of an uploaded file. Whatever fails here, nothing was sent."""
        try:
            response = yield Request(
                "POST",
                f"{number_path(session)}/media",
                form={"messaging_product": "whatsapp", "type": file.mime_type},
                file=(file.filename, file.read(), file.mime_type),
            )
            return answers.parse_upload(response)
        except Unconfirmed as exc:
            raise NotSent(str(exc), code="upload_failed") from exc

    def file_denial_reason(self, *, kind: Kind, mime_type: str, size_bytes: int, has_url: bool) -> str | None:
        return files.denial_reason(kind=kind, mime_type=mime_type, size_bytes=size_bytes)

    def send_location(
        self, *, session: str, address: str, place: Place, quoted: MessageRef | None = None
    ) -> Steps[Sent]:
        part: dict[str, Any] = {"latitude": place.latitude, "longitude": place.longitude}
        part |= {name: text for name in ("name", "address") if (text := getattr(place, name))}
        return self._send(session, address, "location", part, quoted)

    def send_contact(self, *, session: str, address: str, card: Card, quoted: MessageRef | None = None) -> Steps[Sent]:
        name = {"formatted_name": card.name, "first_name": card.name}
        phone = {"phone": card.phone, "wa_id": card.phone.removeprefix("+"), "type": "CELL"}
        return self._send(session, address, "contacts", [{"name": name, "phones": [phone]}], quoted)

    def send_template(
        self, *, session: str, address: str, template: Template, file: OutgoingFile | None = None
    ) -> Steps[Sent]:
        """Send a template with its parameters, and the file of its header: what alone may open a conversation."""
        part: dict[str, Any] = {"name": template.name, "language": {"code": template.language}}
        media_id = (yield from self._upload(session, file)) if file is not None else ""
        if parts := components(template, media_id=media_id, filename=file.filename if file else ""):
            part["components"] = parts
        return (yield from self._send(session, address, "template", part, None))

    def send_menu(self, *, session: str, address: str, menu: Menu, quoted: MessageRef | None = None) -> Steps[Sent]:
        return self._send(session, address, "interactive", interactive(menu), quoted)

    def list_templates(self, *, account: str) -> Steps[list[ListedTemplate]]:
        """Ask for the templates of a business account (WABA), page by page."""
        templates: list[ListedTemplate] = []
        query = {"fields": TEMPLATE_FIELDS, "limit": "100"}
        for _ in range(MAX_TEMPLATE_PAGES):
            response = yield Request("GET", f"{number_path(account)}/message_templates", query=query)
            page, after = parse_templates(response)
            templates += page
            if not after:
                break
            query |= {"after": after}
        return templates

    def send_reaction(self, *, session: str, address: str, target: MessageRef, emoji: str) -> Steps[Sent]:
        part = {"message_id": target.provider_message_id, "emoji": emoji}
        return self._send(session, address, "reaction", part, None)

    def _send(self, session: str, address: str, name: str, part: Any, quoted: MessageRef | None) -> Steps[Sent]:
        body = {"messaging_product": "whatsapp", **recipient(address), "type": name, name: part}
        if quoted is not None:
            body["context"] = {"message_id": quoted.provider_message_id}
        return answers.parse_sent((yield Request("POST", f"{number_path(session)}/messages", json=body)))

    def show_typing(
        self, *, session: str, address: str, last: MessageRef | None = None, is_typing: bool = True
    ) -> Steps[None]:
        """Show typing, for 25 s or until we answer; this marks the last message read. It cannot be taken back."""
        if last is not None and is_typing:
            yield from self._read(session, last, {"typing_indicator": {"type": "text"}})

    def mark_read(self, *, session: str, address: str, message: MessageRef) -> Steps[None]:
        return self._read(session, message, {})

    def _read(self, session: str, message: MessageRef, more: dict[str, Any]) -> Steps[None]:
        body = {"messaging_product": "whatsapp", "status": "read", "message_id": message.provider_message_id, **more}
        answers.check((yield Request("POST", f"{number_path(session)}/messages", json=body)))

    # --- received files ------------------------------------------------------------------------------------------
    def fetch_media(
        self, *, session: str, ref: str, address: str, message: MessageRef, max_bytes: int
    ) -> Steps[FetchedMedia]:
        """Ask for the file's address, which is valid for five minutes, then fetch it from Meta's own host alone."""
        response = yield Request("GET", f"/{quote(ref, safe='')}", query={"phone_number_id": session})
        media = answers.parse_media(response)
        if media.size_bytes is not None and media.size_bytes > max_bytes:
            raise Refused("The file is too large.", code="too_large")
        if not files.is_metas(media.url, base_url=self.base_url):
            raise BridgeError("The file lies at an address that is not Meta's.", code="bridge_failure")
        response = yield file_request(media.url, max_bytes=max_bytes)
        if response.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} or (response.is_success and response.is_empty):
            raise Refused("Meta no longer has this file.", code="not_found")
        if not response.is_success:
            answers.check(response)
        if not files.is_intact(response, media.sha256):
            raise BridgeError("The file came damaged.", code="bridge_failure")
        return FetchedMedia(response.open(), mime_type=media.mime_type)

    # --- sessions ------------------------------------------------------------------------------------------------
    def start_session(self, *, name: str, webhook: WebhookTarget | None = None) -> Steps[SessionState]:
        """Look the number up, and point its webhook to us."""
        state = yield from self.session_state(name=name)
        if state is None:
            raise Refused("Meta knows no number with this id, or the token may not use it.", code="not_found")
        if webhook is not None:
            yield from self.set_webhook(name=name, webhook=webhook)
        return state

    def session_state(self, *, name: str) -> Steps[SessionState | None]:
        response = yield Request("GET", number_path(name), query={"fields": NUMBER_FIELDS})
        return answers.parse_number(response, name=name)

    def list_sessions(self) -> Steps[list[SessionState]]:
        raise self._cannot("list its numbers")

    def list_numbers(self, *, account: str) -> Steps[list[SessionState]]:
        return answers.parse_numbers((yield Request("GET", f"{account_path(account)}/phone_numbers")))

    def subscribe_account(self, *, account: str) -> Steps[None]:
        """Without this, Meta posts no event of the account's numbers, whatever their webhook address is."""
        answers.check((yield Request("POST", f"{account_path(account)}/subscribed_apps")))

    def delete_session(self, *, name: str) -> Steps[None]:
        """Stop the number's events to us. The number itself stays on the Cloud API."""
        body = {"webhook_configuration": {"override_callback_uri": ""}}
        response = yield Request("POST", number_path(name), json=body)
        if not answers.is_unknown(response):
            answers.check(response)

    def logout_session(self, *, name: str) -> Steps[None]:
        """Take the number off the Cloud API, until it is registered again."""
        answers.check((yield Request("POST", f"{number_path(name)}/deregister")))

    def register_session(self, *, name: str, pin: str) -> Steps[None]:
        body = {"messaging_product": "whatsapp", "pin": pin}
        answers.check((yield Request("POST", f"{number_path(name)}/register", json=body)))

    def set_webhook(self, *, name: str, webhook: WebhookTarget) -> Steps[None]:
        target = {"override_callback_uri": webhook.url, "verify_token": webhook.verify_token}
        answers.check((yield Request("POST", number_path(name), json={"webhook_configuration": target})))

    def read_health(self, response: Response) -> Health:
        """Return whether Graph answers. Token and numbers are checked with each session's state."""
        response.object()
        return Health(is_healthy=True)

    def _cannot_send(self, reason: str) -> Refused:
        return Refused(reason, code="not_supported")
