"""Contacts that were merged because they are one person, and those that may be."""

from typing import Any, Self

from django.db import models
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.contacts import Contact
from sessions_app.models import WhatsAppSession, within_sessions_of


class ContactMergeQuerySet(models.QuerySet["ContactMerge"]):
    def visible_to(self, user: Any) -> Self:
        return within_sessions_of(user, self)

    def of_pair(self, one: Any, other: Any) -> Self:
        """Those of these two contacts (ids), whichever was kept."""
        pair = models.Q(contact=one, merged_id=other) | models.Q(contact=other, merged_id=one)
        return self.filter(pair)


class ContactMerge(models.Model):
    """Two contacts that are, or may be, one person. PROPOSED > MERGED > UNDONE, or PROPOSED > REFUSED.

    A pair whose merge was undone or refused by a person is not merged or proposed again by itself.
    """

    class Status(models.TextChoices):
        PROPOSED = "proposed", _("proposed: a person decides")
        MERGED = "merged", _("Merged")
        UNDONE = "undone", _("Undone")
        REFUSED = "refused", _("refused: two people")

    class Reason(models.TextChoices):
        ADDRESSES = "addresses", _("the bridge named both addresses together")
        SPELLING = "spelling", _("two spellings of one phone number")
        PHONES = "phones", _("the bridge named an address together with another phone number")
        NUMBER_CHANGED = "number_changed", _("the platform reported a new phone number")
        PERSON = "person", _("a person merged them")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(
        WhatsAppSession, verbose_name=_("number"), on_delete=models.CASCADE, related_name="contact_merges"
    )
    contact = models.ForeignKey(
        Contact,
        verbose_name=_("contact"),
        on_delete=models.CASCADE,
        related_name="merges",
        help_text=_("The contact that is kept."),
    )
    # No foreign key: while the two are merged there is no such row.
    merged_id = models.UUIDField(
        _("merged id"), db_index=True, editable=False, help_text=_("The contact that is merged into it.")
    )
    merged_name = models.CharField(_("merged name"), max_length=200, blank=True)
    merged_phone = models.CharField(_("merged phone"), max_length=16, blank=True)
    status = models.CharField(_("status"), max_length=8, choices=Status)
    reason = models.CharField(_("reason"), max_length=14, choices=Reason)
    decided_by = models.ForeignKey(
        User, verbose_name=_("decided by"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    undone_by = models.ForeignKey(
        User, verbose_name=_("undone by"), null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    decided_at = models.DateTimeField(
        _("decided at"), null=True, blank=True, help_text=_("When they were merged, or it was refused.")
    )
    undone_at = models.DateTimeField(_("undone at"), null=True, blank=True)
    undo = models.JSONField(_("undo"), null=True, blank=True, editable=False)  # as messaging.contacts.journal writes it

    objects = ContactMergeQuerySet.as_manager()

    class Meta:
        verbose_name = _("contact merge")
        verbose_name_plural = _("contact merges")
        indexes = [models.Index(fields=["session", "-created_at"], name="contact_merge_latest")]

    def __str__(self) -> str:
        return f"{self.merged_name or self.merged_phone or 'hidden number'} into {self.contact}"
