"""The webhook that bridges post to: authenticate the request, store its events, answer."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeGuard

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import Resolver404, resolve
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from structlog.contextvars import bind_contextvars, unbind_contextvars
from uuid_utils.compat import uuid7

from agent import inbox
from agent.monitoring.instruments import WEBHOOK_REQUESTS, WEBHOOK_SECONDS
from sessions_app.bridges import BridgeChanged, adapter_for, bridge_of_slug, remembered_bridge
from sessions_app.models import Bridge
from whatsapp_agent.api.errors import method_not_allowed
from whatsapp_agent.errors import AppError, WebhookUnauthorized
from whatsapp_agent.storage import disk

log = structlog.get_logger(__name__)

UNKNOWN_BRIDGE = "unknown"  # a request without the right secret
MAX_BODY_BYTES = 4 * 1024 * 1024  # Meta sends up to 3 MB at once


def webhook_fast_path(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Outermost middleware: pass webhook requests directly to their view.

    The other middleware serves browsers and the API (sessions, CORS, static files) and costs more than storing a
    message does.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/api/v1/webhooks/"):
            try:
                match = resolve(request.path_info)
            except Resolver404:
                return get_response(request)
            if match.func is webhook:
                bind_contextvars(request_id=str(uuid7()))
                try:
                    response = webhook(request, **match.kwargs)
                finally:
                    unbind_contextvars("request_id")
                response.headers["Content-Length"] = str(len(response.content))
                return response
        return get_response(request)

    return middleware


@csrf_exempt
def webhook(request: HttpRequest, slug: str, secret: str = "") -> HttpResponse:
    """Store a webhook request: 200 once its events are committed, 503 if the bridge must send it again."""
    if request.method == "GET":
        return _challenge(request, slug=slug, secret=secret)
    if request.method != "POST":
        return method_not_allowed("POST")
    started = time.perf_counter()
    try:
        response = JsonResponse(_store(request, slug=slug, secret=secret))
    except AppError as exc:
        response = JsonResponse({"detail": str(exc), "code": exc.code}, status=exc.status)
    except (OperationalError, InterfaceError) as exc:
        log.warning("events_not_stored", bridge=slug, error=disk.reason(exc))
        response = JsonResponse(
            {"detail": "The events could not be stored. Send the request again.", "code": "unavailable"}, status=503
        )
    bridge = remembered_bridge(slug) if response.status_code != WebhookUnauthorized.status else None
    WEBHOOK_REQUESTS.add(bridge.kind if bridge else UNKNOWN_BRIDGE, str(response.status_code))
    WEBHOOK_SECONDS.observe(time.perf_counter() - started)
    return response


def _store(request: HttpRequest, *, slug: str, secret: str) -> dict[str, int]:
    """Authenticate the request and store its events; return the counts.

    The bridge is remembered from an earlier request: the statement that stores a message compares it with its row,
    which saves reading the row first. If it has changed, or refuses the request, the row is read.
    """
    body = _body(request)

    def process(bridge: Bridge) -> dict[str, int]:
        return inbox.process_webhook_request(bridge=bridge, headers=request.headers, body=body, query=request.GET)

    remembered = remembered_bridge(slug)
    if _has_secret(remembered, secret):
        with suppress(WebhookUnauthorized, BridgeChanged):
            return process(remembered)
    return process(_authenticated(slug=slug, secret=secret))


def _authenticated(*, slug: str, secret: str) -> Bridge:
    bridge = bridge_of_slug(slug)
    if _has_secret(bridge, secret):
        return bridge
    raise WebhookUnauthorized()


def _has_secret(bridge: Bridge | None, secret: str) -> TypeGuard[Bridge]:
    """Return whether this is the bridge's secret, or its former one while that is accepted.

    Takes as long for an unknown bridge as for a wrong secret.
    """
    present = bridge.webhook_secret if bridge else ""
    former = bridge.accepted_former_secret if bridge else ""
    is_present = constant_time_compare(secret, present or settings.SECRET_KEY) and bool(present)
    is_former = constant_time_compare(secret, former or settings.SECRET_KEY) and bool(former)
    return bridge is not None and (is_present or is_former)


def _challenge(request: HttpRequest, *, slug: str, secret: str) -> HttpResponse:
    """Answer a bridge that verifies this address with its challenge; others may only POST here."""
    try:
        bridge = _authenticated(slug=slug, secret=secret)
    except AppError as exc:
        return JsonResponse({"detail": str(exc), "code": exc.code}, status=exc.status)
    if "hub.challenge" not in request.GET:
        return method_not_allowed("POST")
    answer = adapter_for(bridge).answer_challenge(request.GET)
    if answer is None:
        return JsonResponse({"detail": "Wrong verify token.", "code": "forbidden"}, status=403)
    return HttpResponse(answer, content_type="text/plain; charset=utf-8")


class WebhookRequestTooLarge(AppError):
    status, code, detail = 413, "too_large", "A webhook request must not exceed 4 MiB."


def _body(request: HttpRequest) -> bytes:
    body = request.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise WebhookRequestTooLarge()
    return body
