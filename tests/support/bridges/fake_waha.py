"""A small WAHA on a real socket: signed webhooks, echoes, receipts and failures as its wire contract has them.

with FakeWaha(webhook_url=...) as fake:
    fake.add_session("sales", phone="5511999990000")
    fake.emit_message("Oi", phone="5511988887777")
    fake.wait_for_sent(1)
"""

import hashlib
import hmac
import json
from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO
from time import time
from typing import Any, ClassVar
from urllib.parse import unquote

import segno

from tests.support.bridges import server
from tests.support.bridges.server import Answer, FakeBridge, Request, new_message_id, plain

MAX_BODY_BYTES = 50 * 1000 * 1000


def error(message: str, status: int) -> bytes:
    return json.dumps({"message": message, "error": "Error", "statusCode": status}).encode()


def engine_failure(message: str) -> bytes:
    """An engine's failure, which repeats our request."""
    exception = {"message": message, "name": "Error", "stack": "Error: ..."}
    return json.dumps({"statusCode": 500, "exception": exception, "request": {"body": {"text": "secret"}}}).encode()


OUTCOMES: dict[str, dict[str, Any]] = server.OUTCOMES | {
    "error_500": {"status": 500, "body": engine_failure("Connection terminated")},
    "error_500_after": {"status": 500, "body": engine_failure("Timed Out"), "recorded": True},
    "timelock": {"status": 500, "body": engine_failure("server returned error 463")},
    "capping": {"status": 500, "body": engine_failure("server returned error 475")},
    "invalid": {"status": 400, "body": error("chatId must be a string", 400)},
    "rate_limited": {"status": 429, "body": error("Too many", 429), "headers": (("Retry-After", "7"),)},
}


