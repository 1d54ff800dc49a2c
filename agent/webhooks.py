"""The door for bridges: who they are, what they bring, and an answer they understand."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import Resolver404, resolve
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt

from agent import inbox
from sessions_app.models import Bridge
from sessions_app.services import bridge_of_slug
from whatsapp_agent.api.errors import method_not_allowed
from whatsapp_agent.errors import AppError, WebhookUnauthorized


def webhook_fast_path(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware, the outermost: a delivery goes straight to its view.

    The others serve people's browsers and the API: sessions, cross-site requests, static files. Passing through them
    costs more than keeping a message does.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/api/v1/webhooks/"):
            try:
                match = resolve(request.path_info)
            except Resolver404:
                return get_response(request)
            if match.func is webhook:
                response = webhook(request, **match.kwargs)
                response.headers["Content-Length"] = str(len(response.content))
                return response
        return get_response(request)

    return middleware


@csrf_exempt
def webhook(request: HttpRequest, slug: str, secret: str = "") -> HttpResponse:
    """Take one delivery of a bridge: 200 once it is kept, 503 when it cannot be kept now and must be sent again."""
    if request.method != "POST":
        return method_not_allowed("POST")
    try:
        bridge = _authenticated(slug=slug, secret=secret)
        counts = inbox.process_webhook_request(bridge=bridge, headers=request.headers, body=_body(request))
    except AppError as exc:
        return JsonResponse({"detail": str(exc), "code": exc.code}, status=exc.status)
    except (OperationalError, InterfaceError):
        return JsonResponse({"detail": "Not kept; send it again.", "code": "unavailable"}, status=503)
    return JsonResponse(counts)


def _authenticated(*, slug: str, secret: str) -> Bridge:
    """The bridge of this address. An unknown one takes as long to refuse as a wrong secret."""
    bridge = bridge_of_slug(slug)
    expected = bridge.webhook_secret if bridge else settings.SECRET_KEY
    if not constant_time_compare(secret, expected) or bridge is None or not expected:
        raise WebhookUnauthorized()
    return bridge


class WebhookRequestTooLarge(AppError):
    status, code, detail = 413, "too_large", "A delivery may have 1 MiB at most."


def _body(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig as exc:
        raise WebhookRequestTooLarge() from exc
