"""Files to send: detect their type, make their names safe, store and serve them."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit
from uuid import UUID

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.core.signing import BadSignature, TimestampSigner
from django.utils import timezone

from agent.bridges.base import OutgoingFile
from agent.bridges.events import Kind
from messaging.models import Media
from whatsapp_agent.errors import AppError, InvalidInput, NotFound
from whatsapp_agent.http.outbound import FetchFailed, UnsafeUrl, fetch

HEAD_BYTES = 4096
MAX_NAME_LENGTH = 100
PUBLIC_FOR_S = 3600
UNUSED_AFTER = timedelta(days=1)
FETCH_TIMEOUT_S = 30.0
WEBM_AND_KIN = b"\x1a\x45\xdf\xa3"

# What begins like this is that: (bytes, at which offset, type).
SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"ftypM4A", 4, "audio/mp4"),
    (b"ftyp3g", 4, "video/3gpp"),
    (b"ftypisom", 4, "video/mp4"),
    (b"ftypiso", 4, "video/mp4"),
    (b"ftypmp4", 4, "video/mp4"),
    (b"ftypavc1", 4, "video/mp4"),
    (b"ftypM4V", 4, "video/mp4"),
    (b"OggS", 0, "audio/ogg"),
    (b"ID3", 0, "audio/mpeg"),
    (b"\xff\xfb", 0, "audio/mpeg"),
    (b"\xff\xf3", 0, "audio/mpeg"),
    (b"#!AMR", 0, "audio/amr"),
    (b"\xff\xf1", 0, "audio/aac"),
    (b"\xff\xf9", 0, "audio/aac"),
    (b"WAVE", 8, "audio/wav"),
    (b"%PDF-", 0, "application/pdf"),
)
ZIP = b"PK\x03\x04"
# What cannot be told from its bytes alone: the extension chooses among the types that share them.
OFFICE = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".zip": "application/zip",
}
TEXTS = {".txt": "text/plain", ".csv": "text/csv"}
EXTENSIONS = {
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "audio/mp4": (".m4a",),
    "audio/ogg": (".ogg", ".oga", ".opus"),
    "audio/mpeg": (".mp3",),
    "audio/amr": (".amr",),
    "audio/aac": (".aac",),
    "audio/wav": (".wav",),
    "video/3gpp": (".3gp",),
    "video/mp4": (".mp4", ".m4v"),
    "application/pdf": (".pdf",),
    **{type_: (extension,) for extension, type_ in (OFFICE | TEXTS).items()},
}


class UnsupportedFile(AppError):
    status, code = 415, "unsupported_file"
    detail = (
        "Images, videos, audio, PDF, office documents, zip archives and plain texts can be sent; this is none of them."
    )


class FileTooLarge(AppError):
    status, code, detail = 413, "too_large", "The file is too large."


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that came in and may leave."""

    content: File
    kind: Kind
    mime_type: str
    filename: str
    size_bytes: int


def take(content: IO[bytes], *, name: str, size_bytes: int) -> NewFile:
    """A file as it is: its type read from its bytes, whatever it calls itself, and its name made safe.

    Raises FileTooLarge, UnsupportedFile or InvalidInput.
    """
    if size_bytes > settings.MEDIA_MAX_BYTES:
        raise FileTooLarge(f"A file may have {settings.MEDIA_MAX_BYTES} bytes.", field="file")
    if not size_bytes:
        raise InvalidInput("The file is empty.", field="file")
    head = content.read(HEAD_BYTES)
    content.seek(0)
    extension = PurePosixPath(name).suffix.lower()
    mime_type = sniff(head, extension=extension)
    if mime_type is None:
        raise UnsupportedFile(field="file")
    return NewFile(
        content=File(content),
        kind=_kind(mime_type),
        mime_type=mime_type,
        filename=safe_name(name, mime_type=mime_type),
        size_bytes=size_bytes,
    )


