"""What every REST route shares: the shape of errors and of pages."""

from typing import Any

from django.db import OperationalError
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler
from rest_framework.views import set_rollback

from whatsapp_agent.errors import AppError


class NewestFirst(CursorPagination):
    """Newest first, 50 a page; `?page_size=` up to 200. Pages stay stable while new rows come in."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering = ("-created_at", "-id")


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """`{"detail": str, "code": str}`, with `"fields"` for invalid input."""
    if isinstance(exc, AppError):
        set_rollback()
        return Response({"detail": str(exc), "code": exc.code}, status=exc.status)
    if isinstance(exc, OperationalError):
        set_rollback()
        return Response({"detail": "The database cannot be reached.", "code": "unavailable"}, status=503)
    response = drf_exception_handler(exc, context)
    if response is None:
        return None
    if isinstance(exc, ValidationError):
        response.data = {"detail": "The input is not valid.", "code": "invalid", "fields": response.data}
    elif isinstance(exc, APIException):
        codes = exc.get_codes()
        response.data = {
            "detail": str(response.data.get("detail", exc.detail)),
            "code": codes if isinstance(codes, str) else exc.default_code,
        }
    else:  # Http404 and PermissionDenied of Django
        response.data["code"] = "not_found" if response.status_code == 404 else "permission_denied"
    return response
