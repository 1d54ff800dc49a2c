"""Rate limits per caller, shared by all processes, with RateLimit headers.

A leaky bucket: one row per caller holds the time when the bucket is empty again, and one statement checks and counts.
Headers: draft-ietf-httpapi-ratelimit-headers-07.
"""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.idempotency import caller_of
from accounts.models import RequestRate
from whatsapp_agent.periodic import periodic

PERIOD_S = 60.0

# Returns a row if the call is allowed: the seconds until the bucket is empty again.
COUNT_REQUEST = """
INSERT INTO accounts_requestrate AS stored (caller, used_until)
VALUES (%(caller)s, clock_timestamp() + make_interval(secs => %(each_s)s))
ON CONFLICT (caller) DO UPDATE
   SET used_until = GREATEST(stored.used_until, clock_timestamp()) + make_interval(secs => %(each_s)s)
 WHERE stored.used_until <= clock_timestamp() + make_interval(secs => %(period_s)s - %(each_s)s)
RETURNING EXTRACT(epoch FROM used_until - clock_timestamp())
"""


class CallerThrottle(BaseThrottle):
    """Limits requests per minute of a user, an API key or an anonymous address; all may come in one burst."""

    scope = ""

    def __init__(self) -> None:
        self._wait_s: float | None = None

    def rate(self, request: Request) -> int:
        """Return requests per minute; 0 is unlimited."""
        return settings.API_RATE_PER_MINUTE if request.user.is_authenticated else settings.ANONYMOUS_RATE_PER_MINUTE

    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002
        rate = self.rate(request)
        if not rate:
            return True
        each_s = PERIOD_S / rate
        caller = f"{self.scope}{caller_of(request)}"
        with connection.cursor() as cursor:
            cursor.execute(COUNT_REQUEST, {"caller": caller, "each_s": each_s, "period_s": PERIOD_S})
            row = cursor.fetchone()
        used_s = float(row[0]) if row else self._used_s(caller)
        self._wait_s = None if row else max(used_s - PERIOD_S + each_s, 0.001)
        left = max(math.floor((PERIOD_S - used_s) / each_s + 1e-6), 0) if row else 0
        # For the middleware below, which sets the headers on refused responses too.
        request._request.rate_limit = {  # type: ignore[attr-defined]
            "RateLimit-Limit": str(rate),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(math.ceil(max(used_s, 0.0))),
            "RateLimit-Policy": f"{rate};w={PERIOD_S:g}",
        }
        return row is not None

    def _used_s(self, caller: str) -> float:
        used_until = RequestRate.objects.filter(pk=caller).values_list("used_until", flat=True).first()
        return (used_until - timezone.now()).total_seconds() if used_until else 0.0

    def wait(self) -> float | None:
        return self._wait_s


def rate_limit_headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: set the RateLimit headers."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in getattr(request, "rate_limit", {}).items():
            response.headers[name] = value
        return response

    return middleware


@periodic(every_s=5)
def purge() -> None:
    """Delete rows of callers whose bucket is empty."""
    RequestRate.objects.filter(used_until__lt=timezone.now() - timedelta(minutes=10)).delete()
