"""What was said, by whom, and what came of it."""

from pathlib import PurePosixPath
from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import User
from agent.bridges.events import AliasKind as BridgeAliasKind
from agent.bridges.events import Kind as BridgeKind
from sessions_app.encryption import EncryptedTextField
from sessions_app.models import AgentProfile, WhatsAppSession, within_sessions_of


class ContactQuerySet(models.QuerySet["Contact"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)


class Contact(models.Model):
    """A person or a group on the other side of a session. Never shared between sessions: their owners may differ."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="contacts")
    name = models.CharField(max_length=200, blank=True)
    phone = models.CharField(max_length=16, blank=True, help_text="E.164; empty when it is hidden, or a group.")
    is_group = models.BooleanField(default=False)
    is_blocked = models.BooleanField(default=False, help_text="Kept, never answered.")
    is_allowed = models.BooleanField(default=False, help_text="Answered where only listed contacts are.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ContactQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name or self.phone or ("group" if self.is_group else "hidden number")


class ContactAlias(models.Model):
    """An id a contact was seen under. Its scope is the session: the same id at another number is another contact."""

    class Kind(models.TextChoices):
        PHONE = BridgeAliasKind.PHONE.value
        JID = BridgeAliasKind.JID.value, "JID"
        LID = BridgeAliasKind.LID.value, "LID"
        BSUID = BridgeAliasKind.BSUID.value, "business-scoped id"
        USERNAME = BridgeAliasKind.USERNAME.value

    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="aliases")
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, related_name="aliases")
    kind = models.CharField(max_length=8, choices=Kind)
    value = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "kind", "value"], name="alias_once_per_session", include=["contact"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)

    def due(self) -> Self:
        """Those that want a turn now and nobody is at, the longest waiting first."""
        is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now())  # by the clock that wrote them
        return self.filter(is_free, due_at__lte=Now(), control="agent").order_by("due_at")


class Conversation(models.Model):
    """Everything between one session and one contact, and who speaks there now."""

    class Control(models.TextChoices):
        AGENT = "agent"
        HUMAN = "human"
        MUTED = "muted"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        WhatsAppSession,
        on_delete=models.CASCADE,
        related_name="conversations",
        db_index=False,  # conversation_latest begins with it
    )
    contact = models.OneToOneField(Contact, on_delete=models.CASCADE, related_name="conversation")
    address = models.CharField(
        max_length=255, help_text="What the bridge is told to write to: the address last written from."
    )

    control = models.CharField(max_length=6, choices=Control, default=Control.AGENT)
    control_until = models.DateTimeField(null=True, blank=True)
    control_reason = models.CharField(max_length=200, blank=True)
    control_epoch = models.PositiveIntegerField(default=0, editable=False)
    controlled_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    # The mailbox: what is to be done here, from when, and who is at it.
    due_at = models.DateTimeField(null=True, blank=True, editable=False)
    burst_started_at = models.DateTimeField(null=True, blank=True, editable=False)
    retry_at = models.DateTimeField(null=True, blank=True, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    inbound_count = models.PositiveIntegerField(default=0, editable=False)  # moves with each message to be answered
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    answered_count = models.PositiveIntegerField(
        default=0, editable=False
    )  # the burst watermark: inbound_count when answered

    summary = models.TextField(blank=True, help_text="What was said up to `summary_until`, for the model.")
    summary_until = models.DateTimeField(null=True, blank=True, editable=False)
    summary_version = models.PositiveIntegerField(default=0, editable=False)
    context_from = models.DateTimeField(null=True, blank=True, help_text="The model is shown nothing said before.")
    unread_count = models.PositiveIntegerField(default=0)
    needs_attention = models.BooleanField(default=False)
    attention_note = models.TextField(blank=True, help_text="Why staff is asked to look, in two lines.")
    last_message_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="conversation_due"),
            models.Index(
                fields=["control_until"], condition=Q(control_until__isnull=False), name="conversation_released"
            ),
            models.Index(fields=["session", "-last_message_at", "-id"], name="conversation_latest"),
            models.Index(Coalesce("last_message_at", "created_at").desc(), F("id").desc(), name="conversation_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.contact} at {self.session}"

    @property
    def is_answered(self) -> bool:
        """Whether this contact is answered at all: what `receive` asks when a message comes, and a turn once more."""
        policy = self.session.access_policy
        is_let_in = policy == "everyone" or (policy == "listed" and self.contact.is_allowed)
        return is_let_in and not self.contact.is_blocked and self.session.ended_at is None


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)

    def silence(self) -> int:
        """Cancel what the agent has queued: a person took over first. Returns how many; words of persons stay."""
        return self.filter(status="queued", control_epoch__isnull=False).update(
            status="cancelled", error_code="taken_over", error="A person took over first."
        )


class Message(models.Model):
    """One thing said.

    Inbound: RECEIVED > HANDLED. Outbound: QUEUED > SENDING > SENT > DELIVERED > READ, or FAILED (surely not sent),
    UNCONFIRMED (it may have been), CANCELLED (a person took over first).
    """

    class Direction(models.TextChoices):
        INBOUND = "inbound"
        OUTBOUND = "outbound"

    class Author(models.TextChoices):
        CONTACT = "contact"
        AGENT = "agent"
        STAFF = "staff"
        PHONE = "phone", "typed on the phone"
        API = "api", "API"
        SYSTEM = "system"

    class Kind(models.TextChoices):
        TEXT = BridgeKind.TEXT.value
        IMAGE = BridgeKind.IMAGE.value
        VIDEO = BridgeKind.VIDEO.value
        AUDIO = BridgeKind.AUDIO.value
        VOICE = BridgeKind.VOICE.value
        DOCUMENT = BridgeKind.DOCUMENT.value
        STICKER = BridgeKind.STICKER.value
        LOCATION = BridgeKind.LOCATION.value
        CONTACT = BridgeKind.CONTACT.value
        REACTION = BridgeKind.REACTION.value
        INTERACTIVE = BridgeKind.INTERACTIVE.value
        ORDER = BridgeKind.ORDER.value
        UNSUPPORTED = BridgeKind.UNSUPPORTED.value
        UNKNOWN = BridgeKind.UNKNOWN.value

    class Status(models.TextChoices):
        RECEIVED = "received", "received, to be answered"
        HANDLED = "handled"
        QUEUED = "queued"
        SENDING = "sending"
        SENT = "sent"
        DELIVERED = "delivered"
        READ = "read"
        FAILED = "failed", "failed: not sent"
        UNCONFIRMED = "unconfirmed", "unconfirmed: it may have been sent"
        CANCELLED = "cancelled"

    class Unanswered(models.TextChoices):
        """Why an inbound message is not for the agent to answer."""

        HISTORY = "history", "from the past, synchronised"
        STALE = "stale", "too old when it arrived"
        KIND = "kind", "nothing to answer"
        GROUP = "group", "said in a group"
        POLICY = "policy", "this contact is not answered"
        PERSON = "person", "answered by a person"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # db_index False: an index below begins with each of them, and one less is one less to write with every message
    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="messages", db_index=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages", db_index=False)
    sender = models.ForeignKey(Contact, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    turn = models.ForeignKey("Turn", null=True, blank=True, on_delete=models.SET_NULL, related_name="messages")
    sent_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    direction = models.CharField(max_length=8, choices=Direction)
    author = models.CharField(max_length=7, choices=Author)
    kind = models.CharField(max_length=11, choices=Kind, default=Kind.TEXT)
    status = models.CharField(max_length=11, choices=Status)
    unanswered = models.CharField(max_length=7, choices=Unanswered, blank=True)
    text = models.TextField(blank=True)
    details = models.JSONField(default=dict, blank=True)  # a location, contacts, an emoji: as agent.bridges.events says
    # null until the bridge gives one: many may wait for theirs, and the constraint below lets nulls be many
    provider_message_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    quoted = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="replies")
    quoted_provider_id = models.CharField(max_length=255, blank=True)

    control_epoch = models.PositiveIntegerField(null=True, editable=False)  # of the agent's words; null: a person's
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    next_try_at = models.DateTimeField(null=True, blank=True, editable=False)
    error_code = models.CharField(max_length=50, blank=True)
    error = models.CharField(max_length=300, blank=True)

    said_at = models.DateTimeField(default=timezone.now)  # the writer's clock where the bridge tells it
    created_at = models.DateTimeField(default=timezone.now)
    sending_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    edited_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [  # bridges deliver an event more than once
            models.UniqueConstraint(fields=["session", "provider_message_id"], name="message_kept_once")
        ]
        indexes = [
            models.Index(fields=["conversation", "-said_at", "-id"], name="message_history"),
            models.Index(fields=["conversation"], condition=Q(status="received"), name="message_to_answer"),
            models.Index(
                fields=["conversation", "created_at", "id"],
                condition=Q(status__in=["queued", "sending"]),
                name="message_outbox",
            ),
            models.Index(fields=["-said_at", "-id"], name="message_newest"),
            models.Index(fields=["session", "-said_at", "-id"], name="message_newest_of_session"),
            models.Index(
                fields=["-said_at", "-id"], condition=Q(status__in=["failed", "unconfirmed"]), name="message_in_trouble"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.direction} {self.kind} {self.id}"


def media_path(media: "Media", filename: str) -> str:
    """Where a file is kept: by month and by an id nobody can guess, never under the name somebody gave it."""
    return f"{media.created_at:%Y/%m}/{media.pk.hex}{PurePosixPath(filename).suffix}"


class MediaQuerySet(models.QuerySet["Media"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="message__session")


class Media(models.Model):
    """What was attached to a message. `file` is what we sent ourselves; `ref` the bridge's id or URL for what came in,
    empty when it cannot be had.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="media")
    mime_type = models.CharField(max_length=100, blank=True)
    filename = models.CharField(max_length=255, blank=True)
    size_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    ref = models.TextField(blank=True)
    file = models.FileField(upload_to=media_path, blank=True, editable=False)
    downloadable = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    objects = MediaQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "media"

    def __str__(self) -> str:
        return self.filename or self.mime_type or "attachment"


