"""Readiness: whether database, disk, clocks, engine and bridges let this process work."""

from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agent.models import EngineProcess
from messaging.models import Conversation
from sessions_app import bridge_clocks
from sessions_app.bridges import bridge_health
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import KEY_REFUSED
from whatsapp_agent import postgres
from whatsapp_agent.api.errors import method_not_allowed
from whatsapp_agent.http import health
from whatsapp_agent.postgres import clock
from whatsapp_agent.storage import disk

LATE = timedelta(minutes=2)


@csrf_exempt
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the process can work, else 503 with the part that fails. Shows no address and no phone number."""
    if request.method not in {"GET", "HEAD"}:
        return method_not_allowed("GET", "HEAD")
    checks = {"database": health.database_answers(), "disk": disk.has_room()}
    if checks["database"]:
        checks["clock"] = abs(clock.offset_s()) <= clock.MAX_OFFSET_S
        checks["engine"] = not Conversation.objects.due().filter(due_at__lt=timezone.now() - LATE).exists()
        if settings.REDIS_URL:
            checks["workers"] = EngineProcess.objects.working().exists()
        refuses_key = Exists(WhatsAppSession.objects.live().filter(bridge=OuterRef("pk"), status_reason=KEY_REFUSED))
        bridges = list(Bridge.objects.annotate(refuses_key=refuses_key))
        postgres.release()
        for bridge in bridges:
            state = bridge_health(bridge)
            checks[f"bridge:{bridge.slug}"] = state.is_healthy and not bridge.refuses_key
            checks[f"clock:{bridge.slug}"] = not bridge_clocks.differences(bridge, state)
    return health.report(checks)
