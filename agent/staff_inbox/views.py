"""The inbox of staff: one page with the list, a conversation and its contact, and what its script asks for."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET

from accounts.admin_pages import is_operator, staff_user
from agent.staff_inbox.access import page, part, visible_conversation
from agent.staff_inbox.listing import TABS, InboxState, ListQuery, read_state
from agent.staff_inbox.transcript import contact_context, hour_choices, transcript_context
from messaging.history.prompt_parts import prompt_parts
from messaging.models import Conversation, Media, Message
from messaging.outbound import mark_read
from messaging.views import file_response
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import NotFound
from whatsapp_agent.text.whatsapp_html import whatsapp_html


def admin_index(request: HttpRequest) -> HttpResponse:
    """Lead staff who open the admin to the inbox; the menu leads from there to every other page."""
    if request.method == "GET" and request.user.is_authenticated and request.user.is_staff:
        return HttpResponseRedirect(reverse("inbox"))
    return admin.site.admin_view(admin.site.index)(request)


@require_GET
@ensure_csrf_cookie
@page
def inbox(request: HttpRequest, conversation_id: UUID | None = None) -> HttpResponse:
    """Render the inbox, with a conversation if one is open."""
    user, query = staff_user(request), ListQuery.read(request.GET)
    context: dict[str, Any] = {"may_operate": is_operator(request), "user": user, "query": query}
    status = 200
    conversation = None
    if conversation_id is not None:
        try:
            conversation = visible_conversation(request, conversation_id)
        except NotFound as exc:
            context["missing"], status = str(exc), 404
    if conversation is not None:
        _look(request, conversation)
    # The versions are read before what they stand for: a poll then notices what changes while the page is drawn.
    state = read_state(user, query, conversation_id=conversation.pk if conversation else None)
    if conversation is not None:
        conversation = visible_conversation(request, conversation.pk)
        context |= transcript_context(conversation, may_operate=context["may_operate"])
        context |= contact_context(conversation, user=user)
        context["hours"] = hour_choices()
    context |= list_context(state, query) | {"conversation_version": state.conversation_version}
    sessions = WhatsAppSession.objects.visible_to(user).live().order_by("name")[:200]
    context["sessions"] = [(str(row.pk), row.name) for row in sessions]
    return render(request, "agent/inbox/page.html", context, status=status)


@require_GET
@part
def poll(request: HttpRequest) -> HttpResponse:
    """Return the parts of the page that have changed since the versions `list` and `seen`; 204 if none has."""
    user, query = staff_user(request), ListQuery.read(request.GET)
    opened = request.GET.get("open", "")
    try:
        conversation_id = UUID(opened) if opened else None
    except ValueError:
        conversation_id = None
    state = read_state(user, query, conversation_id=conversation_id)
    changed: dict[str, Any] = {}
    if request.GET.get("list") != state.list_version:
        context = list_context(state, query) | {"open_key": str(conversation_id or "")}
        changed["rows"] = render_to_string("agent/inbox/rows.html", context, request)
        changed["tabs"] = render_to_string("agent/inbox/tabs.html", context, request)
        changed["list"], changed["waiting"] = state.list_version, state.waiting
    if conversation_id is not None and request.GET.get("seen") != state.conversation_version:
        conversation = visible_conversation(request, conversation_id)
        if request.GET.get("visible") == "1":
            _look(request, conversation)
        context = transcript_context(conversation, may_operate=is_operator(request))
        context |= contact_context(conversation, user=user) | {"hours": hour_choices()}
        changed["messages"] = render_to_string("agent/inbox/messages.html", context, request)
        changed["head"] = render_to_string("agent/inbox/head.html", context, request)
        changed["contact"] = render_to_string("agent/inbox/contact.html", context, request)
        changed["activity"] = context["activity"]
        changed["epoch"], changed["seen"] = conversation.control_epoch, state.conversation_version
    return JsonResponse(changed) if changed else HttpResponse(status=204)


def list_context(state: InboxState, query: ListQuery) -> dict[str, Any]:
    return {
        "state": state,
        "query": query,
        "rows": state.rows,
        "tabs": [(tab, label, state.counts[tab]) for tab, label in TABS.items()],
        "next_pages": query.pages + 1,
    }


def _look(request: HttpRequest, conversation: Conversation) -> None:
    """What an operator looks at is read."""
    if conversation.unread_count and is_operator(request):
        mark_read(conversation=conversation)
        conversation.unread_count = 0


@require_GET
@part
def older(request: HttpRequest, conversation_id: UUID, message_id: UUID) -> HttpResponse:
    """Return the messages before this one."""
    conversation = visible_conversation(request, conversation_id)
    before = _message(conversation, message_id)
    context = transcript_context(conversation, may_operate=is_operator(request), before=before)
    return render(request, "agent/inbox/messages.html", context)


@require_GET
@part
def whole_text(request: HttpRequest, conversation_id: UUID, message_id: UUID) -> HttpResponse:
    """Return the whole text of a long message."""
    message = _message(visible_conversation(request, conversation_id), message_id)
    return HttpResponse("" if message.revoked_at else whatsapp_html(message.text))


@require_GET
@part
def why(request: HttpRequest, conversation_id: UUID, message_id: UUID) -> HttpResponse:
    """Explain an answer of the agent: what the model was given, which tools it called, how long it took."""
    message = _message(visible_conversation(request, conversation_id), message_id)
    turn = message.turn
    if turn is None:
        raise NotFound(_("No turn of the agent belongs to this message."))
    context = {"turn": turn, "parts": prompt_parts(turn), "tool_calls": list(turn.tool_calls.all())}
    return render(request, "agent/inbox/why.html", context)


@require_GET
@part
def media(request: HttpRequest, media_id: UUID) -> HttpResponse:
    """Return the file of a message, protected like the API's."""
    row = Media.objects.visible_to(staff_user(request)).filter(pk=media_id).first()
    if row is None:
        raise NotFound
    return file_response(row)  # type: ignore[return-value]


def _message(conversation: Conversation, message_id: UUID) -> Message:
    message = Message.objects.filter(conversation=conversation, pk=message_id).select_related("turn").first()
    if message is None:
        raise NotFound(_("There is no such message."))
    return message
