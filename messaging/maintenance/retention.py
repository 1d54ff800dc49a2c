"""Retention: delete old rows of each kind in small batches, so that no request waits for a lock.

Each kind has a setting in days; 0, the default, means for ever. What still has to be answered or sent is never deleted.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from messaging.media.files import LIBRARY, unused
from messaging.models import (
    Conversation,
    DailyRun,
    Embedding,
    Media,
    Message,
    SearchEntry,
    Summary,
    ToolCall,
    Turn,
    UnembeddedMessage,
    UnindexedMessage,
)
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_BATCH = 500
MIN_BATCH = 10
FIRST_BATCH = 20  # how long a row takes is not known yet; the next batch may be twice as large
TARGET_S = 0.05  # of a batch: no lock is held for longer than some 200 ms, even on a slow disk
PAUSE_S = 0.02  # between two batches: others have the disk, too
INTERVAL = timedelta(hours=24)
RETRY = timedelta(hours=1)
UNFINISHED = (Message.Status.RECEIVED, Message.Status.QUEUED, Message.Status.SENDING)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of rows with a retention of its own. `delete` deletes these rows, in the transaction that locked them."""

    name: str
    expired: Callable[[datetime], QuerySet[Any]]
    delete: Callable[[list[Any]], None]

    @property
    def setting(self) -> str:
        return f"RETENTION_{self.name.upper()}_DAYS"


kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    kinds[kind.name] = kind


def ages_of_settings() -> dict[str, timedelta]:
    """Return the retention of each kind that has one."""
    return {name: timedelta(days=days) for name, kind in kinds.items() if (days := getattr(settings, kind.setting))}


def count_expired(ages: Mapping[str, timedelta], *, now: datetime) -> dict[str, int]:
    """Return how many rows `prune` would delete of each kind."""
    return {name: kinds[name].expired(now - age).count() for name, age in ages.items()}


def prune(ages: Mapping[str, timedelta], *, now: datetime) -> Iterator[tuple[str, int]]:
    """Delete what is older; yield the kind and the number of rows after each batch. Two at once share the work."""
    for name in kinds:
        if name in ages:
            expired = partial(kinds[name].expired, now - ages[name])
            for count in in_batches(expired, kinds[name].delete):
                yield name, count
    if "media" in ages or "messages" in ages:
        for name in unused():  # also what an interrupted run has left
            default_storage.delete(name)


def in_batches(rows: Callable[[], QuerySet[Any]], delete: Callable[[list[Any]], None]) -> Iterator[int]:
    """Lock and delete rows in small transactions until there are none; yield the size of each batch.

    Rows that another transaction has locked are left to it, or to the next call.
    """
    size = FIRST_BATCH
    while True:
        started_at = time.monotonic()
        with transaction.atomic():
            ids = list(rows().select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:size])
            if ids:
                delete(ids)
        if not ids:
            return
        yield len(ids)
        size = next_size(size, took_s=time.monotonic() - started_at)
        time.sleep(PAUSE_S)


def next_size(size: int, *, took_s: float) -> int:
    """Return how many rows the next batch should have, after one of `size` that took so long."""
    return max(MIN_BATCH, min(MAX_BATCH, int(size * TARGET_S / max(took_s, TARGET_S / 2))))


@periodic(every_s=3600, may_block=True)
def prune_daily() -> None:
    """Prune by the settings once a day, over all processes and restarts. What was interrupted goes on an hour later."""
    ages, now = ages_of_settings(), timezone.now()
    if not ages:
        return
    run, is_new = DailyRun.objects.get_or_create(name="prune", defaults={"due_at": now + RETRY})
    if not is_new and not DailyRun.objects.filter(pk=run.pk, due_at__lte=now).update(due_at=now + RETRY):
        return  # not due yet, or another process has taken it
    counts: dict[str, int] = {}
    for name, count in prune(ages, now=now):
        counts[name] = counts.get(name, 0) + count
    DailyRun.objects.filter(pk=run.pk).update(due_at=now + INTERVAL)
    log.info("data_pruned", **counts)


