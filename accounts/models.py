"""Who may use the system."""

from django.contrib.auth.models import AbstractUser
from django.db import models
from uuid_utils.compat import uuid7


class User(AbstractUser):
    """A person who logs in: staff in the admin, or a client of the API."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    @property
    def sees_everything(self) -> bool:
        """Administrators see every session; everyone else those they are members of."""
        return self.is_active and self.is_superuser


class IdempotentRequest(models.Model):
    """A POST that carried an `Idempotency-Key`: claimed while it runs, answered once it is done."""

    caller = models.CharField(max_length=50)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Of what was asked: SHA-256.")
    token = models.UUIDField(help_text="Of whoever runs it now.")
    claimed_at = models.DateTimeField()
    created_at = models.DateTimeField(db_index=True)
    status_code = models.PositiveSmallIntegerField(null=True)  # null: it runs, or the process running it died
    answer = models.TextField(blank=True)
    location = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "route", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return f"{self.route} {self.created_at:%F %T}"


class RequestRate(models.Model):
    """How much of its allowance a caller has used up. Kept out of the write-ahead log: losing it costs nothing."""

    caller = models.CharField(primary_key=True, max_length=64)
    used_until = models.DateTimeField(help_text="When the allowance is whole again.")

    def __str__(self) -> str:
        return self.caller
