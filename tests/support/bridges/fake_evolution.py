"""A small Evolution API on a real socket: echoes, receipts and failures as its wire contract has them.

with FakeEvolution(webhook_url=...) as fake:
    fake.add_session("sales", phone="5511999990000")
    fake.emit_message("Oi", phone="5511988887777")
"""

import json
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from time import time
from typing import Any, ClassVar
from urllib.parse import unquote

import segno

from tests.support.bridges import server
from tests.support.bridges.server import Answer, FakeBridge, Request, new_message_id, plain


def error(status: int, message: Any) -> bytes:
    return json.dumps({"status": status, "error": "Error", "response": {"message": message}}).encode()


OUTCOMES: dict[str, dict[str, Any]] = server.OUTCOMES | {
    "error_500": {"status": 500, "body": error(500, ["Internal Server Error"])},
    "error_500_after": {"status": 500, "body": error(500, "Timed Out"), "recorded": True},
    "connection_closed": {"status": 400, "body": error(400, ["Error: Connection Closed"])},
    "invalid": {"status": 400, "body": error(400, [['instance requires property "text"']])},
    "error_400_after": {"status": 400, "body": error(400, ["PrismaClientError: Unique constraint"]), "recorded": True},
    "not_on_whatsapp": {"status": 400, "body": error(400, [{"jid": "x", "exists": False, "number": "x"}])},
    "error_inside": {"status": 200, "body": b'{"error": true, "message": "No"}'},
    "rate_limited": {"status": 429, "body": error(429, "Too many"), "headers": (("Retry-After", "7"),)},
}


