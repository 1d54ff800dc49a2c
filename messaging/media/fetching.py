"""Fetch received files from their bridge in the background, store them, then read them.

A row of Media is worked on by whoever moves its `next_try_at` into the future; if that process dies, it is tried again
then. Nothing waits for a file but the turn that answers it, and that for `MEDIA_WAIT_S` at most.
"""

from datetime import timedelta
from fnmatch import fnmatch
from typing import IO
from uuid import UUID

import structlog
from django.conf import settings
from django.core.files.base import File
from django.db import InterfaceError, OperationalError
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from agent.bridges.base import MessageRef
from agent.bridges.capabilities import Capability
from agent.bridges.events import MediaRef
from agent.bridges.exchange import TOO_LARGE, BridgeError, Refused
from messaging.media.files import clean_name, safe_name
from messaging.media.reading import ReadFailed, read
from messaging.media.types import EXTENSIONS, HEAD_BYTES, detect, is_page, runs_code
from messaging.models import Media, Message
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import Bridge
from whatsapp_agent import postgres
from whatsapp_agent.backoff import backoff_s

log = structlog.get_logger(__name__)

CLAIM = timedelta(minutes=6)  # longer than any fetch and reading takes
RETRY_BASE_S, MAX_RETRY_S = 2.0, 300.0
NOT_FOUND_TRIES = 3  # some bridges report a message before they can find its file
PENDING = (Media.Status.WAITING, Media.Status.STORED)


class FetchFailed(Exception):
    """The file cannot be had. `is_final`: trying again will not help. The message is for staff and the model."""

    def __init__(self, message: str, *, code: str, is_final: bool = True) -> None:
        super().__init__(message)
        self.code, self.is_final = code, is_final


LOST_AT_PLATFORM = "lost_at_platform"


def add_received(*, message_id: UUID, bridge: Bridge, media: MediaRef, is_history: bool) -> None:
    """Store what is known of a received file. It is fetched if the bridge hands files over; not of imported history."""
    adapter = adapter_for(bridge)
    can_fetch = Capability.RECEIVE_MEDIA in adapter.capabilities and (media.ref or adapter.fetches_by_message)
    now = timezone.now()
    is_waiting = bool(can_fetch) and not is_history and not media.error
    Media.objects.create(
        message_id=message_id,
        mime_type=(media.mime_type or "")[:100],
        filename=(media.filename or "")[:255],
        size_bytes=media.size_bytes,
        ref=media.ref or "",
        downloadable=media.downloadable,
        transcript=media.transcript,
        status=Media.Status.WAITING if is_waiting else Media.Status.FAILED if media.error else "",
        error_code=LOST_AT_PLATFORM if media.error else "",
        error=media.error[:300],
        next_try_at=now if is_waiting else None,
        expires_at=now + adapter.media_ttl if is_waiting and adapter.media_ttl else None,
        created_at=now,
    )


def add_late_reference(*, conversation_id: UUID, provider_message_id: str, bridge: Bridge, media: MediaRef) -> None:
    """Fetch a file whose address comes with a repetition of its message, because it was not known before."""
    if not media.ref or Capability.RECEIVE_MEDIA not in adapter_for(bridge).capabilities:
        return
    message = Message.objects.filter(conversation=conversation_id, provider_message_id=provider_message_id)
    late = Media.objects.filter(Q(ref="") | Q(status=Media.Status.FAILED), message__in=message, file="")
    late.exclude(ref=media.ref).update(
        ref=media.ref,
        downloadable=media.downloadable,
        status=Media.Status.WAITING,
        error_code="",
        error="",
        tries=0,
        next_try_at=timezone.now(),
    )


def due(*, limit: int) -> list[tuple[UUID, UUID]]:
    """Return the ids of files to fetch or read now, and of their sessions."""
    rows = Media.objects.filter(next_try_at__lte=timezone.now()).order_by("next_try_at")
    return list(rows.values_list("pk", "message__session_id")[:limit])


def process(media_id: UUID) -> None:
    """Fetch and read one file, as far as it is not done. Does nothing if it is not due or somebody else works on it."""
    now = timezone.now()
    mine = Media.objects.filter(pk=media_id, next_try_at__lte=now)
    if not mine.update(tries=F("tries") + 1, next_try_at=now + CLAIM):
        return
    media = Media.objects.select_related("message__session__bridge", "message__conversation").get(pk=media_id)
    if media.tries > settings.MEDIA_MAX_TRIES:  # each try ended with the process
        _fail(media, code="interrupted", error=gettext_noop("It was begun too often without coming to an end."))
        return
    try:
        if media.status == Media.Status.WAITING and not _fetch(media):
            return  # deleted meanwhile
        _finish(media, **read(media))
    except (FetchFailed, ReadFailed) as exc:
        if exc.is_final or media.tries >= settings.MEDIA_MAX_TRIES:
            _fail(media, code=exc.code, error=str(exc))
        else:
            _try_later(media, code=exc.code, error=str(exc))
    except OSError as exc:  # the disk is full, the storage away
        _try_later(media, code="storage", error=type(exc).__name__)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # a bug here or in a library: the turn must not wait for a file that nobody works on
        log.exception("media_not_processed", media=str(media.pk))
        _fail(media, code="internal", error=gettext_noop("It could not be opened because of an error in this program."))


