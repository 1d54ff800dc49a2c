"""Bridges, WhatsApp sessions and agent profiles in the admin."""

import base64
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import RelatedFieldListFilter
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_GET, require_POST
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldAdminURLInputWidget,
)

from accounts.admin import ApiKeyAdmin, ApiKeyForm
from accounts.admin_pages import AdministratorOnlyAdmin, FastChangeList, StaffOnlyAdmin, is_administrator, staff_user
from accounts.models import ApiKey
from agent.bridges.base import Capability
from sessions_app import profiles, services
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession, default_tools
from whatsapp_agent.errors import AppError, BridgeFailed

STATUS_COLOURS = {
    WhatsAppSession.Status.CONNECTED.label: "success",
    WhatsAppSession.Status.QR_WAITING.label: "warning",
    WhatsAppSession.Status.CONNECTING.label: "info",
    WhatsAppSession.Status.INITIALIZING.label: "info",
    WhatsAppSession.Status.DISCONNECTED.label: "danger",
    WhatsAppSession.Status.LOGGED_OUT.label: "danger",
}
ASK_BRIDGE_AFTER = timedelta(seconds=2)
MAX_VERSIONS = 20
STOP_ASKING = 286  # the answer at which htmx ends its polling, https://htmx.org/docs/#polling