@dataclass
class FakeEvolution(FakeBridge):
    """`echoes` posts what was sent as `send.message`, `updates` the receipts that follow it."""

    api_key: str = "fake-evolution-key"
    secret: str = ""  # of the header X-Webhook-Secret
    echoes: bool = True
    updates: tuple[str, ...] = ("SERVER_ACK", "DELIVERY_ACK")
    files: dict[str, bytes] = field(default_factory=dict)  # by message id
    webhooks: dict[str, Any] = field(default_factory=dict)
    reactions: list[dict[str, Any]] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)  # messages it can be asked for
    seen: list[dict[str, Any]] = field(default_factory=list)
    edited: dict[str, str] = field(default_factory=dict)  # texts by message id
    revoked: list[str] = field(default_factory=list)

    outcomes: ClassVar[dict[str, dict[str, Any]]] = OUTCOMES

    # --- what tests ask for --------------------------------------------------------------------------------------
    def add_session(self, name: str, *, phone: str = "", display_name: str = "", status: str = "open") -> None:
        self.sessions[name] = {
            "name": name,
            "connectionStatus": status,
            "ownerJid": f"{phone}@s.whatsapp.net" if phone else None,
            "profileName": display_name or None,
        }

    def emit_message(self, text: str = "", *, session: str = "sales", **fields: Any) -> list[int]:
        """Post a message of a contact; see `message` for the fields."""
        return self.wait(self.post("messages.upsert", self.message(text, **fields), session=session))

    def emit_typed_on_phone(self, text: str, *, phone: str = "5511988887777", session: str = "sales") -> list[int]:
        """Post what somebody typed on the linked phone."""
        return self.wait(self.post("messages.upsert", self.message(text, phone=phone, from_me=True), session=session))

    def emit_ack(self, message_id: str, status: str, *, phone: str = "5511988887777") -> list[int]:
        return self.wait(self.post("messages.update", _update(message_id, status, f"{phone}@s.whatsapp.net")))

    def message(
        self,
        text: str = "",
        *,
        phone: str = "5511988887777",
        chat: str = "",
        message_id: str = "",
        from_me: bool = False,
        source: str = "android",
        sent_at: float | None = None,
        content: Any = None,
    ) -> dict[str, Any]:
        key = {
            "remoteJid": chat or f"{phone}@s.whatsapp.net",
            "fromMe": from_me,
            "id": message_id or new_message_id(),
            "participant": "",
            "addressingMode": "pn",
        }
        content = content or {"conversation": text}
        return {
            "key": key,
            "pushName": "Você" if from_me else "Ana Souza",
            "status": "DELIVERY_ACK",
            "message": content,
            "messageType": next(iter(content)),
            "messageTimestamp": int(time() if sent_at is None else sent_at),
            "source": source,
            "contextInfo": None,
        }

    # --- webhooks ------------------------------------------------------------------------------------------------
    async def post(self, event: str, data: Any, *, session: str = "sales", **more: Any) -> list[int]:
        envelope = {
            "event": event,
            "instance": session,
            "data": data,
            "destination": self.webhook_url,
            "date_time": "2026-09-21T12:03:21.412Z",
            "sender": self.sessions.get(session, {}).get("ownerJid"),
            "server_url": "https://evolution.example.com",
            "apikey": None,
        }
        return await self.post_webhook(envelope, **more)

    def signature(self, body: bytes) -> dict[str, str]:  # noqa: ARG002
        return {"X-Webhook-Secret": self.secret} if self.secret else {}

    # --- answering -----------------------------------------------------------------------------------------------
    def call_of(self, request: Request) -> tuple[str, str]:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match (request.method, parts):
            case ("POST", ["instance", "create"]):
                return "start", ""
            case ("GET", ["instance", "fetchInstances"]):
                return "list", ""
            case ("GET", ["instance", "connectionState", name]):
                return "state", name
            case ("GET", ["instance", "connect", name]):
                return "connect", name
            case ("POST", ["instance", "restart", name]):
                return "restart", name
            case ("DELETE", ["instance", "logout" | "delete" as what, name]):
                return what, name
            case ("POST", ["webhook", "set", name]):
                return "webhook", name
            case ("POST", ["message", "sendReaction", name]):
                return "reaction", name
            case ("POST", ["message", _, name]):
                return "send", name
            case ("POST", ["chat", "updateMessage", name]):
                return "edit", name
            case ("DELETE", ["chat", "deleteMessageForEveryone", name]):
                return "revoke", name
            case ("POST", ["chat", call, name]):
                return call, name
        return "unknown", ""

    def right_answer(self, call: str, name: str, request: Request) -> Answer:
        if request.headers.get("apikey", "") != self.api_key:
            return Answer(401, error(401, "Unauthorized"))
        match call:
            case "unknown":
                return Answer(404, error(404, [f"Cannot {request.method} {request.path}"]))
            case "start":
                return self._start(request.json())
            case "list":
                return plain(list(self.sessions.values()))
        if name not in self.sessions:
            return Answer(404, error(404, [f'The "{name}" instance does not exist']))
        return self._of_session(call, name, request)

    def _of_session(self, call: str, name: str, request: Request) -> Answer:
        session = self.sessions[name]
        state = session["connectionStatus"]
        match call:
            case "state" | "restart":
                return plain({"instance": {"instanceName": name, "state": state}})
            case "connect" if state == "open":
                return plain({"instance": {"instanceName": name, "state": state}})
            case "connect":
                if state == "close" and request.parameters.get("number"):  # while connecting it is not looked at
                    session["number"] = request.parameters["number"]
                return plain(_code(session.get("number")))
            case "logout" if state != "open":
                return Answer(400, error(400, [f'The "{name}" instance is not connected']))
            case "logout":
                session["connectionStatus"] = "close"
                return plain({"status": "SUCCESS", "error": False, "response": {"message": "Instance logged out"}})
            case "delete":
                del self.sessions[name]
                return plain({"status": "SUCCESS", "error": False, "response": {"message": "Instance deleted"}})
            case "webhook":
                self.webhooks[name] = request.json()["webhook"]
                return plain(self.webhooks[name], 201)
        if state != "open":
            return Answer(400, error(400, ["Error: Connection Closed"]))
        match call:
            case "getBase64FromMediaMessage":
                content = self.files.get(request.json()["message"]["key"]["id"])
                if content is None:
                    return Answer(400, error(400, ["Message not found"]))
                return plain(
                    {"mimetype": "image/jpeg", "base64": b64encode(content).decode(), "fileName": "a.jpg"}, 201
                )
            case "edit":
                body = request.json()
                self.edited[body["key"]["id"]] = body["text"]
                return plain({"key": body["key"]}, 201)
            case "revoke":
                self.revoked.append(request.json()["id"])
                return plain({"key": request.json(), "status": "PENDING"}, 201)
            case "findMessages":
                return plain({"messages": self._listed(request.json())})
            case "whatsappNumbers":
                number = request.json()["numbers"][0]
                return plain([{"jid": f"{number}@s.whatsapp.net", "exists": True, "number": number}])
            case "reaction":
                self.reactions.append(request.json())
                return plain({"key": {"id": new_message_id()}}, 201)
            case "markMessageAsRead" | "sendPresence":
                self.seen.append(request.json() | {"call": call})
                return plain({"message": "Read messages", "read": "success"}, 201)
        return self._send(name, request)

    def _listed(self, query: dict[str, Any]) -> dict[str, Any]:
        ends = [datetime.fromisoformat(query["where"]["messageTimestamp"][end]).timestamp() for end in ("gte", "lte")]
        within = [message for message in self.stored if ends[0] <= message["messageTimestamp"] <= ends[1]]
        newest_first = sorted(within, key=lambda message: -message["messageTimestamp"])
        size, page = query["offset"], query["page"]
        return {"total": len(within), "currentPage": page, "records": newest_first[(page - 1) * size : page * size]}

    def _start(self, body: dict[str, Any]) -> Answer:
        name = body["instanceName"]
        if name in self.sessions:
            return Answer(403, error(403, [f'This name "{name}" is already in use.']))
        self.add_session(name, status="connecting")
        self.sessions[name]["number"] = body.get("number")
        self.webhooks[name] = body.get("webhook")
        instance = {"instanceName": name, "instanceId": "1", "status": "connecting"}
        return plain({"instance": instance, "hash": "a secret", "qrcode": _code(body.get("number"))}, 201)

    def _send(self, name: str, request: Request) -> Answer:
        body = request.json()
        if not body.get("number"):
            return Answer(400, error(400, [['instance requires property "number"']]))
        number = body["number"]
        entry = self.keep(
            {
                "session": name,
                "to": number if "@" in number else f"{number}@s.whatsapp.net",
                "type": request.path.split("/")[2],
                "text": body.get("text", body.get("caption", "")),
                "body": body,
                "id": new_message_id(),
            }
        )
        self._later(self._follow(entry))
        key = {"remoteJid": entry["to"], "fromMe": True, "id": entry["id"]}
        return plain({"key": key, "status": "PENDING", "messageTimestamp": int(entry["at"])}, 201)

    async def _follow(self, entry: dict[str, Any]) -> None:
        """Post the echo of a send and its receipts, as Evolution does at once."""
        session = entry["session"]
        if self.echoes:
            echo = self.message(entry["text"], chat=entry["to"], message_id=entry["id"], from_me=True)
            await self.post("send.message", echo, session=session)
        for status in self.updates:
            await self.post("messages.update", _update(entry["id"], status, entry["to"]), session=session)


def _update(message_id: str, status: str, chat: str) -> dict[str, Any]:
    return {"keyId": message_id, "remoteJid": chat, "fromMe": True, "status": status, "messageId": "cmg7x1y2z0001"}


def _code(number: str | None = None) -> dict[str, Any]:
    code = segno.make("2@fake", error="m")
    pairing_code = "ABCDEFGH" if number else None
    return {"pairingCode": pairing_code, "code": "2@fake", "base64": code.png_data_uri(), "count": 1}
