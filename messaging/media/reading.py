"""Read a stored file for the model and for staff: a small preview, its text, or a transcript."""

import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from agent import llm
from agent.llm.base import ModelError, ModelRefused
from messaging.media import sandbox
from messaging.media.types import OFFICE, TEXTS
from messaging.models import Media, Message
from whatsapp_agent import postgres
from whatsapp_agent.text.sanitize import storable

MAX_EXTRACT_CHARS = MAX_TRANSCRIPT_CHARS = 40_000
IMAGES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
FORMATS = {
    "application/pdf": "pdf",
    **{OFFICE[extension]: "docx" for extension in (".docx", ".docm", ".dotx")},
    **{OFFICE[extension]: "xlsx" for extension in (".xlsx", ".xlsm", ".xltx")},
    **dict.fromkeys(TEXTS.values(), "text"),
}


class ReadFailed(Exception):
    """The file is stored, and cannot be read. `is_final`: trying again will not help."""

    def __init__(self, message: str, *, code: str, is_final: bool = True) -> None:
        super().__init__(message)
        self.code, self.is_final = code, is_final


def read(media: Media) -> dict[str, str]:
    """Return the columns of Media that hold what was read; none for a file that nothing can be read from.

    Raises ReadFailed.
    """
    try:
        if media.mime_type in IMAGES:
            return {"preview": _make_preview(media)}
        if media.mime_type.startswith("image/") and media.message.kind == Message.Kind.IMAGE:
            raise ReadFailed("Images of this type cannot be opened here.", code="unsupported_image")
        if (format := FORMATS.get(media.mime_type)) is not None:
            return {"extract": _extract(media, format=format)}
        if media.mime_type.startswith("audio/") and not media.transcript and _may_transcribe(media):
            return _transcribe(media)
    except sandbox.Unreadable as exc:
        raise ReadFailed(str(exc), code=exc.code) from exc
    return {}


def load_preview(name: str) -> str:
    """Return the preview of an image as a `data:` URL; empty if it is no longer stored."""
    try:
        with default_storage.open(name) as file:
            return f"data:image/jpeg;base64,{b64encode(file.read()).decode()}"
    except OSError:
        return ""


def _make_preview(media: Media) -> str:
    with _local_copy(media) as content:
        preview = sandbox.make_preview(content)
    media.preview.save("preview.jpg", ContentFile(preview), save=False)
    return str(media.preview.name)


def _extract(media: Media, *, format: str) -> str:
    with _local_copy(media) as content:
        text = sandbox.extract_text(content, format=format, max_chars=MAX_EXTRACT_CHARS)
    return storable(text).strip()


def _may_transcribe(media: Media) -> bool:
    """Return whether the words of an audio file are wanted: it costs money, and what nobody answers is not worth it."""
    return media.message.unanswered in {"", Message.Unanswered.PERSON}


def _transcribe(media: Media) -> dict[str, str]:
    transcriber = llm.transcriber_for_settings()
    if transcriber is None:
        return {}
    try:
        with _local_copy(media) as content:
            text = transcriber.transcribe(content, filename=media.filename, mime_type=media.mime_type)
    except ModelError as exc:
        message = "The transcription model did not take it."
        raise ReadFailed(message, code=exc.code, is_final=isinstance(exc, ModelRefused)) from exc
    if not text:
        raise ReadFailed("No words were understood in it.", code="no_words")
    return {"transcript": storable(text)[:MAX_TRANSCRIPT_CHARS]}


@contextmanager
def _local_copy(media: Media) -> Iterator[IO[bytes]]:
    """Copy the file to a temporary one: the storage may be elsewhere, and another process reads it."""
    postgres.release()
    with tempfile.TemporaryFile() as content:
        with media.file.open("rb") as stored:
            shutil.copyfileobj(stored, content)
        content.seek(0)
        yield content
