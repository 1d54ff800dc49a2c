"""Whether somebody is logged in: what the pages of the admin ask before they send what was typed."""

from django.http import HttpRequest, JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET


@require_GET
@never_cache
def login_state(request: HttpRequest) -> JsonResponse:
    """Return the user's id and a CSRF token: a login in another tab has made a new one. 401 for all but staff."""
    if not (request.user.is_authenticated and request.user.is_staff):
        return JsonResponse({"detail": "Not logged in.", "code": "logged_out"}, status=401)
    return JsonResponse({"user": str(request.user.pk), "csrf": get_token(request)})
