"""The phone simulator: staff write as a contact would, and see how the agent answers.

Messages are processed like a webhook request of a bridge, so what works here works with a bridge.
"""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.models import Role, User
from agent import inbox
from agent.bridges.addresses import read_address
from agent.bridges.events import ChatAddress
from agent.bridges.parsing import MAX_NAME_LENGTH, WrongShape, read_json
from agent.bridges.simulator import SimulatorBridge
from messaging.contacts import contact_for, conversation_with, known_by_phone
from messaging.history.timeline import activity_of, describe_content, excerpt_of, read_timeline
from messaging.models import Conversation, Message, Turn
from messaging.phones import parse_phone
from messaging.search.people import contact_matches
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import SESSION_NAME, start_session
from whatsapp_agent.errors import AppError, Forbidden, InvalidInput, NotFound
from whatsapp_agent.text.sanitize import storable

# Nothing of the page comes from elsewhere or stands in its markup, so whatever a message smuggles in cannot run.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAX_CONTACTS = 100
MAX_MESSAGES = 60
MAX_EVENTS = 50
EVENTS = ["message", "status", "edit", "revoke", "session"]
View = Callable[..., HttpResponse]


class TooLarge(AppError):
    status, code, detail = 413, "too_large", "A request may have 1 MiB at most."


class NotLoggedIn(AppError):
    status, code, detail = 401, "not_logged_in", "You are logged out. Load the page again."


def _staff_only(view: View) -> View:
    """For what the page's script asks: the answer is JSON, and so is the refusal."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            if not request.user.is_authenticated:
                raise NotLoggedIn
            if not request.user.is_staff:
                raise Forbidden
            if request.method == "POST" and request.user.role < Role.OPERATOR:
                raise Forbidden("To write takes the role operator.")
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
    """The page itself; its script asks for the rest."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    response = render(request, "agent/simulator.html", status=200 if request.user.is_staff else 403)
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


# --- which number -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@_staff_only
def sessions(request: HttpRequest) -> HttpResponse:
    """The sessions to write to; POST {name} makes one, and its maker a member."""
    if request.method == "POST":
        name = _text(_body(request), "name", longest=50)
        if not re.fullmatch(SESSION_NAME, name):
            raise InvalidInput("A session's name is made of letters, digits and _ . -")
        session = start_session(
            name=name, bridge=Bridge.objects.get(slug=Bridge.SIMULATOR), user=cast(User, request.user)
        )
        return JsonResponse(_session(session), status=201)
    may_write = cast(User, request.user).role >= Role.OPERATOR
    return JsonResponse({"sessions": [_session(row) for row in _visible_sessions(request)], "may_write": may_write})


def _visible_sessions(request: HttpRequest) -> Any:
    rows = WhatsAppSession.objects.visible_to(request.user).live().filter(bridge__kind=SimulatorBridge.kind)
    return rows.select_related("bridge", "agent_profile").order_by("name")


def _session_or_404(request: HttpRequest, session_id: UUID) -> WhatsAppSession:
    session: WhatsAppSession | None = _visible_sessions(request).filter(pk=session_id).first()
    if session is None:
        raise NotFound
    return session


def _session(session: WhatsAppSession) -> dict[str, Any]:
    return {
        "id": str(session.pk),
        "name": session.name,
        "phone": session.phone,
        "title": session.display_name or session.name,
        "status": session.status,
        "agent": session.agent_profile.name,
        "admin": reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]),
    }


