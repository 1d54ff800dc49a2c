"""Admin pages of agent profiles and their versions."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
)

from accounts.admin_pages import FastChangeList, SingleLineAdmin, StaffOnlyAdmin, is_administrator, staff_user
from agent import llm
from sessions_app import profiles
from sessions_app.models import AgentProfile, default_tools
from whatsapp_agent.errors import AppError

MAX_VERSIONS = 20


def _tool_choices() -> list[tuple[str, str]]:
    return [(tool.name, f"{tool.name}: {tool.description}") for tool in sorted(profiles.list_tools())]


class AgentProfileForm(forms.ModelForm):
    tools = forms.MultipleChoiceField(
        choices=_tool_choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="The tools that the model may call.",
    )

    class Meta:
        model = AgentProfile
        fields = [*profiles.VERSIONED, "name", "is_default"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [profiles.find_tool(str(name)) for name in self.initial.get("tools", default_tools())]
        self.initial["tools"] = [name for name in names if name]


@admin.register(AgentProfile)
class AgentProfileAdmin(SingleLineAdmin, StaffOnlyAdmin, FastChangeList, ModelAdmin):
    """Staff see the profiles of their sessions. Only administrators change them: other sessions may use them too."""

    form = AgentProfileForm
    list_display = ["name", "purpose", "model", "answers_groups", "is_default", "version", "updated_at"]
    list_filter = ["is_default", "answers_groups"]
    search_fields = ["name", "purpose"]
    ordering = ["name"]
    actions = ["make_default"]
    readonly_fields = ["is_default", "model_limits", "version", "created_at", "updated_at"]
    warn_unsaved_form = True
    change_form_outer_after_template = "sessions_app/versions.html"
    fieldsets = [
        (None, {"fields": ["name", "purpose", "instructions", "is_default"]}),
        ("Model", {"fields": ["model", "model_limits", "temperature", "history_tokens", "max_output_tokens", "tools"]}),
        (
            "When it answers",
            {
                "fields": [
                    "debounce_s",
                    "debounce_max_s",
                    "max_answer_age_s",
                    "answers_groups",
                    "marks_read",
                    "shows_typing",
                ]
            },
        ),
        ("When it does not", {"fields": ["takeover_s", "fallback_text", "voice_fallback_text", "missed_call_text"]}),
        (
            "Loop detection",
            {"fields": ["loop_repeats", "loop_fast_replies", "loop_max_turns", "loop_window_s", "loop_pause_s"]},
        ),
        ("Record", {"fields": ["version", "created_at", "updated_at"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AgentProfile]:
        return super().get_queryset(request).visible_to(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: AgentProfile | None = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: AgentProfile | None = None) -> bool:
        return is_administrator(request) and obj is not None and not obj.is_default

    @admin.display(description="What the model does not take")
    def model_limits(self, profile: AgentProfile) -> str:
        """What was found out when it was asked; it is left out for it. Deleting it under "Model limits" tries again."""
        name = profile.model or settings.OPENAI_MODEL
        limits = llm.describe_limits(name)
        return f"{name} {'; '.join(limits)}." if limits else "Nothing was found out so far."

    def get_urls(self) -> list[URLPattern]:
        back = self.admin_site.admin_view(require_POST(self.roll_back_view))
        return [path("<uuid:object_id>/versions/<int:version>/", back, name="profile-roll-back"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        profile = self.get_object(request, object_id)
        versions = profile.versions.select_related("changed_by")[:MAX_VERSIONS] if profile else []
        context = {"profile": profile, "versions": versions, "may_change": self.has_change_permission(request)}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | context)

    def roll_back_view(self, request: HttpRequest, object_id: UUID, version: int) -> HttpResponse:
        """Restore an old version."""
        profile = self.get_queryset(request).filter(pk=object_id).first()
        if profile is None or not self.has_change_permission(request):
            raise Http404
        try:
            profile = profiles.roll_back(profile=profile, version=version, by=staff_user(request))
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        else:
            self.log_change(request, profile, f"Restored version {version}.")
            self.message_user(request, f"{profile} has the values of version {version} again.")
        return HttpResponseRedirect(reverse("admin:sessions_app_agentprofile_change", args=[object_id]))

    def save_model(self, request: HttpRequest, obj: AgentProfile, form: Any, change: bool) -> None:
        """Save through the service, which stores versions. The form has checked that the name is free."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if change:
            saved = profiles.change_profile(profile=obj, by=staff_user(request), **values)
        else:
            saved = profiles.create_profile(by=staff_user(request), **values)
        obj.pk = saved.pk

    @admin.action(description="Make it the default", permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[AgentProfile]) -> None:
        if len(queryset) != 1:
            self.message_user(request, "Select exactly one profile.", messages.ERROR)
            return
        profile = profiles.change_profile(profile=queryset[0], by=staff_user(request), is_default=True)
        self.message_user(request, f"{profile} is now the default profile.")
