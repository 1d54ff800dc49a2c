"""The file within Evolution's answer: base64 in JSON, decoded piece by piece, so that a large one fills no memory."""

import binascii
import mmap
import re
import tempfile
from base64 import b64decode
from typing import IO

from agent.bridges.base import FetchedMedia
from agent.bridges.exchange import TOO_LARGE, BridgeError, Refused, Response
from agent.bridges.parsing import Fields, WrongShape, read_json
from whatsapp_agent.errors import UnreadableWebhookRequest

KEY = re.compile(rb'(?<!\\)"base64"\s*:\s*"')
PIECE = 1024 * 1024  # bytes of base64 at a time; divisible by 4
MAX_REST_BYTES = 1024 * 1024  # of the answer beside the file


def parse_media(response: Response, *, max_bytes: int) -> FetchedMedia:
    """Return the file of an answer. The caller closes it. Raises Refused (`not_found`, `too_large`) or BridgeError."""
    if response.file is None:
        return _parse(response.body, max_bytes=max_bytes)
    with response.file:
        if not response.file.seek(0, 2):
            raise _unknown_format()
        with mmap.mmap(response.file.fileno(), 0, access=mmap.ACCESS_READ) as answer:
            return _parse(answer, max_bytes=max_bytes)


def _parse(answer: bytes | mmap.mmap, *, max_bytes: int) -> FetchedMedia:
    found = KEY.search(answer)
    begin = found.end() if found else 0
    end = answer.find(b'"', begin) if found else -1
    if end < 0 or len(answer) - (end - begin) > MAX_REST_BYTES:
        raise _unknown_format()
    try:
        rest = Fields(read_json(answer[:begin] + answer[end:]))
        mime_type, filename = rest.short("mimetype") or "", rest.short("fileName") or ""
    except (WrongShape, UnreadableWebhookRequest) as exc:
        raise _unknown_format() from exc
    if end == begin:
        raise Refused("The file is empty.", code="not_found")
    if (end - begin) * 3 // 4 > max_bytes + 2:
        raise Refused(f"The file is larger than {max_bytes // 1024} KiB.", code=TOO_LARGE)
    file = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    try:
        _decode(answer, begin, end, into=file)
    except (binascii.Error, ValueError) as exc:
        file.close()
        raise BridgeError("Evolution gave the file in an unknown format.", code="bridge_failure") from exc
    file.seek(0)
    return FetchedMedia(file, mime_type=mime_type, filename=filename)


def _decode(answer: bytes | mmap.mmap, begin: int, end: int, *, into: IO[bytes]) -> None:
    for at in range(begin, end, PIECE):
        piece = answer[at : min(at + PIECE, end)]
        if b"=" in piece and at + PIECE < end:
            raise binascii.Error("padding before the end")
        into.write(b64decode(piece, validate=True))


def _unknown_format() -> BridgeError:
    return BridgeError("Evolution gave the file in an unknown format.", code="bridge_failure")
