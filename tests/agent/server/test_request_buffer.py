"""Finding the end of a request that arrives in pieces."""

import pytest

from agent.server.request_buffer import MAX_HEAD_BYTES, MEMORY_BYTES, RequestBuffer

LIMIT = 1000
GET = b"GET /health/ HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: 1\r\n\r\n"


def buffered(*pieces: bytes, limit: int = LIMIT) -> RequestBuffer:
    buffer = RequestBuffer(max_body=limit)
    for piece in pieces:
        buffer.feed(piece)
    return buffer


def stored(buffer: RequestBuffer) -> bytes:
    reader = buffer.reader()
    return b"".join(iter(reader.chunk, b""))


@pytest.mark.parametrize("request_bytes", [GET, b"\r\n" + GET, POST, CHUNKED])
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_request_is_complete_only_with_its_last_byte(request_bytes, size):
    whole = request_bytes + POST
    buffer = buffered(*[request_bytes[i : i + size] for i in range(0, len(request_bytes) - 1, size)][:-1])
    assert not buffer.is_complete

    buffer = RequestBuffer(max_body=LIMIT)
    rest = b""
    for i in range(0, len(whole), size):
        if buffer.is_complete:
            rest += whole[i : i + size]
            continue
        buffer.feed(whole[i : i + size])
        rest = buffer.rest
    assert buffer.is_complete
    assert not buffer.is_cut
    assert stored(buffer) == request_bytes.lstrip(b"\r\n")
    assert rest == POST


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: -5",
        b"Content-Length: +5",
        b"Content-Length: five",
        b"Content-Length: " + b"9" * 30,
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, identity",
    ],
)
def test_ambiguous_framing_ends_the_request_with_its_headers(head):
    buffer = buffered(b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n0\r\n\r\nGET /admin/ HTTP/1.1\r\n\r\n")
    assert buffer.is_complete
    assert buffer.is_cut
    assert buffer.rest == b""


def test_a_body_above_the_limit_is_not_read():
    buffer = buffered(b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n")
    assert buffer.is_complete
    assert buffer.is_cut
    assert not buffer.is_form_too_long


def test_a_form_above_the_limit_is_recognized_by_its_headers():
    buffer = buffered(
        b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 1001\r\n\r\n"
    )
    assert buffer.is_form_too_long


def test_chunks_are_read_up_to_one_byte_above_the_limit():
    buffer = buffered(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"FFFFF\r\n", b"x" * 5000)
    assert buffer.is_cut
    assert stored(buffer).count(b"x") == LIMIT + 1


def test_malformed_chunks_end_the_request():
    assert buffered(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").is_cut


@pytest.mark.parametrize("pieces", [[b"GET / HTTP/1.1\r\nX: ", b"x" * MAX_HEAD_BYTES], [b"x" * (MAX_HEAD_BYTES + 1)]])
def test_headers_without_end_are_refused(pieces):
    assert buffered(*pieces).is_head_too_long


def test_an_expect_100_continue_header_is_reported_once():
    head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    buffer = buffered(head)
    assert buffer.expects_continue
    assert not buffer.is_complete
    buffer.feed(b"hello")
    assert stored(buffer) == b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"


def test_a_long_body_is_stored_on_disk():
    body = b"x" * (4 * MEMORY_BYTES)
    buffer = buffered(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body), body, limit=len(body))
    assert buffer.size > len(body)
    assert stored(buffer).endswith(body)