# --- the kinds of this app; the order is that of deletion ---------------------------------------------------------


def delete_messages(ids: list[Any]) -> None:
    files = files_of(Media.objects.filter(message__in=ids))
    Message.objects.filter(quoted__in=ids).update(quoted=None)
    _delete(SearchEntry.objects.filter(message__in=ids))
    _delete(Embedding.objects.filter(message__in=ids))
    _delete(Media.objects.filter(message__in=ids))
    _delete(UnindexedMessage.objects.filter(message_id__in=ids))
    _delete(UnembeddedMessage.objects.filter(message_id__in=ids))
    _release_references(Message, ids)
    _delete(Message.objects.filter(pk__in=ids))
    transaction.on_commit(lambda: _delete_files(files))


def _release_references(model: type[Any], ids: list[Any]) -> None:
    """Set nullable foreign keys to these rows to null, in whichever app, and delete the rows of all others."""
    for relation in model._meta.related_objects:
        if relation.related_model is not model:
            field = relation.field.name
            rows = relation.related_model._default_manager.filter(**{f"{field}__in": ids})
            if relation.field.null:
                rows.update(**{field: None})
            else:
                rows.delete()


def _delete(rows: QuerySet[Any]) -> None:
    rows._raw_delete(rows.db)  # without reading the rows: what refers to them has been dealt with


def _delete_files(names: list[str]) -> None:
    for name in names:
        default_storage.delete(name)


def files_of(rows: QuerySet[Media]) -> list[str]:
    """Return the names of what is stored of these alone: the files, and the previews of images."""
    names = (name for names in rows.values_list("file", "preview") for name in names if name)
    return [name for name in names if not name.startswith(f"{LIBRARY}/")]  # may be sent again


def _empty_media(ids: list[Any]) -> None:
    rows = Media.objects.filter(pk__in=ids)
    files = files_of(rows)
    rows.update(file="", preview="", ref="", downloadable=False, next_try_at=None)
    transaction.on_commit(lambda: _delete_files(files))


def _expired_turns(before: datetime) -> QuerySet[Turn]:
    """Return turns to which no message refers: a message without its turn would count as no command any more."""
    used = Message.objects.filter(turn=OuterRef("pk"))
    return Turn.objects.filter(~Exists(used), created_at__lt=before).order_by("created_at")


def delete_turns(ids: list[Any]) -> None:
    _delete(ToolCall.objects.filter(turn__in=ids))
    _release_references(Turn, ids)
    _delete(Turn.objects.filter(pk__in=ids))


def _expired_summaries(before: datetime) -> QuerySet[Summary]:
    """Return earlier versions; the one in use stays with its conversation."""
    in_use = Conversation.objects.filter(pk=OuterRef("conversation"), summary_version=OuterRef("version"))
    return Summary.objects.filter(~Exists(in_use), created_at__lt=before).order_by("created_at")


register(
    Kind(
        "media",
        lambda before: (
            Media.objects.filter(~Q(file="") | ~Q(ref=""), created_at__lt=before)
            .exclude(message__status__in=UNFINISHED)
            .order_by("created_at")
        ),
        _empty_media,
    )
)
register(
    Kind(
        "messages",
        lambda before: (
            Message.objects.filter(said_at__lt=before).exclude(status__in=UNFINISHED).order_by(F("said_at").asc(), "id")
        ),
        delete_messages,
    )
)
register(
    Kind(
        "tool_calls",
        lambda before: ToolCall.objects.filter(created_at__lt=before).order_by("created_at"),
        lambda ids: _delete(ToolCall.objects.filter(pk__in=ids)),
    )
)
register(Kind("turns", _expired_turns, delete_turns))
register(Kind("summaries", _expired_summaries, lambda ids: _delete(Summary.objects.filter(pk__in=ids))))
