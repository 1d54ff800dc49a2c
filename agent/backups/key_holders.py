"""Which running processes use which SECRET_KEY, so that a rotation waits for those that have not been restarted."""

import os
import socket

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

from agent import engine
from agent.models import ALIVE_FOR, KeyHolder
from whatsapp_agent.periodic import periodic

HEARTBEAT_S = 5  # a quarter of ALIVE_FOR

_mine: KeyHolder | None = None


def key_id(key: str) -> str:
    """Return a name of a SECRET_KEY that does not reveal it."""
    return salted_hmac("agent.backups.key_holders", "SECRET_KEY", secret=key, algorithm="sha256").hexdigest()[:32]


def start(kind: str) -> None:
    """Begin the heartbeat of this process. Call it after the fork."""
    global _mine
    _mine = KeyHolder(
        kind=kind,
        host=socket.gethostname()[:255],
        pid=os.getpid(),
        key_id=key_id(settings.SECRET_KEY),
        started_at=timezone.now(),
    )
    engine.attempt(beat)


def stop() -> None:
    """Delete this process's row: it ends in order."""
    global _mine
    mine, _mine = _mine, None
    if mine is not None:
        engine.attempt(KeyHolder.objects.filter(pk=mine.pk).delete)


@periodic(every_s=HEARTBEAT_S, in_each_process=True, in_web_processes=True)
def beat() -> None:
    """Write that this process lives."""
    if (mine := _mine) is None:
        return
    mine.seen_at = Now()
    KeyHolder.objects.bulk_create([mine], update_conflicts=True, unique_fields=["id"], update_fields=["seen_at"])


@periodic(every_s=3600)
def delete_dead() -> None:
    """Delete the rows of processes that were killed."""
    KeyHolder.objects.filter(seen_at__lt=Now() - 10 * ALIVE_FOR).delete()


def with_another_key() -> list[KeyHolder]:
    """Return the living processes that do not encrypt with the present SECRET_KEY, on whichever machine."""
    alive = KeyHolder.objects.filter(seen_at__gt=Now() - ALIVE_FOR)
    return list(alive.exclude(key_id=key_id(settings.SECRET_KEY)).order_by("host", "started_at", "pid"))
