"""`library-files/`: what agent profiles may send."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from messaging.filters import LibraryFilters
from messaging.library import entries
from messaging.media.files import take
from messaging.models import LibraryFile
from sessions_app.models import AgentProfile
from whatsapp_agent.api.etags import EditableMixin, if_match
from whatsapp_agent.api.fields import SingleLineField, StrictSerializer, valid
from whatsapp_agent.api.json import BoundedJSONParser, BoundedMultiPartParser
from whatsapp_agent.errors import InvalidInput


class LibraryFileSerializer(serializers.ModelSerializer):
    """A file that the agent may send."""

    agent_profile = serializers.UUIDField(source="agent_profile_id")

    class Meta:
        model = LibraryFile
        fields = [
            "id",
            "agent_profile",
            "name",
            "description",
            "filename",
            "mime_type",
            "kind",
            "size_bytes",
            "created_at",
        ]
        read_only_fields = fields


class LibraryFileChangeSerializer(StrictSerializer):
    name = SingleLineField(max_length=entries.MAX_NAME_LENGTH, help_text="What the model calls it, like: price list.")
    description = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=entries.MAX_DESCRIPTION_LENGTH,
        help_text="For the model: what is in it and when to send it.",
    )


class LibraryUploadSerializer(LibraryFileChangeSerializer):
    agent_profile = serializers.UUIDField()
    file = serializers.FileField(allow_empty_file=True)


@extend_schema_view(
    list=extend_schema(description="List the files of the profiles whose sessions you may see."),
    retrieve=extend_schema(description="Return one file: its name, type and size."),
)
class LibraryFileViewSet(EditableMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    parser_classes = [BoundedJSONParser, BoundedMultiPartParser]
    serializer_class = LibraryFileSerializer
    filterset_class: Any = LibraryFilters
    editable_fields = ("name", "description")
    newest_by = ("id",)

    def get_queryset(self) -> QuerySet[LibraryFile]:
        return LibraryFile.objects.visible_to(self.request.user)

    @extend_schema(request={"multipart/form-data": LibraryUploadSerializer}, responses={201: LibraryFileSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Upload a file that the agent may send. The first one of a profile turns the tool `send_file` on."""
        form = valid(LibraryUploadSerializer, request)
        profile = AgentProfile.objects.visible_to(request.user).filter(pk=form["agent_profile"]).first()
        if profile is None:
            raise InvalidInput("Profile not found.", field="agent_profile")
        upload = form["file"]
        row = entries.add_file(
            agent_profile=profile,
            name=form["name"],
            description=form.get("description", ""),
            file=take(upload, name=upload.name, size_bytes=upload.size),
            by=user_of(request),
        )
        return Response(self.get_serializer(row).data, status=201)

    @extend_schema(request=LibraryFileChangeSerializer(partial=True), responses=LibraryFileSerializer)
    @if_match
    def partial_update(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change the name or the description."""
        row = self.get_object()
        changes = valid(LibraryFileChangeSerializer, request, partial=True)
        return Response(self.get_serializer(entries.change_file(row, by=user_of(request), **changes)).data)

    @extend_schema(responses={204: None})
    @if_match
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete a file: the agent sends it no more."""
        entries.delete_file(self.get_object())
        return Response(status=204)
