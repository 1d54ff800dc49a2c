"""What is remembered of a conversation: facts and summaries."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.contacts import Contact
from messaging.models.conversations import Conversation
from messaging.models.messages import Message


class Fact(models.Model):
    """A short sentence about a contact. It is never shown in another contact's conversation."""

    class Source(models.TextChoices):
        CONTACT = "contact", "stated by the contact"
        MODEL = "model", "noted by the model"
        OWNER = "owner", "noted by the owner of the number"
        STAFF = "staff", "noted by staff"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="facts")
    text = models.CharField(max_length=300)
    proposed_by = models.CharField(max_length=7, choices=Source)
    noted_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    message = models.ForeignKey(Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="facts")
    corrects = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="corrected_by")
    forgotten_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["contact", "text"], condition=Q(forgotten_at=None), name="fact_known_once_per_contact"
            )
        ]

    def __str__(self) -> str:
        return f"fact {self.pk}"


class Summary(models.Model):
    """A summary of the older part of a conversation, one row for each compaction. The newest is in use."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="summaries")
    version = models.PositiveIntegerField()
    text = models.TextField()
    until = models.DateTimeField(help_text="Covers the messages up to this time.")
    is_plain = models.BooleanField(
        default=False, help_text="Excerpts instead of a summary, because the model did not answer."
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "summaries"
        constraints = [
            models.UniqueConstraint(fields=["conversation", "version"], name="summary_version_once_per_conversation")
        ]

    def __str__(self) -> str:
        return f"summary {self.version}"
