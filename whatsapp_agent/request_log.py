"""What the log says of a request."""

from django.http import HttpRequest
from django_structlog.middlewares.request import RequestMiddleware


class RequestLog(RequestMiddleware):
    """A line for each request, without its parameters: they hold the words people look for, and phone numbers."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"
