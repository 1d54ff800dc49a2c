"""What happens to those who use the system."""

from django.conf import settings

from accounts.models import User

FIRST_STAFF_USER = "admin"


def ensure_first_staff_user() -> bool:
    """Make `admin`, who may do everything, with ADMIN_PASSWORD; True if it was made now.

    Someone who may do everything is enough: neither a changed password nor a renamed or deleted `admin` comes back.
    """
    if User.objects.filter(is_superuser=True).exists() or User.objects.filter(username=FIRST_STAFF_USER).exists():
        return False
    User.objects.create_superuser(FIRST_STAFF_USER, password=settings.ADMIN_PASSWORD)
    return True