class EarlyReceipt(models.Model):
    """A receipt that overtook the answer to our own send: applied as soon as we learn the message's id."""

    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="+")
    provider_message_id = models.CharField(max_length=255)
    status = models.CharField(max_length=9)
    error = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["session", "provider_message_id", "status"], name="early_receipt_once")
        ]

    def __str__(self) -> str:
        return f"{self.status} of a message not seen yet"


class TurnQuerySet(models.QuerySet["Turn"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="conversation__session")


class Turn(models.Model):
    """One burst of inbound messages and what came of it."""

    class Outcome(models.TextChoices):
        ANSWERED = "answered"
        COMMAND = "command"
        IGNORED = "ignored"
        SILENCED = "silenced", "silenced: a person took over"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="turns")
    agent_profile = models.ForeignKey(AgentProfile, null=True, on_delete=models.SET_NULL, related_name="turns")
    profile_version = models.PositiveIntegerField(default=1)
    model = models.CharField(max_length=100, blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome)
    reason = models.CharField(max_length=300, blank=True)
    tries = models.PositiveSmallIntegerField(default=1)
    steps = models.PositiveSmallIntegerField(default=0, help_text="How often the model was asked.")
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
    """The model asking us to run a function in a turn, and what came of it."""

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


class CurrentTransaction(models.Func):
    """The number of the transaction that writes the row."""

    template = "(pg_current_xact_id()::text::bigint)"
    arity = 0
    output_field = models.BigIntegerField()


