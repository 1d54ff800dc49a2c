"""`sessions/` and `agents/`: link numbers, follow their links, and say who answers."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from accounts.authentication import user_of
from accounts.idempotency import idempotent
from sessions_app import profiles, services
from sessions_app.filters import AgentProfileFilters, SessionFilters
from sessions_app.models import AgentProfile, WhatsAppSession
from sessions_app.serializers import (
    AgentProfileSerializer,
    AgentProfileVersionSerializer,
    LinkingSessionSerializer,
    QRSerializer,
    RollbackSerializer,
    SessionCreateSerializer,
    SessionSerializer,
)
from whatsapp_agent.api.fields import refuse_fields, valid
from whatsapp_agent.api.filters import StrictFilters
from whatsapp_agent.errors import Conflict


class PNGRenderer(BaseRenderer):
    media_type, format, charset, render_style = "image/png", "png", None, "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:  # noqa: ARG002
        return data if isinstance(data, bytes) else JSONRenderer().render(data)


@extend_schema_view(
    list=extend_schema(description="The sessions you are a member of; all of them for administrators."),
    retrieve=extend_schema(description="One session."),
    partial_update=extend_schema(description="Give the session another profile, owner or access policy."),
)
class SessionViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet
):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    serializer_class = SessionSerializer
    filterset_class = SessionFilters

    def get_queryset(self) -> QuerySet[WhatsAppSession]:
        return WhatsAppSession.objects.visible_to(self.request.user).select_related("bridge", "agent_profile")

    @extend_schema(request=SessionCreateSerializer, responses={201: LinkingSessionSerializer})
    @idempotent(atomic=False)
    def create(self, request: Request) -> Response:
        """Start linking a number; gives the QR code to scan. You become a member of the session.

        The name of an ended session brings its record back.
        """
        session = services.start_session(user=user_of(request), **valid(SessionCreateSerializer, request))
        return Response(LinkingSessionSerializer(session).data, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete the session at the bridge and end it here. What was said there is kept."""
        services.end_session(self.get_object())
        return Response(status=204)

    @extend_schema(request=None, responses=LinkingSessionSerializer)
    @idempotent(atomic=False)
    @action(detail=True, methods=["post"])
    def connect(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Link again what has ended or was lost; a link that stands is only looked at."""
        refuse_fields(request)
        return Response(LinkingSessionSerializer(services.reconnect_session(self.get_object())).data)

    @extend_schema(
        responses={
            (200, "application/json"): QRSerializer,
            (200, "image/png"): OpenApiResponse(OpenApiTypes.BINARY, "The image itself."),
        }
    )
    @action(detail=True, renderer_classes=[JSONRenderer, PNGRenderer])
    def qr(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """How the link stands now, and the QR code to scan while it waits for that.

        Ask every few seconds until `status` is `connected`. With `Accept: image/png` the image itself is answered.
        """
        session = services.with_current_qr(self.get_object())
        if request.accepted_renderer.format != PNGRenderer.format:
            return Response(QRSerializer(session).data, headers={"Cache-Control": "no-store"})
        png = services.current_qr(session)
        if png is None:
            raise Conflict(f"There is no code to scan: the session is {session.status}.")
        return Response(png, headers={"Cache-Control": "no-store"})

    @extend_schema(request=None, responses=SessionSerializer)
    @action(detail=True, methods=["post"])
    def restart(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Have the bridge start the session anew, without linking it again."""
        refuse_fields(request)
        return Response(self.get_serializer(services.restart_session(self.get_object())).data)

    @extend_schema(request=None, responses=SessionSerializer)
    @action(detail=True, methods=["post"])
    def logout(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """End the link at WhatsApp itself."""
        refuse_fields(request)
        return Response(self.get_serializer(services.logout_session(self.get_object())).data)


@extend_schema_view(
    list=extend_schema(description="Agent profiles: who answers in the sessions you see; all for administrators."),
    retrieve=extend_schema(description="One agent profile, as it is now."),
    partial_update=extend_schema(description="Change a profile. Each change that matters to answers is a new version."),
)
class AgentProfileViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet
):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    serializer_class = AgentProfileSerializer
    filterset_class = AgentProfileFilters
    newest_by: tuple[str, ...] = ("id",)

    def get_queryset(self) -> QuerySet[AgentProfile]:
        return AgentProfile.objects.visible_to(self.request.user)

    @extend_schema(responses={201: AgentProfileSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Write a new profile."""
        profile = profiles.create_profile(by=user_of(request), **valid(AgentProfileSerializer, request))
        return Response(self.get_serializer(profile).data, status=201)

    def perform_update(self, serializer: BaseSerializer) -> None:
        serializer.instance = profiles.change_profile(
            profile=self.get_object(), by=user_of(self.request), **serializer.validated_data
        )

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete a profile no session has. Turns it answered keep its version number."""
        profiles.delete_profile(self.get_object())
        return Response(status=204)

    @extend_schema(responses=AgentProfileVersionSerializer(many=True), filters=False)
    @action(detail=True, newest_by=("version",), filterset_class=None)
    def versions(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Every version of this profile, the present one first."""
        versions = self.get_object().versions.select_related("changed_by")
        page = self.paginate_queryset(StrictFilters().apply(request, versions, self))
        return self.get_paginated_response(AgentProfileVersionSerializer(page, many=True).data)

    @extend_schema(request=RollbackSerializer, responses=AgentProfileSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Make an old version the present one, as a new version."""
        profile = profiles.roll_back(
            profile=self.get_object(), by=user_of(request), **valid(RollbackSerializer, request)
        )
        return Response(self.get_serializer(profile).data)
