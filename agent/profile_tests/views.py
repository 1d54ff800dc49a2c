"""Try the draft of a profile, beside its editor: a test chat, and what contacts asked last. For administrators."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.admin_pages import is_administrator, log_change, staff_user
from agent.profile_tests import chat
from agent.profile_tests.replay import DEFAULT_QUESTIONS, MAX_QUESTIONS, recent_questions, replay
from messaging.models import Conversation, Message, Turn
from sessions_app.drafts import ensure_draft
from sessions_app.models import AgentProfile
from whatsapp_agent.errors import AppError

MAX_MESSAGES = 60
COUNTS = (5, 10, MAX_QUESTIONS)
View = Callable[..., HttpResponse]


def _administrators_only(view: View) -> View:
    """Open a view to those who may change profiles; an error is shown where it happened."""

    @wraps(view)
    def guarded(request: HttpRequest, profile_id: UUID, **kwargs: Any) -> HttpResponse:
        if not (request.user.is_authenticated and request.user.is_staff):
            return redirect_to_login(request.get_full_path(), login_url="admin:login")
        profile = AgentProfile.objects.live().filter(pk=profile_id).first() if is_administrator(request) else None
        if profile is None:
            raise Http404
        try:
            return view(request, profile, **kwargs)
        except AppError as exc:
            return render(request, "agent/profile_tests/error.html", {"error": str(exc)})

    return never_cache(guarded)


@require_GET
@_administrators_only
def page(request: HttpRequest, profile: AgentProfile) -> HttpResponse:
    """Render the test chat and the replay, as a part of the profile's page."""
    count = request.GET.get("count", "")
    limit = int(count) if count in map(str, COUNTS) else DEFAULT_QUESTIONS
    context = {
        "profile": profile,
        "questions": recent_questions(profile, limit=limit),
        "limit": limit,
        "counts": COUNTS,
    }
    return render(request, "agent/profile_tests/page.html", context)


@require_GET
@_administrators_only
def messages(request: HttpRequest, profile: AgentProfile) -> HttpResponse:
    """Render the messages of the test chat; the page polls them."""
    return _messages(request, profile, chat.open_chat(profile=profile, user=staff_user(request)))


@require_POST
@_administrators_only
def say(request: HttpRequest, profile: AgentProfile) -> HttpResponse:
    """Write to the draft as a contact."""
    conversation = chat.open_chat(profile=profile, user=staff_user(request))
    error = ""
    try:
        chat.say(conversation, request.POST.get("text", ""))
    except AppError as exc:
        error = str(exc)
    else:
        log_change(request, profile, gettext_noop("Test chat: wrote a message."))
    return _messages(request, profile, conversation, error=error)


@require_POST
@_administrators_only
def start_over(request: HttpRequest, profile: AgentProfile) -> HttpResponse:
    """Empty the test chat."""
    conversation = chat.open_chat(profile=profile, user=staff_user(request))
    chat.start_over(conversation)
    log_change(request, profile, gettext_noop("Test chat: started over."))
    return _messages(request, profile, conversation)


def _messages(
    request: HttpRequest, profile: AgentProfile, conversation: Conversation, *, error: str = ""
) -> HttpResponse:
    conversation.refresh_from_db()
    rows = Message.objects.filter(conversation=conversation).exclude(kind=Message.Kind.REACTION)
    turns = Turn.objects.filter(conversation=conversation)
    if conversation.context_from:
        rows = rows.filter(said_at__gte=conversation.context_from)
        turns = turns.filter(created_at__gte=conversation.context_from)
    shown = list(rows.order_by("-said_at", "-id")[:MAX_MESSAGES])[::-1]
    last_turn = turns.order_by("-created_at").first()
    context = {
        "profile": profile,
        "conversation": conversation,
        "messages_of_chat": shown,
        "is_answering": conversation.due_at is not None and conversation.control == Conversation.Control.AGENT,
        "is_handed_over": conversation.control == Conversation.Control.HUMAN,
        "failure": last_turn.reason if last_turn and last_turn.outcome == Turn.Outcome.FAILED else "",
        "error": error,
        "is_said": request.path.endswith("/say/") and not error,
    }
    return render(request, "agent/profile_tests/messages.html", context)


@require_POST
@_administrators_only
def replay_turn(request: HttpRequest, profile: AgentProfile, turn_id: UUID) -> HttpResponse:
    """Ask the draft what was asked in a turn of the profile."""
    turn = Turn.objects.filter(pk=turn_id, agent_profile=profile).first()
    if turn is None:
        raise Http404
    replayed = replay(turn=turn, draft=ensure_draft(profile))
    log_change(request, profile, gettext_noop("Asked the draft an earlier question again."))
    return render(request, "agent/profile_tests/replayed.html", {"replayed": replayed})