class EventQuerySet(models.QuerySet["Event"]):
    def visible_to(self, user: Any) -> Self:
        """Those of sessions the user may see, and those that concern nobody but the user."""
        if not user.is_authenticated:
            return self.none()
        sessions = WhatsAppSession.objects.visible_to(user).values_list("pk", flat=True)
        return self.filter(Q(session_id__in=list(sessions)) | Q(user_id=user.pk))


class Event(models.Model):
    """Something that happened, for programs that follow along: ids and facts, never what was said.

    Rows are written by triggers (migration 0002), so that no way of changing a message, a conversation or a session can
    forget to tell of it, and telling costs no round trip. `messaging.events.feed` says how they are read in order.
    """

    id = models.BigAutoField(primary_key=True)
    transaction = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)
    public_id = models.UUIDField(db_default=models.Func(function="gen_random_uuid"), editable=False)
    type = models.CharField(max_length=40)
    at = models.DateTimeField(db_default=Now())
    # No foreign keys: checking them costs as much as the row, and what happened stays true when its subject is gone.
    session_id = models.UUIDField(null=True)
    conversation_id = models.UUIDField(null=True)
    user_id = models.UUIDField(null=True, help_text="Whom alone it concerns, when it is of no session.")
    data = models.JSONField()

    objects = EventQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["transaction", "id"], name="event_order")]

    def __str__(self) -> str:
        return self.type

    @property
    def webhook_id(self) -> str:
        return webhook_id_of(self.public_id)


def webhook_id_of(public_id: UUID) -> str:
    """An event's id outside."""
    return f"evt_{public_id.hex}"


