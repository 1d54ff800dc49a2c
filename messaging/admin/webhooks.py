"""Webhook endpoints of customers, and the deliveries to them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from accounts.admin_pages import FastChangeList, OperatorAdmin, ReadOnlyAdmin, StaffOnlyAdmin, asks_first
from messaging.admin.shared import format_time
from messaging.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from messaging.webhooks import deliveries, endpoints
from whatsapp_agent.errors import AppError

HEALTH_FIELDS = ["failing_since", "failures", "next_try_at", "last_success_at", "created_at"]


DELIVERY_COLOURS = {
    WebhookDelivery.Status.PENDING: "info",
    WebhookDelivery.Status.DELIVERED: "success",
    WebhookDelivery.Status.FAILED: "danger",
}


class EndpointScopedAdmin(StaffOnlyAdmin):
    """Show only the rows of endpoints that the user may see; `endpoint_path` leads from a row to its endpoint."""

    endpoint_path = "pk"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows: QuerySet = super().get_queryset(request)  # type: ignore[misc]
        return rows.filter(**{f"{self.endpoint_path}__in": WebhookEndpoint.objects.visible_to(request.user)})


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(OperatorAdmin, ReadOnlyAdmin, EndpointScopedAdmin, FastChangeList, ModelAdmin):
    """Endpoints are created by the API, which shows their secret. Here they are watched, enabled and disabled."""

    list_display = ["__str__", "url", "owner", "is_enabled", "failing_since", "last_success_at"]
    list_select_related = ["owner"]
    list_filter = ["is_enabled", ("failing_since", admin.EmptyFieldListFilter)]
    search_fields = ["url", "description"]
    ordering = ["-id"]
    actions = ["enable", "disable", "send_test"]
    fieldsets = [
        (None, {"fields": ["url", "description", "owner", "types", "all_sessions", "sessions"]}),
        (gettext_lazy("Health"), {"fields": ["is_enabled", "disabled_reason", "disabled_at", *HEALTH_FIELDS]}),
    ]

    @admin.action(description=gettext_lazy("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        self._apply_to_each(request, queryset, endpoints.enable, "Enabled.", _("enabled"))

    @admin.action(description=gettext_lazy("Disable"), permissions=["operate"])
    @asks_first(
        gettext_lazy(
            "Nothing is delivered to these addresses until they are enabled again. What they miss follows then, as "
            "far as it is still stored."
        ),
        about=lambda rows: rows.filter(is_enabled=True),
    )
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        disable = partial(endpoints.disable, reason=f"disabled by {request.user}")
        self._apply_to_each(request, queryset, disable, "Disabled.", _("disabled"))

    @admin.action(description=gettext_lazy("Send a test event"), permissions=["operate"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        self._apply_to_each(request, queryset, deliveries.send_test, "Sent a test event.", _("test event queued"))

    def _apply_to_each(
        self, request: HttpRequest, rows: QuerySet, act: Callable[[Any], Any], entry: str, done: str
    ) -> None:
        for endpoint in rows:
            try:
                act(endpoint)
            except AppError as exc:
                self.message_user(request, f"{endpoint}: {exc}", messages.ERROR)
            else:
                self.log_change(request, endpoint, entry)
                self.message_user(request, f"{endpoint}: {done}.")


class AttemptInline(ReadOnlyAdmin, TabularInline):
    model = WebhookAttempt
    fields = readonly_fields = ["at", "status_code", "error", "answer", "duration_ms"]
    ordering = ["-at", "-id"]
    extra = 0
    per_page = 20

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return True  # the delivery's page has checked it


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OperatorAdmin, ReadOnlyAdmin, EndpointScopedAdmin, FastChangeList, ModelAdmin):
    endpoint_path = "endpoint"
    list_display = ["queued_at", "endpoint", "type", "delivery_status", "tries", "next_try_at", "delivered_at"]
    list_select_related = ["endpoint"]
    list_filter = ["status", "type"]
    ordering = ["-id"]
    actions = ["redeliver"]
    inlines = [AttemptInline]

    @display(description=gettext_lazy("at"), ordering="id")
    def queued_at(self, delivery: WebhookDelivery) -> str:
        return format_time(delivery.created_at)

    @display(description=gettext_lazy("status"), ordering="status", label=DELIVERY_COLOURS)
    def delivery_status(self, delivery: WebhookDelivery) -> tuple[str, str]:
        return delivery.status, delivery.get_status_display()

    @admin.action(description=gettext_lazy("Deliver again"), permissions=["operate"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        queued = 0
        for delivery in queryset.select_related("endpoint"):
            try:
                deliveries.redeliver(delivery)
                self.log_change(request, delivery, "Delivered again.")
                queued += 1
            except AppError as exc:
                self.message_user(request, f"{delivery.pk}: {exc}", messages.ERROR)
        if queued:
            self.message_user(
                request,
                ngettext("Queued %(count)s event for delivery.", "Queued %(count)s events for delivery.", queued)
                % {"count": queued},
            )
