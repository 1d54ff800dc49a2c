"""Corrections of the agent's answers: a fact about the contact, or a line of the instructions in the draft."""

from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.admin_pages import is_administrator, staff_user
from agent.staff_inbox.access import part, visible_conversation
from messaging.history.facts import remember
from messaging.models import Conversation, Correction, Fact, Message
from sessions_app import drafts
from sessions_app.admin.differences import describe_changes
from sessions_app.models import AgentProfile
from sessions_app.profiles import lock_profiles
from whatsapp_agent.errors import Conflict, Forbidden, InvalidInput
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import as_line

MAX_LENGTH = 300


@require_POST  # only for its text, which would stand in logs as part of an address, and may be too long for one
@part
def propose(request: HttpRequest, conversation_id: UUID, message_id: UUID) -> HttpResponse:
    """Return a form with the line as it would be added to the draft, and what else the draft changes. Saves nothing."""
    _check_may_instruct(request)
    conversation = visible_conversation(request, conversation_id)
    profile = conversation.session.agent_profile
    draft = drafts.load_draft(profile)
    changes = drafts.changes_of(profile, draft)
    context = {
        "conversation": conversation,
        "message_id": message_id,
        "line": as_line(request.POST.get("text", ""), max_length=MAX_LENGTH),
        "profile": profile,
        "draft_version": draft.version if draft else 0,
        "changes": [change.label for change in describe_changes(changes)],
        "last_change": drafts.last_change(draft) if draft and changes else None,
        "is_own": _is_own(request, draft),
    }
    return render(request, "agent/inbox/proposal.html", context)


def correct(request: HttpRequest, conversation: Conversation, message: Message) -> str:
    """Store what the agent should have said, `as` a fact or an instruction; return what to tell the user."""
    text = storable(request.POST.get("text", "")).strip()
    match request.POST.get("as"):
        case "fact":
            by = staff_user(request)
            remember(contact=conversation.contact, text=text, proposed_by=Fact.Source.STAFF, message=message, by=by)
            return _("Stored as a fact about this contact.")
        case "instruction":
            _check_may_instruct(request)
            return _add_to_draft(request, conversation, line=as_line(text, max_length=MAX_LENGTH))
    raise InvalidInput(_("Choose where to keep it."))


@transaction.atomic
def _add_to_draft(request: HttpRequest, conversation: Conversation, *, line: str) -> str:
    if not line:
        raise InvalidInput(_("Write what the agent should know."))
    lock_profiles()
    profile = AgentProfile.objects.get(pk=conversation.session.agent_profile_id)
    draft = drafts.load_draft(profile)
    seen = {"version": profile.version, "draft_version": draft.version if draft else 0}
    if any(request.POST.get(name, "") not in {"", str(version)} for name, version in seen.items()):
        raise Conflict(_("Meanwhile someone changed the profile. Look, then try again."))
    instructions = f"{(draft or profile).instructions.rstrip()}\n{line}".strip()
    draft = drafts.save_draft(profile=profile, by=staff_user(request), instructions=instructions)
    Correction.objects.get_or_create(version=draft.versions.get(version=draft.version), conversation=conversation)
    return _("Saved in the draft of %(profile)s. The agent says so once the draft is published.") % {
        "profile": profile.name
    }


def _is_own(request: HttpRequest, draft: AgentProfile | None) -> bool:
    change = drafts.last_change(draft) if draft else None
    return change is not None and change.changed_by_id == request.user.pk


def _check_may_instruct(request: HttpRequest) -> None:
    if not is_administrator(request):
        raise Forbidden(_("Only administrators change what the agent is told."))
