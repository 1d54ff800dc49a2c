"""`webhook-endpoints/` and `webhook-deliveries/`: URLs that receive events, and the requests to them."""

from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from messaging.events.types import EVENT_TYPE_NAMES, SUBSCRIBABLE_TYPES
from messaging.filters import DeliveryFilters
from messaging.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from messaging.webhooks import deliveries, endpoints
from whatsapp_agent.api.etags import EditableMixin, if_match
from whatsapp_agent.api.fields import HttpUrlField, StrictSerializer, refuse_fields, valid
from whatsapp_agent.api.filters import StrictFilters

SECRET_HELP = "Shown only once. It signs every request: verify as https://www.standardwebhooks.com describes."  # noqa: S105


class EndpointChangeSerializer(StrictSerializer):
    url = HttpUrlField(
        help_text="http or https. A URL in a private network is refused unless the server allows it.",
    )
    description = serializers.CharField(max_length=200, allow_blank=True)
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=SUBSCRIBABLE_TYPES),
        max_length=len(EVENT_TYPE_NAMES),
        help_text="Event types to receive. Empty: all.",
    )
    sessions = serializers.ListField(
        child=serializers.UUIDField(),
        allow_null=True,
        min_length=1,
        max_length=100,
        help_text="Only events of these sessions. null: all sessions you may see.",
    )
    is_enabled = serializers.BooleanField(help_text="When enabled again, it receives the events it missed.")


class EndpointCreateSerializer(EndpointChangeSerializer):
    description = serializers.CharField(max_length=200, allow_blank=True, required=False)
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=SUBSCRIBABLE_TYPES),
        max_length=len(EVENT_TYPE_NAMES),
        required=False,
        help_text="Event types to receive. Empty or omitted: all.",
    )
    sessions = serializers.ListField(
        child=serializers.UUIDField(),
        allow_null=True,
        min_length=1,
        required=False,
        max_length=100,
        help_text="Only events of these sessions. null or omitted: all sessions you may see.",
    )
    is_enabled = None  # type: ignore[assignment]  # a new endpoint is enabled


class EndpointSerializer(serializers.ModelSerializer):
    sessions = serializers.SerializerMethodField(help_text="null: all sessions its owner may see.")
    types = serializers.ListField(child=serializers.CharField(), help_text="Empty: all.")

    class Meta:
        model = WebhookEndpoint
        fields = [
            "id",
            "owner",
            "url",
            "description",
            "types",
            "sessions",
            "is_enabled",
            "disabled_reason",
            "disabled_at",
            "failing_since",
            "failures",
            "next_try_at",
            "last_success_at",
            "former_secret_until",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    def get_sessions(self, endpoint: WebhookEndpoint) -> list[UUID] | None:
        return None if endpoint.all_sessions else [session.pk for session in endpoint.sessions.all()]


class EndpointWithSecretSerializer(EndpointSerializer):
    secret = serializers.CharField(help_text=SECRET_HELP)

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]
        read_only_fields = fields


class AttemptSerializer(serializers.ModelSerializer):
    class Meta:
        model = WebhookAttempt
        fields = ["at", "duration_ms", "status_code", "error", "answer"]


class DeliverySerializer(serializers.ModelSerializer):
    event = serializers.CharField(
        source="event.webhook_id",
        allow_null=True,
        help_text="The event's id, sent as `webhook-id`; null once the event is deleted.",
    )
    attempts = AttemptSerializer(many=True, help_text="Oldest first.")

    class Meta:
        model = WebhookDelivery
        fields = [
            "id",
            "endpoint",
            "event",
            "type",
            "status",
            "tries",
            "next_try_at",
            "delivered_at",
            "created_at",
            "attempts",
        ]
        read_only_fields = fields


@extend_schema_view(
    list=extend_schema(description="Your webhook endpoints, newest first; administrators see everyone's."),
    retrieve=extend_schema(description="One webhook endpoint: its URL, its event types and its health."),
)
class EndpointViewSet(EditableMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    serializer_class = EndpointSerializer
    filterset_class: Any = None  # only its deliveries have filters
    editable_fields = ("url", "types", "sessions", "description", "is_enabled")

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        return WebhookEndpoint.objects.visible_to(self.request.user).prefetch_related("sessions")

    def list(self, request: Request) -> Response:
        """List your endpoints, newest first; administrators see everyone's."""
        return super().list(request)

    def retrieve(self, request: Request, pk: str) -> Response:
        """Return one endpoint: its URL, its event types and its health."""
        return super().retrieve(request, pk=pk)

    @extend_schema(request=EndpointCreateSerializer, responses={201: EndpointWithSecretSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Create an endpoint that receives events from now on. The answer shows its secret, only this once."""
        endpoint = endpoints.create_endpoint(owner=user_of(request), **valid(EndpointCreateSerializer, request))
        return Response(EndpointWithSecretSerializer(endpoint).data, status=201)

    @extend_schema(request=EndpointChangeSerializer(partial=True), responses=EndpointSerializer)
    @if_match
    def partial_update(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change its URL, event types, sessions or description, or enable or disable it."""
        changes = valid(EndpointChangeSerializer, request, partial=True)
        endpoints.change_endpoint(self.get_object(), by=user_of(request), **changes)
        return Response(self.get_serializer(self.get_object()).data)

    @if_match
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete the endpoint and its deliveries."""
        endpoints.delete_endpoint(self.get_object())
        return Response(status=204)

    @extend_schema(request=None, responses=EndpointWithSecretSerializer)
    @idempotent
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Replace the secret; the answer shows the new one. For 24 hours requests are signed with both."""
        refuse_fields(request)
        return Response(EndpointWithSecretSerializer(endpoints.rotate_secret(self.get_object())).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @idempotent
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Send the endpoint an `endpoint.test` event."""
        refuse_fields(request)
        return Response(DeliverySerializer(deliveries.send_test(self.get_object())).data, status=202)

    @extend_schema(responses=DeliverySerializer(many=True))
    @action(detail=True, filterset_class=DeliveryFilters)
    def deliveries(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """List its deliveries of the last seven days, newest first."""
        rows = StrictFilters().apply(request, _deliveries().filter(endpoint=self.get_object()), self)
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)


def _deliveries() -> QuerySet[WebhookDelivery]:
    attempts = Prefetch("attempts", WebhookAttempt.objects.order_by("at", "id"))
    return WebhookDelivery.objects.prefetch_related("event", attempts)


@extend_schema_view(retrieve=extend_schema(description="One delivery of an event to an endpoint, with every attempt."))
class DeliveryViewSet(RetrieveModelMixin, GenericViewSet):
    serializer_class = DeliverySerializer

    def get_queryset(self) -> Any:
        return _deliveries().filter(endpoint__in=WebhookEndpoint.objects.visible_to(self.request.user))

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @idempotent
    @action(detail=True, methods=["post"])
    def redeliver(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Send the event again, now, under the same id."""
        refuse_fields(request)
        return Response(self.get_serializer(deliveries.redeliver(self.get_object())).data, status=202)
