"""A file that Evolution hands over is decoded on the disk, whatever its size, and refused if it is too large."""

import io
import json
import tempfile
import tracemalloc
from base64 import b64encode
from typing import Any

import pytest

from agent.bridges.base import BridgeConfig, FetchedMedia, MessageRef
from agent.bridges.evolution import EvolutionBridge
from agent.bridges.evolution.media import PIECE, parse_media
from agent.bridges.exchange import BridgeError, Refused, Response
from agent.bridges.transport import HttpTransport
from tests.support.bridges.fake_evolution import FakeEvolution

MEGABYTE = 1024 * 1024


def streamed(body: bytes) -> Response:
    """Return an answer as the transport streams it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  parse_media closes it
    file.write(body)
    return Response(201, b"", {}, file)


def answer(content: bytes, **more: Any) -> bytes:
    values = {"mediaType": "imageMessage", "fileName": "a.jpg", "caption": "", "mimetype": "image/jpeg"}
    return json.dumps(values | {"base64": b64encode(content).decode(), "buffer": None} | more).encode()


@pytest.mark.parametrize("size", [1, 2, 3, PIECE * 3 // 4 - 1, PIECE * 3 // 4, PIECE * 3 // 4 + 1, PIECE * 3])
def test_a_file_of_any_length_is_decoded_whole(size: int) -> None:
    content = bytes(index % 251 for index in range(256)) * (size // 256 + 1)
    media = parse_media(streamed(answer(content[:size])), max_bytes=4 * MEGABYTE)
    with media.file:
        assert (media.content == content[:size], media.mime_type, media.filename) == (True, "image/jpeg", "a.jpg")


def test_a_large_file_fills_no_memory() -> None:
    response = streamed(answer(b"\x89" * (48 * MEGABYTE)))
    tracemalloc.start()
    try:
        media = parse_media(response, max_bytes=64 * MEGABYTE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    with media.file:
        assert media.file.seek(0, io.SEEK_END) == 48 * MEGABYTE
    assert peak < 8 * MEGABYTE


def test_a_caption_that_looks_like_the_file_is_not_taken_for_it() -> None:
    media = parse_media(streamed(answer(b"true", caption='"base64":"ZmFsc2U="')), max_bytes=100)
    with media.file:
        assert media.content == b"true"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>base64</html>",
        b'{"base64":null,"mimetype":"image/jpeg"}',
        b'{"base64":"aGk=',  # cut off
        b'{"base64":"aGk="',
        b'{"base64":"aG!k"}',
        b'{"base64":"aGk"}',
        b'{"base64":"' + b"aGk=" * PIECE + b'"}',  # padding in the middle
        b'{"base64":"aGk=","caption":"' + b"x" * (2 * MEGABYTE) + b'"}',
        b'{"error":true,"message":"x"}',
    ],
)
def test_an_answer_that_holds_no_file_is_a_failure_of_the_bridge(body: bytes) -> None:
    with pytest.raises(BridgeError) as failed:
        parse_media(streamed(body), max_bytes=100 * MEGABYTE)
    assert failed.value.code == "bridge_failure"


def test_an_empty_file_is_one_that_is_gone() -> None:
    with pytest.raises(Refused) as refused:
        parse_media(streamed(answer(b"")), max_bytes=100)
    assert refused.value.code == "not_found"


def fetch(server: FakeEvolution, *, max_bytes: int) -> FetchedMedia:
    adapter = EvolutionBridge(BridgeConfig(base_url=server.url, api_key=server.api_key))
    transport = HttpTransport(adapter)
    steps = adapter.fetch_media(
        session="sales", ref="3EB0A1", address="5511988887777@s.whatsapp.net", message=MessageRef("3EB0A1"),
        max_bytes=max_bytes,
    )  # fmt: skip
    try:
        return transport.run(steps)
    finally:
        transport.close()


def test_a_file_that_is_larger_than_allowed_is_refused_and_one_that_fits_is_fetched() -> None:
    with FakeEvolution() as server:
        server.add_session("sales", phone="5511999990000")
        server.files["3EB0A1"] = b"\x89" * (3 * MEGABYTE)
        with pytest.raises(Refused) as refused:
            fetch(server, max_bytes=MEGABYTE)
        with fetch(server, max_bytes=3 * MEGABYTE).file as file:
            assert len(file.read()) == 3 * MEGABYTE
    assert refused.value.code == "too_large"


def test_a_file_that_is_larger_than_allowed_by_one_byte_is_refused() -> None:
    with FakeEvolution() as server:
        server.add_session("sales", phone="5511999990000")
        server.files["3EB0A1"] = b"\x89" * 3003
        with pytest.raises(Refused) as refused:
            fetch(server, max_bytes=3000)
    assert refused.value.code == "too_large"
