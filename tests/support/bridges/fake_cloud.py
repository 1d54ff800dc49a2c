"""A small Graph API on a real socket, with what the Cloud API answers, and webhooks signed as Meta signs them.

with FakeCloud(webhook_url=..., app_secret="...") as fake:
    fake.add_session("330011223344556", phone="5511999990000")
    fake.emit_message("Oi", phone="5511988887777")
"""

import base64
import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass, field
from time import time
from typing import Any, ClassVar

from tests.support.bridges import server
from tests.support.bridges.server import Answer, FakeBridge, Request, plain

NUMBER = "330011223344556"


def error(code: int, message: str = "Something", **more: Any) -> bytes:
    return json.dumps({"error": {"message": f"(#{code}) {message}", "code": code, "fbtrace_id": "A", **more}}).encode()


OUTCOMES: dict[str, dict[str, Any]] = server.OUTCOMES | {
    "error_500": {"status": 500, "body": error(131000)},
    "error_500_after": {"status": 500, "body": error(131016), "recorded": True},
    "token_expired": {"status": 401, "body": error(190)},
    "pair_rate": {"status": 400, "body": error(131056)},
    "throughput": {"status": 429, "body": error(130429)},
    "not_done": {"status": 200, "body": b'{"success": false}'},
    "invalid": {"status": 400, "body": error(100)},
    "payment": {"status": 400, "body": error(131042)},
    "window_closed": {"status": 400, "body": error(131047)},
}


