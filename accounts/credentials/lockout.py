"""Lockout: after five failed logins for a name from an address, further attempts are refused for a while.

Counted in the database, for all processes, and by an authentication backend, for the API and the admin.
"""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import LoginFailures, User, names_of_groups
from whatsapp_agent.errors import AppError
from whatsapp_agent.periodic import periodic

MAX_FAILURES = 5
WINDOW = timedelta(minutes=15)

# Counts before the password is checked, in one statement: of many concurrent guesses at most five are checked.
COUNT_ATTEMPT = """
INSERT INTO accounts_loginfailures AS stored (username, address, count, began_at)
VALUES (%(username)s, %(address)s, 1, now())
ON CONFLICT (username, address) DO UPDATE
   SET count = CASE WHEN stored.began_at < %(long_ago)s THEN 1 ELSE stored.count + 1 END,
       began_at = CASE WHEN stored.began_at < %(long_ago)s THEN now() ELSE stored.began_at END
RETURNING count, began_at
"""


class LockedOut(AppError):
    status, code, detail = 429, "locked_out", "Too many failed logins. Try again later."

    def __init__(self, *, wait_s: float) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(max(math.ceil(wait_s), 1))}


class LockoutBackend(ModelBackend):
    """ModelBackend with a lockout. Without a request (a shell) nothing is counted."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> Any:
        if request is None or not username:
            return super().authenticate(request, username=username, password=password, **kwargs)
        identity = {"username": username[:150].casefold()[:150], "address": request.META.get("REMOTE_ADDR", "")[:45]}
        with connection.cursor() as cursor:
            cursor.execute(COUNT_ATTEMPT, identity | {"long_ago": timezone.now() - WINDOW})
            count, began_at = cursor.fetchone()
        if count > MAX_FAILURES:
            raise LockedOut(wait_s=(began_at + WINDOW - timezone.now()).total_seconds())
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if user is not None:
            LoginFailures.objects.filter(**identity).delete()
        return user

    def get_user(self, user_id: Any) -> User | None:
        """Return the logged-in user, with their groups' names: one query for each page instead of two."""
        user = User.objects.annotate(group_names=names_of_groups()).filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None


def locked_out_page(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: answer 429 on the admin's login page during a lockout."""

    def middleware(request: HttpRequest) -> HttpResponse:
        return get_response(request)

    def process_exception(request: HttpRequest, exception: Exception) -> HttpResponse | None:  # noqa: ARG001
        if isinstance(exception, LockedOut):
            return HttpResponse(str(exception), status=exception.status, headers=exception.headers)
        return None

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware


@periodic(every_s=5)
def purge() -> None:
    """Delete expired counts."""
    LoginFailures.objects.filter(began_at__lt=timezone.now() - WINDOW).delete()
