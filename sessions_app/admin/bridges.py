"""Admin pages of bridges."""

import secrets
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import ActionForm
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
    UnfoldAdminURLInputWidget,
)

from accounts.admin_pages import AdministratorOnlyAdmin, FastChangeList, SingleLineAdmin, asks_first
from agent.bridges.capabilities import Capability
from sessions_app import bridges
from sessions_app.links import reconciliation
from sessions_app.models import Bridge
from whatsapp_agent.errors import BridgeFailed
from whatsapp_agent.text.stored import translate_stored

REPORT = {  # what `sync_bridge` reports
    "added": gettext_lazy("added"),
    "updated": gettext_lazy("updated"),
    "missing": gettext_lazy("missing"),
}


class BridgeActionForm(ActionForm):
    account = forms.CharField(
        label="",
        required=False,
        max_length=50,
        widget=UnfoldAdminTextInputWidget(
            attrs={
                "x-show": "action === 'set_up'",
                "inputmode": "numeric",
                "aria-label": gettext_lazy("Cloud API: id of the business account (WABA)"),
                "placeholder": gettext_lazy("Cloud API: id of the business account (WABA)"),
            }
        ),
    )


class BridgeForm(forms.ModelForm):
    api_key = forms.CharField(
        label=gettext_lazy("API key"),
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Not shown after saving. Leave empty to keep the present key."),
    )

    signing_key = forms.CharField(
        label=gettext_lazy("Signing key"),
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy(
            "The key of its webhook signatures: WAHA's HMAC key, Meta's app secret, the value of "
            "Evolution's X-Webhook-Secret header. Not shown after saving. Leave empty to keep the present key."
        ),
    )

    verify_token = forms.CharField(
        label=gettext_lazy("Verify token"),
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy(
            "The token that Meta sends to verify the webhook; the webhook secret serves if there is none. "
            "Not shown after saving. Leave empty to keep the present token."
        ),
    )

    class Meta:
        model = Bridge
        fields = ["slug", "kind", "base_url", "api_key", "signing_key", "verify_token"]
        field_classes = {"base_url": partial(forms.URLField, assume_scheme="http")}
        labels = {"base_url": gettext_lazy("Base URL")}
        widgets = {"base_url": UnfoldAdminURLInputWidget}

    def clean_api_key(self) -> str:
        return self.cleaned_data["api_key"] or self.instance.api_key

    def clean_signing_key(self) -> str:
        return self.cleaned_data["signing_key"] or self.instance.signing_key

    def clean_verify_token(self) -> str:
        return self.cleaned_data["verify_token"] or self.instance.verify_token


