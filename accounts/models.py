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
