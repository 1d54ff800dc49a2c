"""Open what "Export chat" wrote: a .txt, or a .zip with the chat and its files. Strangers made what is in it."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile
from zlib import error as ZlibError

from messaging.imports.parsing import HEAD, decode_lines
from whatsapp_agent.errors import InvalidInput

MAX_CHAT_BYTES = 512 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024 * 1024
MAX_MEMBERS = 200_000
MAX_RATIO = 200  # texts shrink to a tenth, photos hardly; a bomb to a thousandth
ALLOWED_BESIDE_RATIO = 1024 * 1024
LINES_LOOKED_AT = 200
TOO_LARGE = "The chat is too large: without its files it may have {} MB."
NOT_WHOLE = "The archive is damaged or not whole: {}. Export the chat again."


@dataclass(frozen=True, slots=True)
class Export:
    """The chat's text, and its files by name."""

    text: bytes
    files: dict[str, ZipInfo]
    archive: ZipFile | None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        assert self.archive is not None
        with self.archive.open(self.files[name]) as file:
            yield file


@contextmanager
def open_export(file: IO[bytes], *, max_chat_bytes: int = MAX_CHAT_BYTES) -> Iterator[Export]:
    """Yield the export, verified as a whole. Raises InvalidInput."""
    beginning = file.read(4)
    file.seek(0)
    if not is_zipfile(file):
        if beginning.startswith(b"PK"):
            raise InvalidInput(NOT_WHOLE.format("its list of files is missing"))
        file.seek(0)
        text = file.read(max_chat_bytes + 1)
        if len(text) > max_chat_bytes:
            raise InvalidInput(TOO_LARGE.format(max_chat_bytes // 2**20))
        yield Export(text, {}, None)
        return
    file.seek(0)
    try:
        with ZipFile(file) as archive:
            members = _checked(archive)
            if damaged := archive.testzip():
                raise InvalidInput(NOT_WHOLE.format(damaged))
            chat = _find_chat(archive, members)
            if chat.file_size > max_chat_bytes:
                raise InvalidInput(TOO_LARGE.format(max_chat_bytes // 2**20))
            files = {PurePosixPath(each.filename).name: each for each in members if each is not chat}
            yield Export(archive.read(chat), files, archive)
    except (BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError) as exc:
        raise InvalidInput(NOT_WHOLE.format(exc)) from exc


def _checked(archive: ZipFile) -> list[ZipInfo]:
    members = [each for each in archive.infolist() if not each.is_dir()]
    for each in members:
        name = PurePosixPath(each.orig_filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or "\0" in each.orig_filename or ":" in name.parts[0]:
            raise InvalidInput(f"The archive is refused: {each.orig_filename!r} leads out of its folder.")
        if stat.S_ISLNK(each.external_attr >> 16):
            raise InvalidInput(f"The archive is refused: {each.filename!r} is a link.")
        if each.flag_bits & 0x1:
            raise InvalidInput("The archive is encrypted: unpack it and import the chat's .txt.")
        if each.file_size > MAX_RATIO * each.compress_size + ALLOWED_BESIDE_RATIO:
            raise InvalidInput(f"The archive is refused: {each.filename!r} would become too large.")
    if len(members) > MAX_MEMBERS or sum(each.file_size for each in members) > MAX_TOTAL_BYTES:
        raise InvalidInput("The archive is refused: it would become too large.")
    return [each for each in members if not each.filename.startswith("__MACOSX/")]


def _find_chat(archive: ZipFile, members: list[ZipInfo]) -> ZipInfo:
    texts = [each for each in members if each.filename.lower().endswith(".txt") and each.file_size <= MAX_CHAT_BYTES]
    by_name = [each for each in texts if PurePosixPath(each.filename).name == "_chat.txt"]
    if len(by_name) == 1:
        return by_name[0]
    counts = {each.filename: _heads_in(archive, each) for each in texts}
    best = max(texts, key=lambda each: counts[each.filename], default=None)
    if best is None or not counts[best.filename]:
        raise InvalidInput("The archive holds no exported chat: none of its .txt files begins lines with dates.")
    return best


def _heads_in(archive: ZipFile, member: ZipInfo) -> int:
    with archive.open(member) as file:
        beginning = file.read(64 * 1024)
    lines = [line for line, _ in decode_lines(beginning)][:LINES_LOOKED_AT]
    return sum(bool(HEAD.fullmatch(line)) for line in lines)
