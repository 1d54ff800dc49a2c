"""`knowledge/`: what agent profiles know."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from messaging.filters import KnowledgeFilters
from messaging.knowledge import entries
from messaging.knowledge.search import MAX_RESULTS, search_knowledge
from messaging.models import Knowledge
from sessions_app.models import AgentProfile
from sessions_app.profiles import lock_profiles
from whatsapp_agent.api.etags import EditableMixin, if_match
from whatsapp_agent.api.fields import StrictSerializer, valid
from whatsapp_agent.errors import InvalidInput, NotFound


class KnowledgeSerializer(StrictSerializer, serializers.ModelSerializer):
    """A question with its answer, or a document, that an agent profile knows."""

    agent_profile = serializers.UUIDField(source="agent_profile_id")
    text = serializers.CharField(max_length=entries.MAX_TEXT_LENGTH, help_text="The answer, or the document's text.")

    class Meta:
        model = Knowledge
        fields = ["id", "agent_profile", "kind", "title", "text", "is_enabled", "created_at", "updated_at"]


class KnowledgeChangeSerializer(KnowledgeSerializer):
    agent_profile = serializers.UUIDField(source="agent_profile_id", read_only=True)


class KnowledgeHitSerializer(serializers.Serializer):
    """A part of a text that fits the question."""

    knowledge = serializers.UUIDField(source="knowledge_id")
    kind = serializers.ChoiceField(choices=Knowledge.Kind.choices)
    title = serializers.CharField(help_text="The source: the question, or the name of the document.")
    text = serializers.CharField()


class KnowledgeHitsSerializer(serializers.Serializer):
    results = KnowledgeHitSerializer(many=True)


class KnowledgeQuery(StrictSerializer):
    agent_profile = serializers.UUIDField()
    q = serializers.CharField(max_length=500, help_text="A question, in any words.")
    limit = serializers.IntegerField(default=5, min_value=1, max_value=MAX_RESULTS)


@extend_schema_view(
    list=extend_schema(description="List the knowledge of the profiles whose sessions you may see."),
    retrieve=extend_schema(description="Return one entry with its text."),
)
class KnowledgeViewSet(EditableMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    serializer_class = KnowledgeSerializer
    filterset_class: Any = KnowledgeFilters
    newest_by = ("id",)

    def get_queryset(self) -> QuerySet[Knowledge]:
        return Knowledge.objects.visible_to(self.request.user)

    def lock_first(self) -> None:
        lock_profiles()

    @extend_schema(responses={201: KnowledgeSerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Add a question with its answer, or a document as text."""
        form = valid(KnowledgeSerializer, request)
        profile = AgentProfile.objects.visible_to(request.user).filter(pk=form.pop("agent_profile_id")).first()
        if profile is None:
            raise InvalidInput("Profile not found.", field="agent_profile")
        knowledge = entries.create_knowledge(agent_profile=profile, by=user_of(request), **form)
        return Response(self.get_serializer(knowledge).data, status=201)

    @extend_schema(request=KnowledgeChangeSerializer(partial=True), responses=KnowledgeSerializer)
    @if_match
    def partial_update(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change an entry, or disable it."""
        knowledge = self.get_object()
        changes = valid(KnowledgeChangeSerializer, request, partial=True)
        return Response(self.get_serializer(entries.change_knowledge(knowledge, by=user_of(request), **changes)).data)

    @extend_schema(responses={204: None})
    @if_match
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete an entry."""
        entries.delete_knowledge(self.get_object())
        return Response(status=204)

    @extend_schema(
        operation_id="knowledge_search", parameters=[KnowledgeQuery], responses=KnowledgeHitsSerializer, filters=False
    )
    @action(detail=False, url_path="search", filterset_class=None, pagination_class=None)
    def search(self, request: Request) -> Response:
        """Return what the model is given for a question, best first."""
        form = KnowledgeQuery(data=request.query_params)
        form.is_valid(raise_exception=True)
        query = form.validated_data
        profile = AgentProfile.objects.visible_to(request.user).filter(pk=query["agent_profile"]).first()
        if profile is None:
            raise NotFound("Profile not found.", field="agent_profile")
        hits = search_knowledge(profile=profile, query=query["q"], limit=query["limit"])
        return Response(KnowledgeHitsSerializer({"results": hits}).data)
