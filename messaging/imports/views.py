"""`POST conversations/import/`: import an exported chat."""

from dataclasses import asdict
from typing import IO, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from messaging.imports.parsing import DATE_ORDERS
from messaging.imports.service import ImportReport, run_import
from sessions_app.models import WhatsAppSession
from whatsapp_agent.api.fields import StrictSerializer, valid
from whatsapp_agent.api.json import BoundedJSONParser, BoundedMultiPartParser
from whatsapp_agent.errors import InvalidInput, NotFound


def import_uploaded(file: IO[bytes], *, session: WhatsAppSession, **options: Any) -> ImportReport:
    """Import within a request. Raises Conflict, or InvalidInput with the field that is wrong."""
    try:
        return list(run_import(file, session=session, is_request=True, **options))[-1]
    except NotFound as exc:
        raise InvalidInput(str(exc), field="contact") from exc
    except InvalidInput as exc:
        exc.field = exc.field or "file"
        raise


class ImportSerializer(StrictSerializer):
    """A chat that WhatsApp has exported, and whose it is."""

    session = serializers.UUIDField(help_text="The session whose chat it is.")
    contact = serializers.CharField(max_length=64, help_text="A phone number, or the id of a contact or group.")
    me = serializers.CharField(
        required=False, allow_blank=True, max_length=200, help_text="The name under which this number wrote."
    )
    date_order = serializers.ChoiceField(
        DATE_ORDERS, required=False, help_text="The order of day, month and year. Otherwise the file decides."
    )
    dry_run = serializers.BooleanField(default=False, help_text="Read it, and import nothing.")
    file = serializers.FileField(max_length=1000, help_text="The .txt or .zip, of 50,000 lines at most.")


class UnreadableSerializer(serializers.Serializer):
    line = serializers.IntegerField()
    reason = serializers.CharField()


class SkippedFileSerializer(serializers.Serializer):
    name = serializers.CharField()
    reason = serializers.CharField()


class ImportReportSerializer(serializers.Serializer):
    new = serializers.IntegerField(help_text="Messages that were imported, or would be.")
    known = serializers.IntegerField(help_text="Messages that were here already.")
    changed = serializers.IntegerField(help_text="Those of them that were edited or deleted since.")
    system = serializers.IntegerField(help_text="Lines of WhatsApp itself.")
    files = serializers.IntegerField(help_text="Files that were stored.")
    date_order = serializers.CharField(help_text="The order in which dates were read.")
    is_order_sure = serializers.BooleanField(help_text="False: every date fits both ways.")
    me = serializers.CharField(help_text="The author that is this number.")
    unreadable = UnreadableSerializer(many=True, help_text="Every line that could not be read.")
    skipped_files = SkippedFileSerializer(many=True, help_text="Files that were left out.")


class ImportAction:
    """The part of the viewset of conversations by which exported chats are imported."""

    @extend_schema(request={"multipart/form-data": ImportSerializer}, responses=ImportReportSerializer)
    @action(
        detail=False,
        methods=["post"],
        url_path="import",
        url_name="import",
        parser_classes=[BoundedJSONParser, BoundedMultiPartParser],  # JSON is refused by the missing file, by name
    )
    def import_chat(self: Any, request: Request) -> Response:
        """Import what WhatsApp's "Export chat" wrote, as history: each message once, and none is answered."""
        form = valid(ImportSerializer, request)
        session = WhatsAppSession.objects.visible_to(request.user).filter(pk=form["session"]).first()
        if session is None:
            raise InvalidInput("There is no such session.", field="session")
        options = {name: form.get(name, "") for name in ("contact", "me", "date_order", "dry_run")}
        report = import_uploaded(form["file"], session=session, **options)
        skipped = [{"name": name, "reason": reason} for name, reason in report.skipped_files]
        data = report.as_dict() | {"skipped_files": skipped, "unreadable": [asdict(each) for each in report.unreadable]}
        return Response(ImportReportSerializer(data).data)
