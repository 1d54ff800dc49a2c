"""The history of a number's link, as a part of the number's page."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.admin_pages import staff_user
from messaging.events.link_history import WINDOW, link_history
from sessions_app.admin.link_reasons import describe_reason
from sessions_app.models import WhatsAppSession

MAX_SHOWN = 30


@require_safe
def link_history_view(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Render how the link of a number has stood. Only staff get here; 404 for a number that they may not see."""
    session = WhatsAppSession.objects.visible_to(staff_user(request)).filter(pk=session_id).first()
    if session is None:
        raise Http404
    history = link_history(session)
    now = timezone.now()
    labels = dict(WhatsAppSession.Status.choices)
    context = {
        "history": history,
        "days": WINDOW.days,
        "spans": [
            {
                "status": labels.get(span.status, span.status),
                "is_connected": span.status == WhatsAppSession.Status.CONNECTED,
                "reason": describe_reason(span.reason),
                "since": span.since,
                "until": span.until,
                "end": span.until or now,
            }
            for span in history.spans[:MAX_SHOWN]
        ],
    }
    return render(request, "messaging/link_history.html", context)
