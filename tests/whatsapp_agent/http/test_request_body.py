"""A body without a length is read like any other."""

import io
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest

from whatsapp_agent.http.request_body import with_content_length


def read(body: bytes, **environ: Any) -> bytes:
    """What a view reads of it."""
    seen: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(WSGIRequest(environ).body)
        return []

    given = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(body)} | environ
    with_content_length(application)(given, None)
    return seen[0]


def test_a_body_in_chunks_is_whole():
    assert read(b"x" * 100_000, HTTP_TRANSFER_ENCODING="chunked") == b"x" * 100_000


def test_a_body_with_a_length_ends_there():
    assert read(b"whole and more", CONTENT_LENGTH="5") == b"whole"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
def test_a_body_in_chunks_that_is_too_long_is_refused_and_not_read_to_its_end(settings, content_type):
    settings.MEDIA_MAX_BYTES = 1024 * 1024
    endless = Endless()
    with pytest.raises(RequestDataTooBig):
        read(b"", HTTP_TRANSFER_ENCODING="chunked", CONTENT_TYPE=content_type, **{"wsgi.input": endless})
    assert endless.given < 3 * 1024 * 1024


def test_a_body_that_no_view_has_read_is_read_to_its_end():
    body = io.BytesIO(b"x" * 500_000)
    with_content_length(lambda *_: [])({"wsgi.input": body, "CONTENT_LENGTH": "500000"}, None)
    assert body.read() == b""


class Endless(io.RawIOBase):
    given = 0

    def read(self, size: int = -1) -> bytes:
        self.given += size
        return b"x" * size
