"""Read the QR code in a bridge's PNG image, and draw it in a terminal.

Format: https://www.w3.org/TR/png-3/. The image is untrusted: a damaged or huge image, or one that is not a QR code, is
refused.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE_PX = 4096
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: greyscale, RGB, palette, greyscale with alpha, RGBA
FINDER_MODULES = 7  # side of the finder patterns, the squares in three corners

Modules = Sequence[Sequence[bool]]  # rows of a QR code, True for dark


class UnreadableCode(Exception):
    """The image cannot be read as a QR code. The text says why."""


def read_modules(png: bytes) -> Modules:
    """Return the modules of the QR code, without its quiet zone. Raises UnreadableCode."""
    dark = _dark_pixels(png)
    rows = [y for y, row in enumerate(dark) if any(row)]
    if not rows:
        raise UnreadableCode("The image is blank.")
    columns = [x for x in range(len(dark[0])) if any(row[x] for row in dark)]
    top, left = rows[0], columns[0]
    height, width = rows[-1] + 1 - top, columns[-1] + 1 - left
    finder_px = 0  # length of the upper edge of the first finder pattern, which is dark throughout
    while finder_px < width and dark[top][left + finder_px]:
        finder_px += 1
    version = round((width * FINDER_MODULES / finder_px - 17) / 4) if finder_px else 0
    side = 17 + 4 * version
    if not 1 <= version <= 40 or min(width, height) < side or abs(width - height) * side > width:
        raise UnreadableCode("The image is not a QR code.")
    modules = [
        [dark[top + (2 * y + 1) * height // (2 * side)][left + (2 * x + 1) * width // (2 * side)] for x in range(side)]
        for y in range(side)
    ]
    if not _has_finders(modules):
        raise UnreadableCode("The image is not a QR code.")
    return modules


def _has_finders(modules: Modules) -> bool:
    far = len(modules) - FINDER_MODULES
    return all(
        modules[top + y][left + x] == (max(abs(x - 3), abs(y - 3)) != 2)  # dark, but for a light ring
        for top, left in ((0, 0), (0, far), (far, 0))
        for y in range(FINDER_MODULES)
        for x in range(FINDER_MODULES)
    )


# --- PNG ----------------------------------------------------------------------------------------------------------


def _dark_pixels(png: bytes) -> list[list[bool]]:
    try:
        chunks = list(_chunks(png))
        kind, header = chunks[0]
        if kind != b"IHDR":
            raise UnreadableCode("The image has no PNG header.")
        width, height, depth, colour, compression, filtering, interlaced = struct.unpack(">IIBBBBB", header)
    except (struct.error, IndexError) as exc:
        raise UnreadableCode("The image is truncated.") from exc
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise UnreadableCode("The image is too large.")
    if colour not in CHANNELS or depth not in {1, 2, 4, 8, 16} or compression or filtering or interlaced:
        raise UnreadableCode("This PNG format is not supported.")
    palette = next((body for kind, body in chunks if kind == b"PLTE"), b"")
    clear = next((body for kind, body in chunks if kind == b"tRNS"), b"")
    pixel_bits = CHANNELS[colour] * depth
    row_bytes = (width * pixel_bits + 7) // 8
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    pixels = _inflate(packed, size=height * (row_bytes + 1))
    rows = _unfilter(pixels, row_bytes=row_bytes, pixel_bytes=max(1, pixel_bits // 8))
    return [_darkness(row, width, depth, colour, palette, clear) for row in rows]


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(SIGNATURE):
        raise UnreadableCode("The image is not a PNG.")
    offset = len(SIGNATURE)
    while offset < len(png):
        length, kind = struct.unpack_from(">I4s", png, offset)
        body = png[offset + 8 : offset + 8 + length]
        (checksum,) = struct.unpack_from(">I", png, offset + 8 + length)
        if zlib.crc32(kind + body) != checksum:
            raise UnreadableCode("The image is damaged.")
        yield kind, body
        offset += 12 + length


def _inflate(packed: bytes, *, size: int) -> bytes:
    try:
        pixels = zlib.decompressobj().decompress(packed, size)
    except zlib.error as exc:
        raise UnreadableCode("The image is damaged.") from exc
    if len(pixels) < size:
        raise UnreadableCode("The image is truncated.")
    return pixels


def _unfilter(pixels: bytes, *, row_bytes: int, pixel_bytes: int) -> Iterator[bytes]:
    above = bytearray(row_bytes)
    for start in range(0, len(pixels), row_bytes + 1):
        filtering, row = pixels[start], bytearray(pixels[start + 1 : start + 1 + row_bytes])
        if filtering > 4:
            raise UnreadableCode("The image is damaged.")
        if filtering:
            for x in range(row_bytes):
                left = row[x - pixel_bytes] if x >= pixel_bytes else 0
                corner = above[x - pixel_bytes] if x >= pixel_bytes else 0
                row[x] = (row[x] + _predict(filtering, left, above[x], corner)) & 0xFF
        above = row
        yield bytes(row)


def _predict(filtering: int, left: int, above: int, corner: int) -> int:
    match filtering:
        case 1:
            return left
        case 2:
            return above
        case 3:
            return (left + above) // 2
    distances = {left: abs(above - corner), above: abs(left - corner), corner: abs(left + above - 2 * corner)}
    return min((left, above, corner), key=lambda value: distances[value])


def _darkness(row: bytes, width: int, depth: int, colour: int, palette: bytes, clear: bytes) -> list[bool]:
    """Return for each pixel of the row whether it is dark on a white background."""
    channels = CHANNELS[colour]
    samples = list(_samples(row, width * channels, depth))
    if colour == 3:
        shades = [
            _shade(palette[3 * index : 3 * index + 3], clear[index] if index < len(clear) else 255)
            for index in range(len(palette) // 3)
        ]
        if any(index >= len(shades) for index in samples):
            raise UnreadableCode("The image is damaged.")
        return [shades[index] < 128 for index in samples]
    top = (1 << depth) - 1
    full = [sample * 255 // top for sample in samples]
    has_alpha = colour in {4, 6}
    return [
        _shade(pixel[: channels - has_alpha], pixel[-1] if has_alpha else 255) < 128
        for pixel in (full[at : at + channels] for at in range(0, len(full), channels))
    ]


def _samples(row: bytes, count: int, depth: int) -> Iterator[int]:
    if depth == 16:
        yield from (row[2 * at] << 8 | row[2 * at + 1] for at in range(count))
    elif depth == 8:
        yield from row[:count]
    else:
        per_byte, mask = 8 // depth, (1 << depth) - 1
        yield from (row[at // per_byte] >> (8 - depth * (at % per_byte + 1)) & mask for at in range(count))


def _shade(colours: Sequence[int], alpha: int) -> float:
    """Return the brightness on a white background, from 0 (black) to 255 (white)."""
    return sum(colours) / len(colours) * alpha / 255 + (255 - alpha)


# --- terminal -----------------------------------------------------------------------------------------------------

# Black and white of the 256 fixed colours: themes redefine the first sixteen.
BLACK_ON_WHITE, RESET = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def draw(modules: Modules, *, quiet: int = 4) -> list[str]:
    """Return the code as lines for a terminal, two rows of modules each, in a white border of `quiet` modules."""
    side = len(modules) + 2 * quiet
    blank = [False] * side
    rows = [blank] * quiet + [[False] * quiet + list(row) + [False] * quiet for row in modules] + [blank] * quiet
    rows += [blank] * (len(rows) % 2)
    return [
        BLACK_ON_WHITE + "".join(HALVES[pair] for pair in zip(rows[y], rows[y + 1], strict=True)) + RESET
        for y in range(0, len(rows), 2)
    ]
