"""People and groups on the other side of a session."""

from typing import Any, Self

from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from agent.bridges.events import AliasKind as BridgeAliasKind
from sessions_app.models import WhatsAppSession, within_sessions_of


class ContactQuerySet(models.QuerySet["Contact"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)


class Contact(models.Model):
    """A person or a group on the other side of a session. Never shared between sessions: their owners may differ."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        WhatsAppSession, on_delete=models.CASCADE, related_name="contacts", verbose_name=_("number")
    )
    name = models.CharField(_("name"), max_length=200, blank=True)  # what staff called them; else what the bridge does
    bridge_name = models.CharField(
        _("bridge name"), max_length=200, blank=True, help_text=_("The profile name that the bridge reported last.")
    )
    phone = models.CharField(
        _("phone"), max_length=16, blank=True, help_text=_("E.164. Empty if it is hidden, and for groups.")
    )
    is_group = models.BooleanField(_("is group"), default=False)
    is_blocked = models.BooleanField(
        _("is blocked"), default=False, help_text=_("Messages are stored and never answered.")
    )
    is_allowed = models.BooleanField(
        _("is allowed"), default=False, help_text=_("Answered by numbers that answer only listed contacts.")
    )
    forget_requested_at = models.DateTimeField(null=True, blank=True, editable=False)  # see `messaging.people`
    phone_looked_up_at = models.DateTimeField(null=True, blank=True, editable=False)  # `contacts.hidden_numbers`
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ContactQuerySet.as_manager()

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        indexes = [
            models.Index(
                fields=["forget_requested_at"],
                condition=models.Q(forget_requested_at__isnull=False),
                name="contact_to_forget",
            ),
            models.Index(
                fields=["id"],
                condition=models.Q(phone="", is_group=False, phone_looked_up_at__isnull=True),
                name="contact_to_look_up",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.phone or ("group" if self.is_group else "hidden number")


class ContactAlias(models.Model):
    """An id a contact was seen under. Its scope is the session: the same id at another number is another contact."""

    class Kind(models.TextChoices):
        PHONE = BridgeAliasKind.PHONE.value, _("Phone")
        JID = BridgeAliasKind.JID.value, _("JID")
        LID = BridgeAliasKind.LID.value, _("LID")
        BSUID = BridgeAliasKind.BSUID.value, _("business-scoped id")
        USERNAME = BridgeAliasKind.USERNAME.value, _("Username")

    session = models.ForeignKey(
        WhatsAppSession, verbose_name=_("number"), on_delete=models.CASCADE, related_name="aliases"
    )
    contact = models.ForeignKey(Contact, verbose_name=_("contact"), on_delete=models.CASCADE, related_name="aliases")
    kind = models.CharField(_("kind"), max_length=8, choices=Kind)
    value = models.CharField(_("value"), max_length=255)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("contact alias")
        verbose_name_plural = _("contact aliases")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["session", "kind", "value"], name="alias_once_per_session", include=["contact"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"