class SearchEntry(models.Model):
    """The words of a message in the forms search looks for. It may lag behind the message: `messaging.search.index`.

    It carries what ranking needs, so that thousands of candidates are weighed without reading their messages.
    """

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="search_entry")
    conversation_id = models.UUIDField(editable=False)  # no key of its own: `terms` holds the conversation as a lexeme
    said_at = models.DateTimeField(editable=False)
    word_count = models.PositiveSmallIntegerField(editable=False)
    terms = SearchVectorField(editable=False)

    class Meta:
        verbose_name_plural = "search entries"
        # Written in batches already: a pending list would save little and be read through by every search.
        indexes = [GinIndex(fields=["terms"], name="search_terms", fastupdate=False)]

    def __str__(self) -> str:
        return f"words of {self.message_id}"


class UnindexedMessage(models.Model):
    """A message that is new, or whose words changed. A trigger of the database writes these, however it came."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    conversation_id = models.UUIDField(editable=False, db_index=True)

    def __str__(self) -> str:
        return f"words of {self.message_id}, to be indexed"


class Fact(models.Model):
    """A small sentence known about a contact. It is that contact's alone, and never shown in another conversation."""

    class Source(models.TextChoices):
        CONTACT = "contact", "told by the contact"
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
    """What the model was told of the older part of a conversation, from one fold to the next. The newest is in use."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="summaries")
    version = models.PositiveIntegerField()
    text = models.TextField()
    until = models.DateTimeField(help_text="It tells what was said up to then.")
    is_plain = models.BooleanField(default=False, help_text="Excerpts only: the model did not answer.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "summaries"
        constraints = [
            models.UniqueConstraint(fields=["conversation", "version"], name="summary_version_once_per_conversation")
        ]

    def __str__(self) -> str:
        return f"summary {self.version}"


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def visible_to(self, user: Any) -> Self:
        """A user's own; all for those who administrate; through an API key for some sessions those of these alone."""
        if not user.is_authenticated:
            return self.none()
        if user.restricted_to is not None:
            others = WhatsAppSession.objects.exclude(pk__in=user.restricted_to)
            return self.filter(owner=user, all_sessions=False).exclude(sessions__in=others)
        return self if user.sees_everything else self.filter(owner=user)


class WebhookEndpoint(models.Model):
    """An address that is told what happens, as its owner may see it. `messaging.webhooks.endpoints` says how."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.CharField(max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    types = models.JSONField(default=list, blank=True, help_text="Types of events to be told of. Empty: all.")
    all_sessions = models.BooleanField(default=True, help_text="Told of every session the owner may see.")
    sessions = models.ManyToManyField(WhatsAppSession, blank=True, related_name="+")
    secret = EncryptedTextField(editable=False)
    former_secret = EncryptedTextField(blank=True, editable=False)
    former_secret_until = models.DateTimeField(null=True, blank=True, editable=False)

    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Attempts in a row that failed.")
    next_try_at = models.DateTimeField(null=True, blank=True, editable=False)  # nothing is sent before
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)

    # How far the feed was read, and who is at it.
    read_transaction = models.BigIntegerField(default=0, editable=False)
    read_event = models.BigIntegerField(default=0, editable=False)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    objects = WebhookEndpointQuerySet.as_manager()

    def __str__(self) -> str:
        return self.description or self.url


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def visible_to(self, user: Any) -> Self:
        return self.filter(endpoint__in=WebhookEndpoint.objects.visible_to(user))


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed", "failed: given up"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(Event, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    type = models.CharField(max_length=40)
    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["endpoint", "event"], name="delivery_once_per_endpoint")]
        indexes = [
            models.Index(fields=["endpoint", "event"], condition=Q(status="pending"), name="delivery_pending"),
            models.Index(fields=["created_at"], name="delivery_age"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.status}"


class WebhookAttempt(models.Model):
    """One time an endpoint was asked to take an event, and what it answered."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveSmallIntegerField(null=True, help_text="Empty: no answer came.")
    error = models.CharField(max_length=30, blank=True)
    answer = models.CharField(max_length=500, blank=True, help_text="How the answer's body begins.")

    class Meta:
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%F %T} {self.status_code or self.error}"


class EmbeddingModel(models.Model):
    """A model that turned messages into vectors. Of one name the newest counts: what is behind it may change."""

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
    """What a message means, as a vector. Kept as plain numbers: a server without pgvector can have the table too."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="embedding")
    conversation_id = models.UUIDField(editable=False, db_index=True)
    model = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+", db_index=False)
    vector = ArrayField(Real(), editable=False)

    def __str__(self) -> str:
        return f"meaning of {self.message_id}"


class UnembeddedMessage(models.Model):
    """A message that waits to be embedded. Whoever is at it has put `not_before` into the future."""

    message_id = models.UUIDField(primary_key=True, editable=False)
    not_before = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"meaning of {self.message_id}, to be found"
