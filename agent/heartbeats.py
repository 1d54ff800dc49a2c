"""Heartbeats: a row for each process that takes turns and sends, so that one that died or stalls is seen."""

import os
import socket
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.translation import gettext as _

from agent import engine
from agent.models import STALLED_S, EngineProcess
from whatsapp_agent.periodic import periodic

HEARTBEAT_S = 5
RETENTION = timedelta(days=1)
CHANGING = ("seen_at", "woken_at", "turns_running", "turns_waiting", "stalled_s")

_mine: EngineProcess | None = None
_woken_at: datetime | None = None


def start(kind: str) -> None:
    """Begin the heartbeat of this process, whose engine has been started."""
    global _mine
    _mine = EngineProcess(kind=kind, host=socket.gethostname()[:255], pid=os.getpid(), started_at=timezone.now())
    engine.attempt(beat)


def stop() -> None:
    """Delete this process's row: it ends in order."""
    global _mine
    mine, _mine = _mine, None
    if mine is not None:
        engine.attempt(EngineProcess.objects.filter(pk=mine.pk).delete)


def note_wake_up() -> None:
    """Remember that a wake-up from another process came just now; the next heartbeat says so."""
    global _woken_at
    _woken_at = timezone.now()


@periodic(every_s=HEARTBEAT_S, in_each_process=True)
def beat() -> None:
    """Write that this process lives, and whether its turns end."""
    if _mine is None:
        return
    load = engine.current().load()
    _mine.seen_at = Now()
    _mine.woken_at = _woken_at
    _mine.turns_running, _mine.turns_waiting, _mine.stalled_s = load.running, load.waiting, int(load.stalled_s)
    EngineProcess.objects.bulk_create([_mine], update_conflicts=True, unique_fields=["id"], update_fields=CHANGING)


@periodic(every_s=3600)
def delete_dead() -> None:
    """Delete the rows of processes that died long ago."""
    EngineProcess.objects.filter(seen_at__lt=Now() - RETENTION).delete()


def describe() -> tuple[bool, str]:
    """Return whether any process takes turns and sends, and which do."""
    alive = list(EngineProcess.objects.alive().order_by("host", "pid"))
    stalled = [process for process in alive if process.stalled_s >= STALLED_S]
    if len(stalled) < len(alive):
        text = ", ".join(
            _("%(process)s (%(count)s turns)") % {"process": process, "count": process.turns_running}
            for process in alive
            if process not in stalled
        )
        if stalled:
            text += _("; stalled: %(processes)s") % {"processes": ", ".join(map(str, stalled))}
        return not stalled, text
    what = _("Celery worker") if settings.REDIS_URL else _("engine process")
    if stalled:
        return False, _("no turn ends in any %(what)s: %(processes)s") % {
            "what": what,
            "processes": ", ".join(map(str, stalled)),
        }
    return False, _("no %(what)s runs: nothing is answered and nothing is sent") % {"what": what}


def remedy() -> str:
    """Return what to do where nothing, or not everything, works."""
    if settings.REDIS_URL:
        return _(
            "Start one, with the same DATABASE_URL and REDIS_URL: manage.py worker. If one is stalled, restart it."
        )
    return _("Start it: manage.py up. If one is stalled, restart it.")


lazy_remedy = lazy(remedy, str)
