"""The inbox of staff: one page with the list, a conversation and its contact, and what its script asks for."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET

from accounts.admin_pages import is_administrator, is_operator, staff_user
from agent.staff_inbox.access import ConversationNotFound, page, part, visible_conversation
from agent.staff_inbox.listing import (
    MAX_ALERTED,
    TABS,
    InboxState,
    ListQuery,
    Looking,
    is_uuid,
    labels_in_use,
    read_state,
)
from agent.staff_inbox.texts import hour_choices, strings
from agent.staff_inbox.transcript import contact_context, find_message, transcript_context
from messaging.history.prompt_parts import prompt_parts
from messaging.maintenance.explanation import explain
from messaging.models import Conversation, Media, Message
from messaging.outbound import mark_read
from messaging.teamwork.saved_replies import suggest
from messaging.views import file_response
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import NotFound
from whatsapp_agent.text.whatsapp_html import whatsapp_html

MAX_SESSIONS = 200
MAX_SHORTCUT = 40


def admin_index(request: HttpRequest) -> HttpResponse:
    """Lead staff who open the admin to the inbox; the menu leads from there to every other page."""
    if request.method == "GET" and request.user.is_authenticated and request.user.is_staff:
        return HttpResponseRedirect(reverse("inbox"))
    return admin.site.admin_view(admin.site.index)(request)


@require_GET
@ensure_csrf_cookie
@page
def inbox(request: HttpRequest, conversation_id: UUID | None = None) -> HttpResponse:
    """Render the inbox, with a conversation if one is open, at its newest messages or around the message `at`."""
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
    state = read_state(user, query, looking=Looking(conversation.pk, is_here=True) if conversation else None)
    if conversation is not None:
        conversation = visible_conversation(request, conversation.pk)
        hit = find_message(conversation, request.GET.get("at", ""))
        context |= transcript_context(conversation, user=user, may_operate=context["may_operate"], around=hit)
        context |= contact_context(conversation, user=user) | {"hours": hour_choices(), "hit": hit}
    context |= list_context(state, query) | {"conversation_version": state.conversation_version}
    sessions = WhatsAppSession.objects.visible_to(user).live().without_test_chats().order_by("name")
    context["sessions"] = [(str(row.pk), row.name) for row in sessions[:MAX_SESSIONS]]
    context |= {"labels": labels_in_use(user), "controls": Conversation.Control.choices, "strings": strings()}
    context["max_alerted"] = MAX_ALERTED
    return render(request, "agent/inbox/page.html", context, status=status)


@require_GET
@part
def poll(request: HttpRequest) -> HttpResponse:
    """Return what of the list has changed since the version `list`, and the version of the open conversation if it is
    not `seen`: the page then asks for its `changes`. 204 if nothing has changed.

    `visible=1`: somebody looks at the conversation `open`; `typing=1`: and types. `others` is what is shown of others.
    A poll takes at most three statements: it neither searches nor reads messages.
    """
    user, query = staff_user(request), ListQuery.read(request.GET)
    opened = request.GET.get("open", "")
    looking = None
    if is_uuid(opened):
        is_here, is_typing = (request.GET.get(name) == "1" for name in ("visible", "typing"))
        looking = Looking(UUID(opened), is_here=is_here, is_typing=is_typing)
    state = read_state(user, query, looking=looking, searches=False)
    if looking is not None and not state.conversation_version:
        raise ConversationNotFound
    changed: dict[str, Any] = {}
    if request.GET.get("list") != state.list_version:
        context = list_context(state, query) | {"open_key": str(looking.conversation_id) if looking else ""}
        if not query.is_lookup:  # what was found stays until the next search
            changed["rows"] = render_to_string("agent/inbox/rows.html", context, request)
        changed["tabs"] = render_to_string("agent/inbox/tabs.html", context, request)
        changed["offline"] = render_to_string("agent/inbox/offline.html", context, request)
        changed |= {"list": state.list_version, "waiting": state.waiting}
        changed |= {"needing": state.needing, "assigned": state.assigned}
    if looking is not None and request.GET.get("others", "") != state.others:
        changed["others"] = state.others
    if looking is not None and request.GET.get("seen") != state.conversation_version:
        changed["seen"] = state.conversation_version
    return JsonResponse(changed) if changed else HttpResponse(status=204)


@require_GET
@part
def changes(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Return the messages, the head and the contact's pane of a conversation as they are now.

    `visible=1`: somebody looks at it, so that it is read.
    """
    user = staff_user(request)
    conversation = visible_conversation(request, conversation_id)
    if request.GET.get("visible") == "1":
        _look(request, conversation)
    context = transcript_context(conversation, user=user, may_operate=is_operator(request))
    context |= contact_context(conversation, user=user)
    context |= {"hours": hour_choices(), "query": ListQuery.read(request.GET)}
    parts: dict[str, Any] = {
        name: render_to_string(f"agent/inbox/{name}.html", context, request) for name in ("messages", "head", "contact")
    }
    parts |= {name: context[name] for name in ("activity", "refusal")}
    return JsonResponse(parts | {"epoch": conversation.control_epoch})


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
    context = transcript_context(
        conversation, user=staff_user(request), may_operate=is_operator(request), before=before
    )
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
    """Explain an answer of the agent: what the model was given, which tools it called, how long it took.

    For a message of the contact: what became of it, and why it has no answer.
    """
    conversation = visible_conversation(request, conversation_id)
    message = _message(conversation, message_id)
    turn = message.turn
    context: dict[str, Any] = {"turn": turn, "message": message, "conversation": conversation}
    if message.direction == Message.Direction.INBOUND:
        context["reasons"] = explain(message)["reasons"]
    elif turn is None:
        raise NotFound(_("No turn of the agent belongs to this message."))
    if turn is not None:
        context |= {"parts": prompt_parts(turn), "tool_calls": list(turn.tool_calls.all())}
        context["started_at"] = timezone.localtime(turn.started_at)
        context["whole_ms"] = turn.whole_ms
    context |= {"may_operate": is_operator(request), "may_instruct": is_administrator(request)}
    return render(request, "agent/inbox/why.html", context)


@require_GET
def manifest(request: HttpRequest) -> JsonResponse:  # noqa: ARG001
    """Describe the inbox as an app that a phone can install. It holds nothing that a login protects."""
    icons = [{"src": static("agent/icon.svg"), "sizes": "any", "type": "image/svg+xml", "purpose": "any"}]
    icons += [
        {"src": static(f"agent/icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png", "purpose": purpose}
        for size, purpose in ((192, "any"), (512, "any"), (512, "maskable"))
    ]
    values = {
        "name": "WhatsApp Agent", "short_name": str(_("Inbox")), "start_url": reverse("inbox"), "scope": "/admin/",
        "display": "standalone", "background_color": "#ffffff", "theme_color": "#0b7a5b", "icons": icons,
    }  # fmt: skip
    return JsonResponse(values, content_type="application/manifest+json")


@require_GET
@part
def replies(request: HttpRequest, conversation_id: UUID) -> HttpResponse:
    """Return the saved replies whose shortcut begins with `q`, with the contact's name filled in."""
    found = suggest(
        conversation=visible_conversation(request, conversation_id), prefix=request.GET.get("q", "")[:MAX_SHORTCUT]
    )
    return JsonResponse({"replies": [{"shortcut": reply.shortcut, "text": reply.text} for reply in found]})


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