# --- who writes ---------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@_staff_only
def contacts(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """The people and groups of a session, the latest first, `?q=` among them; POST {name, phone, kind} makes one.

    `kind` is `person` (with a phone), `hidden` (someone whose number WhatsApp keeps to itself) or `group`.
    """
    session = _session_or_404(request, session_id)
    if request.method == "POST":
        return JsonResponse(_contact(_make_contact(session, _body(request))), status=201)
    rows = Conversation.objects.filter(session=session).select_related("contact")
    if words := storable(request.GET.get("q", "").strip()):
        rows = rows.filter(contact_matches(words, path="contact__"))
    rows = rows.order_by("-last_message_at", "-id")[:MAX_CONTACTS]
    return JsonResponse({"contacts": [_contact(row) for row in rows]})


def _make_contact(session: WhatsAppSession, given: dict[str, Any]) -> Conversation:
    name, kind = _text(given, "name", longest=MAX_NAME_LENGTH), given.get("kind", "person")
    if kind == "person":
        phone = parse_phone(_text(given, "phone", longest=30))
        if (known := known_by_phone(session=session, phone=phone)) is not None and hasattr(known, "conversation"):
            return known.conversation
        address = f"{phone.removeprefix('+')}@s.whatsapp.net"
    elif kind == "hidden":
        address = f"{10**14 + secrets.randbelow(10**14)}@lid"
    elif kind == "group":
        address = f"1203{10**13 + secrets.randbelow(10**13)}@g.us"
    else:
        raise InvalidInput("A contact is a person, a hidden person or a group.")
    if not name and kind != "person":
        raise InvalidInput("Say what it is called.")
    return _conversation_at(session, address, name=name)


def _conversation_at(session: WhatsAppSession, raw: str, *, name: str) -> Conversation:
    try:
        address = cast(ChatAddress, read_address(raw))
    except WrongShape as exc:
        raise InvalidInput("This is no address.") from exc
    contact = contact_for(session=session, address=replace(address, name=name or None))
    return conversation_with(contact=contact, address=address.address)


def _contact(conversation: Conversation) -> dict[str, Any]:
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


# --- what is said -------------------------------------------------------------------------------------------------


@require_POST
@_staff_only
def events(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Take events as the simulator's webhook does (agent.bridges.simulator says their shape), for this session only."""
    session = _session_or_404(request, session_id)
    given = _json(request)
    batch = given if isinstance(given, list) else [given]
    if not 1 <= len(batch) <= MAX_EVENTS or not all(isinstance(event, dict) for event in batch):
        raise InvalidInput(f"Send one event, or a list of {MAX_EVENTS} at most.")
    if not all(event.get("event") in EVENTS for event in batch):
        raise InvalidInput("One of the events is none we know.")
    body = json.dumps([event | {"session": session.name} for event in batch]).encode()
    return JsonResponse(inbox.process_webhook_request(bridge=session.bridge, headers={}, body=body))


@require_GET
@_staff_only
def conversation(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """What the phone shows. 204 while nothing differs from what was shown `after` the token of an earlier answer."""
    found = (
        Conversation.objects.filter(session__in=_visible_sessions(request))
        .select_related("contact", "session", "controlled_by")
        .filter(pk=conversation_id)
        .first()
    )
    if found is None:
        raise NotFound
    timeline = read_timeline(found, limit=MAX_MESSAGES)
    state = {
        "control": found.control,
        "control_until": found.control_until,
        "control_reason": found.control_reason,
        "activity": activity_of(found),
        "session_status": found.session.status,
        "title": str(found.contact),
    }
    token = timeline.fingerprint(state)
    if request.GET.get("after") == token:
        return HttpResponse(status=204)
    entries = [_note(entry) if isinstance(entry, Turn) else _message(entry) for entry in timeline.entries]
    return JsonResponse(
        {
            "after": token,
            "state": state,
            "is_cut_off": timeline.is_cut_off,
            "entries": entries,
            "admin": reverse("admin:messaging_conversation_change", args=[found.pk]),
        }
    )


def _message(message: Any) -> dict[str, Any]:
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
        "error": message.error,
        "at": message.said_at,
        "is_edited": message.edited_at is not None,
        "is_revoked": message.revoked_at is not None,
    }


def _writer(message: Message) -> str:
    if message.direction == Message.Direction.INBOUND:
        return str(message.sender) if message.sender else ""
    if message.sent_by is not None:
        return f"{message.sent_by} ({message.get_author_display()})"
    return message.get_author_display()


def _note(turn: Turn) -> dict[str, Any]:
    return {
        "type": "note",
        "id": str(turn.pk),
        "outcome": turn.outcome,
        "text": f"Turn {turn.get_outcome_display().lower()}" + (f": {turn.reason}" if turn.reason else ""),
        "at": turn.created_at,
        "admin": reverse("admin:messaging_turn_change", args=[turn.pk]),
    }


# --- what the script sends ----------------------------------------------------------------------------------------


def _json(request: HttpRequest) -> Any:
    try:
        return read_json(request.body)
    except RequestDataTooBig as exc:
        raise TooLarge from exc


def _body(request: HttpRequest) -> dict[str, Any]:
    given = _json(request)
    if not isinstance(given, dict):
        raise InvalidInput("This is no object.")
    return given


def _text(given: dict[str, Any], name: str, *, longest: int) -> str:
    value = given.get(name, "")
    if not isinstance(value, str) or len(value) > longest:
        raise InvalidInput(f"{name} is no text, or too long.")
    return value.strip()
