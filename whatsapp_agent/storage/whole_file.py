"""Write a file whole or not at all: under another name first, private, moved into place at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from whatsapp_agent.errors import Conflict
from whatsapp_agent.storage.private_files import FILE_MODE


@contextmanager
def whole_file(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Yield a new file of mode 0600 that has its name only once everything is written. Raises Conflict if it exists."""
    if path.is_dir() or (path.exists() and not overwrite):
        raise Conflict(f"{path} exists already. Name another file.")
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(path)) from exc  # nobody knows the draft's name
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
