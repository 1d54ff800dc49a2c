"""Message templates of a Cloud API account: what may be sent to people who have not written for a day."""

from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from sessions_app.models import WhatsAppSession, within_sessions_of

APPROVED = "APPROVED"


class MessageTemplateQuerySet(models.QuerySet["MessageTemplate"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)


class MessageTemplate(models.Model):
    """A template as it was at the last sync. `placeholders` are those of its body, in the order of the parameters.

    `header` is `text`, or the kind of its file: `image`, `video`, `document`. `buttons` are those that take a
    parameter: {index, type, text}.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        WhatsAppSession, verbose_name=_("number"), on_delete=models.CASCADE, related_name="message_templates"
    )
    account = models.CharField(_("account"), max_length=50, help_text=_("The business account (WABA) that it is of."))
    name = models.CharField(_("name"), max_length=512)
    language = models.CharField(_("language"), max_length=20)
    status = models.CharField(
        _("status"), max_length=30, help_text=_("As Meta has it; only APPROVED ones can be sent.")
    )
    category = models.CharField(_("category"), max_length=30, blank=True)
    body = models.TextField(_("body"), blank=True)
    placeholders = ArrayField(models.CharField(max_length=60), verbose_name=_("placeholders"), default=list, blank=True)
    header = models.CharField(_("header"), max_length=10, blank=True, default="", db_default="")
    header_text = models.TextField(_("header text"), blank=True, default="", db_default="")
    header_placeholders = ArrayField(
        models.CharField(max_length=60), verbose_name=_("header placeholders"), default=list, db_default=[], blank=True
    )
    buttons = models.JSONField(_("buttons with a parameter"), default=list, db_default=[], blank=True)
    unsupported = models.CharField(
        _("unsupported"), max_length=200, blank=True, help_text=_("Why it cannot be sent from here.")
    )
    synced_at = models.DateTimeField(_("synced at"))

    objects = MessageTemplateQuerySet.as_manager()

    class Meta:
        verbose_name = _("message template")
        verbose_name_plural = _("message templates")
        constraints = [
            models.UniqueConstraint(fields=["session", "name", "language"], name="template_once_per_session")
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.language})"
