"""A small zapw on a real socket: sessions, QR codes, sends it remembers, webhooks it posts, and failures when told to.

In a test:

    with FakeZapw(webhook_url=...) as fake:
        fake.add_session("sales", phone="5511999990000")
        fake.emit_message("Oi", phone="5511988887777")  # posts a webhook, returns the statuses it was answered with
        fake.wait_for_sent(1)
        fake.fail("drop_after", rate=0.2)

As a process of its own: `python -m tests.support.fake_zapw --port 8150 --session sales:5511999990000 --record
sent.jsonl`, steered over HTTP by the same names (JSON in and out, no key):

    GET  /_fake/sent?since=N     {"sent": [{session, to, jid, type, text, id, at}]}; `at` is seconds since 1970
    POST /_fake/fail             {outcome, call?, rate?, times?, wait_s?}
    POST /_fake/heal             failures end
    POST /_fake/forget           what was sent is forgotten
    POST /_fake/down             {for_s}: refuse connections for so long
    POST /_fake/session          {name, phone?, display_name?, status?}
    POST /_fake/scan             {session, phone, name?}: someone scans the code; posts session.connected
    POST /_fake/message          the arguments of `emit_message`; {"statuses": [...]}
    POST /_fake/emit             {event_type, data, session, duplicates?}; {"statuses": [...]}
"""

import argparse
import asyncio
import json
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import Any, ClassVar
from urllib.parse import unquote

import segno

from tests.support.bridges import server
from tests.support.bridges.server import Answer, FakeBridge, Request, iso, new_message_id, plain

MAX_BODY_BYTES = 100 * 1024


def error(text: str) -> bytes:
    return json.dumps({"status": "error", "error": text}).encode()


OUTCOMES: dict[str, dict[str, Any]] = server.OUTCOMES | {
    "error_500": {"status": 500, "body": error("Failed to send message")},
    "error_500_after": {"status": 500, "body": error("Failed to send message"), "recorded": True},
    "not_connected": {"status": 400, "body": error("Session not connected")},
    "invalid": {"status": 400, "body": error('Recipient "to" is required')},
    "rate_limited": {"status": 429, "body": error("Too many requests"), "headers": (("Retry-After", "7"),)},
}


def _refusal_of_message(body: dict[str, Any]) -> Answer | None:
    match body.get("type"):
        case "text" if not body.get("text"):
            return Answer(400, error("Text is required for text messages"))
        case "image" | "video" | "audio" | "document" if not (body.get("mediaUrl") or body.get("mediaBase64")):
            return Answer(400, error("Media URL or base64 is required"))
        case "document" if not body.get("fileName"):
            return Answer(400, error("File name is required for documents"))
        case "location" if body.get("latitude") is None or body.get("longitude") is None:
            return Answer(400, error("Latitude and longitude are required for location messages"))
        case "contact" if not (body.get("contactName") and body.get("contactNumber")):
            return Answer(400, error("Contact name and number are required for contact messages"))
        case "text" | "image" | "video" | "audio" | "document" | "location" | "contact" if isinstance(body["to"], str):
            return None
    return Answer(500, error("Failed to send message"))


def success(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps({"status": "success", "data": data}).encode())


INTERNAL_ERROR = plain(
    {"error": "Internal Server Error", "message": "An unexpected error occurred", "statusCode": 500}, 500
)


