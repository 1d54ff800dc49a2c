"""What the log says of a request."""

from django.http import HttpRequest
from django_structlog.middlewares.request import RequestMiddleware
from structlog.contextvars import bind_contextvars


class RequestLog(RequestMiddleware):
    """What is logged meanwhile has the request's id and address, and a failure a line of its own.

    Without its parameters: they hold the words people look for, and phone numbers. The address is whom we answer: what
    else a request says of where it comes from, anybody may have written.
    """

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        bind_contextvars(ip=request.META.get("REMOTE_ADDR"))

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"
