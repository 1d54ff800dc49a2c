"""QR codes read back from images of many kinds, drawn for a terminal, and refused when they are none."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import segno

from sessions_app.management.qr import BLACK_ON_WHITE, RESET, UnreadableCode, draw, read_modules

PAYLOADS = Path(__file__).parents[2] / "payloads" / "zapw"


def _png(text: str = "2@abc", **how: Any) -> bytes:
    image = io.BytesIO()
    segno.make(text, error="m", micro=False).save(image, kind="png", **how)
    return image.getvalue()


def _true_modules(text: str = "2@abc") -> list[list[bool]]:
    return [[bool(module) for module in row] for row in segno.make(text, error="m", micro=False).matrix]


@pytest.mark.parametrize("how", [
    {}, {"scale": 1}, {"scale": 6, "border": 4}, {"scale": 3, "border": 0}, {"scale": 11, "border": 1},
    {"light": None}, {"dark": "darkblue", "light": "#eee"}, {"dark": "#123456", "light": "#fedcba"},
    {"dark": "black", "light": "white", "data_dark": "darkred"}, {"dark": "#000000aa"},
])  # fmt: skip
def test_a_code_is_read_back_unchanged(how: dict[str, Any]) -> None:
    assert read_modules(_png(**how)) == _true_modules()


@pytest.mark.parametrize("length", [1, 50, 240, 1200, 2300])
def test_codes_of_every_size_are_read(length: int) -> None:
    assert read_modules(_png("x" * length, scale=2)) == _true_modules("x" * length)


def test_a_recorded_code_of_a_bridge_is_read() -> None:
    recorded = json.loads((PAYLOADS / "api_session_created_qr.json").read_text())
    png = base64.b64decode(recorded["data"]["qrCode"].partition(",")[2])
    modules = read_modules(png)
    assert {len(row) for row in modules} == {len(modules)}


def _made(depth: int, colour: int, row_of: Any, *, filtering: int = 0, extra: bytes = b"") -> bytes:
    """A PNG of `_true_modules`, four pixels a module, in a pixel format of choice."""
    modules = _true_modules()
    rows = [[dark for dark in row for _ in range(4)] for row in modules for _ in range(4)]
    side = len(rows)
    raw, above = b"", b""
    for row in rows:
        packed = row_of(row)
        above = above or bytes(len(packed))
        body = packed if filtering == 0 else bytes((a - b) & 0xFF for a, b in zip(packed, above, strict=True))
        raw += bytes([filtering]) + body
        above = packed
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + extra
        + _chunk(b"IDAT", zlib.compress(raw))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _bits(row: list[bool]) -> bytes:
    padded = row + [False] * (-len(row) % 8)
    return bytes(sum((not padded[at + bit]) << (7 - bit) for bit in range(8)) for at in range(0, len(padded), 8))


FORMATS = {
    "grey 1": (1, 0, _bits, b""),
    "grey 8": (8, 0, lambda row: bytes(0 if dark else 255 for dark in row), b""),
    "grey 16": (16, 0, lambda row: b"".join(b"\0\0" if dark else b"\xff\xff" for dark in row), b""),
    "RGB": (8, 2, lambda row: b"".join(b"\x10\x10\x10" if dark else b"\xff\xff\xff" for dark in row), b""),
    "RGB 16": (16, 2, lambda row: b"".join(b"\x10\0" * 3 if dark else b"\xff\0" * 3 for dark in row), b""),
    "palette": (8, 3, lambda row: bytes(row), _chunk(b"PLTE", b"\xff\xff\xff\0\0\0")),
    "clear palette": (
        8, 3, lambda row: bytes(row), _chunk(b"PLTE", b"\0\0\0\0\0\0") + _chunk(b"tRNS", b"\0\xff"),
    ),
    "grey and alpha": (8, 4, lambda row: b"".join(b"\0\xff" if dark else b"\0\0" for dark in row), b""),
    "RGBA": (8, 6, lambda row: b"".join(b"\0\0\0\xff" if dark else b"\xff\xff\xff\xff" for dark in row), b""),
}  # fmt: skip


@pytest.mark.parametrize("filtering", [0, 2])
@pytest.mark.parametrize("name", FORMATS)
def test_every_pixel_format_is_read(name: str, filtering: int) -> None:
    depth, colour, row_of, extra = FORMATS[name]
    assert read_modules(_made(depth, colour, row_of, extra=extra, filtering=filtering)) == _true_modules()


def _photo(width: int = 40, height: int = 40, *, value: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    raw = (b"\0" + bytes([value]) * min(width, 5000)) * min(height, 100)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(raw))


GOOD = _png(scale=3)


@pytest.mark.parametrize("image", [
    b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", GOOD[:20], GOOD[:60], GOOD[:-20], GOOD[:50] + b"\0" + GOOD[51:],
    _photo(), _photo(value=255), _photo(0, 0), _photo(2**31 - 1, 2**31 - 1), _photo(4097, 4097), _photo(4096, 4096),
    b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", b"short"), b"\x89PNG\r\n\x1a\n" + _chunk(b"IDAT", b""),
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**32 - 1) + b"IHDR",
    _made(8, 3, bytes, extra=b""), _made(8, 9, bytes), _made(3, 0, bytes),
    _made(8, 0, lambda row: bytes(255 if dark else 0 for dark in row)),
])  # fmt: skip
def test_an_image_that_is_no_code_is_refused(image: bytes) -> None:
    with pytest.raises(UnreadableCode):
        read_modules(image)


def test_every_truncation_of_a_code_is_refused_or_read(  # an answer may end anywhere
) -> None:
    for end in range(0, len(GOOD), 7):
        try:
            assert read_modules(GOOD[:end]) == _true_modules()
        except UnreadableCode:
            continue


def test_a_decompression_bomb_is_cut_at_the_size_of_the_image() -> None:
    header = struct.pack(">IIBBBBB", 100, 100, 8, 0, 0, 0, 0)
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(UnreadableCode):
        read_modules(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", bomb))


def test_a_drawing_contains_the_code_and_its_quiet_zone() -> None:
    modules = _true_modules()
    drawn = [line.removeprefix(BLACK_ON_WHITE).removesuffix(RESET) for line in draw(modules, quiet=2)]
    upper_and_lower = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}
    rows = [[upper_and_lower[sign][half] for sign in line] for line in drawn for half in (0, 1)]
    inner = [row[2:-2] for row in rows[2 : 2 + len(modules)]]
    assert inner == modules
    assert not any(any(row) for row in rows[:2] + rows[2 + len(modules) :])


def test_a_drawing_sets_its_own_colours() -> None:
    assert all(line.startswith("\x1b[38;5;16;48;5;231m") and line.endswith("\x1b[0m") for line in draw(_true_modules()))
