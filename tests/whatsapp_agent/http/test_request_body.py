"""A body without a length is read like any other."""

import io
from typing import Any

import httpx
import pytest
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest

from tests.support.application import SECRETS, Application
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


def test_what_no_view_has_read_is_read_to_its_end():
    body = io.BytesIO(b"x" * 500_000)
    with_content_length(lambda *_: [])({"wsgi.input": body, "CONTENT_LENGTH": "500000"}, None)
    assert body.read() == b""


class Endless(io.RawIOBase):
    given = 0

    def read(self, size: int = -1) -> bytes:
        self.given += size
        return b"x" * size


def test_the_server_reads_what_comes_in_chunks(tmp_path):
    login = b'{"username": "admin", "password": "%s"}' % SECRETS["ADMIN_PASSWORD"].encode()
    with Application(tmp_path, WEB_PROCESSES=1) as application:
        url = f"{application.url}/api/v1/auth/token/"
        answer = httpx.post(
            url, content=iter([login[:20], login[20:]]), headers={"Content-Type": "application/json"}, trust_env=False
        )
        with httpx.Client(trust_env=False) as client:
            told = [
                client.post(url, content=b"x" * 2_000_000, headers={"Content-Type": "application/json"}).status_code,
                client.post(f"{application.url}/api/v1/nowhere/", content=b"x" * 500_000).status_code,
                client.get(f"{application.url}/health/").status_code,
            ]
    assert told == [413, 404, 200], "each by the connection of the one before"
    assert (answer.status_code, "access" in answer.json()) == (200, True)
