"""Whether the disk is full, and whether that is why something failed."""

import errno
import shutil
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from psycopg2.errors import DiskFull

MIN_FREE_BYTES = 100 * 1024 * 1024
MIN_FREE_SHARE = 0.05  # of a disk that is small as a whole


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def usage(directory: Path | None = None) -> Usage | None:
    """Return the size of DATA_DIR's disk and what is free of it, in bytes; None if there is no DATA_DIR."""
    try:
        return Usage(*shutil.disk_usage(directory or settings.DATA_DIR))
    except OSError:
        return None


def has_room(directory: Path | None = None) -> bool:
    """Return whether DATA_DIR's disk has space left to work with."""
    found = usage(directory)
    if found is None:
        return True  # nothing is stored in it
    return found.free >= min(MIN_FREE_BYTES, found.total * MIN_FREE_SHARE)


def is_full(exc: BaseException | None) -> bool:
    """Return whether this exception, or one that led to it, says that the disk is full."""
    seen: set[int] = set()  # an exception that is raised again while it is handled may lead back to itself
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        if isinstance(exc, DiskFull) or (isinstance(exc, OSError) and exc.errno in {errno.ENOSPC, errno.EDQUOT}):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def explains(exc: BaseException) -> bool:
    """Return whether a database failed for want of space: it says so, or it has crashed on a disk without room."""
    return is_full(exc) or not has_room()


def reason(exc: BaseException) -> str:
    """Return what to log as the reason why the database failed."""
    return "disk_full" if explains(exc) else type(exc).__name__
