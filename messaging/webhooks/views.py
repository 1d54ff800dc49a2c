"""`webhook-endpoints/` and `webhook-deliveries/`: where events are posted to, and what came of it."""

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

from accounts.authentication import user_of
from accounts.idempotency import idempotent
from messaging.events import feed
from messaging.filters import DeliveryFilters
from messaging.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from messaging.webhooks import endpoints
from whatsapp_agent.api.fields import HttpUrlField, StrictSerializer, refuse_fields, valid
from whatsapp_agent.api.filters import StrictFilters

SECRET_HELP = "Shown this once. What is sent is signed with it: verify as https://www.standardwebhooks.com says."  # noqa: S105


class EndpointChangeSerializer(StrictSerializer):
    url = HttpUrlField(
        help_text="http or https. An address in a private network is refused unless the server allows it.",
    )
    description = serializers.CharField(max_length=200, allow_blank=True)
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=endpoints.TOLD_BY_DEFAULT),
        max_length=len(feed.TYPES),
        help_text="Types of events to be told of. Empty: all.",
    )
    sessions = serializers.ListField(
        child=serializers.UUIDField(),
        allow_null=True,
        min_length=1,
        max_length=100,
        help_text="Only what happens in these sessions. null: in all you may see.",
    )
    is_enabled = serializers.BooleanField(help_text="Enabled again, it is told what it missed.")


class EndpointCreateSerializer(EndpointChangeSerializer):
    description = serializers.CharField(max_length=200, allow_blank=True, required=False)
    types = serializers.ListField(
        child=serializers.ChoiceField(choices=endpoints.TOLD_BY_DEFAULT),
        max_length=len(feed.TYPES),
        required=False,
        help_text="Types of events to be told of. Empty, or not given: all.",
    )
    sessions = serializers.ListField(
        child=serializers.UUIDField(),
        allow_null=True,
        min_length=1,
        required=False,
        max_length=100,
        help_text="Only what happens in these sessions. null, or not given: in all you may see.",
    )
    is_enabled = None  # type: ignore[assignment]  # a new one is


class EndpointSerializer(serializers.ModelSerializer):
    sessions = serializers.SerializerMethodField(help_text="null: all its owner may see.")
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
        help_text="Its id, sent as `webhook-id`; null once it is no longer kept.",
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
    list=extend_schema(description="Addresses that are told what happens: your own; all of them for administrators."),
    retrieve=extend_schema(description="One address that is told what happens."),
)
class EndpointViewSet(ListModelMixin, RetrieveModelMixin, GenericViewSet):
    serializer_class = EndpointSerializer
    filterset_class: Any = None  # its deliveries have one

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        return WebhookEndpoint.objects.visible_to(self.request.user).prefetch_related("sessions")

    def list(self, request: Request) -> Response:
        """Your endpoints, newest first; those of all for administrators."""
        return super().list(request)

    def retrieve(self, request: Request, pk: str) -> Response:
        """One endpoint: where it is, what it is told, and how it is doing."""
        return super().retrieve(request, pk=pk)

    @extend_schema(request=EndpointCreateSerializer, responses={201: EndpointWithSecretSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Have events posted to an address from now on. The answer shows the secret, this once."""
        endpoint = endpoints.create_endpoint(owner=user_of(request), **valid(EndpointCreateSerializer, request))
        return Response(EndpointWithSecretSerializer(endpoint).data, status=201)

    @extend_schema(request=EndpointChangeSerializer(partial=True), responses=EndpointSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change where it is, what it is told, or whether it is."""
        changes = valid(EndpointChangeSerializer, request, partial=True)
        endpoints.change_endpoint(self.get_object(), by=user_of(request), **changes)
        return Response(self.get_serializer(self.get_object()).data)

    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Forget it, and what was sent to it."""
        endpoints.delete_endpoint(self.get_object())
        return Response(status=204)

    @extend_schema(request=None, responses=EndpointWithSecretSerializer)
    @idempotent
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """A new secret, shown this once. For 24 hours what is sent is signed with the former one as well."""
        refuse_fields(request)
        return Response(EndpointWithSecretSerializer(endpoints.rotate_secret(self.get_object())).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @idempotent
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Send it an `endpoint.test` event."""
        refuse_fields(request)
        return Response(DeliverySerializer(endpoints.send_test(self.get_object())).data, status=202)

    @extend_schema(responses=DeliverySerializer(many=True))
    @action(detail=True, filterset_class=DeliveryFilters)
    def deliveries(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """What was, and is to be, sent to it: of the last seven days, newest first."""
        deliveries = StrictFilters().apply(request, _deliveries().filter(endpoint=self.get_object()), self)
        page = self.paginate_queryset(deliveries)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)


def _deliveries() -> QuerySet[WebhookDelivery]:
    attempts = Prefetch("attempts", WebhookAttempt.objects.order_by("at", "id"))
    return WebhookDelivery.objects.prefetch_related("event", attempts)


@extend_schema_view(retrieve=extend_schema(description="One event on its way to one address, with every attempt."))
class DeliveryViewSet(RetrieveModelMixin, GenericViewSet):
    serializer_class = DeliverySerializer

    def get_queryset(self) -> Any:
        return _deliveries().filter(endpoint__in=WebhookEndpoint.objects.visible_to(self.request.user))

    def retrieve(self, request: Request, pk: str) -> Response:
        """What is, or was, sent to an endpoint, and each attempt."""
        return super().retrieve(request, pk=pk)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @idempotent
    @action(detail=True, methods=["post"])
    def redeliver(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Send it once more, now, under the same id."""
        refuse_fields(request)
        return Response(self.get_serializer(endpoints.redeliver(self.get_object())).data, status=202)
