"""Swagger UI and Redoc. Apart from accounts.openapi, which REST framework imports before its own views."""

from typing import Any

from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView
from rest_framework.response import Response

# Redoc would load its logo from its own website; with this policy a page loads nothing from other hosts.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'"
)


class SelfHostedPage:
    """Send a Content-Security-Policy that allows this host only."""

    def finalize_response(self, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().finalize_response(*args, **kwargs)  # type: ignore[misc]
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response


class SwaggerPage(SelfHostedPage, SpectacularSwaggerView):
    """Swagger UI: try the API in the browser."""


class RedocPage(SelfHostedPage, SpectacularRedocView):
    """Redoc: read the API's reference."""

    template_name = "accounts/redoc.html"
