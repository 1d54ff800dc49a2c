"""The phone simulator: staff write as a contact, and see how the agent answers.

Events are processed exactly like a bridge's webhook request. The page's script is in `agent/static/agent/simulator/`.
"""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, cast
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import RequestDataTooBig
from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.models import Role, User
from agent import inbox
from agent.bridges.addresses import read_address
from agent.bridges.events import ChatAddress, Kind
from agent.bridges.parsing import MAX_MIME_TYPE_LENGTH, MAX_NAME_LENGTH, WrongShape, read_json
from agent.bridges.simulator import UPLOADS, SimulatorBridge
from agent.simulator.texts import script_texts
from messaging.contacts.lookup import find_contact_by_phone, resolve_contact, resolve_conversation
from messaging.history.timeline import activity_of, describe_content, excerpt_of, read_timeline
from messaging.media.files import clean_name
from messaging.media.types import HEAD_BYTES, OTHER, detect, extension_of
from messaging.models import Conversation, Message, Turn
from messaging.search.people import contact_matches
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import SESSION_NAME, start_session
from whatsapp_agent.errors import AppError, Forbidden, InvalidInput, NotFound
from whatsapp_agent.text.phones import parse_phone
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import single_line_error
from whatsapp_agent.text.stored import translate_stored

# Scripts and styles come from our static files alone, never inline: markup in a message cannot run.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAX_CONTACTS = 100
MAX_MESSAGES = 60
MAX_EVENTS = 50
EVENT_NAMES = ["message", "status", "edit", "revoke", "session"]
View = Callable[..., HttpResponse]


class TooLarge(AppError):
    status, code, detail = 413, "too_large", "The request body must not exceed 1 MiB."


class NotLoggedIn(AppError):
    status, code, detail = 401, "not_logged_in", "You are logged out. Reload the page."


def _staff_only(view: View) -> View:
    """Allow GET to staff and POST to operators. Answer errors as JSON, for the page's script."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            if not request.user.is_authenticated:
                raise NotLoggedIn
            if not request.user.is_staff:
                raise Forbidden
            if request.method == "POST" and request.user.role < Role.OPERATOR:
                raise Forbidden(_("Writing requires the role operator."))
            return view(request, **kwargs)
        except AppError as exc:
            return JsonResponse({"detail": str(exc), "code": exc.code}, status=exc.status)
        except (OperationalError, InterfaceError):
            return JsonResponse({"detail": "The database cannot be reached.", "code": "unavailable"}, status=503)

    return never_cache(guarded)


@require_GET
@never_cache
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    """Render the page. Its script loads the data from the other views."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    response = render(
        request, "agent/simulator.html", {"texts": script_texts()}, status=200 if request.user.is_staff else 403
    )
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


# --- sessions -----------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@_staff_only
def sessions(request: HttpRequest) -> HttpResponse:
    """List the simulator's sessions that the user may see. POST {name} creates one and makes the user a member."""
    if request.method == "POST":
        name = _text(_body(request), "name", max_length=50)
        if not re.fullmatch(SESSION_NAME, name):
            raise InvalidInput(
                _("Invalid name of a number. Use letters, digits and _ . -, and begin with a letter or digit.")
            )
        session = start_session(
            name=name, bridge=Bridge.objects.get(slug=Bridge.SIMULATOR), user=cast(User, request.user)
        )
        return JsonResponse(_session_as_json(session), status=201)
    may_write = cast(User, request.user).role >= Role.OPERATOR
    return JsonResponse(
        {"sessions": [_session_as_json(row) for row in _visible_sessions(request)], "may_write": may_write}
    )


def _visible_sessions(request: HttpRequest) -> Any:
    rows = WhatsAppSession.objects.visible_to(request.user).live().filter(bridge__kind=SimulatorBridge.kind)
    return rows.select_related("bridge", "agent_profile").order_by("name")


def _session_or_404(request: HttpRequest, session_id: UUID) -> WhatsAppSession:
    session: WhatsAppSession | None = _visible_sessions(request).filter(pk=session_id).first()
    if session is None:
        raise NotFound
    return session