@dataclass
class FakeWaha(FakeBridge):
    """`echoes` posts what was sent as `message.any`, `acks` the receipts that follow it."""

    api_key: str = "fake-waha-key"
    hmac_key: str = ""
    engine: str = "NOWEB"
    echoes: bool = True
    acks: tuple[int, ...] = (1, 2)
    files: dict[str, bytes] = field(default_factory=dict)
    reactions: list[dict[str, Any]] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)  # messages it can be asked for
    newest_first: bool = True
    lists_in_any_order: bool = False  # and of any time
    seen: list[dict[str, Any]] = field(default_factory=list)
    edited: dict[str, str] = field(default_factory=dict)  # texts by the id in the path
    revoked: list[str] = field(default_factory=list)
    phones: dict[str, str] = field(default_factory=dict)  # by the digits of a hidden number
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)  # `timelock`, `capping`

    outcomes: ClassVar[dict[str, dict[str, Any]]] = OUTCOMES

    # --- what tests ask for --------------------------------------------------------------------------------------
    def add_session(self, name: str, *, phone: str = "", display_name: str = "", status: str = "WORKING") -> None:
        me = {"id": f"{phone}@c.us", "pushName": display_name, "lid": "99@lid"} if phone else None
        self.sessions[name] = {
            "name": name,
            "status": status,
            "config": {},
            "me": me,
            "engine": {"engine": self.engine},
        }

    def emit_message(self, text: str = "", *, session: str = "sales", **fields: Any) -> list[int]:
        """Post a message of a contact as `message.any`; see `message` for the fields."""
        return self.wait(self.post("message.any", self.message(text, **fields), session=session))

    def emit_typed_on_phone(self, text: str, *, phone: str = "5511988887777", session: str = "sales") -> list[int]:
        """Post what somebody typed on the linked phone."""
        payload = self.message(text, phone=phone, from_me=True, source="app")
        return self.wait(self.post("message.any", payload, session=session))

    def emit_ack(self, message_id: str, ack: int, *, phone: str = "5511988887777", session: str = "sales") -> list[int]:
        return self.wait(self.post("message.ack", self._ack(message_id, ack, f"{phone}@c.us"), session=session))

    def emit_status(self, session: str, status: str, data: Any = None) -> list[int]:
        """Set the status of a session and post it."""
        self.sessions[session]["status"] = status
        payload = {"name": session, "status": status, "statuses": [], "data": data}
        return self.wait(self.post("session.status", payload, session=session))

    def message(
        self,
        text: str = "",
        *,
        phone: str = "5511988887777",
        chat: str = "",
        message_id: str = "",
        from_me: bool = False,
        source: str = "app",
        sent_at: float | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        chat = chat or f"{phone}@c.us"
        message_id = message_id or new_message_id()
        return {
            "id": f"{str(from_me).lower()}_{chat}_{message_id}",
            "timestamp": int(time() if sent_at is None else sent_at),
            "from": chat,
            "fromMe": from_me,
            "source": source,
            "to": None,
            "participant": None,
            "body": text,
            "hasMedia": False,
            "media": None,
            "ack": 1,
            "location": None,
            "vCards": [],
            "replyTo": None,
            "_data": {"pushName": "Ana Souza", "message": {"conversation": text}},
        } | more

    # --- webhooks ------------------------------------------------------------------------------------------------
    async def post(self, event: str, payload: Any, *, session: str = "sales", **more: Any) -> list[int]:
        at = time()
        envelope = {
            "id": f"evt_{new_message_id()}",
            "timestamp": int(at * 1000),
            "event": event,
            "session": session,
            "metadata": {},
            "me": self.sessions.get(session, {}).get("me"),
            "payload": payload,
            "engine": self.engine,
            "environment": {"version": "2026.8.1", "engine": self.engine, "tier": "CORE", "browser": None},
        }
        return await self.post_webhook(envelope, **more)

    def signature(self, body: bytes) -> dict[str, str]:
        if not self.hmac_key:
            return {}
        digest = hmac.new(self.hmac_key.encode(), body, hashlib.sha512).hexdigest()
        return {"X-Webhook-Hmac": digest, "X-Webhook-Hmac-Algorithm": "sha512"}

    def _ack(self, message_id: str, ack: int, chat: str) -> dict[str, Any]:
        return {"id": f"true_{chat}_{message_id}", "from": chat, "to": None, "fromMe": True, "ack": ack}

    # --- answering -----------------------------------------------------------------------------------------------
    def call_of(self, request: Request) -> tuple[str, str]:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match (request.method, parts):
            case ("GET", ["ping"]):
                return "health", ""
            case ("POST", ["api", "sessions"]):
                return "start", ""
            case ("GET", ["api", "sessions"]):
                return "list", ""
            case ("GET", ["api", "sessions", name]):
                return "state", name
            case ("PUT", ["api", "sessions", name]):
                return "configure", name
            case ("DELETE", ["api", "sessions", name]):
                return "delete", name
            case ("POST", ["api", "sessions", name, "restart" | "stop" | "logout" as what]):
                return what, name
            case ("GET", ["api", name, "auth", "qr"]):
                return "qr", name
            case ("POST", ["api", name, "auth", "request-code"]):
                return "pairing", name
            case ("GET", ["api", "files", *_]):
                return "file", ""
            case ("GET", ["api", name, "chats", _, "messages", _]):
                return "message", name
            case ("PUT" | "DELETE" as method, ["api", name, "chats", _, "messages", _]):
                return "edit" if method == "PUT" else "revoke", name
            case ("GET", ["api", name, "chats", "all", "messages"]):
                return "messages", name
            case ("GET", ["api", name, "lids", _]):
                return "lid", name
            case ("GET", ["api", "sessions", name, "timelock" | "capping" as what]) if what in self.limits:
                return what, name
            case ("GET", ["api", "contacts", "check-exists"]):
                return "number", request.parameters.get("session", "")
            case ("PUT", ["api", "reaction"]):
                return "reaction", _session_of(request)
            case ("POST", ["api", "sendSeen" | "startTyping" | "stopTyping"]):
                return "seen", _session_of(request)
            case ("POST", ["api", call]) if call.startswith("send"):
                return "send", _session_of(request)
        return "unknown", ""

    def right_answer(self, call: str, name: str, request: Request) -> Answer:
        if call == "health":
            return plain({"message": "pong"})
        if request.headers.get("x-api-key", "") != self.api_key:
            return plain({"message": "Unauthorized", "statusCode": 401}, 401)
        match call:
            case "unknown":
                return Answer(404, error(f"Cannot {request.method} {request.path}", 404))
            case "file":
                content = self.files.get(request.path)
                return Answer(200, content, "image/jpeg") if content else Answer(404, error("File not found", 404))
            case "start":
                return self._start(request.json())
            case "list":
                return plain(list(self.sessions.values()))
            case "delete":
                self.sessions.pop(name, None)
                return plain({})
        if name not in self.sessions:
            return Answer(404, error("Session not found", 404))
        return self._of_session(call, name, request)

    def _of_session(self, call: str, name: str, request: Request) -> Answer:
        session = self.sessions[name]
        match call:
            case "state":
                return plain(session)
            case "configure":
                session["config"] = request.json()["config"]
                return plain(session)
            case "restart" | "stop" | "logout":
                session["status"] = {"restart": "STARTING", "stop": "STOPPED", "logout": "SCAN_QR_CODE"}[call]
                return plain(session, 201)
            case "qr" | "pairing" if session["status"] != "SCAN_QR_CODE":
                return self._not_ready(name, "SCAN_QR_CODE")
            case "qr":
                image = BytesIO()
                segno.make("2@fake", error="m").save(image, kind="png")
                return plain({"mimetype": "image/png", "data": b64encode(image.getvalue()).decode()})
            case "pairing":
                return plain({"code": "ABCD-EFGH"}, 201)
        if session["status"] != "WORKING":
            return self._not_ready(name, "WORKING")
        match call:
            case "message":
                url = next(iter(self.files), None)
                return plain({"media": {"url": url and f"http://localhost:3000{url}", "mimetype": "image/jpeg"}})
            case "edit":
                self.edited[unquote(request.path).rpartition("/")[2]] = request.json()["text"]
                return plain({"id": "1"})
            case "revoke":
                self.revoked.append(unquote(request.path).rpartition("/")[2])
                return plain({})
            case "messages":
                return plain(self._listed(request.parameters))
            case "lid":
                digits = request.path.rsplit("/", 1)[1]
                phone = self.phones.get(digits)
                return plain({"lid": f"{digits}@lid", "pn": f"{phone}@c.us" if phone else None})
            case "timelock" | "capping":
                return plain(self.limits[call])
            case "number":
                return plain({"numberExists": True, "chatId": f"{request.parameters['phone']}@c.us"})
            case "reaction":
                self.reactions.append(request.json())
                return plain({})
            case "seen":
                self.seen.append(request.json() | {"call": request.path})
                return plain({}, 201)
        return self._send(name, request)

    def _listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        since, until = int(query["filter.timestamp.gte"]), int(query["filter.timestamp.lte"])
        offset = int(query["offset"])
        if self.lists_in_any_order:
            return self.stored[offset : offset + int(query["limit"])]
        within = [message for message in self.stored if since <= message["timestamp"] <= until]
        ordered = sorted(within, key=lambda message: message["timestamp"], reverse=self.newest_first)
        return ordered[offset : offset + int(query["limit"])]

    def _not_ready(self, name: str, expected: str) -> Answer:
        status = self.sessions[name]["status"]
        reason = "Session status is not as expected. Try again later or restart the session"
        return plain({"error": reason, "session": name, "status": status, "expected": [expected]}, 422)

    def _start(self, body: dict[str, Any]) -> Answer:
        name = body["name"]
        if name in self.sessions:
            return Answer(422, error(f"Session '{name}' already exists. Use PUT to update it.", 422))
        self.add_session(name, status="SCAN_QR_CODE")
        self.sessions[name]["config"] = body.get("config", {})
        return plain(self.sessions[name] | {"status": "STARTING"}, 201)

    def _send(self, name: str, request: Request) -> Answer:
        body = request.json()
        chat = body.get("chatId")
        if not isinstance(chat, str) or "@" not in chat:
            return Answer(422, error("chatId is not valid", 422))
        entry = self.keep(
            {
                "session": name,
                "to": chat,
                "type": request.path.rpartition("/")[2],
                "text": body.get("text", body.get("caption", "")),
                "body": body,
                "id": new_message_id(),
            }
        )
        self._later(self._follow(entry))
        full_id = f"true_{chat}_{entry['id']}"
        if self.engine == "NOWEB":
            key = {"remoteJid": chat, "fromMe": True, "id": entry["id"]}
            return plain({"key": key, "messageTimestamp": str(int(entry["at"])), "status": "PENDING"}, 201)
        if self.engine == "GOWS":
            return plain({"id": full_id, "_data": {}}, 201)
        parts = {"fromMe": True, "remote": chat, "id": entry["id"], "_serialized": full_id}
        return plain({"id": parts, "timestamp": int(entry["at"])}, 201)

    async def _follow(self, entry: dict[str, Any]) -> None:
        """Post the echo of a send and its receipts, as WAHA does at once."""
        chat, session = entry["to"], entry["session"]
        if self.echoes:
            echo = self.message(entry["text"], chat=chat, message_id=entry["id"], from_me=True, source="api")
            await self.post("message.any", echo, session=session)
        for ack in self.acks:
            await self.post("message.ack", self._ack(entry["id"], ack, chat), session=session)


def _session_of(request: Request) -> str:
    return str(request.json().get("session", ""))
