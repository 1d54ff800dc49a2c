"""How a request's body is read; apart from whatsapp_agent.api, because REST framework loads this before its views."""

import json
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser, MultiPartParser


class BodyTooLarge(APIException):
    status_code, default_code = 413, "too_large"
    default_detail = "The body is too large."


class JSONBody(JSONParser):
    """JSON in UTF-8, of bounded size and depth."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ARG002
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(most + 1)
        if len(body) > most:
            raise BodyTooLarge()
        try:
            return json.loads(body.decode(), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise ParseError("The body is not readable JSON.") from exc


class FormBody(MultiPartParser):
    """A form with a file, refused by its announced size before it is read; no server hands on a body that is longer."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        length = str(parser_context["request"].META.get("CONTENT_LENGTH") or "") if parser_context else ""
        if not (length.isascii() and length.isdigit()):
            raise ParseError("The body must have a length.")
        if int(length) > settings.MEDIA_MAX_BYTES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise BodyTooLarge()
        return super().parse(stream, media_type, parser_context)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
