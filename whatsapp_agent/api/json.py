"""Parsers and renderers. Apart from the other modules: REST framework imports this before its own views."""

import json
import re
from collections.abc import Mapping
from typing import IO, Any, cast

import orjson
from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.renderers import JSONRenderer


class BodyTooLarge(APIException):
    status_code, default_code = 413, "too_large"
    default_detail = "The body is too large."


class BoundedJSONParser(JSONParser):
    """JSON in UTF-8, with or without a byte order mark, of bounded size and depth."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ARG002
        max_bytes = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise BodyTooLarge()
        try:
            return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise ParseError("Invalid JSON.") from exc


class BoundedMultiPartParser(MultiPartParser):
    """A form with a file, refused by its Content-Length before it is read. The server passes on no longer body."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        length = str(parser_context["request"].META.get("CONTENT_LENGTH") or "") if parser_context else ""
        if not (length.isascii() and length.isdigit()):
            raise ParseError("Content-Length is missing.")
        if int(length) > settings.MEDIA_MAX_BYTES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise BodyTooLarge()
        watched = _WatchedStream(stream)
        parsed = super().parse(cast("IO[Any]", watched), media_type, parser_context)
        boundary = MEDIA_TYPE_BOUNDARY.search(media_type or "")
        if boundary and f"--{boundary[1]}--".encode() not in watched.tail:
            raise ParseError("The form is incomplete: it ends before its closing boundary.")
        if watched.has_unreadable_header and not parsed.files:
            raise ParseError("A part of the form has a header that is not UTF-8: send names of files in UTF-8.")
        return parsed


MEDIA_TYPE_BOUNDARY = re.compile(r"""boundary="?([^";,]+)"?""", re.IGNORECASE)
PART_HEADER = re.compile(rb"content-disposition:[^\r\n]*", re.IGNORECASE)


class _WatchedStream:
    """A form's body. Django's parser passes over a part whose header it cannot read, and over a missing end."""

    TAIL_BYTES = 2048

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.tail = b""
        self.has_unreadable_header = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        seen = self.tail + data
        self.has_unreadable_header = self.has_unreadable_header or any(
            not _is_utf8(header) for header in PART_HEADER.findall(seen)
        )
        self.tail = seen[-self.TAIL_BYTES :]
        return data


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


class OrjsonRenderer(JSONRenderer):
    """The same JSON as REST framework's renderer, written by orjson in a twentieth of the time."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None:
            return b""
        try:
            content = orjson.dumps(data, default=self.encoder_class().default, option=OPTIONS)
        except orjson.JSONEncodeError:  # an integer over 64 bits, a lone surrogate
            return super().render(data, accepted_media_type, renderer_context)
        if self.get_indent(accepted_media_type or "", renderer_context or {}):
            return super().render(json.loads(content), accepted_media_type, renderer_context)
        if b"\xe2\x80" in content:  # U+2028 and U+2029 end a line in JavaScript
            content = content.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
        return content