def _fetch(media: Media) -> bool:
    """Stream the file from the bridge to the storage; return False if the row has gone meanwhile."""
    message = media.message
    bridge = message.session.bridge
    steps = adapter_for(bridge).fetch_media(
        session=message.session.name,
        ref=media.ref,
        address=message.conversation.address,
        message=MessageRef(
            message.provider_message_id or "",
            is_ours=message.direction == Message.Direction.OUTBOUND,
            full_id=message.details.get("full_id", ""),
        ),
        max_bytes=settings.MEDIA_MAX_BYTES,
    )
    postgres.release()
    try:
        fetched = call_bridge(bridge, steps)
    except Refused as exc:
        is_final = exc.code == TOO_LARGE or (exc.code != "unauthorized" and media.tries >= NOT_FOUND_TRIES)
        raise FetchFailed(str(exc), code=exc.code, is_final=is_final) from exc
    except BridgeError as exc:
        raise FetchFailed(str(exc), code=exc.code, is_final=False) from exc
    with fetched.file as content:
        return _store(media, content, name=media.filename or fetched.filename, claimed=fetched.mime_type)


def _store(media: Media, content: IO[bytes], *, name: str, claimed: str) -> bool:
    size_bytes = content.seek(0, 2)
    content.seek(0)
    head = content.read(HEAD_BYTES)
    content.seek(0)
    mime_type = _detect(head, name=name, claimed=media.mime_type or claimed)
    if size_bytes > settings.MEDIA_MAX_BYTES:
        raise FetchFailed(gettext_noop("The file is too large."), code=TOO_LARGE)
    name = safe_name(name, mime_type=mime_type)
    media.file.save(name, File(content), save=False)
    stored = Media.objects.filter(pk=media.pk, status=Media.Status.WAITING)
    values = {
        "status": Media.Status.STORED,
        "file": media.file.name,
        "mime_type": mime_type,
        "filename": name,
        "size_bytes": size_bytes,
        "tries": 1,
    }
    if not stored.update(**values, error_code="", error=""):
        media.file.delete(save=False)
        return False
    for field, value in values.items():
        if field != "file":
            setattr(media, field, value)
    log.info("media_stored", media=str(media.pk), size_bytes=size_bytes, mime_type=mime_type)
    return True


def _detect(head: bytes, *, name: str, claimed: str) -> str:
    """Return the type that the bytes have. Raises FetchFailed if it is none that may be stored."""
    if not head:
        raise FetchFailed(gettext_noop("The file is empty."), code="empty", is_final=False)
    claimed = claimed.partition(";")[0].strip().lower()
    if is_page(head) and claimed not in {"text/html", "application/xhtml+xml", "image/svg+xml"}:
        raise FetchFailed(gettext_noop("A web page came instead of the file."), code="not_a_file", is_final=False)
    name = clean_name(name) or f"file{EXTENSIONS.get(claimed, ('',))[0]}"
    mime_type = None if runs_code(head, name=name) else detect(head, name=name)
    if mime_type is None:
        reason = gettext_noop(
            "It is a program or a web page, or its content does not match its name; it is not stored."
        )
        raise FetchFailed(reason, code="unsupported_file")
    if not any(fnmatch(mime_type, pattern.strip().lower()) for pattern in settings.MEDIA_TYPES):
        raise FetchFailed(gettext_noop("Files of this type are not stored here."), code="type_not_allowed")
    return mime_type


def _finish(media: Media, **found: str) -> None:
    _update(media, status=Media.Status.READY, error_code="", error="", next_try_at=None, **found)


def _fail(media: Media, *, code: str, error: str) -> None:
    log.warning("media_failed", media=str(media.pk), code=code, tries=media.tries)
    _update(media, status=Media.Status.FAILED, error_code=code[:50], error=error[:300], next_try_at=None)


def _try_later(media: Media, *, code: str, error: str) -> None:
    pause_s = backoff_s(media.tries, base_s=RETRY_BASE_S, max_s=MAX_RETRY_S)
    log.info("media_postponed", media=str(media.pk), code=code, tries=media.tries)
    next_try_at = timezone.now() + timedelta(seconds=pause_s)
    _update(media, error_code=code[:50], error=error[:300], next_try_at=next_try_at)


def _update(media: Media, **values: object) -> None:
    Media.objects.filter(pk=media.pk, status__in=PENDING).update(**values)
