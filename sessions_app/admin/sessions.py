"""Admin pages of WhatsApp sessions: linking, status, members."""

import base64
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from django.views.decorators.http import require_GET, require_POST
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.admin_pages import FastChangeList, SingleLineAdmin, asks_first, is_administrator, staff_user
from agent.bridges.addresses import phone_as_written
from agent.bridges.capabilities import Capability
from sessions_app import bridges, services
from sessions_app.admin.link_reasons import describe_reason
from sessions_app.admin.scoped import SessionScopedAdmin
from sessions_app.links.account_limits import active_limits
from sessions_app.links.problems import link_problem
from sessions_app.links.registration import register_number
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession
from whatsapp_agent.errors import AppError, BridgeFailed
from whatsapp_agent.text.stored import translate_stored

STATUS_COLOURS = {
    WhatsAppSession.Status.CONNECTED: "success",
    WhatsAppSession.Status.QR_WAITING: "warning",
    WhatsAppSession.Status.CONNECTING: "info",
    WhatsAppSession.Status.INITIALIZING: "info",
    WhatsAppSession.Status.DISCONNECTED: "danger",
    WhatsAppSession.Status.LOGGED_OUT: "danger",
}
ASK_BRIDGE_AFTER = timedelta(seconds=2)
STOP_POLLING = 286  # the status at which htmx stops polling, https://htmx.org/docs/#polling


class MembershipInline(TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]
    verbose_name = gettext_lazy("member")
    verbose_name_plural = gettext_lazy(
        "members: staff who are not administrators see this number only when they are listed here"
    )

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


class SessionForm(forms.ModelForm):
    owner_phone = forms.CharField(
        label=gettext_lazy("Owner phone"),
        required=False,
        max_length=40,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy(
            "Messages from this phone may run the owner's commands, as may the linked number itself."
        ),
    )

    group_policy = forms.ChoiceField(
        label=gettext_lazy("Group policy"),
        choices=WhatsAppSession.GroupPolicy.choices,
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=WhatsAppSession._meta.get_field("group_policy").help_text,
    )

    class Meta:
        model = WhatsAppSession
        fields = ["agent_profile", "access_policy", "group_policy", "owner_phone", "time_zone", "send_rate_per_minute"]

    def clean_group_policy(self) -> str:
        return self.cleaned_data["group_policy"] or self.instance.group_policy

    def clean_owner_phone(self) -> str:
        given = self.cleaned_data["owner_phone"]
        phone = phone_as_written(given) if given else ""
        if phone is None:
            raise forms.ValidationError(_("Write it with its country code, like +55 11 98888-7777."))
        return phone


