"""Services of users."""

from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import Role, User
from whatsapp_agent.errors import InvalidInput

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


def check_new_user(*, username: str, email: str = "") -> None:
    """Raise InvalidInput if no user of this name can be created."""
    user = User(username=username, email=email)
    try:
        user.clean_fields(exclude=["password"])
        user.validate_unique()
    except ValidationError as exc:
        field, errors = next(iter(exc.message_dict.items()))
        raise InvalidInput(f"{field}: {' '.join(errors)}", field=field) from exc


@transaction.atomic
def create_user(*, username: str, password: str, role: Role, email: str = "", is_staff: bool = True) -> User:
    """Create a user in the group of the role. `is_staff`: may log in to the admin.

    Raises InvalidInput if the name is taken or invalid, or the password is too weak.
    """
    check_new_user(username=username, email=email)
    user = User(username=username, email=User.objects.normalize_email(email), is_staff=is_staff)
    try:
        validate_password(password, user)
    except ValidationError as exc:
        raise InvalidInput(" ".join(exc.messages), field="password") from exc
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as exc:
        raise InvalidInput("username: A user with that username already exists.", field="username") from exc
    user.groups.add(Group.objects.get_or_create(name=role.name.lower())[0])
    return user
