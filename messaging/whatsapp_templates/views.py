"""`templates/`."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.idempotency import idempotent
from messaging.filters import TemplateFilters
from messaging.models import MessageTemplate
from messaging.whatsapp_templates.serializers import (
    MessageTemplateSerializer,
    TemplateSyncResultSerializer,
    TemplateSyncSerializer,
)
from messaging.whatsapp_templates.service import sync_templates
from sessions_app.models import WhatsAppSession
from whatsapp_agent.api.fields import valid
from whatsapp_agent.api.lists import FastListMixin
from whatsapp_agent.errors import NotFound


@extend_schema_view(
    list=extend_schema(description="Templates of the Cloud API's numbers, as they were at the last sync."),
    retrieve=extend_schema(description="One template."),
)
class TemplateViewSet(RetrieveModelMixin, FastListMixin, GenericViewSet):
    serializer_class = MessageTemplateSerializer
    filterset_class = TemplateFilters
    newest_by = ("synced_at", "id")

    def get_queryset(self) -> QuerySet[MessageTemplate]:
        return MessageTemplate.objects.visible_to(self.request.user)

    @extend_schema(request=TemplateSyncSerializer, responses=TemplateSyncResultSerializer)
    @idempotent(atomic=False)
    @action(detail=False, methods=["post"])
    def sync(self, request: Request) -> Response:
        """Ask Meta for the templates of a number's business account, and store them."""
        form = valid(TemplateSyncSerializer, request)
        sessions = WhatsAppSession.objects.visible_to(request.user).select_related("bridge")
        session = sessions.filter(pk=form["session"]).first()
        if session is None:
            raise NotFound("There is no such session.", field="session")
        return Response({"templates": len(sync_templates(session=session, account=form.get("account", "")))})
