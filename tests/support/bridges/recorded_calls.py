"""Which call of an adapter makes a recorded request."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from agent.bridges.base import BridgeAdapter, Card, MessageRef, OutgoingFile, Place, WebhookTarget
from agent.bridges.events import Kind
from agent.bridges.exchange import Response, Steps
from agent.bridges.templates import Template

ANA = "5511988887777"
GROUP_OR_LID = ("@g.us", "@lid")
TARGET = WebhookTarget("https://a.example/w/s/")
PLACE = Place(-23.5, -46.6, "MASP", "Av. Paulista")
CARD = Card("Bruno", "+5511977776666")
FILES = {
    "sendImage": (Kind.IMAGE, "image/jpeg"),
    "sendFile": (Kind.DOCUMENT, "application/pdf"),
    "sendVoice": (Kind.VOICE, "audio/ogg"),
    "sendVideo": (Kind.VIDEO, "video/mp4"),
    "sendSticker": (Kind.STICKER, "image/webp"),
    "sendMedia": (Kind.IMAGE, "image/jpeg"),
    "sendWhatsAppAudio": (Kind.VOICE, "audio/ogg"),
    "image": (Kind.IMAGE, "image/jpeg"),
    "video": (Kind.VIDEO, "video/mp4"),
    "audio": (Kind.AUDIO, "audio/ogg"),
    "document": (Kind.DOCUMENT, "application/pdf"),
    "sticker": (Kind.STICKER, "image/webp"),
}


def steps_of(adapter: BridgeAdapter, request: dict[str, Any]) -> tuple[Steps[Any], list[Response]]:
    """Return the call that makes a recorded request, and the answers that come before the recorded one in it."""
    path = [unquote(part) for part in urlsplit(request["path"]).path.removeprefix("/v26.0").strip("/").split("/")]
    query = dict(parse_qsl(urlsplit(request["path"]).query))
    body = request.get("body") or {}
    return CALLS[adapter.kind](adapter, request["method"], path, query, body)


def _send(adapter: BridgeAdapter, call: str, body: Any, *, session: str, address: str) -> Steps[Any]:
    """Return the call that sends what `call` names: a path's last part, or a message's type."""
    where = {"session": session, "address": address}
    text = body.get("text", "oi")
    text = text["body"] if isinstance(text, dict) else text
    match call:
        case "sendText" | "text":
            return adapter.send_text(**where, text=text)
        case "sendLocation" | "location":
            return adapter.send_location(**where, place=PLACE)
        case "sendContact" | "sendContactVcard" | "contact" | "contacts":
            return adapter.send_contact(**where, card=CARD)
        case "sendReaction" | "reaction":
            return adapter.send_reaction(**where, target=MessageRef("3EB0A1"), emoji="👍")
        case _ if call in FILES:
            kind, mime_type = FILES[call]
            url = body.get("mediaUrl", "")
            size_bytes = 50_000_000 if url else 1  # a large file is fetched from us
            file = OutgoingFile(kind, mime_type, "a", size_bytes=size_bytes, read=lambda: b"x", url=url)
            return adapter.send_media(**where, file=file)
    return adapter.send_text(**where, text=text)


def _zapw(adapter: Any, method: str, path: list[str], query: Any, body: Any) -> tuple[Steps[Any], list[Response]]:
    match method, path:
        case "POST", ["sessions"]:
            return adapter.start_session(name=body.get("sessionId") or "sales"), []
        case "GET", ["sessions"]:
            return adapter.list_sessions(), []
        case "GET", ["sessions", name]:
            return adapter.session_state(name=name), []
        case "DELETE", ["sessions", name]:
            return adapter.delete_session(name=name), []
        case "POST", ["sessions", name, "messages"]:
            call = body.get("type", "")
            call = call if call in {"image", "video", "audio", "document", "location", "contact"} else "text"
            return _send(adapter, call, body, session=name, address=f"{ANA}@s.whatsapp.net"), []
        case "GET", ["health"]:
            return adapter.health(), []
    raise AssertionError(path)


def _waha(adapter: Any, method: str, path: list[str], query: Any, body: Any) -> tuple[Steps[Any], list[Response]]:
    match method, path:
        case "POST", ["api", "sessions"]:
            return adapter.start_session(name=body["name"], webhook=TARGET), []
        case "GET", ["api", "sessions"]:
            return adapter.list_sessions(), []
        case "GET", ["api", "sessions", name]:
            return adapter.session_state(name=name), []
        case "PUT", ["api", "sessions", name]:
            return adapter.set_webhook(name=name, webhook=TARGET), [Response(200, b"{}")]
        case "DELETE", ["api", "sessions", name]:
            return adapter.delete_session(name=name), []
        case "POST", ["api", "sessions", name, "restart"]:
            return adapter.restart_session(name=name), []
        case "POST", ["api", "sessions", name, "stop"]:
            return adapter.stop_session(name=name), []
        case "POST", ["api", "sessions", name, "logout"]:
            return adapter.logout_session(name=name), []
        case "GET", ["api", "sessions", name, "timelock"]:
            return adapter.account_limits(name=name), []
        case "GET", ["api", "sessions", name, "capping"]:
            return adapter.account_limits(name=name), [Response(404)]
        case "GET", ["api", name, "auth", "qr"]:
            return adapter.fetch_qr(name=name), []
        case "GET", ["api", name, "lids", lid]:
            return adapter.phone_of_lid(session=name, lid=lid), []
        case "POST", ["api", name, "auth", "request-code"]:
            return adapter.request_pairing_code(name=name, phone=f"+{body['phoneNumber']}"), []
        case "GET", ["api", "contacts", "check-exists"]:
            return adapter.check_number(session=query["session"], phone=f"+{query['phone']}"), []
        case "GET", ["api", "files", *_]:
            return fetch(adapter, "sales", "/" + "/".join(path)), []
        case "GET", ["api", name, "chats", chat, "messages", message_id]:
            message = MessageRef(message_id, full_id=message_id)
            return adapter.fetch_media(session=name, ref="", address=chat, message=message, max_bytes=10**6), []
        case "PUT", ["api", name, "chats", chat, "messages", message_id]:
            message = MessageRef(message_id, full_id=message_id)
            return adapter.edit_text(session=name, address=chat, message=message, text=body["text"]), []
        case "DELETE", ["api", name, "chats", chat, "messages", message_id]:
            return adapter.revoke(session=name, address=chat, message=MessageRef(message_id, full_id=message_id)), []
        case "POST", ["api", "startTyping" | "stopTyping" as call]:
            is_typing = call == "startTyping"
            return adapter.show_typing(session=body["session"], address=body["chatId"], is_typing=is_typing), []
        case "POST", ["api", "sendSeen"]:
            message = MessageRef("3EB0A1")
            return adapter.mark_read(session=body["session"], address=body["chatId"], message=message), []
        case (("POST" | "PUT"), ["api", call]):
            return _send(adapter, call, body, session=body["session"], address=body.get("chatId", f"{ANA}@c.us")), []
        case "GET", ["ping"]:
            return adapter.health(), []
    raise AssertionError(path)


def _evolution(adapter: Any, method: str, path: list[str], query: Any, body: Any) -> tuple[Steps[Any], list[Response]]:
    connecting = [Response(200, b'{"instance": {"state": "connecting"}}')]
    match method, path:
        case "POST", ["instance", "create"]:
            return adapter.start_session(name=body["instanceName"]), []
        case "GET", ["instance", "connect", name] if "number" in query:
            return adapter.session_state(name=name), connecting
        case "GET", ["instance", "connect", name]:
            return adapter.session_state(name=name), connecting
        case "GET", ["instance", "connectionState", name]:
            return adapter.session_state(name=name), []
        case "GET", ["instance", "fetchInstances"]:
            return adapter.list_sessions(), []
        case (("POST" | "PUT"), ["instance", "restart", name]):
            return adapter.restart_session(name=name), []
        case "DELETE", ["instance", "logout", name]:
            return adapter.logout_session(name=name), []
        case "DELETE", ["instance", "delete", name]:
            return adapter.delete_session(name=name), []
        case "POST", ["webhook", "set", name]:
            return adapter.set_webhook(name=name, webhook=TARGET), []
        case "POST", ["message", call, name]:
            number = str(body.get("number", ANA))
            address = number if number.endswith(GROUP_OR_LID) else f"{number.partition('@')[0]}@s.whatsapp.net"
            return _send(adapter, call, body, session=name, address=address), []
        case "POST", ["chat", "getBase64FromMediaMessage", name]:
            return fetch(adapter, name, body["message"]["key"]["id"]), []
        case "POST", ["chat", "sendPresence", name]:
            return adapter.show_typing(session=name, address=f"{ANA}@s.whatsapp.net"), []
        case "POST", ["chat", "markMessageAsRead", name]:
            return adapter.mark_read(session=name, address=f"{ANA}@s.whatsapp.net", message=MessageRef("3EB0A1")), []
        case "POST", ["chat", "updateMessage", name]:
            message = MessageRef(body["key"]["id"], is_ours=True)
            return adapter.edit_text(session=name, address=f"{ANA}@c.us", message=message, text=body["text"]), []
        case "DELETE", ["chat", "deleteMessageForEveryone", name]:
            message = MessageRef(body["id"], is_ours=True)
            return adapter.revoke(session=name, address=body["remoteJid"], message=message), []
        case "POST", ["chat", "whatsappNumbers", name]:
            return adapter.check_number(session=name, phone=f"+{body['numbers'][0]}"), []
    raise AssertionError(path)


def _cloud(adapter: Any, method: str, path: list[str], query: Any, body: Any) -> tuple[Steps[Any], list[Response]]:
    match method, path:
        case "POST", [name, "messages"] if "typing_indicator" in body or body.get("status") == "read":
            return adapter.show_typing(session=name, address=ANA, last=MessageRef(body["message_id"])), []
        case "POST", [name, "messages"] if body.get("type") == "template":
            address = body.get("to") or body["recipient"]
            return adapter.send_template(session=name, address=address, template=Template("hello", "pt_BR", [])), []
        case "POST", [name, "messages"]:
            call = body.get("type", "text")
            before = [Response(200, b'{"id": "1"}')] if call in FILES else []
            address = body.get("to") or body.get("recipient") or ANA
            return _send(adapter, call, body, session=name, address=address), before
        case "POST", [name, "media"]:
            return _send(adapter, "image", body, session=name, address=ANA), []
        case "POST", [name, "subscribed_apps"]:
            return adapter.subscribe_account(account=name), []
        case "GET", [name, "message_templates"]:
            return adapter.list_templates(account=name), []
        case "GET", [name, "phone_numbers"]:
            return adapter.list_numbers(account=name), []
        case "GET", [name] if "fields" in query:
            return adapter.session_state(name=name), []
        case "POST", [name] if "webhook_configuration" in body:
            return adapter.set_webhook(name=name, webhook=TARGET), []
        case "GET", [name]:
            return fetch(adapter, "330011223344556", name), []
    raise AssertionError(path)


def fetch(adapter: BridgeAdapter, session: str, ref: str) -> Steps[Any]:
    return adapter.fetch_media(session=session, ref=ref, address=ANA, message=MessageRef(ref), max_bytes=1_000_000)


CALLS = {"zapw": _zapw, "waha": _waha, "evolution": _evolution, "cloud": _cloud}
