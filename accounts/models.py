"""Users, roles, API keys; login failures, idempotent requests and request rates."""

from collections.abc import Collection
from enum import IntEnum
from typing import Self
from uuid import UUID

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.aggregates import ArrayAgg
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7


class Role(IntEnum):
    """What a user may do, by membership in the group of this name. See accounts.permissions."""

    VIEWER = 1  # reads; also users in no group
    OPERATOR = 2  # and answers, takes over, runs commands
    ADMIN = 3  # and links numbers, writes profiles, and sees every session


def names_of_groups(path: str = "groups__name") -> ArrayAgg:
    """Return the annotation `group_names`, which saves `User.role` a query."""
    return ArrayAgg(path, filter=Q(**{f"{path}__isnull": False}), default=[])


class User(AbstractUser):
    """A person who logs in: staff in the admin, or a client of the API."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    # Preferences, see accounts.preferences.
    language = models.CharField(
        _("language"),
        max_length=10,
        blank=True,
        default="",
        db_default="",
        choices=[("", _("The browser's")), ("en", "English"), ("pt-br", "Português (Brasil)")],
    )
    theme = models.CharField(
        _("appearance"),
        max_length=5,
        blank=True,
        default="",
        db_default="",
        choices=[("", _("As the device")), ("light", _("Light")), ("dark", _("Dark"))],
    )
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True, default="", db_default="")
    alerts_waiting = models.BooleanField(_("tell me when a conversation needs a person"), default=True, db_default=True)
    alerts_assigned = models.BooleanField(
        _("tell me when a conversation is assigned to me"), default=True, db_default=True
    )
    mails_digest = models.BooleanField(_("e-mail me what waits when nobody looks"), default=False, db_default=False)
    digest_until = models.DateTimeField(null=True, editable=False)  # when the last e-mail was begun

    # The sessions that the API key of this request is restricted to; None without restriction.
    restricted_to: Collection[UUID] | None = None

    @property
    def role(self) -> Role:
        if self.is_superuser:
            return Role.ADMIN
        if "group_names" not in self.__dict__:  # not annotated
            self.__dict__["group_names"] = list(self.groups.values_list("name", flat=True))
        names = self.__dict__["group_names"]
        return max((role for role in Role if role.name.lower() in names), default=Role.VIEWER)

    @property
    def sees_everything(self) -> bool:
        """Return whether the user sees every session; others see those they are members of."""
        return self.is_active and self.restricted_to is None and self.role == Role.ADMIN


class Scope(models.TextChoices):
    """What an API key may do, within what its user may do."""

    MESSAGES_READ = "messages:read", _("read conversations, messages, contacts and turns")
    MESSAGES_SEND = "messages:send", _("send messages, and send or answer again")
    CONVERSATIONS_CONTROL = "conversations:control", _("take over, release, mark as read, change contacts")
    SESSIONS_READ = "sessions:read", _("see numbers and agent profiles")
    SESSIONS_MANAGE = "sessions:manage", _("link and end numbers, write agent profiles")
    COMMANDS_RUN = "commands:run", _("run commands")
    EVENTS_READ = "events:read", _("follow events")
    WEBHOOKS_MANAGE = "webhooks:manage", _("say where events are posted to")


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> Self:
        not_expired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(not_expired, revoked_at=None, user__is_active=True)


class ApiKey(models.Model):
    """A program that acts for a user. Of the secret only the SHA-256 is stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(_("name"), max_length=100, help_text=_("A label: which program uses the key."))
    prefix = models.CharField(_("prefix"), max_length=16, unique=True, editable=False)
    secret_hash = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=30, choices=Scope), verbose_name=_("scopes"))
    session_ids = ArrayField(
        models.UUIDField(),
        verbose_name=_("number ids"),
        default=list,
        blank=True,
        help_text=_("The numbers the key may access. Empty: all that its user may see."),
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False, help_text=_("To the minute."))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = _("API keys")
        verbose_name = _("API key")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class LoginFailures(models.Model):
    """Failed logins for a name from an address since `began_at`. No foreign key: the name may not exist."""

    username = models.CharField(max_length=150)
    address = models.CharField(max_length=45)
    count = models.PositiveIntegerField()
    began_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = _("login failures")
        constraints = [models.UniqueConstraint(fields=["username", "address"], name="login_failures_once")]

    def __str__(self) -> str:
        return f"{self.count} for {self.username}"


class IdempotentRequest(models.Model):
    """A POST with an `Idempotency-Key`: claimed while it runs, then its response."""

    caller = models.CharField(max_length=50)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the request.")
    token = models.UUIDField(help_text="Identifies the worker that runs the request now.")
    claimed_at = models.DateTimeField()
    created_at = models.DateTimeField(db_index=True)
    status_code = models.PositiveSmallIntegerField(null=True)  # null: running, or its process died
    answer = models.TextField(blank=True)  # encrypted
    location = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "route", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return f"{self.route} {self.created_at:%F %T}"


class RequestRate(models.Model):
    """The used part of a caller's rate limit. The table is UNLOGGED: losing it costs nothing."""

    caller = models.CharField(primary_key=True, max_length=64)
    used_until = models.DateTimeField(help_text="When the full allowance is available again.")

    def __str__(self) -> str:
        return self.caller
