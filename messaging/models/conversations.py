"""Conversations: who answers, what is due, and the lease."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Case, F, Q, Value, When, Window
from django.db.models.functions import Coalesce, Concat, Now, RowNumber
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.contacts import Contact
from sessions_app.models import WhatsAppSession, within_sessions_of
from whatsapp_agent.text.phones import owner_spellings

NO_ATTENTION = {"needs_attention": False, "attention_reason": "", "attention_note": ""}

# Open, and waiting for a person: the agent asked for one, or someone wrote while a person has control.
NEEDS_PERSON = Q(done_at=None, snoozed_until=None) & (Q(needs_attention=True) | Q(control="human", unread_count__gt=0))

# Whether staff have put a conversation aside. The event `conversation.status_changed` knows the same rule.
STATUSES = {
    "open": Q(done_at=None, snoozed_until=None),
    "snoozed": Q(done_at=None, snoozed_until__isnull=False),
    "done": Q(done_at__isnull=False),
}


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)

    def without_test_chats(self) -> Self:
        return self.exclude(session__in=WhatsAppSession.objects.test_chats())

    def start_afresh(self, at: datetime) -> int:
        """Hide what was said before from the model. Nothing is deleted, and facts stay."""
        return self.update(context_from=at, summary="", summary_until=None, summary_version=F("summary_version") + 1)

    def ask_for_attention(self, reason: "Conversation.Attention", *, note: str) -> int:
        """Ask staff to look, with a reason programs read and a note people read; return for how many conversations.

        A note that staff has not resolved stays, and the new one is added below it, once.
        """
        is_unseen = Q(needs_attention=True) & ~Q(attention_note="")
        return self.update(
            needs_attention=True,
            attention_reason=reason,
            attention_note=Case(
                When(is_unseen & Q(attention_note__contains=note), then=F("attention_note")),
                When(is_unseen, then=Concat(F("attention_note"), Value(f"\n{note}", output_field=models.TextField()))),
                default=Value(note),
                output_field=models.TextField(),
            ),
        )

    def due(self) -> Self:
        """Those that want a turn now and nobody is at, the longest waiting first."""
        is_free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=Now())  # by the clock that wrote them
        return self.filter(is_free, due_at__lte=Now(), control="agent").order_by("due_at")

    def due_by_session(self, *, limit: int) -> list[tuple[UUID, UUID]]:
        """Return ids of `due` conversations and their sessions. Sessions take turns, so that none hides the others."""
        place = Window(RowNumber(), partition_by="session_id", order_by="due_at")
        rows = self.due().annotate(place=place).order_by("place", "due_at")
        return list(rows.values_list("pk", "session_id")[:limit])


class Conversation(models.Model):
    """Everything between one session and one contact, and who answers there now."""

    class Control(models.TextChoices):
        AGENT = "agent", _("Agent")
        HUMAN = "human", _("Human")
        MUTED = "muted", _("Muted")

    class Attention(models.TextChoices):
        """Why staff is asked to look."""

        HANDOFF = "handoff", _("a person was requested")
        TURN_FAILED = "turn_failed", _("the agent could not answer")
        UNANSWERED = "unanswered", _("a takeover ended with an old question")
        NOT_SENT = "not_sent", _("a message was not sent")
        UNCONFIRMED = "unconfirmed", _("a message may not have been sent")
        BRIDGE_KEY = "bridge_key", _("the bridge refuses its key")
        MODEL_REFUSES = "model_refuses", _("the model refuses its key, its name or the account")
        LOOP = "loop", _("the other side seems to be a machine")
        OTHER_PROGRAM = "other_program", _("another program answers on this number")
        CLOCK = "clock", _("a message seemed old because a clock was wrong")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        WhatsAppSession,
        on_delete=models.CASCADE,
        related_name="conversations",
        verbose_name=_("number"),
        db_index=False,  # conversation_latest begins with it
    )
    contact = models.OneToOneField(
        Contact, verbose_name=_("contact"), on_delete=models.CASCADE, related_name="conversation"
    )
    address = models.CharField(
        _("address"),
        max_length=255,
        help_text=_("Where the bridge sends to: the address of the latest inbound message."),
    )
    address_changed_at = models.DateTimeField(null=True, blank=True, editable=False)  # when WhatsApp last reported so

    control = models.CharField(_("control"), max_length=6, choices=Control, default=Control.AGENT)
    control_until = models.DateTimeField(_("control until"), null=True, blank=True)
    control_reason = models.CharField(_("control reason"), max_length=200, blank=True)
    control_epoch = models.PositiveIntegerField(default=0, editable=False)
    controlled_by = models.ForeignKey(
        User, verbose_name=_("controlled by"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    # A third controller: on the Cloud API, chats may be held by another program than ours.
    external_controller = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="The other program that holds the chat at the platform, as that calls it. Empty: none does.",
    )
    external_controller_at = models.DateTimeField(null=True, blank=True, editable=False)  # when that was last reported

    # The mailbox: what is to be done here, from when, and who is at it.
    due_at = models.DateTimeField(_("due at"), null=True, blank=True, editable=False)
    burst_started_at = models.DateTimeField(null=True, blank=True, editable=False)
    retry_at = models.DateTimeField(_("retry at"), null=True, blank=True, editable=False)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0, editable=False)
    inbound_count = models.PositiveIntegerField(default=0, editable=False)  # moves with each message to be answered
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, blank=True, editable=False)
    answered_count = models.PositiveIntegerField(
        default=0, editable=False
    )  # the burst watermark: inbound_count when answered

    summary = models.TextField(
        _("summary"), blank=True, help_text=_("Summary of the messages up to `summary_until`, for the model.")
    )
    summary_until = models.DateTimeField(null=True, blank=True, editable=False)
    summary_version = models.PositiveIntegerField(default=0, editable=False)
    context_from = models.DateTimeField(
        _("context from"), null=True, blank=True, help_text=_("Older messages are not shown to the model.")
    )
    unread_count = models.PositiveIntegerField(_("unread count"), default=0)
    needs_attention = models.BooleanField(_("needs attention"), default=False)
    attention_reason = models.CharField(
        _("attention reason"),
        max_length=20,
        blank=True,
        default="",
        db_default="",
        choices=Attention,
        help_text=_("Why the conversation needs attention. Empty if it does not."),
    )
    attention_note = models.TextField(
        _("attention note"), blank=True, help_text=_("Explanation for staff, in at most two lines.")
    )
    last_message_at = models.DateTimeField(_("last message at"), null=True, blank=True)

    # How staff share the work. Done and snoozed conversations are open again with the contact's next message.
    assigned_to = models.ForeignKey(
        User, verbose_name=_("assigned to"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    assigned_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_self_assigned = models.BooleanField(default=False, db_default=False, editable=False)  # no news to the assignee
    snoozed_until = models.DateTimeField(_("snoozed until"), null=True, blank=True)
    done_at = models.DateTimeField(_("done at"), null=True, blank=True)
    done_reason = models.CharField(_("done reason"), max_length=200, blank=True, default="", db_default="")
    labels = ArrayField(
        models.CharField(max_length=40), verbose_name=_("labels"), default=list, db_default=[], blank=True
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="conversation_due"),
            models.Index(
                fields=["control_until"], condition=Q(control_until__isnull=False), name="conversation_released"
            ),
            models.Index(fields=["session", "-last_message_at", "-id"], name="conversation_latest"),
            models.Index(Coalesce("last_message_at", "created_at").desc(), F("id").desc(), name="conversation_newest"),
            models.Index(fields=["-last_message_at"], condition=NEEDS_PERSON, name="conversation_needs_person"),
            models.Index(
                fields=["-last_message_at"], condition=Q(snoozed_until__isnull=False), name="conversation_snoozed"
            ),
            models.Index(fields=["-last_message_at"], condition=Q(done_at__isnull=False), name="conversation_done"),
            GinIndex(fields=["labels"], condition=~Q(labels=[]), name="conversation_labels"),
        ]

    def __str__(self) -> str:
        return f"{self.contact} at {self.session}"

    @property
    def is_answered(self) -> bool:
        """Whether this contact is answered at all: `INSERT_INBOUND_MESSAGE` checks the same when a message comes.

        Commands in our own chat run whatever the policy: nobody else can write there.
        """
        policy = self.session.access_policy
        is_let_in = policy == "everyone" or (policy == "listed" and self.contact.is_allowed)
        is_ours = bool(self.session.phone) and self.contact.phone in owner_spellings(self.session.phone)
        if self.contact.is_group and self.session.group_policy == WhatsAppSession.GroupPolicy.OFF:
            return False
        return (is_let_in or is_ours) and not self.contact.is_blocked and self.session.ended_at is None


class NoteQuerySet(models.QuerySet["Note"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self, path="conversation__session")


class Note(models.Model):
    """What staff write for their colleagues beside the messages: never sent, shown to the model only if ticked."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="notes", db_index=False)
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    text = models.TextField()
    is_shown_to_model = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = NoteQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["conversation", "-created_at"], name="note_latest"),
            models.Index(
                fields=["conversation", "-created_at"], condition=Q(is_shown_to_model=True), name="note_shown_to_model"
            ),
        ]

    def __str__(self) -> str:
        return f"note of {self.author}"
