"""The pages that show the API's description; apart from it, because REST framework loads that before its views."""

from typing import Any

from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView
from rest_framework.response import Response

# Redoc would have its maker's picture from its maker; what a browser may not ask for, no page gets.
FROM_US_ALONE = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'"
)


class FromUsAlone:
    """A page whose browser asks nobody else."""

    def finalize_response(self, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().finalize_response(*args, **kwargs)  # type: ignore[misc]
        response.headers["Content-Security-Policy"] = FROM_US_ALONE
        return response


class SwaggerPage(FromUsAlone, SpectacularSwaggerView):
    """To try the API."""


class RedocPage(FromUsAlone, SpectacularRedocView):
    """To read about it."""

    template_name = "accounts/redoc.html"
