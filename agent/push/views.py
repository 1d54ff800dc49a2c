"""What the inbox asks of web push: our key, and to have a browser notified or no longer."""

from pathlib import Path

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_POST

from accounts.admin_pages import staff_user
from agent.push.subscriptions import MAX_SUBSCRIPTIONS, public_key, subscribe, unsubscribe, unsubscribe_all
from agent.staff_inbox.access import part
from whatsapp_agent.text.sanitize import storable

SESSION_KEY = "push_subscriptions"  # in a login: the ids of the browsers that were subscribed in it
WORKER = Path(__file__).resolve().parents[1] / "static" / "agent" / "inbox" / "worker.js"


@require_GET
@part
def key(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    return JsonResponse({"key": public_key()})


@require_POST
@part
def add(request: HttpRequest) -> HttpResponse:
    values = {name: storable(request.POST.get(name, "")) for name in ("endpoint", "p256dh", "auth")}
    login = request.session.session_key or ""
    subscription = subscribe(user=staff_user(request), login=login, **values)
    ids = request.session.get(SESSION_KEY, [])
    if str(subscription.pk) not in ids:
        request.session[SESSION_KEY] = [*ids, str(subscription.pk)][-MAX_SUBSCRIPTIONS:]
    return JsonResponse({})


@require_POST
@part
def remove(request: HttpRequest) -> HttpResponse:
    unsubscribe(user=staff_user(request), endpoint=storable(request.POST.get("endpoint", "")))
    return JsonResponse({})


def log_out(request: HttpRequest) -> HttpResponse:
    """Log out of the admin; the browsers that were subscribed in this login are notified of nothing any more."""
    if request.method == "POST":
        unsubscribe_all(user=staff_user(request), ids=request.session.get(SESSION_KEY, []))
    return admin.site.logout(request)


@require_GET
def worker(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """Return the service worker: a browser takes it only from a path above the pages that it serves."""
    response = HttpResponse(WORKER.read_text(encoding="utf-8"), content_type="text/javascript")
    response["Cache-Control"] = "no-cache"
    return response