@dataclass
class FakeCloud(FakeBridge):
    """`statuses` are posted after each send. There is no echo."""

    api_key: str = "fake-cloud-token"
    app_secret: str = "fake-app-secret"
    statuses: tuple[str, ...] = ("sent", "delivered")
    templates: dict[str, Any] = field(default_factory=lambda: {"data": []})
    files: dict[str, bytes] = field(default_factory=dict)  # by media id
    webhooks: dict[str, Any] = field(default_factory=dict)
    pin: str = "123456"  # of each number
    subscribed: list[str] = field(default_factory=list)  # ids of business accounts
    reads: list[dict[str, Any]] = field(default_factory=list)

    outcomes: ClassVar[dict[str, dict[str, Any]]] = OUTCOMES

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v26.0"

    # --- what tests ask for --------------------------------------------------------------------------------------
    def add_session(
        self, name: str = NUMBER, *, phone: str = "", display_name: str = "", status: str = "CONNECTED"
    ) -> None:
        self.sessions[name] = {
            "id": name,
            "display_phone_number": phone,
            "verified_name": display_name,
            "quality_rating": "GREEN",
            "status": status,
        }

    def emit_message(self, text: str = "", *, session: str = NUMBER, **fields: Any) -> list[int]:
        """Post a message of a contact; see `message` for the fields."""
        return self.wait(self.post({"messages": [self.message(text, **fields)]}, session=session))

    def emit_typed_on_phone(self, text: str, *, phone: str = "5511988887777", session: str = NUMBER) -> list[int]:
        """Post what somebody typed in the phone app of a shared number."""
        own = self.sessions[session]["display_phone_number"]
        echo = self.message(text, phone=own) | {"to": phone}
        return self.wait(self.post({"message_echoes": [echo]}, session=session, field="smb_message_echoes"))

    def emit_ack(self, message_id: str, status: str, *, phone: str = "5511988887777", **more: Any) -> list[int]:
        return self.wait(self.post({"statuses": [_status(message_id, status, phone) | more]}))

    def message(
        self,
        text: str = "",
        *,
        phone: str = "5511988887777",
        message_id: str = "",
        sent_at: float | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        return {
            "from": phone,
            "id": message_id or new_wamid(),
            "timestamp": str(int(time() if sent_at is None else sent_at)),
            "type": "text",
            "text": {"body": text},
        } | more

    # --- webhooks ------------------------------------------------------------------------------------------------
    async def post(
        self, value: dict[str, Any], *, session: str = NUMBER, field: str = "messages", **more: Any
    ) -> list[int]:
        metadata = {
            "display_phone_number": self.sessions.get(session, {}).get("display_phone_number", ""),
            "phone_number_id": session,
        }
        value = {"messaging_product": "whatsapp", "metadata": metadata, **value}
        entry = {"id": "220011223344556", "changes": [{"field": field, "value": value}]}
        return await self.post_webhook({"object": "whatsapp_business_account", "entry": [entry]}, **more)

    def signature(self, body: bytes) -> dict[str, str]:
        return {"X-Hub-Signature-256": f"sha256={hmac.new(self.app_secret.encode(), body, hashlib.sha256).hexdigest()}"}

    # --- answering -----------------------------------------------------------------------------------------------
    def call_of(self, request: Request) -> tuple[str, str]:
        match (request.method, request.path.removeprefix("/v26.0").strip("/").split("/")):
            case ("POST", [name, "messages"]):
                return ("read" if b'"status"' in request.body else "send"), name  # a read receipt, perhaps with typing
            case ("GET", [name, "message_templates"]):
                return "templates", name
            case ("GET", [name, "phone_numbers"]):
                return "numbers", name
            case ("POST", [name, "subscribed_apps"]):
                return "subscribe", name
            case ("POST", [name, "register" | "deregister" as what]):
                return what, name
            case ("POST", [name, "media"]):
                return "upload", name
            case ("GET", ["files", name]):
                return "file", name
            case ("GET", [name]) if name in self.files:
                return "media", name
            case ("GET", [name]) if name:
                return "state", name
            case ("POST", [name]):
                return "configure", name
        return "unknown", ""

    def right_answer(self, call: str, name: str, request: Request) -> Answer:
        if call == "unknown":
            return Answer(400, error(2500, "An active access token must be used"))
        if request.headers.get("authorization") != f"Bearer {self.api_key}":
            return Answer(401, error(190, "Invalid OAuth access token", type="OAuthException"))
        match call:
            case "file":
                return Answer(200, self.files[name], "image/jpeg")
            case "media":
                content = self.files[name]
                sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
                url = f"{self.url}/files/{name}"
                media = {"url": url, "mime_type": "image/jpeg", "sha256": sha256, "file_size": len(content), "id": name}
                return plain(media)
        if call == "templates":
            return plain(self.templates)
        if call == "numbers":
            return plain({"data": list(self.sessions.values())})
        if call == "subscribe":
            self.subscribed.append(name)
            return plain({"success": True})
        if name not in self.sessions:
            return Answer(400, error(100, "Unsupported get request", error_subcode=33))
        match call:
            case "state":
                return plain(self.sessions[name])
            case "configure":
                self.webhooks[name] = request.json()["webhook_configuration"]
                return plain({"success": True})
            case "register" if request.json().get("pin") != self.pin:
                return Answer(400, error(133005, "Two step verification PIN mismatch"))
            case "register" | "deregister":
                self.sessions[name]["status"] = "CONNECTED" if call == "register" else "DISCONNECTED"
                return plain({"success": True})
            case "upload":
                return plain({"id": str(uuid.uuid4().int % 10**15)})
        return self._send(name, request)

    def _send(self, name: str, request: Request) -> Answer:
        body = request.json()
        if body.get("status") == "read":
            self.reads.append(body)
            return plain({"success": True})
        to = body.get("to") or body.get("recipient")
        if not to or body.get("messaging_product") != "whatsapp":
            return Answer(400, error(100, "Invalid parameter"))
        part = body[body["type"]]
        text = part.get("body", part.get("caption", "")) if isinstance(part, dict) else ""
        entry = self.keep(
            {"session": name, "to": to, "type": body["type"], "text": text, "body": body, "id": new_wamid()}
        )
        self._later(self._follow(entry))
        contact = {"input": to, "wa_id": to.removeprefix("+")}
        return plain({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": entry["id"]}]})

    async def _follow(self, entry: dict[str, Any]) -> None:
        """Post the statuses of a send."""
        for status in self.statuses:
            statuses = [_status(entry["id"], status, entry["to"])]
            await self.post({"statuses": statuses}, session=entry["session"])


def new_wamid() -> str:
    return f"wamid.{base64.b64encode(uuid.uuid4().bytes).decode()}"


def _status(message_id: str, status: str, phone: str) -> dict[str, Any]:
    return {"id": message_id, "status": status, "timestamp": str(int(time())), "recipient_id": phone}
