"""What tests of received files share: a WAHA that holds them, and messages that refer to them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.bridges.events import Kind, MediaRef
from messaging.media import fetching
from messaging.models import Media
from sessions_app.models import Bridge
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges: None, waha: FakeWaha, settings: Any, tmp_path: Any) -> Bridge:
    settings.MEDIA_ROOT = tmp_path
    settings.BRIDGE_TIMEOUT_S = 20.0
    return connect_default_bridge("waha", waha)


@pytest.fixture
def receive(conversation: Any, says: Callable[..., Any], waha: FakeWaha) -> Callable[..., Media]:
    """Let the contact send a file that WAHA holds; `is_fetched` false leaves it there."""

    def receive_file(
        content: bytes,
        name: str = "",
        *,
        kind: Kind = Kind.DOCUMENT,
        mime_type: str = "",
        text: str = "",
        is_fetched: bool = True,
        transcript: str = "",
        **changes: Any,
    ) -> Media:
        path = f"/api/files/sales/{len(waha.files)}"
        waha.files[path] = content
        ref = MediaRef(
            ref=f"http://localhost:3000{path}",
            downloadable=True,
            mime_type=mime_type or None,
            filename=name or None,
            transcript=transcript,
        )
        message = says(text, kind=kind, media=ref, **changes)
        media = Media.objects.get(message=message.message_id)
        if is_fetched:
            fetching.process(media.pk)
            media.refresh_from_db()
        return media

    return receive_file