class VisibleSessionsFilter(RelatedFieldListFilter):
    """Offers the sessions its user may see, and tells no other names."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002
        visible = WhatsAppSession.objects.visible_to(request.user).order_by("name")
        return [(session.pk, _name_at_bridge(session)) for session in visible.select_related("bridge")[:200]]


def _name_at_bridge(session: WhatsAppSession) -> str:
    """Where one is picked from many: two bridges may each have a session of the same name."""
    return f"{session.name} ({session.bridge.slug})"


class SessionScopedAdmin(StaffOnlyAdmin):
    """Rows of sessions the user may see; `session_path` is the way from a row to its session."""

    session_path = "session"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows: QuerySet = super().get_queryset(request)  # type: ignore[misc]
        if is_administrator(request):
            return rows
        return rows.filter(**{f"{self.session_path}__in": WhatsAppSession.objects.visible_to(request.user)})

    def visible_or_404(self, request: HttpRequest, object_id: UUID) -> Any:
        row = self.get_queryset(request).filter(pk=object_id).first()
        if row is None:
            raise Http404
        return row


# --- bridges ------------------------------------------------------------------------------------------------------


class BridgeForm(forms.ModelForm):
    api_key = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Never shown again. Left empty, the present one stays.",
    )

    class Meta:
        model = Bridge
        fields = ["slug", "kind", "base_url", "api_key"]
        field_classes = {"base_url": partial(forms.URLField, assume_scheme="http")}
        labels = {"base_url": "Base URL"}
        widgets = {"base_url": UnfoldAdminURLInputWidget}

    def clean_api_key(self) -> str:
        return self.cleaned_data["api_key"] or self.instance.api_key


@admin.register(Bridge)
class BridgeAdmin(AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    """The bridges `default` and `simulator` follow the environment at each start: what is written here is lost."""

    form = BridgeForm
    list_display = ["slug", "kind", "base_url", "synced_at"]
    list_filter = ["kind"]
    search_fields = ["slug", "base_url"]
    ordering = ["slug"]
    actions = ["reconcile", "renew_webhook_secret"]
    fields = ["slug", "kind", "base_url", "api_key", "key_is_set", "webhook_address", "synced_at", "created_at"]
    readonly_fields = ["key_is_set", "webhook_address", "synced_at", "created_at"]

    def get_fields(self, request: HttpRequest, obj: Bridge | None = None) -> Any:  # noqa: ARG002
        if obj is None:
            return ["slug", "kind", "base_url", "api_key"]
        return [name for name in self.fields if name != "api_key" or not _follows_environment(obj)]

    def get_readonly_fields(self, request: HttpRequest, obj: Bridge | None = None) -> Any:  # noqa: ARG002
        if obj is not None and _follows_environment(obj):
            return ["slug", "kind", "base_url", *self.readonly_fields]
        return self.readonly_fields

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        bridge = super().get_object(request, object_id, from_field)
        if bridge is not None:
            webhook = reverse("webhook", args=[bridge.slug, bridge.webhook_secret])
            bridge.full_webhook_address = request.build_absolute_uri(webhook)
        return bridge

    def has_delete_permission(self, request: HttpRequest, obj: Bridge | None = None) -> bool:
        return super().has_delete_permission(request, obj) and obj is not None and not _follows_environment(obj)

    def save_model(self, request: HttpRequest, obj: Bridge, form: Any, change: bool) -> None:
        obj.webhook_secret = obj.webhook_secret or secrets.token_urlsafe(32)
        super().save_model(request, obj, form, change)

    @display(description="API key", boolean=True)
    def key_is_set(self, bridge: Bridge) -> bool:
        return bool(bridge.api_key)

    @display(description="webhook address")
    def webhook_address(self, bridge: Any) -> str:
        return format_html(
            '<code style="user-select: all; overflow-wrap: anywhere">{}</code>'
            '<p class="mt-2">Give it to the bridge, and to nobody else: who knows it can write as anyone.</p>',
            bridge.full_webhook_address,
        )

    @admin.action(description="Reconcile sessions with what the bridge has")
    def reconcile(self, request: HttpRequest, queryset: QuerySet[Bridge]) -> None:
        for bridge in queryset:
            try:
                report = services.sync_bridge(bridge)
            except BridgeFailed as exc:
                self.message_user(request, f"{bridge.slug}: {exc}", messages.ERROR)
                continue
            changes = [f"{what}: {', '.join(names)}" for what, names in report.items() if names]
            self.message_user(request, f"{bridge.slug}: {'; '.join(changes) or 'nothing has changed'}.")

    @admin.action(description="Make a new webhook secret")
    def renew_webhook_secret(self, request: HttpRequest, queryset: QuerySet[Bridge]) -> None:
        for bridge in queryset:
            if _follows_environment(bridge):
                self.message_user(
                    request,
                    f"{bridge.slug} has the secret of WHATSAPP_WEBHOOK_SECRET: set another one there.",
                    messages.WARNING,
                )
                continue
            bridge.webhook_secret = secrets.token_urlsafe(32)
            bridge.save(update_fields=["webhook_secret"])
            self.message_user(request, f"{bridge.slug} has a new webhook address: give it to the bridge.")


def _follows_environment(bridge: Bridge) -> bool:
    return bridge.slug in {Bridge.DEFAULT, Bridge.SIMULATOR}


# --- agent profiles -----------------------------------------------------------------------------------------------


def _tools_to_tick() -> list[tuple[str, str]]:
    return [(name, f"{name}: {about}") for name, about in sorted(profiles.TOOLS.items())]


class AgentProfileForm(forms.ModelForm):
    tools = forms.MultipleChoiceField(
        choices=_tools_to_tick,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What the model may do and look up by itself.",
    )

    class Meta:
        model = AgentProfile
        fields = [*profiles.VERSIONED, "name", "is_default"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = [profiles.tool_called(str(name)) for name in self.initial.get("tools", default_tools())]
        self.initial["tools"] = [name for name in named if name]


@admin.register(AgentProfile)
class AgentProfileAdmin(StaffOnlyAdmin, FastChangeList, ModelAdmin):
    """Staff read the profiles of their sessions; a profile may answer elsewhere too, so administrators write it."""

    form = AgentProfileForm
    list_display = ["name", "purpose", "model", "answers_groups", "is_default", "version", "updated_at"]
    list_filter = ["is_default", "answers_groups"]
    search_fields = ["name", "purpose"]
    ordering = ["name"]
    actions = ["make_default"]
    readonly_fields = ["is_default", "version", "created_at", "updated_at"]
    warn_unsaved_form = True
    change_form_outer_after_template = "sessions_app/versions.html"
    fieldsets = [
        (None, {"fields": ["name", "purpose", "instructions", "is_default"]}),
        ("Model", {"fields": ["model", "temperature", "history_tokens", "max_output_tokens", "tools"]}),
        ("When it answers", {"fields": ["debounce_s", "debounce_max_s", "max_answer_age_s", "answers_groups"]}),
        ("When it does not", {"fields": ["takeover_s", "fallback_text"]}),
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
        """Make an old version the present one."""
        profile = self.get_queryset(request).filter(pk=object_id).first()
        if profile is None or not self.has_change_permission(request):
            raise Http404
        try:
            profile = profiles.roll_back(profile=profile, version=version, by=staff_user(request))
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        else:
            self.log_change(request, profile, f"Brought version {version} back.")
            self.message_user(request, f"{profile} is again as it was in version {version}.")
        return HttpResponseRedirect(reverse("admin:sessions_app_agentprofile_change", args=[object_id]))

    def save_model(self, request: HttpRequest, obj: AgentProfile, form: Any, change: bool) -> None:
        """By the service, which keeps each version; the form has seen to it that the name is free."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if change:
            kept = profiles.change_profile(profile=obj, by=staff_user(request), **values)
        else:
            kept = profiles.create_profile(by=staff_user(request), **values)
        obj.pk = kept.pk

    @admin.action(description="Make it the default", permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[AgentProfile]) -> None:
        if len(queryset) != 1:
            self.message_user(request, "Choose one profile.", messages.ERROR)
            return
        profile = profiles.change_profile(profile=queryset[0], by=staff_user(request), is_default=True)
        self.message_user(request, f"Sessions that name no profile get {profile} from now on.")


