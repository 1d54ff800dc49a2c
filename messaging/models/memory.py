"""What is remembered of a conversation: facts and summaries."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.contacts import Contact
from messaging.models.conversations import Conversation
from messaging.models.messages import Message


class Fact(models.Model):
    """A short sentence about a contact. It is never shown in another contact's conversation."""

    class Source(models.TextChoices):
        CONTACT = "contact", _("stated by the contact")
        MODEL = "model", _("noted by the model")
        OWNER = "owner", _("noted by the owner of the number")
        STAFF = "staff", _("noted by staff")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    contact = models.ForeignKey(Contact, verbose_name=_("contact"), on_delete=models.CASCADE, related_name="facts")
    text = models.CharField(_("text"), max_length=300)
    proposed_by = models.CharField(_("proposed by"), max_length=7, choices=Source)
    noted_by = models.ForeignKey(
        User, verbose_name=_("noted by"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    message = models.ForeignKey(
        Message, verbose_name=_("message"), null=True, blank=True, on_delete=models.SET_NULL, related_name="facts"
    )
    corrects = models.ForeignKey(
        "self",
        verbose_name=_("corrects"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="corrected_by",
    )
    forgotten_at = models.DateTimeField(_("forgotten at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    class Meta:
        verbose_name = _("fact")
        verbose_name_plural = _("facts")
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
    conversation = models.ForeignKey(
        Conversation, verbose_name=_("conversation"), on_delete=models.CASCADE, related_name="summaries"
    )
    version = models.PositiveIntegerField(_("version"))
    text = models.TextField(_("text"))
    until = models.DateTimeField(_("until"), help_text=_("Covers the messages up to this time."))
    is_plain = models.BooleanField(
        _("is plain"), default=False, help_text=_("Excerpts instead of a summary, because the model did not answer.")
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    class Meta:
        verbose_name = _("summary")
        verbose_name_plural = _("summaries")
        constraints = [
            models.UniqueConstraint(fields=["conversation", "version"], name="summary_version_once_per_conversation")
        ]

    def __str__(self) -> str:
        return f"summary {self.version}"
