"""Actions of `conversations/{id}/` by which staff share work, and `saved-replies/`."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from accounts.models import User
from messaging.models import Conversation, Note, SavedReply
from messaging.serializers import ConversationSerializer
from messaging.teamwork import actions, saved_replies
from messaging.teamwork.serializers import (
    AssignSerializer,
    ColleaguesSerializer,
    DoneSerializer,
    FilledRepliesSerializer,
    LabelsSerializer,
    NoteChangeSerializer,
    NoteSerializer,
    SavedReplyChangeSerializer,
    SavedReplySerializer,
    SnoozeSerializer,
    SuggestionQuery,
)
from sessions_app.models import WhatsAppSession
from whatsapp_agent.api.etags import EditableMixin, if_match
from whatsapp_agent.api.fields import refuse_fields, valid
from whatsapp_agent.errors import InvalidInput, NotFound


class TeamworkActions:
    """The part of the viewset of conversations by which staff share work."""

    @extend_schema(request=AssignSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def assign(self: Any, request: Request, pk: str) -> Response:
        """Assign the conversation to yourself (`me`), to a colleague, or to nobody (null)."""
        conversation = self.get_object()
        to = valid(AssignSerializer, request)["user"]
        if to == "me":
            to = user_of(request)
        elif to is not None:
            to = User.objects.filter(pk=to, is_active=True).first()
            if to is None:
                raise InvalidInput("This person may not answer in this conversation.", field="user")
        actions.assign(conversation=conversation, to=to, by=user_of(request))
        return self.retrieve(request, pk)

    @extend_schema(responses=ColleaguesSerializer)
    @action(detail=True)
    def colleagues(self: Any, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Return the users to whom the conversation may be assigned."""
        return Response(ColleaguesSerializer({"results": actions.colleagues(self.get_object())}).data)

    @extend_schema(request=LabelsSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def labels(self: Any, request: Request, pk: str) -> Response:
        """Replace the labels of the conversation."""
        conversation = self.get_object()
        actions.set_labels(conversation=conversation, **valid(LabelsSerializer, request))
        return self.retrieve(request, pk)

    @extend_schema(request=SnoozeSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def snooze(self: Any, request: Request, pk: str) -> Response:
        """Put the conversation aside until a time. The contact's next message opens it before."""
        conversation = self.get_object()
        actions.snooze(conversation=conversation, **valid(SnoozeSerializer, request))
        return self.retrieve(request, pk)

    @extend_schema(request=DoneSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def done(self: Any, request: Request, pk: str) -> Response:
        """Mark the conversation as done. The contact's next message opens it again."""
        conversation = self.get_object()
        actions.finish(conversation=conversation, **valid(DoneSerializer, request))
        return self.retrieve(request, pk)

    @extend_schema(request=None, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def reopen(self: Any, request: Request, pk: str) -> Response:
        """Open a conversation that is done or snoozed."""
        refuse_fields(request)
        actions.reopen(conversation=self.get_object())
        return self.retrieve(request, pk)

    @extend_schema(
        operation_id="conversations_saved_replies", parameters=[SuggestionQuery], responses=FilledRepliesSerializer
    )
    @action(detail=True, url_path="saved-replies", url_name="saved-replies")
    def suggest_replies(self: Any, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Return the saved replies for this conversation, with the contact's name filled in."""
        conversation = self.get_object()
        form = SuggestionQuery(data=request.query_params)
        form.is_valid(raise_exception=True)
        found = saved_replies.suggest(conversation=conversation, prefix=form.validated_data["q"])
        return Response(FilledRepliesSerializer({"results": found}).data)


class NoteViewSet(ListModelMixin, GenericViewSet):
    """Notes of one conversation."""

    queryset = Note.objects.none()  # for the schema
    serializer_class = NoteSerializer
    newest_by = ("created_at", "id")

    def get_queryset(self) -> QuerySet[Note]:
        notes = Note.objects.visible_to(self.request.user).filter(conversation=self.kwargs["conversation_id"])
        return notes.select_related("author")

    def get_parent(self) -> Conversation:
        conversations = Conversation.objects.visible_to(self.request.user).select_related("contact")
        conversation = conversations.filter(pk=self.kwargs["conversation_id"]).first()
        if conversation is None:
            raise NotFound("Conversation not found.")
        return conversation

    def list(self, request: Request, conversation_id: UUID) -> Response:  # noqa: ARG002
        """List the notes of this conversation, newest first."""
        self.get_parent()
        return super().list(request)

    @extend_schema(responses={201: NoteSerializer})
    @idempotent
    def create(self, request: Request, conversation_id: UUID) -> Response:  # noqa: ARG002
        """Write a note for colleagues."""
        conversation = self.get_parent()
        note = actions.add_note(conversation=conversation, by=user_of(request), **valid(NoteSerializer, request))
        return Response(self.get_serializer(note).data, status=201)


class NoteDetailViewSet(GenericViewSet):
    http_method_names = ["patch"]
    serializer_class = NoteSerializer

    def get_queryset(self) -> QuerySet[Note]:
        return Note.objects.visible_to(self.request.user).select_related("author")

    @extend_schema(request=NoteChangeSerializer, responses=NoteSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Have the model be given the note, or no longer. The text of a note cannot be changed."""
        note = self.get_object()
        is_shown = valid(NoteChangeSerializer, request).get("is_shown_to_model", note.is_shown_to_model)
        return Response(self.get_serializer(actions.show_note_to_model(note=note, is_shown=is_shown)).data)


@extend_schema_view(
    list=extend_schema(description="List the saved replies of your sessions and those for all sessions."),
    retrieve=extend_schema(description="Return one saved reply."),
)
class SavedReplyViewSet(EditableMixin, ListModelMixin, RetrieveModelMixin, GenericViewSet):
    http_method_names = ["get", "head", "post", "patch", "delete"]
    serializer_class = SavedReplySerializer
    newest_by = ("id",)

    def get_queryset(self) -> QuerySet[SavedReply]:
        return SavedReply.objects.visible_to(self.request.user)

    @extend_schema(responses={201: SavedReplySerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Store a reply for a session; without `session`, which administrators may omit, for all sessions."""
        form = valid(SavedReplySerializer, request)
        session = None
        if session_id := form.pop("session_id", None):
            session = WhatsAppSession.objects.visible_to(request.user).filter(pk=session_id).first()
            if session is None:
                raise InvalidInput("Session not found.", field="session")
        reply = saved_replies.create_reply(by=user_of(request), session=session, **form)
        return Response(SavedReplySerializer(reply).data, status=201)

    @extend_schema(request=SavedReplyChangeSerializer(partial=True), responses=SavedReplySerializer)
    @if_match
    def partial_update(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change the shortcut or the text."""
        reply = self.get_object()
        form = valid(SavedReplyChangeSerializer, request, partial=True)
        return Response(self.get_serializer(saved_replies.change_reply(reply, by=user_of(request), **form)).data)

    @extend_schema(responses={204: None})
    @if_match
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete a saved reply."""
        saved_replies.delete_reply(self.get_object(), by=user_of(request))
        return Response(status=204)