@dataclass
class FakeZapw(FakeBridge):
    """See the module."""

    api_key: str = "fake-zapw-key"
    qr_life_s: float = 60.0
    connect_after_s: float | None = None  # someone scans the code by themselves so long after it is shown
    clock_ahead: timedelta = timedelta()  # by which the time in its health is ahead

    outcomes: ClassVar[dict[str, dict[str, Any]]] = OUTCOMES

    # --- what tests ask for --------------------------------------------------------------------------------------
    def add_session(self, name: str, *, phone: str = "", display_name: str = "", status: str = "connected") -> None:
        session = {"id": name, "status": status, "createdAt": iso(datetime.now(UTC))}
        if phone:
            session |= {"phoneNumber": phone, "name": display_name, "connectedAt": iso(datetime.now(UTC))}
        self.sessions[name] = session

    def emit(self, event_type: str, data: Any, *, session: str = "sales", duplicates: int | None = None) -> list[int]:
        """Post a webhook; the statuses of its tries, 0 for one that got no answer."""
        return self.wait(self.post(event_type, data, session=session, duplicates=duplicates))

    def emit_message(self, text: str = "", **fields: Any) -> list[int]:
        """Post a message.received; see `message` for the fields."""
        return self.wait(self.post_message(text=text, **fields))

    def emit_connected(self, session: str = "sales", *, name: str = "") -> list[int]:
        phone = self.sessions[session].get("phoneNumber", "")
        return self.emit("session.connected", {"phoneNumber": phone, "name": name}, session=session)

    def emit_disconnected(self, session: str = "sales", *, code: int | None = 401) -> list[int]:
        """Close the session and say so; without a code the session says that it is coming back."""
        self.sessions[session]["status"] = "connecting" if code is None else "disconnected"
        cause = {} if code is None else {"reason": {"output": {"statusCode": code}}}
        data = {"reason": cause | {"shouldReconnect": code not in {401, 403}}}
        return self.emit("session.disconnected", data, session=session)

    def expire_code(self, session: str) -> None:
        """The code is no longer valid: the next question for the session makes another one."""
        self.sessions[session]["qrExpiresAt"] = iso(datetime.now(UTC) - timedelta(seconds=1))

    def scan(self, session: str, *, phone: str, name: str = "") -> list[int]:
        """Someone scans the code: the session is connected, and a webhook says so."""
        return self.wait(self._scan(session, phone=phone, name=name))

    async def _scan(self, session: str, *, phone: str, name: str = "") -> list[int]:
        self.sessions[session] = {
            "id": session,
            "status": "connected",
            "phoneNumber": phone,
            "name": name,
            "createdAt": self.sessions[session]["createdAt"],
            "connectedAt": iso(datetime.now(UTC)),
        }
        return await self.post("session.connected", {"phoneNumber": phone, "name": name}, session=session)

    # --- webhooks ------------------------------------------------------------------------------------------------
    def message(
        self,
        text: str = "",
        *,
        phone: str = "5511988887777",
        sender: str = "",
        message_id: str = "",
        sent_at: float | None = None,
        group: str = "",
        kind: str = "text",
        **more: Any,
    ) -> dict[str, Any]:
        """The data of a message.received. `sent_at` is in seconds since 1970, `sender` a whole JID."""
        data: dict[str, Any] = {
            "from": sender or f"{phone}@s.whatsapp.net",
            "to": "5511999990000:12@s.whatsapp.net",
            "messageId": message_id or new_message_id(),
            "timestamp": int(time() if sent_at is None else sent_at) * 1000,
            "isGroup": bool(group),
        }
        if group:
            data["groupId"] = group
        if kind:
            data["type"] = kind
        if text:
            data["text" if kind == "text" else "caption"] = text
        return data | more

    async def post_message(self, *, session: str = "sales", duplicates: int | None = None, **fields: Any) -> list[int]:
        return await self.post("message.received", self.message(**fields), session=session, duplicates=duplicates)

    async def post(
        self, event_type: str, data: Any, *, session: str = "sales", duplicates: int | None = None
    ) -> list[int]:
        envelope = {
            "sessionId": session,
            "origin": self.sessions.get(session, {}).get("phoneNumber") or session,
            "eventType": event_type,
            "timestamp": int(time() * 1000),
            "data": data,
        }
        return await self.post_webhook(envelope, headers={"X-Webhook-Event": event_type}, duplicates=duplicates)

    # --- answering -----------------------------------------------------------------------------------------------
    def right_answer(self, call: str, name: str, request: Request) -> Answer:
        if call == "health":
            return plain(
                {
                    "status": "ok",
                    "timestamp": iso(datetime.now(UTC) + self.clock_ahead),
                    "service": "zapw",
                    "uptime": 1.0,
                }
            )
        if refusal := self._refusal(request):
            return refusal
        if len(request.body) > MAX_BODY_BYTES:
            return INTERNAL_ERROR
        try:
            body = json.loads(request.body) if request.body else {}
        except ValueError:
            return INTERNAL_ERROR
        match call:
            case "start":
                return self._start(body.get("sessionId") or str(uuid.uuid4()))
            case "list":
                return success(list(self.sessions.values()))
            case "unknown":
                return Answer(404, b"<!DOCTYPE html><pre>Cannot GET</pre>", "text/html; charset=utf-8")
        if name not in self.sessions:
            return Answer(404, error(f"Session {name} not found"))
        match call:
            case "state":
                return success(self._state(name))
            case "delete":
                del self.sessions[name]
                return Answer(204)
        return self._send(name, body)

    def _refusal(self, request: Request) -> Answer | None:
        if not self.api_key:
            return None
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if given == self.api_key:
            return None
        return plain({"error": "Unauthorized", "message": "Invalid API key" if given else "API key is required"}, 401)

    def _send(self, name: str, body: dict[str, Any]) -> Answer:
        if self.sessions[name]["status"] != "connected":
            return Answer(400, error("Session not connected"))
        if not body.get("to"):
            return Answer(400, error('Recipient "to" is required'))
        if refusal := _refusal_of_message(body):
            return refusal
        entry = self.keep(
            {
                "session": name,
                "to": body["to"],
                "jid": re.sub(r"\D", "", body["to"]) + "@s.whatsapp.net",
                "type": body["type"],
                "text": body.get("text", ""),
                "body": body,
                "id": new_message_id(),
            }
        )
        sent_at = int(entry["at"] * 1000)
        return success({"messageId": entry["id"], "timestamp": sent_at, "status": "sent"})

    # --- sessions ------------------------------------------------------------------------------------------------
    def _start(self, name: str) -> Answer:
        if name in self.sessions:
            return Answer(409, error(f"Session {name} already exists"))
        self.add_session(name, status="qr_waiting")
        self._show_code(name)
        if self.connect_after_s is not None:
            self._loop.call_later(
                self.connect_after_s, lambda: self._later(self._scan(name, phone="1234567890", name="Test User"))
            )
        return success(self.sessions[name], 201)

    def _show_code(self, name: str) -> None:
        code = segno.make(f"2@{uuid.uuid4().hex}", error="m")
        self.sessions[name] |= {
            "status": "qr_waiting",
            "qrCode": code.png_data_uri(scale=6),
            "qrExpiresAt": iso(datetime.now(UTC) + timedelta(seconds=self.qr_life_s)),
        }

    def _state(self, name: str) -> dict[str, Any]:
        """The session; an expired code is answered once more, as `connecting`, while a new one is made."""
        session = self.sessions[name]
        if session["status"] != "qr_waiting" or iso(datetime.now(UTC)) < session["qrExpiresAt"]:
            return session
        old = session | {"status": "connecting"}
        self._show_code(name)
        self._later(self.post("session.disconnected", {"reason": {"shouldReconnect": True}}, session=name))
        return old

    # --- steering ------------------------------------------------------------------------------------------------
    async def steer(self, request: Request, given: dict[str, Any]) -> dict[str, Any]:
        match request.path.removeprefix("/_fake/"):
            case "session":
                self.add_session(given.pop("name"), **given)
                return {}
            case "scan":
                return {"statuses": await self._scan(given.pop("session"), **given)}
            case "message":
                return {"statuses": await self.post_message(**given)}
            case "emit":
                return {"statuses": await self.post(given.pop("event_type"), given.pop("data"), **given)}
        return await super().steer(request, given)

    def call_of(self, request: Request) -> tuple[str, str]:
        return _call_of(request)


