"""Middleware: CORS, the client's address behind a proxy, trailing slashes, the fast paths of health and the API, and
the Content-Security-Policy of the admin."""

import re
from collections.abc import Callable
from datetime import UTC
from functools import cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils import timezone
from rest_framework.response import Response

from whatsapp_agent.api.errors import is_html_route, route_not_found
from whatsapp_agent.api.filters import repeatable_parameters
from whatsapp_agent.text.sanitize import storable

Handler = Callable[[HttpRequest], HttpResponse]

# Scripts come from our static files alone: markup in a text cannot run. Alpine, which unfold uses, evaluates the
# expressions in its templates ('unsafe-eval'), and unfold writes its colours and widths as inline styles.
ADMIN_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]+)\](?::\d+)?|(?P<v4>[\d.]+):\d+")


class Cors(CorsMiddleware):
    """CORS that allows all methods and headers.

    A preflight is answered with the method and the headers it asks for: with credentials browsers take `*` literally.
    """

    def add_response_headers(self, request: HttpRequest, response: Any) -> Any:
        super().add_response_headers(request, response)
        if request.method == "OPTIONS" and "Access-Control-Allow-Origin" in response.headers:
            for kind in ("Headers", "Method"):
                asked = request.headers.get(f"Access-Control-Request-{kind}", "")
                name = f"Access-Control-Allow-{kind.removesuffix('s')}s"
                if _HEADER_NAMES.fullmatch(asked):
                    known = response.headers[name].lower().split(", ")
                    new = [item for item in re.split(r"\s*,\s*", asked) if item.lower() not in known]
                    response.headers[name] = ", ".join([response.headers[name], *new])
        return response


def address_from_proxy(get_response: Handler) -> Handler:
    """Middleware: with HTTPS set, take REMOTE_ADDR from the last X-Forwarded-For, which the proxy wrote."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if settings.HTTPS and (address := _parse_address(request.headers.get("X-Forwarded-For", ""))):
            request.META["REMOTE_ADDR"] = address
        return get_response(request)

    return middleware


def _parse_address(forwarded_for: str) -> str | None:
    """Return the last address without its port, which Azure and some load balancers add; None if it is no address."""
    last = forwarded_for.rpartition(",")[2].strip().strip('"')
    if match := _WITH_PORT.fullmatch(last):
        last = match["v6"] or match["v4"]
    try:
        address = ip_address(last)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address))  # one spelling, without a zone
    return str(address)


def health_fast_path(get_response: Handler) -> Handler:
    """Middleware: answer /health/ and /metrics for any Host, which later middleware checks: monitors ask by address."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(("/health", "/metrics")):
            return get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return get_response(request)
        return match.func(request, *match.args, **match.kwargs)

    return middleware


def optional_trailing_slash(get_response: Handler) -> Handler:
    """Middleware: serve routes without their trailing slash. A redirect would lose the body of a POST."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path_info.endswith("/") and _is_route(f"{request.path_info}/"):
            request.path_info += "/"
            request.path += "/"
        return get_response(request)

    return middleware


def _is_route(path: str) -> bool:
    """Return whether a view serves this path; the catch-alls of the API and the admin do not count."""
    try:
        match = resolve(path)
    except Resolver404:
        return False
    return match.func is not route_not_found and not match.route.endswith("(?P<url>.*)$")


def safe_query(get_response: Handler) -> Handler:
    """Middleware: replace what PostgreSQL cannot store (NUL, lone surrogates) in the query of an HTML page.

    The admin passes filters and search terms to the database unchecked. The API refuses them by name. A parameter
    that is given twice is refused everywhere.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if is_html_route(request) and (repeated := _repeated(request)):
            if _is_page(request):
                raise BadRequest("Duplicate parameter.")
            return _refused({storable(name): ["Duplicate parameter."] for name in repeated})
        if is_html_route(request) and any(storable(value) != value for value in _values(request)):
            query = request.GET.copy()
            for name, values in request.GET.lists():
                query.setlist(name, [storable(value) for value in values])
            query._mutable = False
            request.GET = query  # type: ignore[assignment]
        return get_response(request)

    return middleware


def _is_page(request: HttpRequest) -> bool:
    """Return whether the answer is read by a person; what the simulator's script asks for is JSON."""
    return not request.path_info.startswith("/simulator/") or request.path_info == "/simulator/"


def _repeated(request: HttpRequest) -> list[str]:
    return [name for name, values in request.GET.lists() if len(values) > 1]


def _refused(errors: dict[str, list[str]]) -> JsonResponse:
    return JsonResponse({"detail": "Invalid input.", "code": "invalid", "fields": errors}, status=400)


def _values(request: HttpRequest) -> list[str]:
    return [str(value) for _, values in request.GET.lists() for value in values]


def admin_content_security_policy(get_response: Handler) -> Handler:
    """Middleware: send a Content-Security-Policy with each answer of the admin. A view may send a stricter one."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path_info.startswith("/admin/"):
            response.headers.setdefault("Content-Security-Policy", ADMIN_CONTENT_SECURITY_POLICY)
        return response

    return middleware


def api_fast_path(get_response: Handler) -> Handler:
    """Middleware: call an API view directly. It needs no session, cookies or static files."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/api/"):
            return get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return get_response(request)
        if not hasattr(match.func, "cls"):  # REST framework's views turn every exception into a response
            return get_response(request)
        if errors := _query_errors(request, match):
            return _refused(errors)
        if not request.path_info.startswith("/api/v1/"):
            return get_response(request)
        request.resolver_match = match
        with timezone.override(UTC):  # the API speaks UTC, TIME_ZONE is for people
            response = match.func(request, *match.args, **match.kwargs)
            return response.render() if isinstance(response, Response) else response

    return middleware


def _query_errors(request: HttpRequest, match: ResolverMatch) -> dict[str, list[str]]:
    """Return the errors of parameters that are given twice, of which Django would silently use the last."""
    try:
        repeated = _repeated(request)
    except SuspiciousOperation:  # too many: the view answers
        return {}
    allowed = _repeatable(match.func) if repeated else frozenset()
    return {storable(name): ["Duplicate parameter."] for name in repeated if name not in allowed}


@cache
def _repeatable(view: Any) -> frozenset[str]:
    return repeatable_parameters(view.cls, view.initkwargs)
