"""Services of users."""

from django.conf import settings

from accounts.models import User

FIRST_STAFF_USER = "admin"


def ensure_first_staff_user() -> bool:
    """Create the superuser `admin` with ADMIN_PASSWORD; return True if it was created now.

    Does nothing without ADMIN_PASSWORD, or if a superuser exists: a changed password, or an `admin` that was renamed
    or deleted, stays so.
    """
    if not settings.ADMIN_PASSWORD:
        return False
    if User.objects.filter(is_superuser=True).exists() or User.objects.filter(username=FIRST_STAFF_USER).exists():
        return False
    User.objects.create_superuser(FIRST_STAFF_USER, password=settings.ADMIN_PASSWORD)
    return True
