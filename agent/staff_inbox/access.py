"""Who may open the inbox: staff see the conversations of their sessions, operators act in them."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from accounts.admin_pages import is_operator, staff_user
from messaging import control
from messaging.models import Conversation
from whatsapp_agent.errors import AppError, Forbidden, NotFound

# Scripts and styles come from our static files alone, never inline: markup in a message cannot run.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
View = Callable[..., HttpResponse]


class ConversationNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__(_("There is no such conversation, or it was merged into another one."))


def page(view: View) -> View:
    """Open a page to staff; others are led to the login."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if not (request.user.is_authenticated and request.user.is_staff):
            return redirect_to_login(request.get_full_path(), login_url="admin:login")
        response = view(request, **kwargs)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return never_cache(guarded)


def part(view: View) -> View:
    """Answer what the page's script asks for. GET is open to staff, POST to operators; errors are JSON."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            if not request.user.is_authenticated or not request.user.is_staff:
                return _error(_("You are logged out. Log in again; what you have typed is kept."), "logged_out", 401)
            if request.method == "POST":
                check_operator(request)
            response = view(request, **kwargs)
        except AppError as exc:
            return _error(str(exc), exc.code, exc.status)
        except (OperationalError, InterfaceError):
            return _error(_("The database cannot be reached. Try again."), "unavailable", 503)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response

    return never_cache(guarded)


def check_operator(request: HttpRequest) -> None:
    if not is_operator(request):
        raise Forbidden(_("You may look, but not change anything. Ask an administrator for the role operator."))


def _error(detail: str, code: str, status: int) -> JsonResponse:
    return JsonResponse({"detail": detail, "code": code}, status=status)


def visible_conversation(request: HttpRequest, conversation_id: UUID) -> Conversation:
    """Return a conversation that the user may see, with what its page shows. Raises NotFound."""
    rows = Conversation.objects.visible_to(staff_user(request)).select_related(
        "contact", "session__bridge", "session__agent_profile", "controlled_by", "assigned_to"
    )
    conversation = rows.filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationNotFound
    return conversation


def hold_visible_conversation(request: HttpRequest, conversation_id: UUID) -> Conversation:
    """Lock a conversation until the end of the transaction and return it as it is now: what the writer has seen is
    compared with nothing older. Raises NotFound, before it locks, for one that the user may not see."""
    visible_conversation(request, conversation_id)
    control.lock_conversation(conversation_id)
    return visible_conversation(request, conversation_id)
