"""Wake-ups from the web processes to the engine processes of one machine, over one pipe for each engine process.

A pipe takes a record of this size whole or not at all, so that any number of processes may write to it. What does not
fit is dropped: the sweep finds it.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

RECORD = struct.Struct("=16s16sd")  # conversation, session; when it is due, in seconds since 1970, 0 for now
READ_BYTES = RECORD.size * 4096


class WakeChannel:
    """Create it before the processes are forked. A conversation always goes to the same engine process."""

    def __init__(self, *, engines: int) -> None:
        self._pipes = [os.pipe() for _ in range(engines)]
        for descriptors in self._pipes:
            for descriptor in descriptors:
                os.set_blocking(descriptor, False)

    def send(self, conversation_id: UUID, session_id: UUID, due_at: datetime | None = None) -> None:
        """Wake the conversation's engine process at once, or at `due_at`; never waits."""
        _, write_end = self._pipes[conversation_id.int % len(self._pipes)]
        with suppress(BlockingIOError):
            due_at_s = due_at.timestamp() if due_at else 0.0
            os.write(write_end, RECORD.pack(conversation_id.bytes, session_id.bytes, due_at_s))

    def read_end(self, engine: int) -> int:
        """Return the file descriptor that engine process number `engine` waits on."""
        return self._pipes[engine][0]

    def receive(self, engine: int) -> Iterator[tuple[UUID, UUID, datetime | None]]:
        """Yield what has come for this engine process: the conversation, its session, and when it is due, if later."""
        with suppress(BlockingIOError):
            for conversation, session, due_at_s in RECORD.iter_unpack(os.read(self._pipes[engine][0], READ_BYTES)):
                due_at = datetime.fromtimestamp(due_at_s, UTC) if due_at_s else None
                yield UUID(bytes=conversation), UUID(bytes=session), due_at
