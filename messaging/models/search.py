"""Full-text and vector search over messages."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from messaging.models.messages import Message


class SearchEntry(models.Model):
    """The lexemes of a message. It is written after the message: see `messaging.search.index`.

    It carries what ranking needs, so that thousands of candidates are weighed without reading their messages.
    """

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="search_entry")
    conversation_id = models.UUIDField(editable=False)  # no key of its own: `terms` holds the conversation as a lexeme
    said_at = models.DateTimeField(editable=False)
    word_count = models.PositiveSmallIntegerField(editable=False)
    terms = SearchVectorField(editable=False)

    class Meta:
        verbose_name_plural = _("search entries")
        # Written in batches already: a pending list would save little and be read through by every search.
        indexes = [GinIndex(fields=["terms"], name="search_terms", fastupdate=False)]

    def __str__(self) -> str:
        return f"search entry of {self.message_id}"


class UnindexedMessage(models.Model):
    """A message that is new, or whose text changed. Written by a database trigger, on every code path."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    conversation_id = models.UUIDField(editable=False, db_index=True)

    def __str__(self) -> str:
        return f"unindexed message {self.message_id}"


class EmbeddingModel(models.Model):
    """An embedding model. Only the newest row of a name is used, because a server may change what a name stands for."""

    name = models.CharField(max_length=200)
    dimension = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "dimension"], name="embedding_model_once")]

    def __str__(self) -> str:
        return f"{self.name}, {self.dimension} numbers"


class Real(models.FloatField):
    """Four bytes: what vectors are compared with has no more digits."""

    def db_type(self, connection: Any) -> str:  # noqa: ARG002
        return "real"


class Embedding(models.Model):
    """The embedding of a message, as plain numbers, so that the table exists without pgvector, too."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="embedding")
    conversation_id = models.UUIDField(editable=False, db_index=True)
    model = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+", db_index=False)
    vector = ArrayField(Real(), editable=False)

    def __str__(self) -> str:
        return f"meaning of {self.message_id}"


class UnembeddedMessage(models.Model):
    """A message that waits to be embedded. The worker that claims it moves `not_before` into the future."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    not_before = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"meaning of {self.message_id}, to be found"
