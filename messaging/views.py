"""`conversations/`, `messages/`, `media/` and `turns/`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Coalesce
from django.http import FileResponse, HttpRequest, HttpResponse, QueryDict
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from accounts.models import ApiKey
from agent.bridges.base import Card, Menu, Place, Poll
from agent.bridges.events import Kind
from messaging import control, leases
from messaging.changes.service import edit, revoke
from messaging.filters import ConversationFilters, MessageFilters, TurnFilters
from messaging.imports.views import ImportAction
from messaging.media.files import by_token, fetch_file, send_as, take
from messaging.menus.service import send_menu
from messaging.models import Conversation, Media, Message, Turn
from messaging.outbound import (
    conversation_by_phone,
    find_recipient_phone,
    mark_read,
    send_again,
    send_contact,
    send_location,
    send_media,
    send_reaction,
    send_text,
)
from messaging.people.views import ExportAction
from messaging.search.ranking import Hit, search
from messaging.serializers import (
    ConversationSerializer,
    EditSerializer,
    MessageCreateSerializer,
    MessageMediaSerializer,
    MessageSerializer,
    MessageUploadSerializer,
    ReleaseSerializer,
    ReplySerializer,
    SearchQuery,
    SearchResultsSerializer,
    TakeOverSerializer,
    TurnDetailSerializer,
    TurnSerializer,
    UploadSerializer,
)
from messaging.teamwork.views import TeamworkActions
from messaging.whatsapp_templates.service import send_template
from sessions_app.models import WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.api.fields import refuse_fields, valid
from whatsapp_agent.api.json import BoundedJSONParser, BoundedMultiPartParser
from whatsapp_agent.api.lists import FastListMixin, read_rows, rows_by_key
from whatsapp_agent.errors import InvalidInput, NotFound
from whatsapp_agent.text.phones import parse_phone


def author_of(request: Request) -> Message.Author:
    """Return the author of a sent message: `staff` takes the conversation over, `api` does not."""
    return Message.Author.API if isinstance(request.auth, ApiKey) else Message.Author.STAFF


def load_form(view: Any, request: Request) -> None:
    """Validate the request and load its file; one given as `media_url` is downloaded.

    Raises ValidationError, NotFound, and what `find_recipient_phone` and `fetch_file` raise.
    """
    if "conversation_id" in view.kwargs:  # 404 for a hidden conversation comes before 400 for the form
        view.find_recipient()
    is_upload = isinstance(request.data, QueryDict)
    view.form = valid(view.upload_form if is_upload else view.form_class, request)
    recipient = view.find_recipient()
    if isinstance(recipient, WhatsAppSession):
        view.form["to"] = find_recipient_phone(view.form["to"], session=recipient)
    if "media_url" in view.form:
        postgres.release()
        view.form["file"] = fetch_file(view.form["media_url"], name=view.form.get("filename", ""))
    elif url := view.form.get("template", {}).pop("media_url", ""):
        postgres.release()
        name = view.form["template"].pop("filename", "")
        view.form["template"]["file"] = fetch_file(url, name=name, field="template")
    elif is_upload:
        upload = view.form["file"]
        view.form["file"] = take(upload, name=upload.name, size_bytes=upload.size)
    if kind := view.form.get("kind"):
        view.form["file"] = send_as(view.form["file"], Kind(kind))


def queue(request: Request, *, conversation: Conversation, form: dict[str, Any]) -> Message:
    """Queue the form's content for sending, as the user who asks.

    Raises what the functions of `messaging.outbound` raise, and InvalidInput for `reply_to`.
    """
    quoted = None
    if reply_to := form.get("reply_to"):
        quoted = Message.objects.filter(conversation=conversation, pk=reply_to).first()
        if quoted is None:
            raise InvalidInput("Message not found in this conversation.", field="reply_to")
    options: dict[str, Any] = {
        "conversation": conversation,
        "author": author_of(request),
        "by": user_of(request),
        "quoted": quoted,
    }
    if template := form.get("template"):
        if quoted is not None:
            raise InvalidInput("A template cannot reply to a message.", field="reply_to")
        options.pop("quoted")
        return send_template(**{"parameters": []} | template, **options)
    if reaction := form.get("reaction"):
        target = Message.objects.filter(conversation=conversation, pk=reaction["message"]).first()
        if target is None:
            raise InvalidInput("Message not found in this conversation.", field="reaction")
        options.pop("quoted")
        return send_reaction(target=target, emoji=reaction["emoji"], **options)
    if "location" in form:
        return send_location(place=Place(**form["location"]), **options)
    if card := form.get("contact"):
        return send_contact(card=Card(name=card["name"], phone=parse_phone(card["phone"], field="contact")), **options)
    if menu := form.get("interactive"):
        return send_menu(menu=Menu(**menu), **options)
    if poll := form.get("poll"):
        return send_menu(menu=Poll(**poll), **options)
    if "file" in form:
        return send_media(file=form["file"], caption=form.get("text", ""), **options)
    return send_text(text=form["text"], **options)


class ConversationViewSet(
    ImportAction, ExportAction, TeamworkActions, RetrieveModelMixin, FastListMixin, GenericViewSet
):
    serializer_class = ConversationSerializer
    filterset_class = ConversationFilters
    newest_by = ("latest_at", "id")

    def get_queryset(self) -> QuerySet[Conversation]:
        visible = Conversation.objects.visible_to(self.request.user)
        return visible.annotate(latest_at=Coalesce("last_message_at", "created_at"))

    def list(self, request: Request) -> Response:
        """List conversations, latest message first, each with its contact and last message."""
        return super().list(request)

    def retrieve(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Return one conversation with its contact and last message."""
        for row in read_rows(ConversationSerializer, [self.get_object().pk]):
            return Response(row)
        raise NotFound()

    @extend_schema(request=TakeOverSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def takeover(self, request: Request, pk: str) -> Response:
        """Take the conversation over: the agent is silent from now on, and drops a reply it is writing."""
        conversation = self.get_object()
        form = valid(TakeOverSerializer, request)
        until = form.get("until")
        if minutes := form.get("minutes"):
            until = timezone.now() + timedelta(minutes=minutes)
        control.take_over(conversation=conversation, by=user_of(request), until=until, reason=form.get("reason", ""))
        return self.retrieve(request, pk)

    @extend_schema(request=ReleaseSerializer, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Give the conversation back to the agent. It answers unanswered messages if they are recent enough."""
        control.release(conversation=self.get_object(), reason=valid(ReleaseSerializer, request).get("reason", ""))
        return self.retrieve(request, pk)

    @extend_schema(request=None, responses=ConversationSerializer)
    @action(detail=True, methods=["post"])
    def read(self, request: Request, pk: str) -> Response:
        """Mark the conversation as read: sets `unread_count` to 0."""
        refuse_fields(request)
        mark_read(conversation=self.get_object())
        return self.retrieve(request, pk)

    @extend_schema(operation_id="conversations_search", parameters=[SearchQuery], responses=SearchResultsSerializer)
    @action(detail=True, url_path="search")
    def search_messages(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Search all messages of the conversation for the words of `q`, best match first."""
        conversation = self.get_object()
        form = SearchQuery(data=request.query_params)
        form.is_valid(raise_exception=True)
        query = form.validated_data
        hits = search(conversation=conversation, query=query["q"], limit=query["limit"])
        return Response({"results": _search_results(hits)})


def _search_results(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return the hits as the API shows them, without messages deleted meanwhile."""
    rows = rows_by_key(MessageSerializer, {each.pk for hit in hits for each in (hit.message, *hit.neighbours)})
    return [
        {
            "message": rows[str(hit.message.pk)],
            "neighbours": [rows[str(near.pk)] for near in hit.neighbours if str(near.pk) in rows],
            "why": hit.why,
        }
        for hit in hits
        if str(hit.message.pk) in rows
    ]


class MessagesViewSet(FastListMixin, GenericViewSet):
    """Messages that the caller may see."""

    serializer_class = MessageSerializer
    filterset_class = MessageFilters
    newest_by = ("said_at", "id")

    def get_queryset(self) -> QuerySet[Message]:
        return Message.objects.visible_to(self.request.user).select_related("sender", "sent_by", "media")


@extend_schema_view(
    list=extend_schema(description="Messages of all conversations, newest first."),
    retrieve=extend_schema(description="One message."),
)
class MessageViewSet(RetrieveModelMixin, MessagesViewSet):
    parser_classes = [BoundedJSONParser, BoundedMultiPartParser]
    form_class = MessageCreateSerializer
    upload_form = MessageUploadSerializer
    form: dict[str, Any]

    @extend_schema(
        request={"application/json": MessageCreateSerializer, "multipart/form-data": MessageUploadSerializer},
        responses={201: MessageSerializer},
    )
    @idempotent(first=load_form)
    def create(self, request: Request) -> Response:
        """Send a message to a conversation, or from a session to a phone number. Returns the queued message."""
        recipient = self.find_recipient()
        with transaction.atomic():  # a refused message must not leave an empty conversation
            if isinstance(recipient, WhatsAppSession):
                recipient = conversation_by_phone(session=recipient, phone=self.form["to"])
            message = queue(request, conversation=recipient, form=self.form)
        return Response(MessageSerializer(message).data, status=201)

    def find_recipient(self) -> Conversation | WhatsAppSession:
        """Return the conversation, or the session in which the phone number's is found or created."""
        user = self.request.user
        if "conversation" in self.form:
            conversation = visible_conversations(user).filter(pk=self.form["conversation"]).first()
            if conversation is None:
                raise NotFound("Conversation not found.", field="conversation")
            return conversation
        sessions = WhatsAppSession.objects.visible_to(user).select_related("bridge")
        session = sessions.filter(pk=self.form["session"]).first()
        if session is None:
            raise NotFound("Session not found.", field="session")
        return session

    @extend_schema(request=None, responses=MessageSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Send a failed, cancelled or unconfirmed message again."""
        refuse_fields(request)
        return Response(self.get_serializer(send_again(message=self.get_object())).data)

    @extend_schema(request=EditSerializer, responses=MessageSerializer)
    @idempotent(atomic=False)
    @action(detail=True, methods=["post"])
    def edit(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Change a text that is queued, or that was sent, where the bridge can; WhatsApp allows it for 15 minutes."""
        message = self.get_object()
        return Response(self.get_serializer(edit(message, text=valid(EditSerializer, request)["text"])).data)

    @extend_schema(request=None, responses=MessageSerializer)
    @idempotent(atomic=False)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete a message that was sent, for everyone, where the bridge can; WhatsApp allows it for 60 hours. A queued
        one is cancelled."""
        refuse_fields(request)
        return Response(self.get_serializer(revoke(self.get_object())).data)


class ConversationMessagesViewSet(MessagesViewSet):
    """Messages of one conversation."""

    queryset = Message.objects.none()  # for the schema
    parser_classes = [BoundedJSONParser, BoundedMultiPartParser]
    form_class = ReplySerializer
    upload_form = UploadSerializer
    form: dict[str, Any]

    def get_queryset(self) -> QuerySet[Message]:
        return super().get_queryset().filter(conversation=self.kwargs["conversation_id"])

    def find_recipient(self) -> Conversation:
        conversation = visible_conversations(self.request.user).filter(pk=self.kwargs["conversation_id"]).first()
        if conversation is None:
            raise NotFound("Conversation not found.")
        return conversation

    get_parent = find_recipient

    def list(self, request: Request, conversation_id: UUID) -> Response:  # noqa: ARG002
        """List the messages of this conversation, newest first."""
        response = super().list(request)
        if not response.data["results"]:  # a message in the list proves access; an empty list does not
            self.find_recipient()
        return response

    @extend_schema(
        request={"application/json": ReplySerializer, "multipart/form-data": UploadSerializer},
        responses={201: MessageSerializer},
    )
    @idempotent(first=load_form)
    def create(self, request: Request, conversation_id: UUID) -> Response:  # noqa: ARG002
        """Send a message in this conversation. Returns the queued message."""
        message = queue(request, conversation=self.find_recipient(), form=self.form)
        return Response(MessageSerializer(message).data, status=201)


def visible_conversations(user: Any) -> QuerySet[Conversation]:
    """Return the conversations the user may see, with the rows that sending needs."""
    return Conversation.objects.visible_to(user).select_related("contact", "session__bridge")


@extend_schema_view(
    list=extend_schema(description="Turns: each a burst of messages and its outcome."),
    retrieve=extend_schema(description="One turn, with its prompt, tool calls and messages."),
)
class TurnViewSet(RetrieveModelMixin, FastListMixin, GenericViewSet):
    serializer_class = TurnSerializer
    filterset_class = TurnFilters

    def get_queryset(self) -> QuerySet[Turn]:
        turns = Turn.objects.visible_to(self.request.user)
        if self.action == "list":
            return turns
        messages = Message.objects.order_by("said_at", "id")
        return turns.prefetch_related("tool_calls", Prefetch("messages", queryset=messages))

    def get_serializer_class(self) -> type[TurnSerializer]:
        return TurnSerializer if self.action == "list" else TurnDetailSerializer

    @extend_schema(request=None, responses={202: None})
    @idempotent
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Run a failed turn again."""
        refuse_fields(request)
        leases.answer_again(turn=self.get_object())
        return Response(status=202)


@extend_schema_view(retrieve=extend_schema(description="The file of a message: its type, name and size."))
class MediaViewSet(RetrieveModelMixin, GenericViewSet):
    serializer_class = MessageMediaSerializer

    def get_queryset(self) -> QuerySet[Media]:
        return Media.objects.visible_to(self.request.user)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        if self.action == "content":  # the file has its own type, whatever Accept says; errors are JSON
            return JSONRenderer(), JSONRenderer.media_type
        return super().perform_content_negotiation(request, force)

    @extend_schema(responses={(200, "application/octet-stream"): bytes})
    @action(detail=True)
    def content(self, request: Request, pk: str) -> FileResponse:  # noqa: ARG002
        """Download the file. One that was received is here once its status is `stored` or `ready`."""
        return file_response(self.get_object())


def public_media(request: HttpRequest, token: str) -> HttpResponse | FileResponse:
    """Serve a file at the temporary URL that a bridge was given; the token in it is the only check."""
    if request.method not in {"GET", "HEAD"}:
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    try:
        return file_response(by_token(token))
    except NotFound:
        return HttpResponse(status=404)


def file_response(media: Media) -> FileResponse:
    """Return the file as a download, never rendered on our origin. Raises NotFound when it is not stored."""
    try:
        if not media.file:
            raise FileNotFoundError
        content = media.file.open("rb")
    except FileNotFoundError as exc:
        raise NotFound("The file is not stored here.") from exc
    response = FileResponse(content, as_attachment=True, filename=media.filename, content_type=media.mime_type)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cache-Control"] = "private, no-store"
    return response
