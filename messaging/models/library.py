"""Files that an agent profile may send."""

from pathlib import PurePosixPath
from typing import Any, Self

from django.core.validators import MaxLengthValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _
from uuid_utils.compat import uuid7

from accounts.models import User
from messaging.models.messages import Message
from sessions_app.models import AgentProfile


def library_path(row: "LibraryFile", filename: str) -> str:
    """Return the storage path of a file: by a random id, apart from what was received and sent."""
    return f"library/{row.pk.hex}{PurePosixPath(filename).suffix}"


class LibraryFileQuerySet(models.QuerySet["LibraryFile"]):
    def visible_to(self, user: Any) -> Self:
        """Return the files of the profiles whose sessions the user may see; all for administrators."""
        return self.filter(agent_profile__in=AgentProfile.objects.visible_to(user))


class LibraryFile(models.Model):
    """A file that the agent may send: the model chooses it by its name and description."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent_profile = models.ForeignKey(
        AgentProfile, verbose_name=_("agent profile"), on_delete=models.CASCADE, related_name="library_files"
    )
    name = models.CharField(
        _("name"), max_length=80, help_text=_("What the model and people call it, like: price list.")
    )
    description = models.TextField(
        _("description"),
        blank=True,
        validators=[MaxLengthValidator(300)],
        help_text=_("For the model: what is in it and when to send it."),
    )
    file = models.FileField(_("file"), upload_to=library_path, editable=False)
    filename = models.CharField(_("filename"), max_length=255, editable=False, help_text=_("What the contact sees."))
    mime_type = models.CharField(_("mime type"), max_length=100, editable=False)
    kind = models.CharField(_("kind"), max_length=11, choices=Message.Kind, editable=False)
    size_bytes = models.PositiveBigIntegerField(_("size bytes"), editable=False)
    changed_by = models.ForeignKey(
        User, verbose_name=_("changed by"), null=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = LibraryFileQuerySet.as_manager()

    class Meta:
        verbose_name = _("library file")
        verbose_name_plural = _("library files")
        constraints = [models.UniqueConstraint(models.F("agent_profile"), Lower("name"), name="library_name_once")]

    def __str__(self) -> str:
        return self.name
