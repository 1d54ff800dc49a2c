"""Views of `sessions/` and `agents/`: WhatsApp numbers and agent profiles."""

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

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from sessions_app import bridges, drafts, profiles, services
from sessions_app.filters import AgentProfileFilters, SessionFilters
from sessions_app.links.registration import register_number
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from sessions_app.serializers import (
    AgentProfileSerializer,
    AgentProfileVersionSerializer,
    BridgeSerializer,
    BridgeSetupBodySerializer,
    BridgeSetupSerializer,
    DraftSerializer,
    LinkingSessionSerializer,
    PairingCodeSerializer,
    PairingSerializer,
    PublishSerializer,
    QRSerializer,
    RegisterSerializer,
    RollbackSerializer,
    SessionCreateSerializer,
    SessionSerializer,
)
from whatsapp_agent.api.etags import EditableMixin, if_match
from whatsapp_agent.api.fields import refuse_fields, valid
from whatsapp_agent.api.filters import StrictFilters
from whatsapp_agent.errors import Conflict


class PNGRenderer(BaseRenderer):
    media_type, format, charset, render_style = "image/png", "png", None, "binary"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:  # noqa: ARG002
        return data if isinstance(data, bytes) else JSONRenderer().render(data)


@extend_schema_view(
    list=extend_schema(description="List the sessions you are a member of; administrators see all."),
    retrieve=extend_schema(description="Return one session."),
    partial_update=extend_schema(description="Change the session's profile, owner, time zone or access policy."),
)
class SessionViewSet(
    EditableMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet
):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    partial_update = if_match(mixins.UpdateModelMixin.partial_update)
    serializer_class = SessionSerializer
    filterset_class = SessionFilters

    def get_queryset(self) -> QuerySet[WhatsAppSession]:
        return WhatsAppSession.objects.visible_to(self.request.user).select_related("bridge", "agent_profile")

    @extend_schema(request=SessionCreateSerializer, responses={201: LinkingSessionSerializer})
    @idempotent(atomic=False)
    def create(self, request: Request) -> Response:
        """Start linking a number and return the QR code to scan. You become a member of the session.

        The name of an ended session reactivates that session.
        """
        session = services.start_session(user=user_of(request), **valid(SessionCreateSerializer, request))
        return Response(LinkingSessionSerializer(session).data, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete the session at the bridge and end it here. Its conversations and messages stay."""
        services.end_session(self.get_object())
        return Response(status=204)

    @extend_schema(request=None, responses=LinkingSessionSerializer)
    @idempotent(atomic=False)
    @action(detail=True, methods=["post"])
    def connect(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Link an ended or disconnected session again. If it is connected, only its status is refreshed."""
        refuse_fields(request)
        return Response(LinkingSessionSerializer(services.reconnect_session(self.get_object())).data)

    @extend_schema(
        responses={
            (200, "application/json"): QRSerializer,
            (200, "image/png"): OpenApiResponse(OpenApiTypes.BINARY, "The image."),
        }
    )
    @action(detail=True, renderer_classes=[JSONRenderer, PNGRenderer])
    def qr(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Return the session's current status and, while it waits for a scan, the QR code.

        Poll every few seconds until `status` is `connected`. With `Accept: image/png` the response is the image.
        """
        session = services.with_current_qr(self.get_object())
        if request.accepted_renderer.format != PNGRenderer.format:
            return Response(QRSerializer(session).data, headers={"Cache-Control": "no-store"})
        png = services.current_qr(session)
        if png is None:
            raise Conflict(f"There is no QR code to scan: the session is {session.status}.")
        return Response(png, headers={"Cache-Control": "no-store"})

    @extend_schema(request=PairingSerializer, responses=PairingCodeSerializer)
    @action(detail=True, methods=["post"], url_path="pairing-code", url_name="pairing-code")
    def pairing_code(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Return a code to type on the phone instead of scanning the QR code.

        `409` unless the number is being linked; `409 not_supported` where the bridge has no such codes. A new code
        replaces the former. Then poll `qr/` until `status` is `connected`.
        """
        code = services.request_pairing_code(self.get_object(), **valid(PairingSerializer, request))
        return Response(PairingCodeSerializer(code).data, headers={"Cache-Control": "no-store"})

    @extend_schema(request=None, responses=SessionSerializer)
    @action(detail=True, methods=["post"])
    def restart(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Restart the session at the bridge, without linking it again."""
        refuse_fields(request)
        return Response(self.get_serializer(services.restart_session(self.get_object())).data)

    @extend_schema(request=RegisterSerializer, responses=SessionSerializer)
    @action(detail=True, methods=["post"])
    def register(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Put the number on the platform with its PIN (Cloud API), after it was logged out or when it is new there."""
        session = register_number(self.get_object(), **valid(RegisterSerializer, request))
        return Response(self.get_serializer(session).data)

    @extend_schema(request=None, responses=SessionSerializer)
    @action(detail=True, methods=["post"])
    def logout(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Log the session out of WhatsApp; a number of the Cloud API is taken off it (deregistered)."""
        refuse_fields(request)
        return Response(self.get_serializer(services.logout_session(self.get_object())).data)


@extend_schema_view(
    list=extend_schema(description="List the bridges."),
    retrieve=extend_schema(description="Return one bridge."),
    partial_update=extend_schema(
        description="Change a bridge. `default` and `simulator` are set by the environment at each start."
    ),
)
class BridgeViewSet(
    EditableMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet
):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    partial_update = if_match(mixins.UpdateModelMixin.partial_update)
    serializer_class = BridgeSerializer
    queryset = Bridge.objects.all()
    lookup_field = "slug"
    newest_by: tuple[str, ...] = ("id",)

    @extend_schema(responses={201: BridgeSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Add a bridge. `bridges/{slug}/setup/` then configures where it posts its events."""
        bridge = bridges.create_bridge(**valid(BridgeSerializer, request))
        return Response(self.get_serializer(bridge).data, status=201)

    def perform_update(self, serializer: BaseSerializer) -> None:
        serializer.instance = bridges.change_bridge(self.get_object(), **serializer.validated_data)

    @extend_schema(responses={204: None})
    @if_match
    def destroy(self, request: Request, slug: str) -> Response:  # noqa: ARG002
        """Delete a bridge that has no sessions."""
        bridges.delete_bridge(self.get_object())
        return Response(status=204)

    @extend_schema(request=BridgeSetupBodySerializer, responses=BridgeSetupSerializer)
    @idempotent(atomic=False)
    @action(detail=True, methods=["post"], url_path="setup", url_name="setup")
    def set_up(self, request: Request, slug: str) -> Response:  # noqa: ARG002
        """Configure our webhook address at the bridge, or return what to configure there by hand."""
        bridge = self.get_object()
        lines = bridges.setup_bridge(bridge, **valid(BridgeSetupBodySerializer, request))
        return Response({"lines": lines, "webhook_path": bridge.webhook_path})


@extend_schema_view(
    list=extend_schema(description="List the agent profiles of the sessions you may see; administrators see all."),
    retrieve=extend_schema(description="Return one agent profile in its current version."),
    partial_update=extend_schema(
        description="Change a profile. A change that affects answers is stored as a new version."
    ),
)
class AgentProfileViewSet(
    EditableMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet
):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    partial_update = if_match(mixins.UpdateModelMixin.partial_update)
    serializer_class = AgentProfileSerializer
    filterset_class = AgentProfileFilters
    newest_by: tuple[str, ...] = ("id",)

    def get_queryset(self) -> QuerySet[AgentProfile]:
        return AgentProfile.objects.visible_to(self.request.user)

    def lock_first(self) -> None:
        profiles.lock_profiles()

    @extend_schema(responses={201: AgentProfileSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Create a profile."""
        profile = profiles.create_profile(by=user_of(request), **valid(AgentProfileSerializer, request))
        return Response(self.get_serializer(profile).data, status=201)

    def perform_update(self, serializer: BaseSerializer) -> None:
        serializer.instance = profiles.change_profile(
            profile=self.get_object(), by=user_of(self.request), **serializer.validated_data
        )

    @extend_schema(responses={204: None})
    @if_match
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete a profile that no session uses. Its turns keep the version number they were answered with."""
        profiles.delete_profile(self.get_object())
        return Response(status=204)

    @extend_schema(responses=AgentProfileVersionSerializer(many=True), filters=False)
    @action(detail=True, newest_by=("version",), filterset_class=None)
    def versions(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """List all versions of this profile, the current one first."""
        versions = profiles.with_values_before(self.get_object().versions.select_related("changed_by"))
        page = self.paginate_queryset(StrictFilters().apply(request, versions, self))
        return self.get_paginated_response(AgentProfileVersionSerializer(page, many=True).data)

    @extend_schema(request=RollbackSerializer, responses=AgentProfileSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Restore an old version, as a new version."""
        profile = profiles.roll_back(
            profile=self.get_object(), by=user_of(request), **valid(RollbackSerializer, request)
        )
        return Response(self.get_serializer(profile).data)

    @extend_schema(responses=DraftSerializer)
    @action(detail=True)
    def draft(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Return the draft, with how it differs from what is live."""
        profile = self.get_object()
        return self._draft_response(profile, drafts.load_draft(profile) or profile)

    @extend_schema(request=DraftSerializer(partial=True), responses=DraftSerializer)
    @draft.mapping.patch
    @if_match(read="draft")
    def change_draft(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change the draft. Nobody is answered by it until it is published."""
        profile = self.get_object()
        draft = drafts.load_draft(profile) or profile
        form = DraftSerializer(draft, data=request.data, partial=True, context={"profile": profile})
        form.is_valid(raise_exception=True)
        draft = drafts.save_draft(profile=profile, by=user_of(request), **form.validated_data)
        return self._draft_response(profile, draft)

    @extend_schema(responses={204: None})
    @draft.mapping.delete
    @if_match(read="draft")
    def discard_draft(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Discard the draft."""
        drafts.discard_draft(profile=self.get_object(), by=user_of(request))
        return Response(status=204)

    @extend_schema(request=PublishSerializer, responses=AgentProfileSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Make the draft live, as a new version."""
        profile = self.get_object()
        form = valid(PublishSerializer, request)
        return Response(self.get_serializer(drafts.publish_draft(profile=profile, by=user_of(request), **form)).data)

    def _draft_response(self, profile: AgentProfile, draft: AgentProfile) -> Response:
        return Response(DraftSerializer(draft, context={"profile": profile}).data)
