"""Files of the Cloud API: which it takes, and whether one that it gives is whole and its own."""

import base64
from urllib.parse import urlsplit

from agent.bridges.events import Kind
from agent.bridges.exchange import Response

MEDIA_HOST = "lookaside.fbsbx.com"
MEGABYTE = 1024 * 1024
MEDIA_TYPES = {
    Kind.IMAGE: "image",
    Kind.VIDEO: "video",
    Kind.AUDIO: "audio",
    Kind.VOICE: "audio",
    Kind.DOCUMENT: "document",
    Kind.STICKER: "sticker",
}
MAX_BYTES = {
    Kind.IMAGE: 5 * MEGABYTE,
    Kind.VIDEO: 16 * MEGABYTE,
    Kind.AUDIO: 16 * MEGABYTE,
    Kind.VOICE: 16 * MEGABYTE,
    Kind.DOCUMENT: 100 * MEGABYTE,
    Kind.STICKER: 500 * 1024,
}
MIME_TYPES = {
    Kind.IMAGE: ("image/jpeg", "image/png"),
    Kind.VIDEO: ("video/mp4", "video/3gpp"),
    Kind.AUDIO: ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"),
    Kind.VOICE: ("audio/ogg",),
    Kind.STICKER: ("image/webp",),
}
CAPTIONED = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.DOCUMENT})


def denial_reason(*, kind: Kind, mime_type: str, size_bytes: int) -> str | None:
    """Return why the Cloud API does not take a file; None if it does."""
    types = MIME_TYPES.get(kind)
    if types and not mime_type.startswith(types):
        return f"The Cloud API sends a file of kind {kind.value} only as {', '.join(types)}."
    if size_bytes > MAX_BYTES.get(kind, 0):
        return f"The Cloud API takes at most {MAX_BYTES.get(kind, 0) // 1024} KiB for a file of kind {kind.value}."
    return None


def is_metas(url: str, *, base_url: str) -> bool:
    """Return whether our token may be sent there: to Meta's host for files, or to the bridge itself."""
    own = urlsplit(base_url)
    try:
        parts = urlsplit(url)
        is_media_host = parts.scheme == "https" and parts.hostname == MEDIA_HOST and parts.port in {None, 443}
    except ValueError:
        return False
    return is_media_host or (parts.scheme, parts.netloc) == (own.scheme, own.netloc)


def is_intact(response: Response, sha256: str) -> bool:
    """Compare with the hash that Meta gives, in base64 or hex; what is neither is not compared."""
    digest = response.sha256()
    encoded = base64.b64encode(digest).decode()
    return len(sha256) not in {len(encoded), 64} or sha256 in {encoded, digest.hex()}
