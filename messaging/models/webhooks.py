"""Webhook endpoints, deliveries and attempts."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.events import Event
from sessions_app.encryption import EncryptedTextField
from sessions_app.models import WhatsAppSession


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def visible_to(self, user: Any) -> Self:
        """Return the user's own endpoints; all for administrators; for an API key with sessions, only theirs."""
        if not user.is_authenticated:
            return self.none()
        if user.restricted_to is not None:
            others = WhatsAppSession.objects.exclude(pk__in=user.restricted_to)
            return self.filter(owner=user, all_sessions=False).exclude(sessions__in=others)
        return self if user.sees_everything else self.filter(owner=user)


class WebhookEndpoint(models.Model):
    """A URL that receives the events its owner may see: see `messaging.webhooks.endpoints`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, verbose_name=_("owner"), on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.CharField(_("url"), max_length=2000)
    description = models.CharField(_("description"), max_length=200, blank=True)
    types = models.JSONField(_("types"), default=list, blank=True, help_text=_("Event types to deliver. Empty: all."))
    all_sessions = models.BooleanField(
        _("all numbers"), default=True, help_text=_("Deliver events of every number the owner may see.")
    )
    sessions = models.ManyToManyField(WhatsAppSession, verbose_name=_("numbers"), blank=True, related_name="+")
    secret = EncryptedTextField(editable=False)
    former_secret = EncryptedTextField(blank=True, editable=False)
    former_secret_until = models.DateTimeField(null=True, blank=True, editable=False)

    is_enabled = models.BooleanField(_("is enabled"), default=True)
    disabled_reason = models.CharField(_("disabled reason"), max_length=200, blank=True)
    disabled_at = models.DateTimeField(_("disabled at"), null=True, blank=True, editable=False)
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    failures = models.PositiveIntegerField(
        _("failures"), default=0, editable=False, help_text=_("Consecutive failed attempts.")
    )
    next_try_at = models.DateTimeField(
        _("next try at"), null=True, blank=True, editable=False
    )  # nothing is sent before
    last_success_at = models.DateTimeField(_("last success at"), null=True, blank=True, editable=False)

    # How far the feed was read, and who is at it.
    read_transaction = models.BigIntegerField(default=0, editable=False)
    read_event = models.BigIntegerField(default=0, editable=False)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = WebhookEndpointQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")

    def __str__(self) -> str:
        return self.description or self.url


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def visible_to(self, user: Any) -> Self:
        return self.filter(endpoint__in=WebhookEndpoint.objects.visible_to(user))


class WebhookDelivery(models.Model):
    """The attempts to post one event to one endpoint."""

    class Status(models.TextChoices):
        PENDING = "pending", _("Pending")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("failed, not retried")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(
        WebhookEndpoint, verbose_name=_("endpoint"), on_delete=models.CASCADE, related_name="deliveries"
    )
    event = models.ForeignKey(
        Event, verbose_name=_("event"), on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    type = models.CharField(_("type"), max_length=40)
    status = models.CharField(_("status"), max_length=9, choices=Status, default=Status.PENDING)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    next_try_at = models.DateTimeField(_("next try at"), default=timezone.now)
    delivered_at = models.DateTimeField(_("delivered at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [models.UniqueConstraint(fields=["endpoint", "event"], name="delivery_once_per_endpoint")]
        indexes = [
            models.Index(fields=["endpoint", "event"], condition=Q(status="pending"), name="delivery_pending"),
            models.Index(fields=["created_at"], name="delivery_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.status}"


class WebhookAttempt(models.Model):
    """One POST of an event to an endpoint, and the response."""

    delivery = models.ForeignKey(
        WebhookDelivery, verbose_name=_("delivery"), on_delete=models.CASCADE, related_name="attempts"
    )
    at = models.DateTimeField(_("at"))
    duration_ms = models.PositiveIntegerField(_("duration ms"))
    status_code = models.PositiveSmallIntegerField(
        _("status code"), null=True, help_text=_("Empty if there was no response.")
    )
    error = models.CharField(_("error"), max_length=30, blank=True)
    answer = models.CharField(_("answer"), max_length=500, blank=True, help_text=_("Beginning of the response body."))

    class Meta:
        verbose_name = _("webhook attempt")
        verbose_name_plural = _("webhook attempts")
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%F %T} {self.status_code or self.error}"
