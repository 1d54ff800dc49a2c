"""Turns of the agent and their tool calls."""

from typing import Any, Self

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from messaging.models.conversations import Conversation
from sessions_app.models import AgentProfile, within_sessions_of


class TurnQuerySet(models.QuerySet["Turn"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="conversation__session")


class Turn(models.Model):
    """The answering of one burst of inbound messages, and its outcome."""

    class Outcome(models.TextChoices):
        ANSWERED = "answered"
        COMMAND = "command"
        IGNORED = "ignored"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    agent_profile = models.ForeignKey(AgentProfile, null=True, on_delete=models.SET_NULL, related_name="turns")
    profile_version = models.PositiveIntegerField(default=1)
    model = models.CharField(max_length=100, blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome)
    reason = models.CharField(max_length=300, blank=True)
    tries = models.PositiveSmallIntegerField(default=1)
    steps = models.PositiveSmallIntegerField(default=0, help_text="Number of model calls.")
    used = models.JSONField(default=dict, blank=True)  # {"messages": [ids of what the model was shown, oldest first]}
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    model_ms = models.PositiveIntegerField(default=0, help_text="Time spent waiting for the model.")
    started_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)  # when it ended

    objects = TurnQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["conversation", "-created_at", "-id"], name="turn_latest")]

    def __str__(self) -> str:
        return f"{self.outcome} turn"


class ToolCall(models.Model):
    """A function that the model called in a turn, and the result."""

    class Status(models.TextChoices):
        DONE = "done"
        FAILED = "failed"
        REFUSED = "refused"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="tool_calls")
    position = models.PositiveSmallIntegerField(default=0)
    call_id = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=64)
    arguments = models.JSONField(default=dict, blank=True)
    result = models.TextField(blank=True)
    status = models.CharField(max_length=7, choices=Status)
    error = models.CharField(max_length=300, blank=True)
    duration_ms = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["position"]

    def __str__(self) -> str:
        return self.name