def _call_of(request: Request) -> tuple[str, str]:
    """Which call it is, and of which session."""
    match (request.method, request.path.strip("/").split("/")):
        case ("GET", ["health"]):
            return "health", ""
        case ("POST", ["sessions"]):
            return "start", ""
        case ("GET", ["sessions"]):
            return "list", ""
        case ("GET", ["sessions", name]):
            return "state", unquote(name)
        case ("DELETE", ["sessions", name]):
            return "delete", unquote(name)
        case ("POST", ["sessions", name, "messages"]):
            return "send", unquote(name)
    return "unknown", ""


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake zapw.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key", default="fake-zapw-key", help="empty: ask for none")
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--record", type=Path, help="append each send to this file, a line of JSON each")
    parser.add_argument("--session", action="append", default=[], help="NAME:PHONE, connected from the start")
    parser.add_argument("--duplicate-rate", type=float, default=0.0)
    parser.add_argument("--qr-life-s", type=float, default=60.0)
    parser.add_argument("--connect-after-s", type=float)
    parser.add_argument("--seed", type=int)
    given = vars(parser.parse_args())
    sessions = given.pop("session")
    fake = FakeZapw(**given)
    for session in sessions:
        name, _, phone = session.partition(":")
        fake.add_session(name, phone=phone)
    with suppress(KeyboardInterrupt):
        asyncio.run(fake.serve(lambda: print(f"fake zapw on {fake.url}", flush=True)))  # noqa: T201


if __name__ == "__main__":
    main()