def _session_as_json(session: WhatsAppSession) -> dict[str, Any]:
    return {
        "id": str(session.pk),
        "name": session.name,
        "phone": session.phone,
        "title": session.display_name or session.name,
        "status": session.status,
        "agent": session.agent_profile.name,
        "admin": reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]),
    }


# --- contacts -----------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@_staff_only
def contacts(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """List the contacts of a session, the most recent first; `?q=` searches. POST {name, phone, kind} creates one.

    `kind` is `person` (with a phone), `hidden` (a person whose number WhatsApp hides) or `group`.
    """
    session = _session_or_404(request, session_id)
    if request.method == "POST":
        return JsonResponse(_contact_as_json(_create_contact(session, _body(request))), status=201)
    rows = Conversation.objects.filter(session=session).select_related("contact")
    if search := storable(request.GET.get("q", "").strip()):
        rows = rows.filter(contact_matches(search, path="contact__"))
    rows = rows.order_by(Coalesce("last_message_at", "created_at").desc(), "-id")[:MAX_CONTACTS]
    return JsonResponse({"contacts": [_contact_as_json(row) for row in rows]})


def _create_contact(session: WhatsAppSession, values: dict[str, Any]) -> Conversation:
    name, kind = _text(values, "name", max_length=MAX_NAME_LENGTH), values.get("kind", "person")
    if error := single_line_error(name):
        raise InvalidInput(error)
    if kind == "person":
        phone = parse_phone(_text(values, "phone", max_length=30))
        if (known := find_contact_by_phone(session=session, phone=phone)) is not None and hasattr(
            known, "conversation"
        ):
            return known.conversation
        address = f"{phone.removeprefix('+')}@s.whatsapp.net"
    elif kind == "hidden":
        address = f"{10**14 + secrets.randbelow(10**14)}@lid"
    elif kind == "group":
        address = f"1203{10**13 + secrets.randbelow(10**13)}@g.us"
    else:
        raise InvalidInput("Invalid kind. It must be person, hidden or group.")
    if not name and kind != "person":
        raise InvalidInput(_("A name is required."))
    return _ensure_conversation(session, address, name=name)


def _ensure_conversation(session: WhatsAppSession, raw: str, *, name: str) -> Conversation:
    try:
        address = cast(ChatAddress, read_address(raw))
    except WrongShape as exc:
        raise InvalidInput(_("Invalid address.")) from exc
    contact = resolve_contact(session=session, address=replace(address, name=name or None))
    return resolve_conversation(contact=contact, address=address.address)


def _contact_as_json(conversation: Conversation) -> dict[str, Any]:
    contact = conversation.contact
    return {
        "id": str(conversation.pk),
        "title": str(contact),
        "name": contact.name,
        "phone": contact.phone,
        "is_group": contact.is_group,
        "address": conversation.address,
        "control": conversation.control,
        "at": conversation.last_message_at,
    }


# --- conversation -------------------------------------------------------------------------------------------------


@require_POST
@_staff_only
def events(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Process one event or a list of events, in the format of `agent.bridges.simulator`, for this session only."""
    session = _session_or_404(request, session_id)
    body = _json(request)
    batch = body if isinstance(body, list) else [body]
    if not 1 <= len(batch) <= MAX_EVENTS or not all(isinstance(event, dict) for event in batch):
        raise InvalidInput(f"Send one event, or a list of at most {MAX_EVENTS}.")
    if not all(event.get("event") in EVENT_NAMES for event in batch):
        raise InvalidInput(f"Unknown event. It must be one of: {', '.join(EVENT_NAMES)}.")
    raw = json.dumps([event | {"session": session.name} for event in batch]).encode()
    return JsonResponse(inbox.process_webhook_request(bridge=session.bridge, headers={}, body=raw))


@require_POST
@_staff_only
def files(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Store a file that the contact is about to send; return its kind, and the `media` of the event to post."""
    _session_or_404(request, session_id)
    upload = request.FILES.get("file")
    if upload is None:
        raise InvalidInput(_("A file is required."))
    if (upload.size or 0) > settings.MEDIA_MAX_BYTES:
        raise TooLarge(_("A file may have %(limit)s MB.") % {"limit": settings.MEDIA_MAX_BYTES // 1024 // 1024})
    name = clean_name(upload.name or "")
    mime_type = detect(upload.read(HEAD_BYTES), name=name) or upload.content_type or OTHER
    suffix = re.sub(r"[^0-9a-z]", "", extension_of(name))[:8]
    upload.seek(0)
    ref = default_storage.save(f"{UPLOADS}/{uuid4().hex}" + (f".{suffix}" if suffix else ""), upload)
    kind = {"image": Kind.IMAGE, "video": Kind.VIDEO, "audio": Kind.AUDIO}.get(mime_type.split("/")[0], Kind.DOCUMENT)
    kind = Kind.VOICE if mime_type == "audio/ogg" else kind
    media = {"mime_type": mime_type[:MAX_MIME_TYPE_LENGTH], "filename": name[:100], "ref": ref}
    return JsonResponse({"kind": kind.value, "media": media}, status=201)


@require_GET
@_staff_only
def conversation(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Return the conversation as the phone shows it; 204 if `?after=` is the token of its current version."""
    row = (
        Conversation.objects.filter(session__in=_visible_sessions(request))
        .select_related("contact", "session", "controlled_by")
        .filter(pk=conversation_id)
        .first()
    )
    if row is None:
        raise NotFound
    timeline = read_timeline(row, limit=MAX_MESSAGES)
    state = {
        "control": row.control,
        "control_until": row.control_until,
        "control_reason": row.control_reason,
        "activity": activity_of(row),
        "session_status": row.session.status,
        "title": str(row.contact),
    }
    token = timeline.fingerprint(state)
    if request.GET.get("after") == token:
        return HttpResponse(status=204)
    entries = [
        _turn_as_json(entry) if isinstance(entry, Turn) else _message_as_json(entry) for entry in timeline.entries
    ]
    return JsonResponse(
        {
            "after": token,
            "state": state,
            "is_cut_off": timeline.is_cut_off,
            "entries": entries,
            "inbox": reverse("inbox-conversation", args=[row.pk]),
        }
    )


def _message_as_json(message: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "id": str(message.pk),
        "provider_id": message.provider_message_id,
        "direction": message.direction,
        "author": message.author,
        "writer": _writer(message),
        "kind": message.kind,
        "text": "" if message.revoked_at else excerpt_of(message),
        "beside": describe_content(message),
        "target": (message.details or {}).get("target_id"),
        "emoji": (message.details or {}).get("emoji"),
        "quoted": message.quoted_excerpt,
        "status": message.status,
        "status_words": message.get_status_display(),
        "unanswered": message.get_unanswered_display() if message.unanswered else "",
        "error": translate_stored(message.error),
        "at": message.said_at,
        "is_edited": message.edited_at is not None and not message.is_edited_unseen,
        "is_revoked": message.revoked_at is not None,
    }


def _writer(message: Message) -> str:
    if message.direction == Message.Direction.INBOUND:
        return str(message.sender) if message.sender else ""
    if message.sent_by is not None:
        return f"{message.sent_by} ({message.get_author_display()})"
    return message.get_author_display()


def _turn_as_json(turn: Turn) -> dict[str, Any]:
    return {
        "type": "note",
        "id": str(turn.pk),
        "outcome": turn.outcome,
        "text": _("Turn %(outcome)s") % {"outcome": turn.get_outcome_display().lower()}
        + (f": {translate_stored(turn.reason)}" if turn.reason else ""),
        "at": turn.created_at,
        "admin": reverse("admin:messaging_turn_change", args=[turn.pk]),
    }


# --- request bodies -----------------------------------------------------------------------------------------------


def _json(request: HttpRequest) -> Any:
    try:
        return read_json(request.body)
    except RequestDataTooBig as exc:
        raise TooLarge from exc


def _body(request: HttpRequest) -> dict[str, Any]:
    body = _json(request)
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object.")
    return body


def _text(values: dict[str, Any], name: str, *, max_length: int) -> str:
    value = values.get(name, "")
    if not isinstance(value, str) or len(value) > max_length:
        raise InvalidInput(f"{name} must be a string of at most {max_length} characters.")
    return value.strip()
