"""Wake-ups from the web processes to the engine processes of one machine, over one pipe for each engine process.

A pipe takes a record of this size whole or not at all, so that any number of processes may write to it. What does not
fit is dropped: the sweep finds it.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from uuid import UUID

RECORD = struct.Struct("=16sd")  # conversation id; when it is due, in seconds since 1970, 0 for now
READ_BYTES = RECORD.size * 4096


class WakeChannel:
    """Create it before the processes are forked. A conversation always goes to the same engine process."""

    def __init__(self, *, engines: int) -> None:
        self._pipes = [os.pipe() for _ in range(engines)]
        for descriptors in self._pipes:
            for descriptor in descriptors:
                os.set_blocking(descriptor, False)

    def send(self, conversation_id: UUID, due_at: datetime | None = None) -> None:
        """Wake the conversation's engine process at once, or at `due_at`; never waits."""
        _, write_end = self._pipes[conversation_id.int % len(self._pipes)]
        with suppress(BlockingIOError):
            os.write(write_end, RECORD.pack(conversation_id.bytes, due_at.timestamp() if due_at else 0.0))

    def read_end(self, engine: int) -> int:
        """Return the file descriptor that engine process number `engine` waits on."""
        return self._pipes[engine][0]

    def receive(self, engine: int) -> Iterator[tuple[UUID, float]]:
        """Yield what has come for this engine process: the conversation, and when it is due (see RECORD)."""
        with suppress(BlockingIOError):
            for key, due_at in RECORD.iter_unpack(os.read(self._pipes[engine][0], READ_BYTES)):
                yield UUID(bytes=key), due_at
