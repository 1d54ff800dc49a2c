"""Actions of `contacts/{id}/` and `conversations/{id}/` for whoever answers for people's data."""

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from django.http import FileResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from messaging.maintenance.export import FORMATS, write_zip
from messaging.models import Contact, Conversation
from messaging.people.export import write_contact
from messaging.people.forgetting import request_forgetting
from whatsapp_agent.api.fields import refuse_fields
from whatsapp_agent.errors import InvalidInput

MAX_BYTES_IN_MEMORY = 4 * 1024 * 1024


def zip_response(name: str, write: Any) -> FileResponse:
    """Return what `write` writes into a file as a download, which no page of ours shows."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MAX_BYTES_IN_MEMORY)  # noqa: SIM115  the response closes it
    _run(write(file))
    file.seek(0)
    response = FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _run(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def contact_zip(contact: Contact) -> FileResponse:
    return zip_response(f"contact-{contact.pk}.zip", lambda file: write_contact(contact, file))


def conversation_zip(conversation: Conversation, *, format: str) -> FileResponse:
    return zip_response(
        f"conversation-{conversation.pk}.zip", lambda file: write_zip(conversation, file, format=format)
    )


class ForgettingSerializer(serializers.Serializer):
    contact = serializers.UUIDField(help_text="Who is being forgotten.")


class DownloadNegotiation:
    """The file has its own type, whatever Accept says; errors are JSON."""

    def perform_content_negotiation(self: Any, request: Request, force: bool = False) -> Any:
        if self.action == "export":
            return JSONRenderer(), JSONRenderer.media_type
        return super().perform_content_negotiation(request, force)  # type: ignore[misc]


class PersonActions(DownloadNegotiation):
    """The part of the viewset of contacts by which people's data is exported and forgotten."""

    @extend_schema(
        request=None,
        responses={202: ForgettingSerializer},
    )
    @action(detail=True, methods=["post"])
    def forget(self: Any, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Delete everything of the person, in the background; the event `contact.forgotten` is the end. No undo."""
        contact = self.get_object()
        refuse_fields(request)
        request_forgetting(contact=contact)
        return Response(ForgettingSerializer({"contact": contact.pk}).data, status=202)

    @extend_schema(responses={(200, "application/zip"): bytes})
    @action(detail=True)
    def export(self: Any, request: Request, pk: str) -> FileResponse:  # noqa: ARG002
        """Download everything about the person as a .zip: messages, files, notes, facts, what the agent did."""
        return contact_zip(self.get_object())


class ExportAction(DownloadNegotiation):
    """The part of the viewset of conversations by which one is exported."""

    @extend_schema(
        parameters=[OpenApiParameter("format", str, enum=FORMATS, description="Of the messages; `html` by default.")],
        responses={(200, "application/zip"): bytes},
        filters=False,
    )
    @action(detail=True, pagination_class=None)
    def export(self: Any, request: Request, pk: str) -> FileResponse:  # noqa: ARG002
        """Download the conversation as a .zip: its messages, and its files under `media/`."""
        conversation = self.get_object()
        format = request.query_params.get("format", "html")
        if format not in FORMATS:
            raise InvalidInput(f"Must be one of {', '.join(FORMATS)}.", field="format")
        return conversation_zip(conversation, format=format)
