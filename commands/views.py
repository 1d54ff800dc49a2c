"""`/api/v1/commands/`: list and describe the commands, run one, and read what was run."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import PermissionDenied
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from accounts.permissions import CONTROL, MANAGE_ALL, READ, SEND, Access, denial_reason
from commands.callers import caller_of_user
from commands.filters import CommandRunFilters
from commands.models import CommandRun
from commands.registry import Caller, ChatCommand, all_commands, get
from commands.run import run
from commands.serializers import (
    CommandListSerializer,
    CommandRunSerializer,
    CommandSerializer,
    RunCommandSerializer,
)
from messaging.models import Conversation, Message
from messaging.outbound import check_sendable, send_text
from whatsapp_agent.api.fields import valid
from whatsapp_agent.api.lists import FastListMixin
from whatsapp_agent.errors import AppError, NotFound
from whatsapp_agent.text.split import split_text

MODEL_FAILED = 502


def caller_of(request: Request) -> Caller:
    """Return who runs the command. A key that may not write agent profiles is no administrator, whoever owns it."""
    may_administrate = denial_reason(request.user, request.auth, MANAGE_ALL) is None
    return caller_of_user(user_of(request), as_administrator=may_administrate)


class CommandViewSet(ViewSet):
    """The commands, found by name, alias or name of the tool: list them, describe one, run one."""

    lookup_field = "name"

    def get_object(self) -> ChatCommand:
        """Return the command that the route names. Raises UnknownCommand."""
        return get(self.kwargs["name"])

    @extend_schema(operation_id="commands_list", responses=forced_singular_serializer(CommandListSerializer))
    def list(self, request: Request) -> Response:  # noqa: ARG002
        """List the commands, each with the schema of its arguments."""
        return Response(CommandListSerializer({"next": None, "previous": None, "results": all_commands()}).data)

    @extend_schema(responses=CommandSerializer)
    def retrieve(self, request: Request, name: str) -> Response:  # noqa: ARG002
        """Describe a command and the schema of its arguments."""
        return Response(CommandSerializer(self.get_object()).data)

    @extend_schema(request=RunCommandSerializer, responses={200: CommandRunSerializer})
    @idempotent(atomic=lambda view: not view.get_object().asks_model)
    def create(self, request: Request, name: str) -> Response:  # noqa: ARG002
        """Run the command in a conversation; `send` also sends the result to the contact."""
        command = self.get_object()
        form = valid(RunCommandSerializer, request)
        conversation = _conversation(request, form["conversation"])
        for access in _needed_beside(command, sends=form["send"]):
            if refusal := denial_reason(request.user, request.auth, access):
                raise PermissionDenied(refusal)
        if form["send"]:
            check_sendable(conversation=conversation)  # before there is an effect
        done = run(
            command,
            arguments=form["arguments"],
            caller=caller_of(request),
            conversation=conversation,
            surface=CommandRun.Surface.API,
        )
        if done.status != CommandRun.Status.DONE:
            return _failure(done)
        for part in split_text(done.text) if form["send"] else ():
            send_text(conversation=conversation, text=part, author=Message.Author.SYSTEM, by=user_of(request))
        return Response(CommandRunSerializer(done).data)


def _needed_beside(command: ChatCommand, *, sends: bool) -> Iterator[Access]:
    """Return the access that a run needs in addition to `commands:run`: a command is no way around a key's scopes."""
    if sends:
        yield SEND
    if command.reads_only or command.asks_model:
        yield READ
    if command.changes_control:
        yield CONTROL


def _conversation(request: Request, conversation_id: UUID) -> Conversation:
    visible = Conversation.objects.visible_to(request.user)
    around = ("contact", "session__bridge", "session__agent_profile")
    conversation = visible.select_related(*around).filter(pk=conversation_id).first()
    if conversation is None:
        raise NotFound("Conversation not found.", field="conversation")
    return conversation


def _failure(done: CommandRun) -> Response:
    """`{"detail", "code", "run"}`, and for invalid arguments `"fields"`."""
    statuses = {error.code: error.status for error in AppError.__subclasses__()}
    body: dict[str, Any] = {"detail": done.text, "code": done.error_code, "run": str(done.pk)}
    if fields := done.data.get("fields"):
        body["fields"] = {"arguments": fields}
    return Response(body, status=statuses.get(done.error_code, MODEL_FAILED))


@extend_schema_view(
    list=extend_schema(description="List command runs with their callers and results, newest first."),
    retrieve=extend_schema(description="Return one command run."),
)
class CommandRunViewSet(RetrieveModelMixin, FastListMixin, GenericViewSet):
    """The record of command runs."""

    queryset = CommandRun.objects.none()  # for the schema
    serializer_class = CommandRunSerializer
    filterset_class = CommandRunFilters

    def get_queryset(self) -> QuerySet[CommandRun]:
        return CommandRun.objects.visible_to(self.request.user).select_related("user")


# --- OpenAPI ------------------------------------------------------------------------------------------------------


Endpoint = tuple[str, str, str, Any]  # path, regular expression, method, view


def list_commands(endpoints: list[Endpoint], **_: Any) -> list[Endpoint]:
    """Preprocessing hook: show an operation for each command, with its own arguments, instead of `commands/{name}/`."""
    views = [(command, _view_of(command)) for command in all_commands()]
    listed: list[Endpoint] = []
    for path, regex, method, view in endpoints:
        if getattr(view, "cls", None) is CommandViewSet and "{name}" in path:
            listed += [(path.format(name=command.name), regex, method, own) for command, own in views]
        else:
            listed.append((path, regex, method, view))
    return listed


def _view_of(command: ChatCommand) -> Any:
    word = command.name.replace("-", "_")
    body = {
        "type": "object",
        "required": ["conversation"],
        "additionalProperties": False,
        "properties": {
            "conversation": {"type": "string", "format": "uuid", "description": "Where it is run."},
            "arguments": command.schema(),
            "send": {"type": "boolean", "default": False, "description": "Also send the result to the contact."},
        },
    }
    described = extend_schema_view(
        retrieve=extend_schema(operation_id=f"commands_{word}_retrieve", description=command.description),
        create=extend_schema(
            operation_id=f"commands_{word}_run",
            description=command.description,
            request={"application/json": body},
        ),
    )
    view: Any = described(type(f"{word.title()}ViewSet", (CommandViewSet,), {}))
    return view.as_view({"get": "retrieve", "post": "create"}, detail=True)
