"""Messages in both directions, their attachments and receipts."""

from pathlib import PurePosixPath
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from uuid_utils.compat import uuid7

from accounts.models import User
from agent.bridges.events import Kind as BridgeKind
from messaging.models.contacts import Contact
from messaging.models.conversations import Conversation
from sessions_app.models import WhatsAppSession, within_sessions_of


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)

    def cancel_queued_replies(self) -> int:
        """Cancel the agent's queued replies because a person took over; return how many. Messages of people stay."""
        return self.filter(status="queued", control_epoch__isnull=False).update(
            status="cancelled", error_code="taken_over", error=gettext_noop("A person took over first.")
        )


class Message(models.Model):
    """One message in either direction.

    Inbound: RECEIVED > HANDLED. Outbound: QUEUED > SENDING > SENT > DELIVERED > READ, or FAILED (surely not sent),
    UNCONFIRMED (it may have been), CANCELLED (a person took over first).
    """

    class Direction(models.TextChoices):
        INBOUND = "inbound", _("Inbound")
        OUTBOUND = "outbound", _("Outbound")

    class Author(models.TextChoices):
        CONTACT = "contact", _("Contact")
        AGENT = "agent", _("Agent")
        STAFF = "staff", _("Staff")
        PHONE = "phone", _("typed on the phone")
        API = "api", _("API")
        SYSTEM = "system", _("System")

    class Kind(models.TextChoices):
        TEXT = BridgeKind.TEXT.value, _("Text")
        IMAGE = BridgeKind.IMAGE.value, _("Image")
        VIDEO = BridgeKind.VIDEO.value, _("Video")
        AUDIO = BridgeKind.AUDIO.value, _("Audio")
        VOICE = BridgeKind.VOICE.value, _("Voice")
        DOCUMENT = BridgeKind.DOCUMENT.value, _("Document")
        STICKER = BridgeKind.STICKER.value, _("Sticker")
        LOCATION = BridgeKind.LOCATION.value, _("Location")
        CONTACT = BridgeKind.CONTACT.value, _("Contact")
        REACTION = BridgeKind.REACTION.value, _("Reaction")
        INTERACTIVE = BridgeKind.INTERACTIVE.value, _("Interactive")
        ORDER = BridgeKind.ORDER.value, _("Order")
        UNSUPPORTED = BridgeKind.UNSUPPORTED.value, _("Unsupported")
        UNKNOWN = BridgeKind.UNKNOWN.value, _("Unknown")
        CALL = "call", _("Call")  # one for each call: see `messaging.calls`

    class Status(models.TextChoices):
        RECEIVED = "received", _("received, to be answered")
        HANDLED = "handled", _("Handled")
        QUEUED = "queued", _("Queued")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Sent")
        DELIVERED = "delivered", _("Delivered")
        READ = "read", _("Read")
        FAILED = "failed", _("failed: not sent")
        UNCONFIRMED = "unconfirmed", _("unconfirmed: it may have been sent")
        CANCELLED = "cancelled", _("Cancelled")

    class Unanswered(models.TextChoices):
        """Why an inbound message is not for the agent to answer."""

        HISTORY = "history", _("history, synchronised by the bridge")
        STALE = "stale", _("too old when it arrived")
        KIND = "kind", _("nothing to answer")
        GROUP = "group", _("sent in a group")
        POLICY = "policy", _("this contact is not answered")
        PERSON = "person", _("answered by a person")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # db_index False: an index below begins with each of them, and one less is one less to write with every message
    session = models.ForeignKey(
        WhatsAppSession,
        on_delete=models.CASCADE,
        related_name="messages",
        db_index=False,
        verbose_name=_("number"),
    )
    conversation = models.ForeignKey(
        Conversation, verbose_name=_("conversation"), on_delete=models.CASCADE, related_name="messages", db_index=False
    )
    sender = models.ForeignKey(
        Contact, verbose_name=_("sender"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    turn = models.ForeignKey(
        "Turn", verbose_name=_("turn"), null=True, blank=True, on_delete=models.SET_NULL, related_name="messages"
    )
    sent_by = models.ForeignKey(
        User, verbose_name=_("sent by"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    direction = models.CharField(_("direction"), max_length=8, choices=Direction)
    author = models.CharField(_("author"), max_length=7, choices=Author)
    kind = models.CharField(_("kind"), max_length=11, choices=Kind, default=Kind.TEXT)
    status = models.CharField(_("status"), max_length=11, choices=Status)
    unanswered = models.CharField(_("unanswered"), max_length=7, choices=Unanswered, blank=True)
    text = models.TextField(_("text"), blank=True)
    details = models.JSONField(
        _("details"), default=dict, blank=True
    )  # a location, contacts, an emoji: as agent.bridges.events says
    # null until the bridge gives one: many may wait for theirs, and the constraint below lets nulls be many
    provider_message_id = models.CharField(_("provider message id"), max_length=255, null=True, blank=True)  # noqa: DJ001
    address = models.CharField(
        _("address"),
        max_length=255,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text=_("The address that it came from."),
    )  # which of a contact's aliases it was: what a merge of contacts is taken back by
    quoted = models.ForeignKey(
        "self", verbose_name=_("quoted"), null=True, blank=True, on_delete=models.SET_NULL, related_name="replies"
    )
    quoted_provider_id = models.CharField(_("quoted provider id"), max_length=255, blank=True)

    control_epoch = models.PositiveIntegerField(null=True, editable=False)  # null: written by a person
    tries = models.PositiveSmallIntegerField(_("tries"), default=0, editable=False)
    next_try_at = models.DateTimeField(_("next try at"), null=True, blank=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)
    pricing = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("What the platform charges: {billable, model, type, category}."),
    )

    # Its place in the conversation: when it arrived or was queued here; of imported history, the writer's time.
    said_at = models.DateTimeField(_("said at"), default=timezone.now)
    written_at = models.DateTimeField(
        _("written at"),
        null=True,
        blank=True,
        help_text=_("When it was written, by the sender's clock, as the bridge reports it."),
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)
    sending_at = models.DateTimeField(_("sending at"), null=True, blank=True)
    # When an earlier try began that may have arrived, of a message that was queued again since.
    unconfirmed_at = models.DateTimeField(null=True, blank=True, editable=False)
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    delivered_at = models.DateTimeField(_("delivered at"), null=True, blank=True)
    read_at = models.DateTimeField(_("read at"), null=True, blank=True)
    edited_at = models.DateTimeField(_("edited at"), null=True, blank=True)
    # For staff, never for the model: [{"text", "until"}], oldest first.
    earlier_texts = models.JSONField(default=list, db_default=[], blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    changing_until = models.DateTimeField(null=True, blank=True, editable=False)  # while the bridge edits or deletes it

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [  # bridges deliver an event more than once; WhatsApp's ids are unique within a chat only
            models.UniqueConstraint(fields=["provider_message_id", "conversation"], name="message_once_per_chat")
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

    @property
    def is_edited_unseen(self) -> bool:
        """Whether its text was last edited before it left: the contact has not seen another one."""
        if self.edited_at is None or self.direction == self.Direction.INBOUND:
            return False
        has_not_left = self.status in {self.Status.QUEUED, self.Status.CANCELLED}
        return has_not_left or (self.sending_at is not None and self.edited_at < self.sending_at)


def preview_path(media: "Media", filename: str) -> str:
    """Return the storage path of what the model is shown of an image."""
    return f"{media.created_at:%Y/%m}/{media.pk.hex}.preview{PurePosixPath(filename).suffix}"


def media_path(media: "Media", filename: str) -> str:
    """Return the storage path of a file: by month and by random id, never under the uploaded name."""
    return f"{media.created_at:%Y/%m}/{media.pk.hex}{PurePosixPath(filename).suffix}"


class MediaQuerySet(models.QuerySet["Media"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="message__session")


class Media(models.Model):
    """What was attached to a message. `ref` is the bridge's id or URL for what came in; `file` the bytes, once stored.

    What the bridge hands over is fetched, then read: WAITING > STORED > READY, or FAILED with the reason. What we sent
    ourselves, and what cannot be fetched, has no status. `next_try_at` is set while there is something to do.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", _("waiting to be fetched")
        STORED = "stored", _("stored, to be read")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    message = models.OneToOneField(Message, verbose_name=_("message"), on_delete=models.CASCADE, related_name="media")
    mime_type = models.CharField(_("mime type"), max_length=100, blank=True)
    filename = models.CharField(_("filename"), max_length=255, blank=True)
    size_bytes = models.PositiveBigIntegerField(_("size bytes"), null=True, blank=True)
    ref = models.TextField(_("ref"), blank=True)
    file = models.FileField(_("file"), upload_to=media_path, blank=True, editable=False)
    downloadable = models.BooleanField(_("downloadable"), default=False)
    status = models.CharField(_("status"), max_length=7, choices=Status, blank=True, db_default="", default="")
    preview = models.FileField(upload_to=preview_path, blank=True, editable=False, db_default="", default="")
    transcript = models.TextField(
        _("transcript"), blank=True, db_default="", default="", help_text=_("Text of the speech.")
    )
    extract = models.TextField(
        _("extract"), blank=True, db_default="", default="", help_text=_("Beginning of the document's text.")
    )
    error_code = models.CharField(_("error code"), max_length=50, blank=True, db_default="", default="")
    error = models.CharField(_("error"), max_length=300, blank=True, db_default="", default="")
    tries = models.PositiveSmallIntegerField(_("tries"), db_default=0, default=0, editable=False)
    next_try_at = models.DateTimeField(_("next try at"), null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(
        _("expires at"), null=True, blank=True, help_text=_("When the bridge deletes the file.")
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now)

    objects = MediaQuerySet.as_manager()

    class Meta:
        verbose_name = _("media")
        verbose_name_plural = _("media")
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="media_to_process")
        ]

    def __str__(self) -> str:
        return self.filename or self.mime_type or "attachment"


class HeldMessage(models.Model):
    """An outbound message reported while the answer to a send is awaited: its echo, or typed on the phone.

    The answer decides which. Until it is known, nothing more is sent in the conversation. `event` is a MessageReceived.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="held_messages")
    event = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"held in {self.conversation_id}"


class CallEvent(models.Model):
    """One status of a call, which the bridge may report more than once."""

    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="+")
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="call_events")
    provider_call_id = models.CharField(max_length=255)
    status = models.CharField(max_length=8)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=timezone.now, db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["session", "provider_call_id", "status"], name="call_event_once")
        ]
        indexes = [models.Index(fields=["recorded_at"], condition=Q(status="ringing"), name="call_ringing")]

    def __str__(self) -> str:
        return f"{self.status} call"


class EarlyChange(models.Model):
    """An edit or a deletion that arrived before its message. It is applied as the message is stored."""

    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="+")
    provider_message_id = models.CharField(max_length=255)
    text = models.TextField(blank=True)
    is_revoked = models.BooleanField(default=False)
    at = models.DateTimeField()
    chat = ArrayField(models.CharField(max_length=255), default=list)  # addresses; empty: it is not known
    sender = ArrayField(models.CharField(max_length=255), default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["session", "provider_message_id"], name="early_change_by_message")]

    def __str__(self) -> str:
        return f"change of {self.provider_message_id}"


class EarlyReceipt(models.Model):
    """A receipt that arrived before the answer to our send. It is applied once the message's id is known."""

    session = models.ForeignKey(WhatsAppSession, verbose_name=_("number"), on_delete=models.CASCADE, related_name="+")
    provider_message_id = models.CharField(_("provider message id"), max_length=255)
    status = models.CharField(_("status"), max_length=9)
    error = models.CharField(_("error"), max_length=300, blank=True)
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    pricing = models.JSONField(_("pricing"), null=True, blank=True)
    at = models.DateTimeField(_("at"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("early receipt")
        verbose_name_plural = _("early receipts")
        constraints = [
            models.UniqueConstraint(fields=["session", "provider_message_id", "status"], name="early_receipt_once")
        ]

    def __str__(self) -> str:
        return f"{self.status} of a message not seen yet"