def fetch_file(url: str, *, name: str = "") -> NewFile:
    """Download a file from a caller's URL. Raises UnsafeUrl, FetchFailed, and what `take` raises."""
    try:
        fetched = fetch(url, timeout_s=FETCH_TIMEOUT_S, max_bytes=settings.MEDIA_MAX_BYTES)
    except (UnsafeUrl, FetchFailed) as exc:
        exc.field = "media_url"
        raise
    name = name or PurePosixPath(unquote(urlsplit(url).path)).name
    try:
        return take(ContentFile(fetched.body), name=name, size_bytes=len(fetched.body))
    except AppError as exc:
        exc.field = "media_url"
        raise


def sniff(head: bytes, *, extension: str = "") -> str | None:
    """The type of what begins with `head`; None when it is none we send."""
    for signature, offset, mime_type in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return mime_type
    if head.startswith(ZIP):
        return OFFICE.get(extension, OFFICE[".zip"])
    if extension in TEXTS and _is_text(head):
        return TEXTS[extension]
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as exc:
        if exc.start < len(head) - 3:  # else a character cut in two at the end
            return False
        text = head[: exc.start].decode()
    return not any(unicodedata.category(character) == "Cc" and character not in "\t\r\n\f" for character in text)


def _kind(mime_type: str) -> Kind:
    match mime_type.split("/")[0]:
        case "image" if mime_type != "image/gif":
            return Kind.IMAGE
        case "video":
            return Kind.VIDEO
        case "audio":
            return Kind.AUDIO
    return Kind.DOCUMENT


def safe_name(name: str, *, mime_type: str) -> str:
    """A name without a path, without characters that hide or break something, and with the extension of its type."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join(
        character
        for character in unicodedata.normalize("NFC", last)
        if unicodedata.category(character)[0] not in "CZ" or character == " "
    )
    plain = re.sub(r'[<>:"|?*;%]', "_", plain).strip(" .")
    extensions = EXTENSIONS[mime_type]
    given = PurePosixPath(plain).suffix
    stem, extension = (plain[: -len(given)], given) if given.lower() in extensions else (plain, extensions[0])
    return (stem.strip(" .")[: MAX_NAME_LENGTH - len(extension)] or "file") + extension


# --- serving ------------------------------------------------------------------------------------------------------


def outgoing(media: Media) -> OutgoingFile:
    """Return a stored file in the form that bridges take."""
    return OutgoingFile(
        kind=Kind(media.message.kind),
        mime_type=media.mime_type,
        filename=media.filename,
        size_bytes=media.size_bytes or 0,
        read=partial(_read, media),
        url=public_url(media),
    )


def _read(media: Media) -> bytes:
    with media.file.open("rb") as file:
        return file.read()


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="media")


def public_url(media: Media) -> str:
    """Return a signed URL that is valid for one hour and needs no login; empty without PUBLIC_URL."""
    if not settings.PUBLIC_URL:
        return ""
    return f"{settings.PUBLIC_URL}/media/{_signer().sign(media.pk.hex)}/"


def by_token(token: str) -> Media:
    """Return the file of a signed URL. Raises NotFound when the token is invalid or expired."""
    try:
        media_id = UUID(_signer().unsign(token, max_age=PUBLIC_FOR_S))
    except (BadSignature, ValueError) as exc:
        raise NotFound() from exc
    media = Media.objects.filter(pk=media_id).exclude(file="").first()
    if media is None:
        raise NotFound()
    return media


# --- clean-up -----------------------------------------------------------------------------------------------------


def unused() -> Iterator[str]:
    """Yield the names of stored files that no row refers to.

    A file younger than UNUSED_AFTER may belong to a message that is just being queued.
    """
    before = timezone.now() - UNUSED_AFTER
    for folder in _months():
        used = set(Media.objects.filter(file__startswith=f"{folder}/").values_list("file", flat=True))
        for name in sorted(default_storage.listdir(folder)[1]):
            kept = f"{folder}/{name}"
            if kept not in used and default_storage.get_modified_time(kept) < before:
                yield kept


def _months() -> Iterator[str]:
    """Yield the folders that `media_path` stores files in."""
    years = default_storage.listdir("")[0] if default_storage.exists("") else []
    for year in sorted(year for year in years if year.isdigit()):
        for month in sorted(default_storage.listdir(year)[0]):
            yield f"{year}/{month}"
