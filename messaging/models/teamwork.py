"""What staff share beside the conversations: saved replies, corrections, who is looking where, and who was mailed."""

from typing import Any, Self

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.conversations import Conversation
from sessions_app.models import AgentProfileVersion, WhatsAppSession

SHORTCUT_PATTERN = r"^[A-Za-z0-9_-]{1,40}\Z"


class SavedReplyQuerySet(models.QuerySet["SavedReply"]):
    def visible_to(self, user: Any) -> Self:
        """Return the replies for all sessions, and those of the sessions the user may see."""
        if not user.is_authenticated:
            return self.none()
        if user.sees_everything:
            return self
        return self.filter(Q(session=None) | Q(session__in=WhatsAppSession.objects.visible_to(user)))


class SavedReply(models.Model):
    """A text that staff send often, found by its shortcut. Without a session it is for all of them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        WhatsAppSession,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="saved_replies",
        verbose_name=_("number"),
        db_index=False,  # saved_reply_shortcut begins with it
        help_text=_("Only for this number. Empty: for all numbers."),
    )
    shortcut = models.CharField(
        _("shortcut"),
        max_length=40,
        validators=[RegexValidator(SHORTCUT_PATTERN, "Use letters, digits, - and _ alone.")],
        help_text=_("What is typed after / to find it, like `hours`."),
    )
    text = models.TextField(_("text"), help_text=_("{name} becomes the contact's name."))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = SavedReplyQuerySet.as_manager()

    class Meta:
        verbose_name = _("saved reply")
        verbose_name_plural = _("saved replies")
        constraints = [
            models.UniqueConstraint(
                "session", models.functions.Lower("shortcut"), name="saved_reply_shortcut", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"/{self.shortcut}"


class Presence(models.Model):
    """That a user looks at a conversation or types in it. Counts for some seconds, see `teamwork.presence`."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    seen_at = models.DateTimeField(db_index=True)
    typed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["conversation", "user"], name="presence_once")]

    def __str__(self) -> str:
        return f"{self.user} at {self.conversation_id}"


class MailedConversation(models.Model):
    """That a user was mailed that a conversation waits: once for each time that its contact writes."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)  # mailed_once has it
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+")
    last_message_at = models.DateTimeField()  # the conversation's, when it was mailed

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "conversation"], name="mailed_once")]

    def __str__(self) -> str:
        return f"{self.user} of {self.conversation_id}"


class Correction(models.Model):
    """A line that "Correct it" in a conversation added to the instructions, by the version of the draft that it made.

    The line may repeat what the contact wrote, so forgetting the contact reports it.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+")
    version = models.ForeignKey(AgentProfileVersion, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    forgotten_contacts = models.JSONField(default=list)  # ids of those of a group: their messages are deleted first

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "conversation"], name="correction_once")]

    def __str__(self) -> str:
        return f"{self.version} of {self.conversation_id}"
