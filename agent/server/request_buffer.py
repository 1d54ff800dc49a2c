"""Reads HTTP/1.1 requests from bytes as they arrive, only to know where each one ends: gunicorn parses them later."""

import re
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO

from gunicorn.http.unreader import Unreader

MAX_HEAD_BYTES = 64 * 1024
MAX_CHUNK_LINE_BYTES = 4096
MAX_READ_BYTES = 64 * 1024
MEMORY_BYTES = 128 * 1024  # a longer request goes to a temporary file
FIELDS_READ_HERE = re.compile(
    rb"\r\n(content-length|content-type|transfer-encoding|expect)[ \t]*:([^\r]*)", re.IGNORECASE
)
EXPECT = re.compile(rb"(?<=\r\n)expect[ \t]*:[^\r]*\r\n", re.IGNORECASE)
CONTINUE = b"100-continue"
FORM = b"multipart/form-data"


class RequestBuffer:
    """One request: `feed` it what the client sends until `is_complete`; then `rest` belongs to the next request.

    A request that cannot be read to its end (`is_cut`: unreadable framing, or a body above the limit) is complete
    without its body: the application answers it, and the connection closes.
    """

    def __init__(self, *, max_body: int) -> None:
        self.is_complete = self.is_cut = self.has_head = self.is_head_too_long = self.is_form_too_long = False
        self.expects_continue = False
        self.size = 0
        self.rest = b""
        self._content_type = b""
        self._limit = max_body
        self._body_size = 0
        self._head = bytearray()
        self._line = bytearray()
        self._left = 0  # bytes of the body or of a chunk, with the line break behind it
        self._scan = self._scan_head
        self._file: IO[bytes] = BytesIO()

    def feed(self, data: bytes) -> None:
        """Take what arrived. Raises OSError when a long request cannot be written to the disk."""
        while data and not self.is_complete:
            data = self._scan(data)
        self.rest = b"" if self.is_cut else data

    def reader(self) -> "BufferReader":
        self._file.seek(0)
        return BufferReader(self._file)

    def close(self) -> None:
        self._file.close()

    def _store(self, data: bytes) -> None:
        if isinstance(self._file, BytesIO) and self.size + len(data) > MEMORY_BYTES:
            file = TemporaryFile()  # noqa: SIM115  # closed by `close`
            file.write(self._file.getvalue())
            self._file = file
        self.size += self._file.write(data)

    def _cut(self) -> bytes:
        self.is_complete = self.is_cut = True
        return b""

    def _scan_head(self, data: bytes) -> bytes:
        searched = max(len(self._head) - 3, 0)
        self._head += data
        self.size = len(self._head)
        start = 2 if self._head.startswith(b"\r\n") else 0  # one empty line may precede a request: RFC 9112, 2.2
        end = self._head.find(b"\r\n\r\n", max(searched, start))
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(self._head) > MAX_HEAD_BYTES:
                self.is_head_too_long = True
                self._cut()
            return b""
        rest = bytes(self._head[end + 4 :])
        self.has_head, self.size = True, 0
        self._read_head(bytes(self._head[start : end + 2]))
        return rest

    def _read_head(self, head: bytes) -> None:
        fields: dict[bytes, list[bytes]] = {}
        for name, value in FIELDS_READ_HERE.findall(head):
            fields.setdefault(name.lower(), []).append(value.strip())
        if [value.lower() for value in fields.get(b"expect", [])] == [CONTINUE]:
            self.expects_continue = True  # answered by the worker; gunicorn would answer it once more
            head = EXPECT.sub(b"", head)
        self._store(head + b"\r\n")
        self._content_type = fields.get(b"content-type", [b""])[-1]
        self._begin_body(fields.get(b"content-length", []), fields.get(b"transfer-encoding", []))

    def _begin_body(self, lengths: list[bytes], codings: list[bytes]) -> None:
        if not lengths and not codings:
            self.is_complete = True
        elif not lengths and [coding.lower() for coding in codings] == [b"chunked"]:
            self._scan = self._scan_chunk_line
        elif not codings and len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 20:
            self._left = int(lengths[0])
            if self._left > self._limit:
                self.is_form_too_long = self._content_type.startswith(FORM)
                self._cut()
            self.is_complete |= self._left == 0
            self._scan = self._scan_body
        else:  # gunicorn refuses it by what its head says
            self._cut()

    def _scan_body(self, data: bytes) -> bytes:
        taken = data[: self._left]
        self._store(taken)
        self._left -= len(taken)
        self.is_complete = self._left == 0
        return data[len(taken) :]

    # --- chunks: https://www.rfc-editor.org/rfc/rfc9112#section-7.1 ---------------------------------------------------

    def _take_line(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Return a whole line, or None while its end is missing, and what follows."""
        before = len(self._line)
        self._line += data
        end = self._line.find(b"\n", before)
        if end < 0:
            if len(self._line) > MAX_CHUNK_LINE_BYTES:
                self._cut()
            return None, b""
        line, rest = bytes(self._line[: end + 1]), bytes(self._line[end + 1 :])
        self._line.clear()
        self._store(line)
        return line.strip(), rest

    def _scan_chunk_line(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        if line is None:
            return b""
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return self._cut()
        self._body_size += size
        if size < 0 or self._body_size > self._limit + 1:  # with one byte more the application sees that it is too long
            self._left, self._scan = max(self._limit + 1 - self._body_size + size, 0), self._scan_last_bytes
            return rest if self._left else self._cut()
        self._left, self._scan = size + 2, self._scan_chunk if size else self._scan_trailer
        return rest

    def _scan_chunk(self, data: bytes) -> bytes:
        taken = data[: self._left]
        self._store(taken)
        self._left -= len(taken)
        if not self._left:
            self._scan = self._scan_chunk_line
        return data[len(taken) :]

    def _scan_last_bytes(self, data: bytes) -> bytes:
        taken = data[: self._left]
        self._store(taken)
        self._left -= len(taken)
        return b"" if self._left else self._cut()

    def _scan_trailer(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        if line == b"":
            self.is_complete = True
        elif line is not None and self.size > self._limit + MAX_HEAD_BYTES * 16:
            return self._cut()
        return rest


class BufferReader(Unreader):  # type: ignore[misc]  # gunicorn has no types
    """Gives gunicorn's parser a buffered request: it never waits for the client."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file

    def chunk(self, size_hint: int | None = None) -> bytes:
        return self._file.read(min(max(size_hint or 0, 8192), MAX_READ_BYTES))
