"""Which processes take turns and send; what all processes counted; what staff are alerted of, and where."""

from datetime import timedelta
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models import Conversation
from sessions_app.encryption import EncryptedTextField

ALIVE_FOR = timedelta(seconds=20)  # four heartbeats
STALLED_S = 180  # longer than a model may take


class EngineProcessQuerySet(models.QuerySet["EngineProcess"]):
    def alive(self) -> Self:
        """Return those that were seen a moment ago, by the database's clock."""
        return self.filter(seen_at__gt=Now() - ALIVE_FOR)

    def with_state(self) -> Self:
        """Add `is_alive`."""
        return self.annotate(
            is_alive=models.ExpressionWrapper(
                models.Q(seen_at__gt=Now() - ALIVE_FOR), output_field=models.BooleanField()
            )
        )

    def working(self) -> Self:
        """Return those that are alive and get on with their work."""
        return self.alive().filter(stalled_s__lt=STALLED_S)


class EngineProcess(models.Model):
    """A process that takes turns and sends. It writes a heartbeat, and deletes its row when it ends in order."""

    class Kind(models.TextChoices):
        ENGINE = "engine", _("engine process")
        WORKER = "worker", _("Celery worker")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    host = models.CharField(_("host"), max_length=255, help_text=_("Host name of the machine."))
    pid = models.PositiveIntegerField(_("process id"))
    started_at = models.DateTimeField(_("started at"))
    seen_at = models.DateTimeField(_("seen at"), help_text=_("The last heartbeat."))
    woken_at = models.DateTimeField(
        _("woken at"), null=True, help_text=_("When the last wake-up from another process came.")
    )
    turns_running = models.PositiveIntegerField(_("turns running"), default=0)
    turns_waiting = models.PositiveIntegerField(
        _("turns waiting"), default=0, help_text=_("Conversations that wait for a thread.")
    )
    stalled_s = models.PositiveIntegerField(
        _("stalled for seconds"),
        default=0,
        help_text=_("How long conversations have been waiting and no turn has ended."),
    )

    objects = EngineProcessQuerySet.as_manager()

    class Meta:
        verbose_name = _("engine process")
        verbose_name_plural = _("engine processes")

    def __str__(self) -> str:
        return _("%(kind)s %(pid)s on %(host)s") % {
            "kind": self.get_kind_display(),
            "pid": self.pid,
            "host": self.host,
        }


class KeyHolder(models.Model):
    """A running process and which SECRET_KEY it encrypts with: see `agent.backups.key_holders`.

    It is not a column of EngineProcess: every row there counts as one that answers, also for a version that still runs
    during an upgrade, and web processes encrypt as well.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=10)  # web, engine or worker
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    key_id = models.CharField(max_length=32)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.kind} process {self.pid} on {self.host}"


class MetricTotal(models.Model):
    """What all processes counted of one metric under these labels: see `whatsapp_agent.telemetry.metrics`."""

    name = models.CharField(max_length=60)
    labels = ArrayField(models.CharField(max_length=200), default=list)
    values = ArrayField(models.FloatField())  # a counter's value; of a histogram its buckets and its sum

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "labels"], name="metric_total_once")]

    def __str__(self) -> str:
        return f"{self.name} {', '.join(self.labels)}"


class Alert(models.Model):
    """A condition that lasts, or lasted, and that administrators should know of: see `agent.monitoring.alerts`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    rule = models.CharField(_("rule"), max_length=40)
    subject = models.CharField(
        _("subject"), max_length=255, blank=True, help_text=_("The number or the machine concerned.")
    )
    session_id = models.UUIDField(
        _("number id"), null=True, editable=False
    )  # no foreign key: the alert outlives its session
    detail = models.CharField(_("detail"), max_length=300)
    fired_at = models.DateTimeField(_("fired at"), help_text=_("When the condition was first seen."))
    last_seen_at = models.DateTimeField(_("last seen at"), help_text=_("When the condition was last seen."))
    recovered_at = models.DateTimeField(_("recovered at"), null=True, help_text=_("Empty: still active."))
    mailed_fired_at = models.DateTimeField(null=True, editable=False)
    mailed_recovered_at = models.DateTimeField(null=True, editable=False)
    mail_claimed_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints = [  # however many processes see it
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=Q(recovered_at=None), name="alert_once_while_it_lasts"
            )
        ]
        indexes = [models.Index(fields=["-fired_at"], name="alert_newest")]

    def __str__(self) -> str:
        return f"{self.rule} {self.subject}".strip()


class PushSender(models.Model):
    """The one row of web push: our key pair (VAPID), and how far the event feed was read for it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    private_key = EncryptedTextField(help_text="PEM.")
    read_transaction = models.BigIntegerField(default=0)
    read_event = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return "web push"


class PushSubscription(models.Model):
    """A browser of a user that shows notifications also while the inbox is closed. Whoever knows the endpoint may send
    to it: it is not logged."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="push_subscriptions")
    endpoint = models.CharField(max_length=1000, unique=True)
    p256dh = models.CharField(max_length=100)
    auth = models.CharField(max_length=40)
    # The login (a session of Django) in which it was subscribed: it is sent nothing once that has ended.
    login = models.CharField(max_length=40, default="", db_default="", editable=False)
    refused_status = models.PositiveSmallIntegerField(null=True)  # what its service answered last, if it refused us
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"browser of {self.user}"


class PushMessage(models.Model):
    """A notification that is to be sent to one browser. Its row is deleted once it was sent, or not wanted any more."""

    class Kind(models.TextChoices):
        WAITING = "waiting", "a conversation needs a person"
        ASSIGNED = "assigned", "a conversation was assigned"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subscription = models.ForeignKey(PushSubscription, on_delete=models.CASCADE, related_name="messages")
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(db_index=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "conversation", "kind"], name="push_message_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.subscription_id}"
