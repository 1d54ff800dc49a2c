"""`/metrics`, for Prometheus."""

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt

from agent.monitoring.counts import store_counts
from whatsapp_agent.api.errors import method_not_allowed, route_not_found

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@csrf_exempt
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with all metrics to who has METRICS_TOKEN; without that setting there is no such page."""
    if not settings.METRICS_TOKEN:
        return route_not_found(request)
    if request.method not in {"GET", "HEAD"}:
        return method_not_allowed("GET", "HEAD")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not constant_time_compare(given.strip(), settings.METRICS_TOKEN):
        response = JsonResponse({"detail": "METRICS_TOKEN is required.", "code": "unauthorized"}, status=401)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    from agent.monitoring.exposition import render  # the library is loaded by the process that is asked

    try:
        store_counts()
        body = render()
    except (OperationalError, InterfaceError):
        return JsonResponse({"detail": "The database does not answer.", "code": "unavailable"}, status=503)
    return HttpResponse(body, content_type=CONTENT_TYPE)
