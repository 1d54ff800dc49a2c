"""Is the process alive, and can it do its work?"""

from typing import Any

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse


def health(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """The process answers. Asks nothing of anyone, so that a slow database does not get the process restarted."""
    return JsonResponse({"status": "healthy"})


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def report(checks: dict[str, Any]) -> HttpResponse:
    """`{"status": "healthy" | "unhealthy", "checks": {name: bool}}`, 503 when one fails."""
    ok = all(checks.values())
    return JsonResponse({"status": "healthy" if ok else "unhealthy", "checks": checks}, status=200 if ok else 503)
