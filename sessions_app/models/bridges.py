"""Bridges."""

from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from agent.bridges import ADAPTERS
from sessions_app.encryption import EncryptedTextField


def bridge_kinds() -> list[tuple[str, str]]:
    return [(kind, kind) for kind in ADAPTERS]


class Bridge(models.Model):
    """An HTTP service that holds links to WhatsApp. The bridge `default` is configured by the environment."""

    DEFAULT = "default"
    SIMULATOR = "simulator"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(_("slug"), unique=True, help_text=_("Part of the webhook address."))
    kind = models.CharField(_("kind"), max_length=20, choices=bridge_kinds)
    base_url = models.URLField(_("base url"), blank=True)
    api_key = EncryptedTextField(_("api key"), blank=True)
    webhook_secret = EncryptedTextField(_("webhook secret"), help_text=_("The last part of the webhook address."))
    # Accepted until then, because a bridge goes on using it until it has the new address, and sends again what failed.
    former_webhook_secret = EncryptedTextField(blank=True, default="", db_default="", editable=False)
    former_webhook_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    signing_key = EncryptedTextField(
        _("signing key"),
        blank=True,
        help_text=_(
            "The key of its webhook signatures: WAHA's HMAC key, Meta's app secret, the value of "
            "Evolution's X-Webhook-Secret. Empty: the secret in the address is the only proof."
        ),
    )
    verify_token = EncryptedTextField(
        _("verify token"),
        blank=True,
        help_text=_("The token for Meta's verification of the webhook. Empty: the webhook secret."),
    )
    synced_at = models.DateTimeField(_("synced at"), null=True, editable=False)
    # By how many seconds the times of its messages are ahead of our clock, as last measured (`bridge_clocks`).
    clock_offset_s = models.FloatField(default=0, db_default=0, editable=False)
    clock_offset_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    row_version = ""  # of a remembered bridge (`sessions_app.bridges`); its row may have changed since

    class Meta:
        verbose_name = _("bridge")
        verbose_name_plural = _("bridges")

    def __str__(self) -> str:
        return f"{self.slug} ({self.kind})"

    @property
    def accepted_former_secret(self) -> str:
        """Return the former webhook secret while it is accepted, else an empty text."""
        until = self.former_webhook_secret_until
        return self.former_webhook_secret if until is not None and until > timezone.now() else ""

    @property
    def webhook_path(self) -> str:
        return reverse("webhook", args=[self.slug, self.webhook_secret]) if self.webhook_secret else ""
