"""Error responses: `{"detail": str, "code": str}`, with `fields` for invalid input and `id` for a server error."""

import sys
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    MethodNotAllowed,
    NotAuthenticated,
    ParseError,
    PermissionDenied,
    Throttled,
    ValidationError,
)
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.views import set_rollback

from whatsapp_agent.api.json import BodyTooLarge
from whatsapp_agent.errors import AppError
from whatsapp_agent.storage import disk

log = structlog.get_logger(__name__)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Turn an exception into an error response in JSON, whatever the client accepts."""
    request = context["request"]
    if isinstance(exc, AuthenticationFailed | NotAuthenticated | PermissionDenied):
        exc = _throttle_refused(context["view"], request) or exc
    request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    if isinstance(exc, AppError):
        set_rollback()
        body = {"detail": str(exc), "code": exc.code}
        return Response(body | ({"fields": exc.fields} if exc.fields else {}), status=exc.status, headers=exc.headers)
    if disk.is_full(exc) or (isinstance(exc, OperationalError | InterfaceError) and disk.explains(exc)):
        log.error("disk_full", error=type(exc).__name__)
        set_rollback()
        return Response({"detail": "Not enough disk space.", "code": "insufficient_storage"}, status=507)
    if isinstance(exc, OperationalError | InterfaceError):
        set_rollback()
        return Response({"detail": "The database cannot be reached.", "code": "unavailable"}, status=503)
    if isinstance(exc, RequestDataTooBig):
        exc = BodyTooLarge()
    elif isinstance(exc, SuspiciousOperation):  # e.g. DATA_UPLOAD_MAX_NUMBER_FIELDS
        exc = ParseError("Too many parameters, fields or files.")
    if isinstance(exc, MethodNotAllowed):  # REST framework lists OPTIONS, which no route takes
        context["view"].headers["Allow"] = ", ".join(
            name for name in context["view"].allowed_methods if name != "OPTIONS"
        )
    response = drf_exception_handler(exc, context)
    if response is None:
        set_rollback()
        return Response(server_error_body(exc), status=500)
    if isinstance(exc, ValidationError):
        fields = response.data if isinstance(response.data, dict) else {"non_field_errors": response.data}
        response.data = {"detail": "Invalid input.", "code": "invalid", "fields": _utf8(fields)}
    elif isinstance(exc, APIException):
        response.data = {"detail": str(response.data.get("detail", exc.detail)), "code": _code(exc, response.data)}
    else:  # Http404 and PermissionDenied of Django
        code = "not_found" if response.status_code == 404 else "permission_denied"
        response.data = {"detail": str(response.data["detail"]), "code": code}
    return response


def _throttle_refused(view: Any, request: Request) -> Throttled | None:
    """Count a refused call too, which REST framework does not. Returns Throttled if the caller has no calls left."""
    if hasattr(request._request, "rate_limit"):  # already counted
        return None
    try:
        for throttle in view.get_throttles():
            if not throttle.allow_request(request, view):
                return Throttled(throttle.wait())
    except (OperationalError, InterfaceError):
        return None
    return None


def _utf8(fields: Any) -> Any:
    """Replace lone surrogates, which names and values of fields may hold and UTF-8 cannot."""
    match fields:
        case str():
            return fields.encode(errors="replace").decode()
        case Mapping():
            return {_utf8(str(name)): _utf8(errors) for name, errors in fields.items()}
        case list():
            return [_utf8(error) for error in fields]
    return fields


def _code(exc: APIException, data: Mapping[str, Any]) -> str:
    codes = exc.get_codes()
    return codes if isinstance(codes, str) else str(data.get("code", exc.default_code))


def server_error_body(exc: BaseException) -> dict[str, str]:
    """Log an unhandled exception; return the body of the response, with the id that finds it in the log."""
    error_id = uuid4().hex
    log.error("unhandled_error", error_id=error_id, exc_info=exc)
    return {"detail": "Internal server error.", "code": "server_error", "id": error_id}


@csrf_exempt
def route_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if is_html_route(request):
        return defaults.page_not_found(request, exception or Http404())
    return JsonResponse({"detail": "No such route.", "code": "not_found"}, status=404)


def is_html_route(request: HttpRequest) -> bool:
    """Return whether errors under this path are HTML pages; everywhere else they are JSON."""
    return request.path_info.startswith(("/admin", "/simulator"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_html_route(request):
        return defaults.bad_request(request, exception)
    return JsonResponse({"detail": "Bad request.", "code": "bad_request"}, status=400)


def method_not_allowed(*methods: str) -> HttpResponse:
    """Return the 405 of a plain Django view."""
    body = {"detail": f"Method not allowed. Use {' or '.join(methods)}.", "code": "method_not_allowed"}
    return JsonResponse(body, status=405, headers={"Allow": ", ".join(methods)})


def server_error(request: HttpRequest) -> HttpResponse:
    exc = sys.exception()
    if exc is None or is_html_route(request):
        return defaults.server_error(request)
    return JsonResponse(server_error_body(exc), status=500)
