"""Liveness, and what readiness is made of."""

from typing import Any

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from whatsapp_agent.api.errors import method_not_allowed


@csrf_exempt
def health(request: HttpRequest) -> HttpResponse:
    """Liveness. Checks nothing else: a slow database must not get the process restarted."""
    if request.method not in {"GET", "HEAD"}:
        return method_not_allowed("GET", "HEAD")
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