# --- sessions -----------------------------------------------------------------------------------------------------


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]
    verbose_name = "member"
    verbose_name_plural = "members: staff who are not administrators see this session only when they are listed here"

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


@admin.register(WhatsAppSession)
class WhatsAppSessionAdmin(SessionScopedAdmin, FastChangeList, ModelAdmin):
    """Linking and ending are done with the buttons of a session's page; the bridge says how it stands."""

    session_path = "pk"
    list_display = ["name", "bridge", "link_status", "phone", "agent_profile", "access_policy", "linked_at", "ended_at"]
    list_select_related = ["bridge", "agent_profile"]
    list_filter = ["status", "access_policy", ("ended_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "phone", "display_name"]
    ordering = ["name"]
    actions = ["connect_again"]
    inlines = [MembershipInline]
    readonly_fields = [
        "bridge", "name", "status", "status_reason", "status_changed_at", "phone", "display_name", "linked_at",
        "ended_at", "created_at", "conversations_link",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["agent_profile", "access_policy", "conversations_link"]}),
        ("What the bridge says", {"fields": ["bridge", "name", "phone", "display_name", "status", "status_reason",
                                             "status_changed_at", "linked_at", "ended_at", "created_at"]}),
    ]  # fmt: skip
    change_form_outer_before_template = "sessions_app/link.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False  # ending one keeps the record

    # --- the pages ------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<uuid:object_id>/link/", self.admin_site.admin_view(require_GET(self.link_view)), name="session-link"
            ),
            path(
                "<uuid:object_id>/link/<slug:what>/",
                self.admin_site.admin_view(require_POST(self.act_view)),
                name="session-act",
            ),
        ]
        return own + super().get_urls()

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponseBase:
        """Linking asks the bridge, so it is not done as saving a row is: nothing is kept when the bridge refuses."""
        if not self.has_add_permission(request):
            return super().add_view(request, form_url, extra_context)  # says no
        usual = {
            "bridge": Bridge.objects.filter(slug=Bridge.DEFAULT).first(),
            "agent_profile": services.default_profile(),
        }
        form = LinkForm(request.POST if request.method == "POST" else None, initial=usual)
        if form.is_valid():
            try:
                session = services.start_session(**form.cleaned_data, user=staff_user(request))
            except AppError as exc:
                form.add_error(None, str(exc))
            else:
                self.log_addition(request, session, "Started linking.")
                return HttpResponseRedirect(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]))
        context = self.admin_site.each_context(request) | {
            "title": "Link a number", "form": form, "opts": self.opts, "media": self.media,
        }  # fmt: skip
        return render(request, "sessions_app/start_linking.html", context, status=400 if form.errors else 200)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        session = self.get_object(request, object_id)
        context = (extra_context or {}) | (self._link_context(request, session) if session else {})
        return super().change_view(request, object_id, form_url, context)

    def link_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """How the link stands, for the page to show without reloading. While it is being made the bridge is asked."""
        session = self.visible_or_404(request, object_id)
        now = timezone.now()
        is_recent = session.status_changed_at and session.status_changed_at > now - ASK_BRIDGE_AFTER
        if self.has_change_permission(request) and _is_being_linked(session) and not is_recent:
            try:
                session = services.refresh_session(session)
            except BridgeFailed as exc:
                session.status_reason = str(exc)
        status = 200 if _is_being_linked(session) else STOP_ASKING
        return render(request, "sessions_app/link_state.html", self._link_context(request, session), status=status)

    def act_view(self, request: HttpRequest, object_id: UUID, what: str) -> HttpResponse:
        """Connect, restart, log out or end a session; the page says what came of it."""
        session = self.visible_or_404(request, object_id)
        act = ACTS.get(what)
        if act is None or not self.has_change_permission(request):
            raise Http404
        try:
            session = act(session)
        except AppError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        else:
            self.log_change(request, session, f"{what}: {session.status}")
            self.message_user(request, f"{session.name}: {session.get_status_display()}.")
        return HttpResponseRedirect(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]))

    def _link_context(self, request: HttpRequest, session: WhatsAppSession) -> dict[str, Any]:
        can = services.adapter_for(session.bridge).capabilities
        return {
            "session": session,
            "may_link": self.has_change_permission(request),
            "is_being_linked": _is_being_linked(session),
            "is_connected": session.status == WhatsAppSession.Status.CONNECTED and session.ended_at is None,
            "can_restart": Capability.RESTART in can and session.ended_at is None,
            "can_log_out": Capability.LOGOUT in can and session.ended_at is None,
            "qr": base64.b64encode(session.qr_png).decode() if session.qr_png else "",
            "qr_is_fresh": bool(session.qr_expires_at is None or session.qr_expires_at > timezone.now()),
        }

    # --- what is shown --------------------------------------------------------------------------------------------
    @display(description="status", ordering="status", label=STATUS_COLOURS)
    def link_status(self, session: WhatsAppSession) -> str:
        return session.get_status_display()

    @display(description="conversations")
    def conversations_link(self, session: WhatsAppSession) -> str:
        url = reverse("admin:messaging_conversation_changelist")
        query = urlencode({"session__id__exact": session.pk})
        return format_html('<a class="text-link" href="{}?{}">Conversations of this number</a>', url, query)

    @admin.action(description="Connect again", permissions=["change"])
    def connect_again(self, request: HttpRequest, queryset: QuerySet[WhatsAppSession]) -> None:
        for session in queryset.select_related("bridge"):
            try:
                session = services.reconnect_session(session)
            except AppError as exc:
                self.message_user(request, f"{session.name}: {exc}", messages.ERROR)
            else:
                self.message_user(request, f"{session.name}: {session.get_status_display()}.")


