"""The record of each command run: who ran what with which arguments, and the result."""

from typing import Any, Self

from django.db import models
from django.utils import timezone
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
        CHAT = "chat", "typed in a chat"
        API = "api", "API"
        TOOL = "tool", "tool of the model"
        CLI = "cli", "manage.py"

    class Caller(models.TextChoices):
        CONTACT = "contact"
        MODEL = "model", "the model, for a contact"
        OWNER = "owner", "owner of the number"
        STAFF = "staff"
        ADMIN = "admin", "administrator"

    class Status(models.TextChoices):
        DONE = "done"
        INVALID = "invalid", "invalid: the arguments do not fit"
        REFUSED = "refused", "refused: the caller may not"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="command_runs")
    turn = models.ForeignKey(Turn, null=True, blank=True, on_delete=models.SET_NULL, related_name="command_runs")
    name = models.CharField(max_length=64)
    surface = models.CharField(max_length=4, choices=Surface)
    caller = models.CharField(max_length=7, choices=Caller)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    contact = models.ForeignKey(Contact, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    arguments = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=7, choices=Status)
    text = models.TextField(blank=True, help_text="The result as text.")
    data = models.JSONField(default=dict, blank=True)  # for programs; {"fields": {name: [errors]}} if invalid
    error_code = models.CharField(max_length=50, blank=True)
    error = models.CharField(max_length=300, blank=True)
    # Identifies a run when its turn is begun again; null: every run is a new one.
    key = models.CharField(max_length=200, null=True, blank=True, unique=True, editable=False)
    started_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)  # when it ended

    objects = CommandRunQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["conversation", "-created_at", "-id"], name="run_latest"),
            models.Index(fields=["-created_at", "-id"], name="run_latest_of_all"),
        ]

    def __str__(self) -> str:
        return f"{self.name} by {self.caller}"
