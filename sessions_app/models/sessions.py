"""WhatsApp sessions and their members."""

from typing import Any, Self, TypeVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import Role, User
from agent.bridges.events import Link
from sessions_app.models.bridges import Bridge
from whatsapp_agent.text.validators import validate_time_zone

Rows = TypeVar("Rows", bound=models.QuerySet)


class WhatsAppSessionQuerySet(models.QuerySet["WhatsAppSession"]):
    def visible_to(self, user: Any) -> Self:
        """Return the sessions the user is a member of; all for administrators."""
        if not user.is_authenticated:
            return self.none()
        if user.sees_everything:
            return self
        if user.restricted_to is None:
            return self.filter(memberships__user=user)
        within = self.filter(pk__in=user.restricted_to)
        return within if user.role == Role.ADMIN else within.filter(memberships__user=user)

    def live(self) -> Self:
        return self.filter(ended_at=None)

    def test_chats(self) -> Self:
        """Return the sessions in which staff try a draft (`agent.profile_tests`): nobody else writes there."""
        return self.filter(agent_profile__draft_of__isnull=False)

    def without_test_chats(self) -> Self:
        return self.filter(agent_profile__draft_of__isnull=True)

    def link_anew(self) -> int:
        """Forget how far linking has come, as the bridge starts the session anew.

        A code that waits for a scan is none any more: that the session is `connecting` next does not mean a scan.
        """
        states = WhatsAppSession.Status
        waited = models.When(status=states.QR_WAITING, then=models.Value(states.INITIALIZING))
        status = models.Case(waited, default=models.F("status"))
        return self.update(status=status, linking_since=None, scanned_at=None)


def within_sessions_of(user: Any, rows: Rows, *, path: str = "session") -> Rows:
    """Limit `rows` to those whose session, at the lookup `path`, the user may see."""
    if user.is_authenticated and user.sees_everything:
        return rows
    return rows.filter(**{f"{path}__in": WhatsAppSession.objects.visible_to(user)})


class WhatsAppSession(models.Model):
    """One WhatsApp number at one bridge. An ended session stays; linking the same name again reactivates it."""

    class Status(models.TextChoices):
        INITIALIZING = Link.INITIALIZING.value, _("Initializing")
        QR_WAITING = Link.QR_WAITING.value, _("waiting for the QR code to be scanned")
        CONNECTING = Link.CONNECTING.value, _("Connecting")
        CONNECTED = Link.CONNECTED.value, _("Connected")
        DISCONNECTED = Link.DISCONNECTED.value, _("Disconnected")
        LOGGED_OUT = Link.LOGGED_OUT.value, _("Logged Out")

    class AccessPolicy(models.TextChoices):
        EVERYONE = "everyone", _("everyone is answered")
        LISTED = "listed", _("only contacts marked as allowed are answered")
        NOBODY = "nobody", _("nobody is answered")

    class GroupPolicy(models.TextChoices):
        OFF = "off", _("groups are not answered")
        MENTION = "mention", _("answered where it is mentioned or replied to")
        ALL = "all", _("every message of a group is answered")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    bridge = models.ForeignKey(Bridge, verbose_name=_("bridge"), on_delete=models.PROTECT, related_name="sessions")
    name = models.CharField(_("name"), max_length=100, help_text=_("The number's id at the bridge."))
    status = models.CharField(_("status"), max_length=12, choices=Status, default=Status.INITIALIZING)
    status_reason = models.CharField(_("status reason"), max_length=200, blank=True)
    status_changed_at = models.DateTimeField(_("status changed at"), null=True, blank=True)
    phone = models.CharField(_("phone"), max_length=16, blank=True, help_text=_("E.164."))
    display_name = models.CharField(_("display name"), max_length=200, blank=True)
    lid = models.CharField(  # the number's own hidden address, by which groups mention it
        max_length=64, blank=True, default="", db_default="", editable=False
    )
    owner_phone = models.CharField(
        _("owner phone"),
        max_length=16,
        blank=True,
        validators=[RegexValidator(r"^\+[1-9]\d{6,14}\Z", "Write it as +5511988887777.")],
        help_text=_("E.164. Messages from this phone may run the owner's commands, as may those of the number itself."),
    )
    time_zone = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        validators=[validate_time_zone],
        help_text=_("Time zone of the agent's answers, like America/Sao_Paulo. Empty: TIME_ZONE."),
    )
    send_rate_per_minute = models.PositiveSmallIntegerField(
        _("send rate per minute"),
        null=True,
        blank=True,
        help_text=_(
            "Messages it sends a minute, at irregular intervals; 0: no limit. Empty: SEND_RATE_PER_MINUTE for "
            "linked numbers, no limit elsewhere."
        ),
    )
    next_send_at = models.DateTimeField(null=True, blank=True, editable=False)  # see `messaging.outbox`
    qr_png = models.BinaryField(null=True, editable=False)
    qr_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    # While it is being linked: since when a code waits, and when the bridge showed that one was used.
    linking_since = models.DateTimeField(null=True, blank=True, editable=False)
    scanned_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What WhatsApp limits the account by, by kind: see `links.account_limits`.
    account_limits = models.JSONField(default=dict, db_default={}, blank=True, editable=False)
    # Up to when the bridge was asked for messages that we missed, and when it is asked next; null: now.
    caught_up_until = models.DateTimeField(null=True, blank=True, editable=False)
    catch_up_at = models.DateTimeField(null=True, blank=True, editable=False)
    # While it has not listed them all, newest first: when it was first asked, and the end of what is left.
    catching_up_at = models.DateTimeField(null=True, blank=True, editable=False)
    catching_up_until = models.DateTimeField(null=True, blank=True, editable=False)
    agent_profile = models.ForeignKey(
        "AgentProfile", verbose_name=_("agent profile"), on_delete=models.PROTECT, related_name="sessions"
    )
    access_policy = models.CharField(
        _("access policy"), max_length=10, choices=AccessPolicy, default=AccessPolicy.EVERYONE
    )
    group_policy = models.CharField(
        _("group policy"),
        max_length=7,
        choices=GroupPolicy,
        default=GroupPolicy.OFF,
        db_default=GroupPolicy.OFF,
        help_text=_("What the agent answers in groups."),
    )
    members = models.ManyToManyField(
        User, verbose_name=_("members"), through="Membership", related_name="whatsapp_sessions"
    )
    linked_at = models.DateTimeField(_("linked at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = WhatsAppSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("number")
        verbose_name_plural = _("numbers")
        constraints = [models.UniqueConstraint(fields=["bridge", "name"], name="session_name_once_per_bridge")]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which the agent states times."""
        return ZoneInfo(self.time_zone or settings.TIME_ZONE)


class FormerName(models.Model):
    """A name that a session had at a bridge before it moved: what still comes from there is of no new number."""

    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="former_names")
    bridge = models.ForeignKey(Bridge, on_delete=models.CASCADE, related_name="former_names")
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["bridge", "name"], name="former_name_once_per_bridge")]

    def __str__(self) -> str:
        return self.name


class ForgottenAddress(models.Model):
    """An address of somebody who was forgotten, as a keyed hash: bridges list what they wrote for some days."""

    session = models.ForeignKey(WhatsAppSession, on_delete=models.CASCADE, related_name="forgotten_addresses")
    digest = models.CharField(max_length=64)
    forgotten_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["session", "digest"], name="forgotten_address_once_per_session")]

    def __str__(self) -> str:
        return self.digest


class Membership(models.Model):
    """Lets a user see a session and its conversations."""

    session = models.ForeignKey(
        WhatsAppSession, verbose_name=_("number"), on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="memberships")

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["session", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.session}"
