"""The record of each command run: who ran what with which arguments, and the result."""

from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models import Contact, Conversation, Turn
from sessions_app.models import within_sessions_of


class CommandRunQuerySet(models.QuerySet["CommandRun"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="conversation__session")


class CommandRun(models.Model):
    """One run of a command, also one that was refused."""

    class Surface(models.TextChoices):
        CHAT = "chat", _("typed in a chat")
        API = "api", _("API")
        TOOL = "tool", _("tool of the model")
        CLI = "cli", _("manage.py")

    class Caller(models.TextChoices):
        CONTACT = "contact", _("Contact")
        MODEL = "model", _("the model, for a contact")
        OWNER = "owner", _("owner of the number")
        STAFF = "staff", _("Staff")
        ADMIN = "admin", _("administrator")

    class Status(models.TextChoices):
        DONE = "done", _("Done")
        INVALID = "invalid", _("invalid: the arguments do not fit")
        REFUSED = "refused", _("refused: the caller may not")
        FAILED = "failed", _("Failed")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(
        Conversation, verbose_name=_("conversation"), on_delete=models.CASCADE, related_name="command_runs"
    )
    turn = models.ForeignKey(
        Turn, verbose_name=_("turn"), null=True, blank=True, on_delete=models.SET_NULL, related_name="command_runs"
    )
    name = models.CharField(_("name"), max_length=64)
    surface = models.CharField(_("surface"), max_length=4, choices=Surface)
    caller = models.CharField(_("caller"), max_length=7, choices=Caller)
    user = models.ForeignKey(
        User, verbose_name=_("user"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    contact = models.ForeignKey(
        Contact, verbose_name=_("contact"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    arguments = models.JSONField(_("arguments"), default=dict, blank=True)
    status = models.CharField(_("status"), max_length=7, choices=Status)
    text = models.TextField(_("text"), blank=True, help_text=_("The result as text."))
    data = models.JSONField(
        _("data"), default=dict, blank=True
    )  # for programs; {"fields": {name: [errors]}} if invalid
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)
    # Identifies a run when its turn is begun again; null: every run is a new one.
    key = models.CharField(_("key"), max_length=200, null=True, blank=True, unique=True, editable=False)
    started_at = models.DateTimeField(_("started at"), default=timezone.now)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)  # when it ended

    objects = CommandRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("command run")
        verbose_name_plural = _("command runs")
        indexes = [
            models.Index(fields=["conversation", "-created_at", "-id"], name="run_latest"),
            models.Index(fields=["-created_at", "-id"], name="run_latest_of_all"),
        ]

    def __str__(self) -> str:
        return f"{self.name} by {self.caller}"
