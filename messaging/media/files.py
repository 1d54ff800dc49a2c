"""Files to send: detect their type, make their names safe, store and serve them."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from agent.bridges.base import OutgoingFile
from agent.bridges.events import Kind
from agent.bridges.simulator import UPLOADS
from messaging.media.types import EXTENSIONS, HEAD_BYTES, OTHER, PLAIN_TEXT, SUPPORTED, detect
from messaging.models import ContactMerge, LibraryFile, Media
from whatsapp_agent.errors import AppError, InvalidInput, NotFound
from whatsapp_agent.http.outbound import FetchFailed, UnsafeUrl, fetch

MAX_NAME_LENGTH = 100
PUBLIC_FOR_S = 3600
LIBRARY = "library"
UNUSED_AFTER = timedelta(days=1)
FETCH_TIMEOUT_S = 30.0
OWN_NAME = frozenset({OTHER, PLAIN_TEXT})  # many kinds of files: none has to be called .bin or .txt


class UnsupportedFile(AppError):
    status, code = 415, "unsupported_file"
    detail = f"Unsupported file type, or its content does not match its extension. Supported: {SUPPORTED}."


class FileTooLarge(AppError):
    status, code, detail = 413, "too_large", gettext_lazy("The file is too large.")


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that came in and may leave. `stored_as`: its name in the storage, if it is there already."""

    content: File
    kind: Kind
    mime_type: str
    filename: str
    size_bytes: int
    stored_as: str = ""


def take(content: IO[bytes], *, name: str, size_bytes: int) -> NewFile:
    """Return a file with its type, read from its bytes, and with a safe name.

    Raises FileTooLarge, UnsupportedFile or InvalidInput.
    """
    if size_bytes > settings.MEDIA_MAX_BYTES:
        raise FileTooLarge(
            _("A file may have %(limit)s bytes.") % {"limit": settings.MEDIA_MAX_BYTES},
            field="file",
        )
    if not size_bytes:
        raise InvalidInput(_("The file is empty."), field="file")
    head = content.read(HEAD_BYTES)
    content.seek(0)
    mime_type = detect(head, name=clean_name(name))
    if mime_type is None:
        raise UnsupportedFile(field="file")
    return NewFile(
        content=File(content),
        kind=_kind(mime_type),
        mime_type=mime_type,
        filename=safe_name(name, mime_type=mime_type),
        size_bytes=size_bytes,
    )


SENT_AS = {Kind.STICKER: ("image/webp",), Kind.VOICE: ("audio/",)}


def send_as(file: NewFile, kind: Kind) -> NewFile:
    """Return the file as another kind than its type suggests. Raises InvalidInput if it cannot be that."""
    if not file.mime_type.startswith(SENT_AS.get(kind, ("",))):
        needed = _("a WebP image") if kind == Kind.STICKER else _("an audio file")
        raise InvalidInput(
            _("To be sent as %(kind)s it has to be %(needed)s.") % {"kind": kind.value, "needed": needed}, field="kind"
        )
    return replace(file, kind=kind)


def fetch_file(url: str, *, name: str = "", field: str = "media_url") -> NewFile:
    """Download a file from a caller's URL. Raises UnsafeUrl, FetchFailed, and what `take` raises, naming `field`."""
    try:
        fetched = fetch(url, timeout_s=FETCH_TIMEOUT_S, max_bytes=settings.MEDIA_MAX_BYTES)
    except (UnsafeUrl, FetchFailed) as exc:
        exc.field = field
        raise
    name = name or PurePosixPath(unquote(urlsplit(url).path)).name
    try:
        return take(ContentFile(fetched.body), name=name, size_bytes=len(fetched.body))
    except AppError as exc:
        exc.field = field
        raise


def _kind(mime_type: str) -> Kind:
    """Return how WhatsApp shows it: what its phones do not play or show is a document."""
    match mime_type.split("/"):
        case "image", "jpeg" | "png" | "webp":
            return Kind.IMAGE
        case "video", "mp4" | "3gpp":
            return Kind.VIDEO
        case "audio", _:
            return Kind.AUDIO
    return Kind.DOCUMENT


def clean_name(name: str) -> str:
    """Return a name without its path and without characters that hide or break something."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join(
        character
        for character in unicodedata.normalize("NFC", last)
        if unicodedata.category(character)[0] not in "CZ" or character == " "
    )
    return re.sub(r'[<>:"|?*;%]', "_", plain).strip(" .")


def safe_name(name: str, *, mime_type: str) -> str:
    """Return the clean name, with an extension of its type; a document of another type keeps its own."""
    plain = clean_name(name)
    given = PurePosixPath(plain).suffix
    extensions = (given,) if mime_type in OWN_NAME else EXTENSIONS.get(mime_type, (given,))
    stem, extension = (plain[: len(plain) - len(given)], given)
    if given.lower() not in {each.lower() for each in extensions}:
        stem, extension = plain, extensions[0]
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
    restorable = set(files_of_merges(ContactMerge.objects.all()))
    for folder in (*_months(), *_other_folders()):
        used = set(LibraryFile.objects.filter(file__startswith=f"{folder}/").values_list("file", flat=True)) | {
            name
            for field in ("file", "preview")
            for name in Media.objects.filter(**{f"{field}__startswith": f"{folder}/"}).values_list(field, flat=True)
        }
        for name in sorted(default_storage.listdir(folder)[1]):
            kept = f"{folder}/{name}"
            if kept not in used | restorable and default_storage.get_modified_time(kept) < before:
                yield kept


def _other_folders() -> Iterator[str]:
    """Yield the folders besides: what agent profiles may send (`library_path`), what the simulator was given."""
    folders = default_storage.listdir("")[0] if default_storage.exists("") else []
    yield from (folder for folder in (LIBRARY, UPLOADS) if folder in folders)


def save_file(media: Media, *, name: str, content: File) -> None:
    """Write the content into the storage and save the row; nothing stays of the one without the other."""
    media.file.save(name, content, save=False)
    try:
        media.save()
    except BaseException:
        media.file.delete(save=False)
        raise


def files_of_merges(merges: QuerySet[ContactMerge]) -> Iterator[str]:
    """Yield the files of messages that taking one of these merges back would restore."""
    merges = merges.filter(status=ContactMerge.Status.MERGED)
    for rows in merges.exclude(undo__deleted=[]).values_list("undo__deleted", flat=True).iterator():
        for entry in rows:
            if entry["model"] == Media._meta.label:
                yield from (entry["row"][name] for name in ("file", "preview") if entry["row"][name])


def _months() -> Iterator[str]:
    """Yield the folders that `media_path` stores files in."""
    years = default_storage.listdir("")[0] if default_storage.exists("") else []
    for year in sorted(year for year in years if year.isdigit()):
        for month in sorted(default_storage.listdir(year)[0]):
            yield f"{year}/{month}"
