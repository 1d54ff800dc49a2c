"""Admin pages of agent profiles and their versions."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
)

from accounts.admin_pages import FastChangeList, SingleLineAdmin, StaffOnlyAdmin, is_administrator, staff_user
from agent import llm
from sessions_app import drafts, profiles
from sessions_app.admin.differences import describe_changes, describe_values
from sessions_app.models import AgentProfile, default_tools
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.stored import translate_stored

MAX_VERSIONS = 20
MAX_MESSAGE_LENGTH = 200
MAX_DIGITS = 10


def _tool_choices() -> list[tuple[str, str]]:
    return [(tool.name, f"{_(tool.description)} ({tool.name})") for tool in sorted(profiles.list_tools())]


def _message(request: HttpRequest) -> str:
    """Return why staff make a change, as one line."""
    return " ".join(storable(request.POST.get("message", "")).split())[:MAX_MESSAGE_LENGTH]


def _reason_key(object_id: UUID) -> str:
    """Return where a session holds why somebody made a change that was refused."""
    return f"reason {object_id}"


def _version_seen(request: HttpRequest, name: str) -> int | None:
    seen = request.POST.get(name, "")
    return int(seen) if seen.isdecimal() and len(seen) < MAX_DIGITS else None


class ToolsWidget(UnfoldAdminCheckboxSelectMultipleWidget):
    option_template_name = "sessions_app/tool_option.html"


class AgentProfileForm(forms.ModelForm):
    tools = forms.MultipleChoiceField(
        choices=_tool_choices,
        required=False,
        widget=ToolsWidget,
        label=gettext_lazy("Tools"),
        help_text=gettext_lazy("What the agent may do by itself while it answers."),
    )

    class Meta:
        model = AgentProfile
        fields = [*profiles.VERSIONED, "name", "is_default"]
        labels = {
            "history_tokens": gettext_lazy("How much it remembers (tokens)"),
            "max_output_tokens": gettext_lazy("Longest answer (tokens)"),
            "debounce_s": gettext_lazy("Wait for more messages (seconds)"),
            "debounce_max_s": gettext_lazy("Longest wait (seconds)"),
            "max_answer_age_s": gettext_lazy("Answer messages up to this age (seconds)"),
            "takeover_s": gettext_lazy("Silent after a person wrote (seconds)"),
            "marks_read": gettext_lazy("Mark messages as read"),
            "shows_typing": gettext_lazy("Show that it is typing"),
            "fallback_text": gettext_lazy("When it cannot answer, send"),
            "voice_fallback_text": gettext_lazy("When a voice note is not understood, send"),
            "missed_call_text": gettext_lazy("After a missed call, send"),
            "loop_repeats": gettext_lazy("Same text so often"),
            "loop_fast_replies": gettext_lazy("Messages too fast for a person"),
            "loop_max_turns": gettext_lazy("Most answers in the time below"),
            "loop_window_s": gettext_lazy("In this time (seconds)"),
            "loop_pause_s": gettext_lazy("Then pause for (seconds)"),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [profiles.find_tool(str(name)) for name in self.initial.get("tools", default_tools())]
        self.initial["tools"] = [name for name in names if name]


@admin.register(AgentProfile)
class AgentProfileAdmin(SingleLineAdmin, StaffOnlyAdmin, FastChangeList, ModelAdmin):
    """Staff see the profiles of their sessions. Only administrators change them: other sessions may use them too."""

    form = AgentProfileForm
    list_display = ["name", "purpose", "model", "is_default", "version", "updated_at"]
    list_filter = ["is_default"]
    search_fields = ["name", "purpose"]
    ordering = ["name"]
    actions = ["make_default"]
    readonly_fields = ["is_default", "model_limits", "version", "created_at", "updated_at"]
    warn_unsaved_form = True
    change_form_outer_before_template = "sessions_app/draft.html"
    change_form_outer_after_template = "sessions_app/versions.html"
    fieldsets = [
        (None, {"fields": ["name", "purpose", "instructions", "is_default"]}),
        (
            gettext_lazy("Model"),
            {"fields": ["model", "model_limits", "temperature", "history_tokens", "max_output_tokens", "tools"]},
        ),
        (
            gettext_lazy("When it answers"),
            {
                "fields": [
                    "debounce_s",
                    "debounce_max_s",
                    "max_answer_age_s",
                    "marks_read",
                    "shows_typing",
                    "instant_reaction",
                    "answers_with_voice",
                ]
            },
        ),
        (
            gettext_lazy("When it does not"),
            {"fields": ["takeover_s", "fallback_text", "voice_fallback_text", "missed_call_text"]},
        ),
        (
            gettext_lazy("When the other side is a machine"),
            {
                "classes": ["collapse"],
                "fields": ["loop_repeats", "loop_fast_replies", "loop_max_turns", "loop_window_s", "loop_pause_s"],
            },
        ),
        (gettext_lazy("Record"), {"classes": ["collapse"], "fields": ["version", "created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgentProfile]:
        return super().get_queryset(request).visible_to(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: AgentProfile | None = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: AgentProfile | None = None) -> bool:
        return is_administrator(request) and obj is not None and not obj.is_default

    @admin.display(description=gettext_lazy("What the model does not take"))
    def model_limits(self, profile: AgentProfile) -> str:
        """What was found out when it was asked; it is left out for it. Deleting it under "Model limits" tries again."""
        name = profile.model or settings.OPENAI_MODEL
        limits = [translate_stored(limit) for limit in llm.describe_limits(name)]
        return f"{name} {'; '.join(limits)}." if limits else _("Nothing was found out so far.")

    def get_urls(self) -> list[URLPattern]:
        def view(name: str, route: str, function: Any) -> URLPattern:
            return path(f"<uuid:object_id>/{route}", self.admin_site.admin_view(require_POST(function)), name=name)

        return [
            view("profile-roll-back", "versions/<int:version>/", self.roll_back_view),
            view("profile-publish", "publish/", self.publish_view),
            view("profile-discard", "discard/", self.discard_view),
            *super().get_urls(),
        ]

    def lock(self, object_id: str) -> None:
        profiles.lock_profiles()
        super().lock(object_id)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> AgentProfile | None:
        """Return the profile with the values of its draft, which are what the page edits."""
        profile: AgentProfile | None = super().get_object(request, object_id, from_field)
        draft = drafts.load_draft(profile) if profile is not None else None
        if profile is not None and draft is not None:
            for name, value in profiles.values_of(draft).items():
                setattr(profile, name, value)
        return profile

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        profile = super().get_object(request, object_id)
        return super().change_view(
            request, object_id, form_url, (extra_context or {}) | self._context(request, profile)
        )

    def _context(self, request: HttpRequest, profile: AgentProfile | None) -> dict[str, Any]:
        if profile is None:
            return {}
        draft = drafts.load_draft(profile)
        rows: Any = profiles.with_values_before(profile.versions.select_related("changed_by"))[:MAX_VERSIONS]
        return {
            "profile": profile,
            "draft": draft,
            "draft_differences": describe_changes(drafts.changes_of(profile, draft)),
            "draft_change": drafts.last_change(draft) if draft else None,
            "versions": [
                (
                    row,
                    describe_changes(profiles.compare(row.values_before, row.values)) if row.values_before else [],
                    describe_values(row.values),
                )
                for row in rows
            ],
            "may_change": self.has_change_permission(request),
            "reason": request.session.pop(_reason_key(profile.pk), ""),
        }

    def roll_back_view(self, request: HttpRequest, object_id: UUID, version: int) -> HttpResponse:
        """Restore an old version."""

        def roll_back(profile: AgentProfile) -> str:
            profiles.roll_back(
                profile=profile,
                version=version,
                by=staff_user(request),
                message=_message(request),
                live_version=_version_seen(request, "live_version"),
            )
            return f"Restored version {version}; it is live."

        return self._act(request, object_id, roll_back)

    def publish_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Make the draft live."""

        def publish(profile: AgentProfile) -> str:
            published = drafts.publish_draft(
                profile=profile,
                by=staff_user(request),
                message=_message(request),
                draft_version=_version_seen(request, "draft_version"),
            )
            return f"Published as version {published.version}."

        return self._act(request, object_id, publish)

    def discard_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Discard the draft."""

        def discard(profile: AgentProfile) -> str:
            seen = _version_seen(request, "draft_version")
            drafts.discard_draft(profile=profile, by=staff_user(request), draft_version=seen)
            return gettext_noop("The draft was discarded.")

        return self._act(request, object_id, discard)

    def _act(self, request: HttpRequest, object_id: UUID, act: Callable[[AgentProfile], str]) -> HttpResponse:
        """Do something with a profile that the user may change, log and show its result, and show the page again."""
        profile = self.get_queryset(request).filter(pk=object_id).first()
        if profile is None or not self.has_change_permission(request):
            raise Http404
        try:
            result = act(profile)
        except AppError as exc:
            request.session[_reason_key(object_id)] = _message(request)  # what was typed is shown again
            self.message_user(request, str(exc), messages.ERROR)
        else:
            self.log_change(request, profile, result)
            self.message_user(request, translate_stored(result))
        return HttpResponseRedirect(reverse("admin:sessions_app_agentprofile_change", args=[object_id]))

    def save_model(self, request: HttpRequest, obj: AgentProfile, form: Any, change: bool) -> None:
        """Save what answers people as a draft, and the name at once. The form has checked that the name is free."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if not change:
            obj.pk = profiles.create_profile(by=staff_user(request), **values).pk
            return
        if "name" in values:
            profiles.change_profile(profile=obj, by=staff_user(request), name=values.pop("name"))
        if values:
            drafts.save_draft(profile=obj, by=staff_user(request), **values)

    def response_change(self, request: HttpRequest, obj: AgentProfile) -> HttpResponse:
        """Stay on the page: the draft is tried and published there."""
        if "_addanother" in request.POST or "_popup" in request.POST:
            return super().response_change(request, obj)
        self.message_user(request, _("Saved as a draft. Try it below; it answers nobody until you publish it."))
        return HttpResponseRedirect(reverse("admin:sessions_app_agentprofile_change", args=[obj.pk]))

    @admin.action(description=gettext_lazy("Make it the default"), permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[AgentProfile]) -> None:
        if len(queryset) != 1:
            self.message_user(request, _("Select exactly one profile."), messages.ERROR)
            return
        profile = profiles.change_profile(profile=queryset[0], by=staff_user(request), is_default=True)
        self.log_change(request, profile, "Made it the default.")
        self.message_user(request, _("%(profile)s is now the default profile.") % {"profile": profile})
