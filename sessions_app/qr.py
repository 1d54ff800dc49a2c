"""A bridge's QR code, which comes as an image, read back and drawn for a terminal.

The image is a PNG (https://www.w3.org/TR/png-3/) of anybody's making, so it is read with care: what is broken, huge or
no QR code is refused, never guessed at.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE_PX = 4096  # pixels
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the PNG's colour type: grey, RGB, palette, grey and alpha, RGBA
FINDER = 7  # modules of the square in three of a code's corners

Modules = Sequence[Sequence[bool]]  # rows of a QR code, True where it is dark


class NoCode(Exception):
    """The image cannot be read as a QR code; says why."""


def modules_of(png: bytes) -> Modules:
    """The modules of the QR code in an image, without its quiet zone. Raises NoCode."""
    dark = _dark_pixels(png)
    rows = [y for y, row in enumerate(dark) if any(row)]
    if not rows:
        raise NoCode("The image is blank.")
    columns = [x for x in range(len(dark[0])) if any(row[x] for row in dark)]
    top, left = rows[0], columns[0]
    height, width = rows[-1] + 1 - top, columns[-1] + 1 - left
    finder = 0  # its upper edge, dark from one end to the other
    while finder < width and dark[top][left + finder]:
        finder += 1
    version = round((width * FINDER / finder - 17) / 4) if finder else 0
    side = 17 + 4 * version
    if not 1 <= version <= 40 or min(width, height) < side or abs(width - height) * side > width:
        raise NoCode("The image is no QR code.")
    modules = [
        [dark[top + (2 * y + 1) * height // (2 * side)][left + (2 * x + 1) * width // (2 * side)] for x in range(side)]
        for y in range(side)
    ]
    if not _has_finders(modules):
        raise NoCode("The image is no QR code.")
    return modules


def _has_finders(modules: Modules) -> bool:
    far = len(modules) - FINDER
    return all(
        modules[top + y][left + x] == (max(abs(x - 3), abs(y - 3)) != 2)  # a square in a ring
        for top, left in ((0, 0), (0, far), (far, 0))
        for y in range(FINDER)
        for x in range(FINDER)
    )


# --- the image ----------------------------------------------------------------------------------------------------


def _dark_pixels(png: bytes) -> list[list[bool]]:
    try:
        chunks = list(_chunks(png))
        kind, header = chunks[0]
        if kind != b"IHDR":
            raise NoCode("The image does not begin as a PNG does.")
        width, height, depth, colour, compression, filtering, interlaced = struct.unpack(">IIBBBBB", header)
    except (struct.error, IndexError) as exc:
        raise NoCode("The image is cut off.") from exc
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise NoCode("The image is too large.")
    if colour not in CHANNELS or depth not in {1, 2, 4, 8, 16} or compression or filtering or interlaced:
        raise NoCode("The image is of a kind that is not read here.")
    palette = next((body for kind, body in chunks if kind == b"PLTE"), b"")
    clear = next((body for kind, body in chunks if kind == b"tRNS"), b"")
    pixel_bits = CHANNELS[colour] * depth
    row_bytes = (width * pixel_bits + 7) // 8
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    pixels = _inflate(packed, size=height * (row_bytes + 1))
    rows = _unfiltered(pixels, row_bytes=row_bytes, pixel_bytes=max(1, pixel_bits // 8))
    return [_darkness(row, width, depth, colour, palette, clear) for row in rows]


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(SIGNATURE):
        raise NoCode("The image is no PNG.")
    place = len(SIGNATURE)
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        body = png[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", png, place + 8 + length)
        if zlib.crc32(kind + body) != checksum:
            raise NoCode("The image is damaged.")
        yield kind, body
        place += 12 + length


def _inflate(packed: bytes, *, size: int) -> bytes:
    try:
        pixels = zlib.decompressobj().decompress(packed, size)
    except zlib.error as exc:
        raise NoCode("The image is damaged.") from exc
    if len(pixels) < size:
        raise NoCode("The image is cut off.")
    return pixels


def _unfiltered(pixels: bytes, *, row_bytes: int, pixel_bytes: int) -> Iterator[bytes]:
    above = bytearray(row_bytes)
    for start in range(0, len(pixels), row_bytes + 1):
        filtering, row = pixels[start], bytearray(pixels[start + 1 : start + 1 + row_bytes])
        if filtering > 4:
            raise NoCode("The image is damaged.")
        if filtering:
            for x in range(row_bytes):
                left = row[x - pixel_bytes] if x >= pixel_bytes else 0
                corner = above[x - pixel_bytes] if x >= pixel_bytes else 0
                row[x] = (row[x] + _predicted(filtering, left, above[x], corner)) & 0xFF
        above = row
        yield bytes(row)


def _predicted(filtering: int, left: int, above: int, corner: int) -> int:
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
    """Which pixels of a row are dark on white paper."""
    channels = CHANNELS[colour]
    samples = list(_samples(row, width * channels, depth))
    if colour == 3:
        shades = [
            _shade(palette[3 * index : 3 * index + 3], clear[index] if index < len(clear) else 255)
            for index in range(len(palette) // 3)
        ]
        if any(index >= len(shades) for index in samples):
            raise NoCode("The image is damaged.")
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
    """0 is black, 255 is white; what is transparent shows the white paper."""
    return sum(colours) / len(colours) * alpha / 255 + (255 - alpha)


# --- the terminal -------------------------------------------------------------------------------------------------

# Black and white of the fixed colours: what a theme calls black and white may be neither.
INK, RESET = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def draw(modules: Modules, *, quiet: int = 4) -> list[str]:
    """Lines for a terminal, two rows of modules each, with `quiet` modules of white around."""
    side = len(modules) + 2 * quiet
    blank = [False] * side
    rows = [blank] * quiet + [[False] * quiet + list(row) + [False] * quiet for row in modules] + [blank] * quiet
    rows += [blank] * (len(rows) % 2)
    return [
        INK + "".join(HALVES[pair] for pair in zip(rows[y], rows[y + 1], strict=True)) + RESET
        for y in range(0, len(rows), 2)
    ]
