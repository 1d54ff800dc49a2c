"""Open what "Export chat" wrote: a .txt, or a .zip with the chat and its files. Strangers made what is in it."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile
from zlib import error as ZlibError

from django.utils.translation import gettext as _

from messaging.imports.heads import head_of
from messaging.imports.parsing import decode_lines
from whatsapp_agent.errors import InvalidInput

MAX_CHAT_BYTES = 512 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024 * 1024
MAX_MEMBERS = 200_000
MAX_RATIO = 200  # texts shrink to a tenth, photos hardly; a bomb to a thousandth
ALLOWED_BESIDE_RATIO = 1024 * 1024
SAMPLED_LINES = 200


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
            raise InvalidInput(_not_whole(_("its list of files is missing")))
        file.seek(0)
        text = file.read(max_chat_bytes + 1)
        if len(text) > max_chat_bytes:
            raise InvalidInput(_too_large(max_chat_bytes))
        yield Export(text, {}, None)
        return
    file.seek(0)
    try:
        with ZipFile(file) as archive:
            members = _checked(archive)
            if damaged := archive.testzip():
                raise InvalidInput(_not_whole(damaged))
            chat = _find_chat(archive, members)
            if chat.file_size > max_chat_bytes:
                raise InvalidInput(_too_large(max_chat_bytes))
            files = {PurePosixPath(each.filename).name: each for each in members if each is not chat}
            yield Export(archive.read(chat), files, archive)
    except (BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError) as exc:
        raise InvalidInput(_not_whole(exc)) from exc


def _too_large(max_bytes: int) -> str:
    return _("The chat is too large: without its files it may have %(limit)s MB.") % {"limit": max_bytes // 2**20}


def _not_whole(reason: object) -> str:
    return _("The archive is damaged or not whole: %(reason)s. Export the chat again.") % {"reason": reason}


def _checked(archive: ZipFile) -> list[ZipInfo]:
    members = [each for each in archive.infolist() if not each.is_dir()]
    for each in members:
        name = PurePosixPath(each.orig_filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or "\0" in each.orig_filename or ":" in name.parts[0]:
            raise InvalidInput(
                _("The archive is refused: %(orig_filename)r leads out of its folder.")
                % {"orig_filename": each.orig_filename}
            )
        if stat.S_ISLNK(each.external_attr >> 16):
            raise InvalidInput(_("The archive is refused: %(filename)r is a link.") % {"filename": each.filename})
        if each.flag_bits & 0x1:
            raise InvalidInput(_("The archive is encrypted: unpack it and import the chat's .txt."))
        if each.file_size > MAX_RATIO * each.compress_size + ALLOWED_BESIDE_RATIO:
            raise InvalidInput(
                _("The archive is refused: %(filename)r would become too large.") % {"filename": each.filename}
            )
    if len(members) > MAX_MEMBERS or sum(each.file_size for each in members) > MAX_TOTAL_BYTES:
        raise InvalidInput(_("The archive is refused: it would become too large."))
    return [each for each in members if not each.filename.startswith("__MACOSX/")]


def _find_chat(archive: ZipFile, members: list[ZipInfo]) -> ZipInfo:
    texts = [each for each in members if each.filename.lower().endswith(".txt") and each.file_size <= MAX_CHAT_BYTES]
    by_name = [each for each in texts if PurePosixPath(each.filename).name == "_chat.txt"]
    if len(by_name) == 1:
        return by_name[0]
    counts = {each.filename: _heads_in(archive, each) for each in texts}
    best = max(texts, key=lambda each: counts[each.filename], default=None)
    if best is None or not counts[best.filename]:
        raise InvalidInput(_("The archive holds no exported chat: none of its .txt files begins lines with dates."))
    return best


def _heads_in(archive: ZipFile, member: ZipInfo) -> int:
    with archive.open(member) as file:
        beginning = file.read(64 * 1024)
    lines = [line for line, _ in decode_lines(beginning)][:SAMPLED_LINES]
    return sum(head_of(line) is not None for line in lines)
