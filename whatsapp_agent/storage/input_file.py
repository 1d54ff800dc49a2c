"""Open a file that somebody names in a terminal: it may be a directory, a device, or a pipe that nobody writes into."""

import errno
import os
import select
import stat
from pathlib import Path
from typing import IO

MAX_WAIT_FOR_WRITER_S = 5.0


def open_input(path: Path, *, may_be_pipe: bool = False) -> IO[bytes]:
    """Open a file for reading. Raises OSError, also for a device, which may have no end, and for a pipe, unless it may
    be one, as for a secret that a program prints (`<(pass show backup)`).

    A pipe that nobody writes into within some seconds is empty; opened as usual, it would wait for a writer for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.set_blocking(descriptor, True)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or os.isatty(descriptor)):
            raise OSError(errno.EINVAL, "It is a device, not a file", str(path))
        if stat.S_ISFIFO(mode) and not may_be_pipe:
            raise OSError(errno.ESPIPE, "It is a pipe, not a file", str(path))
        if stat.S_ISFIFO(mode):
            _wait_for_writer(descriptor)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _wait_for_writer(descriptor: int) -> None:
    """Wait until something was written into a pipe or its writer has closed it: who opens it first is chance."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(MAX_WAIT_FOR_WRITER_S * 1000)