@admin.register(Bridge)
class BridgeAdmin(SingleLineAdmin, AdministratorOnlyAdmin, FastChangeList, ModelAdmin):
    """`default` and `simulator` are read-only: each start sets them from the environment."""

    form = BridgeForm
    action_form = BridgeActionForm
    list_display = ["slug", "kind", "base_url", "synced_at"]
    list_filter = ["kind"]
    search_fields = ["slug", "base_url"]
    ordering = ["slug"]
    actions = ["reconcile", "set_up", "renew_webhook_secret"]
    fields = [
        "slug",
        "kind",
        "base_url",
        "api_key",
        "key_is_set",
        "signing_key",
        "is_signed",
        "verify_token",
        "verify_token_is_set",
        "webhook_address",
        "synced_at",
        "created_at",
    ]
    readonly_fields = ["key_is_set", "is_signed", "verify_token_is_set", "webhook_address", "synced_at", "created_at"]

    def get_fields(self, request: HttpRequest, obj: Bridge | None = None) -> Any:  # noqa: ARG002
        if obj is None:
            return ["slug", "kind", "base_url", "api_key", "signing_key", "verify_token"]
        hidden = {"api_key", "signing_key", "verify_token"} if _is_set_by_environment(obj) else set()
        return [name for name in self.fields if name not in hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Bridge | None = None) -> Any:  # noqa: ARG002
        if obj is not None and _is_set_by_environment(obj):
            return ["slug", "kind", "base_url", *self.readonly_fields]
        return self.readonly_fields

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        bridge = super().get_object(request, object_id, from_field)
        if bridge is not None:
            bridge.full_webhook_address = request.build_absolute_uri(bridge.webhook_path)
        return bridge

    def has_delete_permission(self, request: HttpRequest, obj: Bridge | None = None) -> bool:
        return super().has_delete_permission(request, obj) and obj is not None and not _is_set_by_environment(obj)

    def save_model(self, request: HttpRequest, obj: Bridge, form: Any, change: bool) -> None:
        obj.webhook_secret = obj.webhook_secret or secrets.token_urlsafe(32)
        super().save_model(request, obj, form, change)

    @display(description=gettext_lazy("API key"), boolean=True)
    def key_is_set(self, bridge: Bridge) -> bool:
        return bool(bridge.api_key)

    @display(description=gettext_lazy("signing key"), boolean=True)
    def is_signed(self, bridge: Bridge) -> bool:
        return bool(bridge.signing_key)

    @display(description=gettext_lazy("verify token"), boolean=True)
    def verify_token_is_set(self, bridge: Bridge) -> bool:
        return bool(bridge.verify_token)

    @display(description=gettext_lazy("webhook address"))
    def webhook_address(self, bridge: Any) -> str:
        return format_html(
            '<code style="user-select: all; overflow-wrap: anywhere">{}</code><p class="mt-2">{}</p>',
            bridge.full_webhook_address,
            _("Keep it secret: with it, anyone can post messages as any contact."),
        )

    @admin.action(description=gettext_lazy("Reconcile numbers with what the bridge has"))
    def reconcile(self, request: HttpRequest, queryset: QuerySet[Bridge]) -> None:
        for bridge in queryset:
            try:
                report = reconciliation.sync_bridge(bridge)
            except BridgeFailed as exc:
                self.message_user(request, f"{bridge.slug}: {translate_stored(str(exc))}", messages.ERROR)
                continue
            self.log_change(request, bridge, "Reconciled its sessions.")
            changes = [f"{REPORT[what]}: {', '.join(names)}" for what, names in report.items() if names]
            self.message_user(
                request,
                f"{bridge.slug}: " + ("; ".join(changes) or _("nothing has changed")) + ".",
            )

    @admin.action(description=gettext_lazy("Configure our webhook address at the bridge"))
    @asks_first(
        gettext_lazy(
            "At the bridge, the webhook address of each number is replaced by ours: another program that is configured "
            "there gets nothing more. Some bridges restart their numbers for it."
        ),
        about=lambda rows: [row for row in rows if Capability.SET_WEBHOOK in bridges.adapter_for(row).capabilities],
    )
    def set_up(self, request: HttpRequest, queryset: QuerySet[Bridge]) -> None:
        account = request.POST.get("account", "").strip()
        for bridge in queryset:
            takes_account = bool(bridges.adapter_for(bridge).webhook_fields)
            try:
                lines = bridges.setup_bridge(bridge, account=account if takes_account else "")
            except BridgeFailed as exc:
                self.message_user(request, f"{bridge.slug}: {translate_stored(str(exc))}", messages.ERROR)
                continue
            self.log_change(request, bridge, "Configured our webhook address.")
            for line in lines:
                self.message_user(request, line)

    @admin.action(description=gettext_lazy("Generate a new webhook secret, refuse the former at once"))
    @asks_first(
        gettext_lazy(
            "The former webhook address is refused at once: nothing that a bridge posts arrives until it has the "
            "new one."
        )
    )
    def renew_webhook_secret(self, request: HttpRequest, queryset: QuerySet[Bridge]) -> None:
        for bridge in queryset:
            if bridge.slug == Bridge.DEFAULT and settings.WHATSAPP_WEBHOOK_SECRET:
                self.message_user(
                    request,
                    _("%(slug)s uses WHATSAPP_WEBHOOK_SECRET. Change that setting instead.") % {"slug": bridge.slug},
                    messages.WARNING,
                )
                continue
            bridges.renew_webhook_secret(bridge, accepts_former=False)
            self.log_change(request, bridge, gettext_noop("Generated a new webhook secret."))
            self.message_user(
                request,
                _("%(slug)s has a new webhook address, and the former is refused. Configure it at the bridge.")
                % {"slug": bridge.slug},
            )


def _is_set_by_environment(bridge: Bridge) -> bool:
    return bridge.slug in {Bridge.DEFAULT, Bridge.SIMULATOR}
