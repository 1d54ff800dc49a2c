"""Turns of the agent and their tool calls."""

from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from messaging.models.conversations import Conversation
from sessions_app.models import AgentProfile, within_sessions_of


class TurnQuerySet(models.QuerySet["Turn"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="conversation__session")

    def failed(self) -> Self:
        """Return the failed turns that have not been run again: running one again takes its burst from it."""
        return self.filter(outcome=Turn.Outcome.FAILED, messages__direction="inbound").distinct()


class Turn(models.Model):
    """The answering of one burst of inbound messages, and its outcome."""

    class Outcome(models.TextChoices):
        ANSWERED = "answered", _("Answered")
        COMMAND = "command", _("Command")
        IGNORED = "ignored", _("Ignored")
        FAILED = "failed", _("Failed")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(
        Conversation, verbose_name=_("conversation"), on_delete=models.CASCADE, related_name="turns"
    )
    agent_profile = models.ForeignKey(
        AgentProfile, verbose_name=_("agent profile"), null=True, on_delete=models.SET_NULL, related_name="turns"
    )
    profile_version = models.PositiveIntegerField(_("profile version"), default=1)
    model = models.CharField(_("model"), max_length=100, blank=True)
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    tries = models.PositiveSmallIntegerField(_("tries"), default=1)
    steps = models.PositiveSmallIntegerField(_("steps"), default=0, help_text=_("Number of model calls."))
    used = models.JSONField(
        _("used"), default=dict, blank=True
    )  # {"messages": [ids of what the model was shown, oldest first]}
    prompt_tokens = models.PositiveIntegerField(_("prompt tokens"), default=0)
    completion_tokens = models.PositiveIntegerField(_("completion tokens"), default=0)
    cached_tokens = models.PositiveIntegerField(_("cached tokens"), default=0)
    model_ms = models.PositiveIntegerField(_("model ms"), default=0, help_text=_("Time spent waiting for the model."))
    started_at = models.DateTimeField(_("started at"))
    created_at = models.DateTimeField(_("created at"), default=timezone.now)  # when it ended

    objects = TurnQuerySet.as_manager()

    class Meta:
        verbose_name = _("turn")
        verbose_name_plural = _("turns")
        indexes = [models.Index(fields=["conversation", "-created_at", "-id"], name="turn_latest")]

    def __str__(self) -> str:
        return f"{self.outcome} turn"

    @property
    def whole_ms(self) -> int:
        """How long the turn took: the model, the tools and everything between them."""
        return max(round((self.created_at - self.started_at).total_seconds() * 1000), 0)


class ToolCall(models.Model):
    """A function that the model called in a turn, and the result."""

    class Status(models.TextChoices):
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        REFUSED = "refused", _("Refused")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    turn = models.ForeignKey(Turn, verbose_name=_("turn"), on_delete=models.CASCADE, related_name="tool_calls")
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    call_id = models.CharField(_("call id"), max_length=100, blank=True)
    name = models.CharField(_("name"), max_length=64)
    arguments = models.JSONField(_("arguments"), default=dict, blank=True)
    result = models.TextField(_("result"), blank=True)
    status = models.CharField(_("status"), max_length=7, choices=Status)
    error = models.CharField(_("error"), max_length=300, blank=True)
    duration_ms = models.PositiveIntegerField(_("duration ms"), default=0)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    class Meta:
        verbose_name = _("tool call")
        verbose_name_plural = _("tool calls")
        ordering = ["position"]

    def __str__(self) -> str:
        return self.name