@admin.register(WhatsAppSession)
class WhatsAppSessionAdmin(SingleLineAdmin, SessionScopedAdmin, FastChangeList, ModelAdmin):
    """Sessions are linked and ended with buttons on their page; their status comes from the bridge."""

    form = SessionForm
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
        "ended_at", "created_at", "conversations_link", "prices",
    ]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["agent_profile", "access_policy", "group_policy", "owner_phone", "time_zone",
                           "send_rate_per_minute", "conversations_link"]}),
        (gettext_lazy("From the bridge"), {"fields": ["bridge", "name", "phone", "display_name", "status",
                                             "status_reason", "status_changed_at", "linked_at", "ended_at",
                                             "created_at"]}),
    ]  # fmt: skip
    change_form_outer_before_template = "sessions_app/link.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False  # sessions are ended, not deleted

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "agent_profile":
            kwargs["queryset"] = AgentProfile.objects.live().order_by("name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    # --- pages ----------------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<uuid:object_id>/link/", self.admin_site.admin_view(require_GET(self.link_view)), name="session-link"
            ),
            path(
                "<uuid:object_id>/link/pairing-code/",
                self.admin_site.admin_view(require_POST(self.pairing_code_view)),
                name="session-pairing-code",
            ),
            path(
                "<uuid:object_id>/link/<slug:action>/",
                self.admin_site.admin_view(require_POST(self.act_view)),
                name="session-act",
            ),
        ]
        return own + super().get_urls()

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponseBase:
        """Ask the bridge to link a number. Nothing is stored if the bridge refuses."""
        if not self.has_add_permission(request):
            return super().add_view(request, form_url, extra_context)  # refuses
        initial = {
            "bridge": Bridge.objects.filter(slug=Bridge.DEFAULT).first(),
            "agent_profile": services.default_profile(),
        }
        form = LinkForm(request.POST if request.method == "POST" else None, initial=initial)
        if form.is_valid():
            try:
                session = services.start_session(**form.cleaned_data, user=staff_user(request))
            except AppError as exc:
                form.add_error(None, translate_stored(str(exc)))
            else:
                self.log_addition(request, session, gettext_noop("Started linking."))
                return HttpResponseRedirect(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]))
        context = self.admin_site.each_context(request) | {
            "title": _("Link a number"), "form": form, "opts": self.opts, "media": self.media,
        }  # fmt: skip
        return render(request, "sessions_app/start_linking.html", context, status=400 if form.errors else 200)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        session = self.get_object(request, object_id)
        context = (extra_context or {}) | (self._link_context(request, session) if session else {})
        return super().change_view(request, object_id, form_url, context)

    def link_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Render the link's status, which the page polls. Asks the bridge while the number is being linked."""
        session = self.visible_or_404(request, object_id)
        now = timezone.now()
        is_recent = session.status_changed_at and session.status_changed_at > now - ASK_BRIDGE_AFTER
        if self.has_change_permission(request) and _is_being_linked(session) and not is_recent:
            try:
                session = services.refresh_session(session)
            except BridgeFailed as exc:
                session.status_reason = str(exc)
        status = 200 if _is_being_linked(session) else STOP_POLLING
        return render(request, "sessions_app/link_state.html", self._link_context(request, session), status=status)

    def act_view(self, request: HttpRequest, object_id: UUID, action: str) -> HttpResponse:
        """Connect, register, restart, log out or end a session, then show its page with the result."""
        session = self.visible_or_404(request, object_id)
        register = partial(register_number, pin=request.POST.get("pin", "").strip())
        act = register if action == "register" else ACTIONS.get(action)
        if act is None or not self.has_change_permission(request):
            raise Http404
        try:
            session = act(session)
        except AppError as exc:
            self.message_user(request, translate_stored(str(exc)), messages.ERROR)
        else:
            self.log_change(request, session, f"{action}: {session.status}")
            self.message_user(request, f"{session.name}: {session.get_status_display()}.")
        return HttpResponseRedirect(reverse("admin:sessions_app_whatsappsession_change", args=[session.pk]))

    def pairing_code_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Render a code to type on the phone, or why there is none. It is shown once and stored nowhere."""
        session = self.visible_or_404(request, object_id)
        if not self.has_change_permission(request):
            raise Http404
        context: dict[str, Any] = {}
        try:
            context["code"] = services.request_pairing_code(session, phone=request.POST.get("phone", "")[:40])
        except AppError as exc:
            context["error"] = translate_stored(str(exc))
        else:
            self.log_change(request, session, "Requested a pairing code.")
        return render(request, "sessions_app/pairing_code.html", context)

    def _link_context(self, request: HttpRequest, session: WhatsAppSession) -> dict[str, Any]:
        capabilities = bridges.adapter_for(session.bridge).capabilities
        return {
            "session": session,
            "reason": describe_reason(session.status_reason),
            "problem": link_problem(session),
            "limits": active_limits(session) if session.ended_at is None else [],
            "may_link": self.has_change_permission(request),
            "is_being_linked": _is_being_linked(session),
            "is_connected": session.status == WhatsAppSession.Status.CONNECTED and session.ended_at is None,
            "can_pair": Capability.LINK_BY_PAIRING_CODE in capabilities and _is_being_linked(session),
            "can_register": Capability.REGISTER in capabilities and session.ended_at is None,
            "can_restart": Capability.RESTART in capabilities and session.ended_at is None,
            "can_log_out": Capability.LOGOUT in capabilities and session.ended_at is None,
            "qr": base64.b64encode(session.qr_png).decode() if session.qr_png else "",
            "qr_is_fresh": bool(session.qr_expires_at is None or session.qr_expires_at > timezone.now()),
        }

    # --- columns and fields ---------------------------------------------------------------------------------------
    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or bridges.adapter_for(obj.bridge).free_replies_per_month is None:
            return fieldsets
        return [*fieldsets, (_("Prices"), {"fields": ["prices"]})]

    @display(description=gettext_lazy("this month"))
    def prices(self, session: WhatsAppSession) -> str:
        return str(bridges.prices_of([session])[session.pk])

    @display(description=gettext_lazy("status"), ordering="status", label=STATUS_COLOURS)
    def link_status(self, session: WhatsAppSession) -> tuple[str, str]:
        return session.status, session.get_status_display()

    @display(description=gettext_lazy("conversations"))
    def conversations_link(self, session: WhatsAppSession) -> str:
        link = f"{reverse('inbox')}?{urlencode({'session': session.pk})}"
        return format_html('<a class="text-link" href="{}">{}</a>', link, _("Conversations of this number"))

    @admin.action(description=gettext_lazy("Connect again"), permissions=["change"])
    @asks_first(
        gettext_lazy(
            "The bridge is asked to connect the number. A QR code that is shown becomes invalid, and a new one may "
            "have to be scanned."
        )
    )
    def connect_again(self, request: HttpRequest, queryset: QuerySet[WhatsAppSession]) -> None:
        for session in queryset.select_related("bridge"):
            try:
                session = services.reconnect_session(session)
            except AppError as exc:
                self.message_user(request, f"{session.name}: {translate_stored(str(exc))}", messages.ERROR)
            else:
                self.log_change(request, session, f"connect: {session.status}")
                self.message_user(request, f"{session.name}: {session.get_status_display()}.")


ACTIONS: dict[str, Callable[[WhatsAppSession], WhatsAppSession]] = {
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
        label=gettext_lazy("Name"),
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy(
            "A name like “sales”: letters, digits and _ . -, no spaces. It cannot be changed later."
        ),
        error_messages={
            "invalid": gettext_lazy("Invalid name. Use letters, digits and _ . -, and begin with a letter or digit.")
        },
    )
    bridge = forms.ModelChoiceField(
        Bridge.objects.order_by("slug"), label=gettext_lazy("Bridge"), widget=UnfoldAdminSelectWidget
    )
    agent_profile = forms.ModelChoiceField(
        AgentProfile.objects.live().order_by("-is_default", "name"),
        label=gettext_lazy("Agent profile"),
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("The profile that answers messages to this number."),
    )