ACTS: dict[str, Callable[[WhatsAppSession], WhatsAppSession]] = {
    "connect": services.reconnect_session,
    "restart": services.restart_session,
    "logout": services.logout_session,
    "end": services.end_session,
}


def _is_being_linked(session: WhatsAppSession) -> bool:
    status = WhatsAppSession.Status
    return session.ended_at is None and session.status in {status.INITIALIZING, status.QR_WAITING, status.CONNECTING}


class LinkForm(forms.Form):
    name = forms.RegexField(
        rf"^{services.SESSION_NAME}\Z",
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="Yours to choose, like “sales”: letters, digits and _ . -, no spaces. It cannot be changed later.",
        error_messages={"invalid": "Use letters, digits and _ . -, and begin with a letter or digit."},
    )
    bridge = forms.ModelChoiceField(Bridge.objects.order_by("slug"), widget=UnfoldAdminSelectWidget)
    agent_profile = forms.ModelChoiceField(
        AgentProfile.objects.order_by("-is_default", "name"),
        widget=UnfoldAdminSelectWidget,
        help_text="Who answers there.",
    )


# --- API keys -----------------------------------------------------------------------------------------------------


class SessionsField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return _name_at_bridge(obj)


class KeyForm(ApiKeyForm):
    session_ids = SessionsField(
        WhatsAppSession.objects.select_related("bridge").order_by("name"),
        label="Sessions",
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="The sessions it may see. None: all its user sees.",
    )

    class Meta(ApiKeyForm.Meta):
        fields = [*ApiKeyForm.Meta.fields, "session_ids"]

    def clean_session_ids(self) -> list[UUID]:
        return [session.pk for session in self.cleaned_data["session_ids"]]


@admin.register(ApiKey)
class KeyAdmin(ApiKeyAdmin):
    form = KeyForm

    @display(description="sessions")
    def sessions(self, key: ApiKey) -> str:
        if not key.session_ids:
            return "all its user sees"
        named = dict(WhatsAppSession.objects.filter(pk__in=key.session_ids).values_list("pk", "name"))
        return ", ".join(named.get(pk, str(pk)) for pk in key.session_ids)
