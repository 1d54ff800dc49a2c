"""People who write all the time, each one message, while what they write to is stopped and started."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.fake_zapw import FakeZapw

STORED = "SELECT provider_message_id, count(*) FROM messaging_message WHERE direction = 'inbound' GROUP BY 1"
UNSETTLED = (
    "SELECT status, count(*) FROM messaging_message"
    " WHERE status IN ('received', 'queued', 'sending', 'failed', 'unconfirmed') GROUP BY 1"
)
PACE_S = 0.25


class Writers:
    """They write through a bridge, which tries a webhook again as it is set to."""

    def __init__(self, zapw: FakeZapw) -> None:
        self._zapw = zapw
        self.tries: dict[str, list[int]] = {}  # of each message's webhook
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._write, daemon=True)

    def begin(self) -> None:
        self._clock.start()

    def end(self) -> None:
        """Let nobody write any more, and wait until every message is answered."""
        self._stopping.set()
        self._clock.join(30)
        for thread in self._threads:
            thread.join(120)
        assert {message_id: tries for message_id, tries in self.tries.items() if tries[-1:] != [200]} == {}
        self._zapw.wait_for_sent(len(self.tries), timeout_s=180)

    def _write(self) -> None:
        number = 0
        while not self._stopping.wait(PACE_S):
            number += 1
            thread = threading.Thread(target=self._post, args=(f"55119{number:08}", f"3EB0{number:08}"), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _post(self, phone: str, message_id: str) -> None:
        self.tries[message_id] = []
        self.tries[message_id] = self._zapw.emit_message(f"question of {phone}", phone=phone, message_id=message_id)

    def check(self, rows: Callable[[str], list[tuple[Any, ...]]]) -> None:
        """Every message was taken and stored once, and answered once, to who wrote it. `rows` queries the database."""
        assert len(self.tries) > 20
        assert Counter(dict(rows(STORED))) == Counter(self.tries.keys())
        answered = Counter(sent["jid"].partition("@")[0] for sent in self._zapw.sent)
        assert answered == Counter(f"55119{message_id[4:]}" for message_id in self.tries)
        assert rows(UNSETTLED) == []
