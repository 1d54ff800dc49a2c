"""The event feed."""

from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from sessions_app.models import WhatsAppSession


class CurrentTransaction(models.Func):
    """The number of the transaction that writes the row."""

    template = "(pg_current_xact_id()::text::bigint)"
    arity = 0
    output_field = models.BigIntegerField()


class EventQuerySet(models.QuerySet["Event"]):
    def visible_to(self, user: Any) -> Self:
        """Return the events of sessions the user may see, and those for this user alone."""
        if not user.is_authenticated:
            return self.none()
        sessions = WhatsAppSession.objects.visible_to(user).values_list("pk", flat=True)
        return self.filter(Q(session_id__in=list(sessions)) | Q(user_id=user.pk))


class Event(models.Model):
    """Something that happened, for programs that follow the feed: ids and facts, never message texts.

    Rows are written by triggers (migration 0002), so that no way of changing a message, a conversation or a session can
    forget it, and it costs no round trip. `messaging.events.feed` says how they are read in order.
    """

    id = models.BigAutoField(primary_key=True)
    transaction = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)
    public_id = models.UUIDField(db_default=models.Func(function="gen_random_uuid"), editable=False)
    type = models.CharField(_("type"), max_length=40)
    at = models.DateTimeField(_("at"), db_default=Now())
    # No foreign keys: checking them costs as much as the row, and what happened stays true when its subject is gone.
    session_id = models.UUIDField(_("number id"), null=True)
    conversation_id = models.UUIDField(_("conversation id"), null=True)
    user_id = models.UUIDField(
        _("user id"), null=True, help_text=_("The only user who may see the event, if it belongs to no number.")
    )
    data = models.JSONField(_("data"))

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        indexes = [
            models.Index(fields=["transaction", "id"], name="event_order"),
            models.Index(
                fields=["session_id", "-at"], condition=Q(type="session.status_changed"), name="event_of_session_status"
            ),
        ]

    def __str__(self) -> str:
        return self.type

    @property
    def webhook_id(self) -> str:
        return webhook_id_of(self.public_id)


class DailyRun(models.Model):
    """When something that runs once a day, over all processes and restarts, is due again."""

    name = models.CharField(max_length=40, primary_key=True)
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


def webhook_id_of(public_id: UUID) -> str:
    """An event's id outside."""
    return f"evt_{public_id.hex}"
