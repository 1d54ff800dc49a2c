"""What an agent profile knows, and the parts of it that are searched."""

from typing import Any, Self

from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from sessions_app.models import AgentProfile


class KnowledgeQuerySet(models.QuerySet["Knowledge"]):
    def visible_to(self, user: Any) -> Self:
        """Return what the profiles know whose sessions the user may see; all for administrators."""
        return self.filter(agent_profile__in=AgentProfile.objects.visible_to(user))


class Knowledge(models.Model):
    """A question with its answer, or a document. The model is given the parts that fit what it is asked."""

    class Kind(models.TextChoices):
        ANSWER = "answer", _("question and answer")
        DOCUMENT = "document", _("Document")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent_profile = models.ForeignKey(
        AgentProfile, verbose_name=_("agent profile"), on_delete=models.CASCADE, related_name="knowledge"
    )
    kind = models.CharField(_("kind"), max_length=8, choices=Kind, default=Kind.ANSWER)
    title = models.CharField(_("title"), max_length=200, help_text=_("The question, or the name of the document."))
    text = models.TextField(_("text"), help_text=_("The answer, or the document's text."))
    is_enabled = models.BooleanField(_("is enabled"), default=True, help_text=_("Whether it may be used in prompts."))
    changed_by = models.ForeignKey(
        User, verbose_name=_("changed by"), null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = KnowledgeQuerySet.as_manager()

    class Meta:
        verbose_name = _("knowledge")
        verbose_name_plural = _("knowledge")

    def __str__(self) -> str:
        return self.title


class KnowledgePart(models.Model):
    """A part of a text, of the size that a prompt takes, with its words as `messaging.search` knows them."""

    knowledge = models.ForeignKey(Knowledge, on_delete=models.CASCADE, related_name="parts")
    agent_profile_id = models.UUIDField(editable=False, db_index=True)  # of `knowledge`: a search reads its rows alone
    position = models.PositiveIntegerField()
    text = models.TextField()
    word_count = models.PositiveIntegerField()
    terms = SearchVectorField()

    def __str__(self) -> str:
        return f"part {self.position} of {self.knowledge_id}"
