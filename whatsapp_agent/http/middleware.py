"""Middleware: the client's address behind a proxy, and the fast path of API calls."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve
from rest_framework.response import Response


def address_from_proxy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: with HTTPS set there is a proxy, and the end of X-Forwarded-For is its word; the rest is anyone's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if settings.HTTPS and (last := request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()):
            request.META["REMOTE_ADDR"] = last[:45]
        return get_response(request)

    return middleware


def api_fast_path(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: call an API view directly. It needs no session, cookies or static files."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/api/v1/"):
            return get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return get_response(request)
        if not hasattr(match.func, "cls"):  # REST framework's views turn every exception into a response
            return get_response(request)
        request.resolver_match = match
        response = match.func(request, *match.args, **match.kwargs)
        return response.render() if isinstance(response, Response) else response

    return middleware
