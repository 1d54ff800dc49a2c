"""Behind a proxy every request comes from the proxy; who is behind it, is the last address it wrote down itself."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


def address_from_proxy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: with HTTPS set there is a proxy, and the end of X-Forwarded-For is its word; the rest is anyone's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if settings.HTTPS and (last := request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()):
            request.META["REMOTE_ADDR"] = last[:45]
        return get_response(request)

    return middleware
