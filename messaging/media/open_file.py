"""Open one file from standard input: `open_file.py image`, or `pdf`, `docx`, `xlsx` or `text` and the most characters.

Run by `messaging.media.sandbox` as a program of its own. Writes a JPEG, or UTF-8 text. Exits with 3 and a code of
`sandbox.REASONS` on standard error if the file cannot be opened. Imports nothing of the project.
"""

import codecs
import resource
import sys
from collections.abc import Iterator
from typing import IO, Any

MAX_MEMORY_BYTES = 640 * 1024 * 1024
MAX_CPU_S = 20
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
MAX_SIDE = 1536  # pixels: as much as model servers look at
MAX_PIXELS = 50_000_000
JPEG_QUALITY = 80
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_UNPACKED_BYTES = 200 * 1024 * 1024
MAX_PARTS = 5000
MAX_PAGES = 500
MAX_COLUMNS = 60
MAX_CELL_CHARS = 1000


class Unreadable(Exception):
    """`code` is a key of `sandbox.REASONS`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def set_limits() -> None:
    """Limit this process: memory, CPU time, what it writes; it starts no other and leaves no core dump."""
    limits = (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_S),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    )
    for limit, value in limits:
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard < 0 else min(value, hard),) * 2)


def write_preview(content: IO[bytes], output: IO[bytes]) -> None:
    """Write an image as a JPEG of at most MAX_SIDE pixels a side, upright, without any metadata."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # judged below: a large JPEG is decoded at a fraction of its size
    try:
        image: Any = Image.open(content, formats=IMAGE_FORMATS)
    except UnidentifiedImageError as exc:
        raise Unreadable("damaged") from exc
    image.draft("RGB", (MAX_SIDE, MAX_SIDE))
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable("too_large")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    image = ImageOps.exif_transpose(image)
    plain = Image.new("RGB", image.size, "white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        plain.paste(image, mask=image.getchannel("A"))
    else:
        plain.paste(image.convert("RGB"))
    plain.save(output, "JPEG", quality=JPEG_QUALITY, optimize=True)


# --- documents: each yields its text in pieces -------------------------------------------------------------------


def read_pdf(content: IO[bytes]) -> Iterator[str]:
    import logging

    from pypdf import PdfReader

    logging.disable()
    reader = PdfReader(content)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("password")
    for number, page in enumerate(reader.pages):
        if number == MAX_PAGES:
            return
        yield page.extract_text() + "\n"


def read_docx(content: IO[bytes]) -> Iterator[str]:
    from docx import Document
    from docx.table import Table

    check_zip(content)
    for block in Document(content).iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield " | ".join(" ".join(cell.text.split()) for cell in row.cells) + "\n"
        else:
            yield block.text + "\n"


def read_xlsx(content: IO[bytes]) -> Iterator[str]:
    from openpyxl import load_workbook

    check_zip(content)
    workbook = load_workbook(content, read_only=True, data_only=True, keep_links=False)
    for sheet in workbook.worksheets:
        yield f"[{sheet.title}]\n"
        for row in sheet.iter_rows(max_col=MAX_COLUMNS, values_only=True):
            cells = ["" if value is None else str(value)[:MAX_CELL_CHARS] for value in row]
            if any(cells):
                yield " | ".join(cells).rstrip(" |") + "\n"


def read_text(content: IO[bytes]) -> Iterator[str]:
    head = content.read(MAX_OUTPUT_BYTES)
    for bom, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (b"", "utf-8-sig")):
        if not head.startswith(bom):
            continue
        try:
            yield codecs.getincrementaldecoder(encoding)().decode(head)  # a character at the end may be cut
        except UnicodeDecodeError:
            break
        return
    yield head.decode("cp1252", "replace")


READERS = {"pdf": read_pdf, "docx": read_docx, "xlsx": read_xlsx, "text": read_text}


def check_zip(content: IO[bytes]) -> None:
    """Refuse what unpacks to too much, and Office files with a password, which are no zip files."""
    from zipfile import BadZipFile, ZipFile

    if content.read(4) == b"\xd0\xcf\x11\xe0":
        raise Unreadable("password")
    content.seek(0)
    try:
        with ZipFile(content) as archive:
            parts = archive.infolist()
    except BadZipFile as exc:
        raise Unreadable("damaged") from exc
    if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
        raise Unreadable("too_large")
    content.seek(0)


def write_text(pieces: Iterator[str], output: IO[bytes], *, max_chars: int) -> None:
    found = False
    for piece in pieces:
        part = piece[:max_chars]
        output.write(part.encode("utf-8", "replace"))
        found = found or not part.isspace()
        max_chars -= len(part)
        if max_chars <= 0:
            break
    if not found:
        raise Unreadable("no_text")


def reason_of(exc: Exception) -> str:
    """Return why a library gave up; some say that a document is damaged where memory was not enough."""
    name = type(exc).__name__
    if "Password" in name or "NotDecrypted" in name:
        return "password"
    is_too_large = "DecompressionBomb" in name or "LimitReached" in name or peak_memory_bytes() > MAX_MEMORY_BYTES * 0.9
    return "too_large" if is_too_large else "damaged"


def peak_memory_bytes() -> int:
    """Return the most memory that this process has used.

    On Linux `ru_maxrss` includes what the parent used; VmHWM in /proc/self/status is this program's own (proc(5)).
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(task: str, *arguments: str) -> int:
    set_limits()
    try:
        if task == "image":
            write_preview(sys.stdin.buffer, sys.stdout.buffer)
        else:
            write_text(READERS[task](sys.stdin.buffer), sys.stdout.buffer, max_chars=int(arguments[0]))
        sys.stdout.buffer.flush()
    except Unreadable as exc:
        code = exc.code
    except MemoryError:
        code = "too_large"
    except Exception as exc:  # noqa: BLE001  libraries raise anything on hostile input
        code = reason_of(exc)
    else:
        return 0
    sys.stderr.write(code)
    return 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
