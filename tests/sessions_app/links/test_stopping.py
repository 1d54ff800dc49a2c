"""A number whose bridge sends by itself is stopped, and stays so until a person restarts it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent import inbox
from agent.bridges.events import Kind, Link, SessionChanged
from agent.sender import deliver
from messaging.loops import stop_repeating_sessions
from messaging.models import Conversation, Message
from messaging.outbound import queue_message
from sessions_app.links.reconciliation import sync_bridge
from sessions_app.links.stopping import REPEATING, restarting, stop_session
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import LOGGED_OUT_BY_US, reconnect_session, restart_session
from tests.conftest import message_event
from tests.support.bridges.fake_evolution import FakeEvolution
from tests.support.bridges.fake_waha import FakeWaha
from whatsapp_agent.errors import BridgeFailed

STOPPED = ("disconnected", REPEATING)
FAKES = {"waha": FakeWaha, "evolution": FakeEvolution}


@pytest.fixture(params=["waha", "evolution"])
def server(request: Any, bridge: Bridge, session: WhatsAppSession, settings: Any) -> Iterator[Any]:
    settings.SEND_GAP_S = 0.0
    with FAKES[request.param]() as fake:
        fake.add_session(session.name, phone="5511999990000")
        bridge.kind, bridge.base_url, bridge.api_key = request.param, fake.url, fake.api_key
        bridge.save()
        yield fake


def echoes(bridge: Bridge, count: int, **changes: Any) -> None:
    """Let the bridge report messages as sent through it that we did not send."""
    for number in range(count):
        event = message_event(f"Spam {number}", provider_message_id=f"3EB0{number}", outbound=True, is_echo=True)
        inbox.handle_event(bridge=bridge, event=event)
    Message.objects.filter(author="api").update(**changes)


def state() -> tuple[str, str]:
    return WhatsAppSession.objects.values_list("status", "status_reason").get()


def queued(conversation: Conversation) -> Message:
    return queue_message(
        conversation=conversation, author=Message.Author.STAFF, by=None, quoted=None, kind=Kind.TEXT.value, text="Hi"
    )


def test_a_number_whose_bridge_sends_what_is_not_ours_is_stopped(server: Any, bridge: Bridge, conversation: Any):
    echoes(bridge, 20)
    waiting = queued(conversation)

    assert stop_repeating_sessions() == [conversation.session.name]
    assert stop_repeating_sessions() == []

    deliver(conversation.pk)
    waiting.refresh_from_db()
    assert (state(), waiting.status, server.sent) == (STOPPED, "queued", [])
    assert bridge.kind == "evolution" or server.sessions["sales"]["status"] == "STOPPED"


def test_a_stopped_number_stays_stopped_whatever_the_bridge_reports(server: Any, bridge: Bridge, session: Any):
    stop_session(session)
    server.add_session(session.name, phone="5511999990000")

    sync_bridge(bridge)
    for status in (Link.CONNECTING, Link.DISCONNECTED, Link.CONNECTED):
        inbox.handle_event(bridge=bridge, event=SessionChanged(session.name, status, code="428"))
    inbox.handle_event(bridge=bridge, event=message_event("Hello"))

    assert state()[1] == REPEATING
    assert state()[0] != "connected"
    assert bridge.kind == "evolution" or server.sessions["sales"]["status"] == "STOPPED"


@pytest.mark.parametrize("code", ["401", "403", "411", "440", LOGGED_OUT_BY_US])
def test_a_stopped_number_stays_stopped_after_its_link_has_ended(bridge: Bridge, session: Any, code: str):
    stop_session(session)
    inbox.handle_event(bridge=bridge, event=SessionChanged(session.name, Link.DISCONNECTED, code=code))
    inbox.handle_event(bridge=bridge, event=SessionChanged(session.name, Link.CONNECTED))
    assert state()[1] == REPEATING
    assert state()[0] != "connected"


@pytest.mark.parametrize("restart", [restart_session, reconnect_session])
def test_a_number_that_a_person_restarts_is_connected_again(server: Any, bridge: Bridge, session: Any, restart: Any):
    echoes(bridge, 20)
    stop_repeating_sessions()
    session.refresh_from_db()

    restart(session)
    inbox.handle_event(bridge=bridge, event=SessionChanged(session.name, Link.CONNECTED))

    assert stop_repeating_sessions() == []  # of what came before
    assert state() == ("connected", "")


@pytest.mark.parametrize("restart", [restart_session, reconnect_session])
def test_a_stopped_number_that_the_bridge_does_not_restart_stays_stopped(
    server: Any, bridge: Bridge, session: Any, restart: Any
):
    stop_session(session)
    server.fail("drop_before", call="any")

    with pytest.raises(BridgeFailed):
        restart(session)

    assert state() == STOPPED


def test_a_restarted_number_is_connected_if_the_bridge_says_so_before_it_answers(bridge: Bridge, session: Any):
    stop_session(session)

    with restarting(session):
        inbox.handle_event(bridge=bridge, event=SessionChanged(session.name, Link.CONNECTED))

    assert state() == ("connected", "")


def test_an_error_after_the_number_was_connected_does_not_stop_it_again(bridge: Bridge, session: Any):
    stop_session(session)

    def time_out() -> None:
        with restarting(session):
            inbox.handle_event(bridge=bridge, event=SessionChanged(session.name, Link.CONNECTED))
            raise TimeoutError

    with pytest.raises(TimeoutError):
        time_out()

    assert state() == ("connected", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "reaction"},
        {"details": {"standby": True}},
        {"author": "phone"},
        {"said_at": timezone.now() - timedelta(minutes=2)},
        {"written_at": timezone.now() - timedelta(minutes=2)},
        {"sending_at": timezone.now()},
    ],
    ids=["reactions", "of another agent", "typed", "of the past", "reported late", "ours"],
)
def test_what_is_no_repetition_stops_no_number(bridge: Bridge, session: Any, changes: dict[str, Any]):
    echoes(bridge, 20, **changes)

    assert stop_repeating_sessions() == []


@pytest.mark.parametrize("status", ["delivered", "read"])
def test_receipts_for_what_a_bridge_sends_by_itself_do_not_hide_it(bridge: Bridge, session: Any, status: str):
    echoes(bridge, 20, status=status)

    assert stop_repeating_sessions() == [session.name]


def test_fewer_than_the_limit_stop_no_number(bridge: Bridge, session: Any, settings: Any):
    echoes(bridge, 19)
    assert stop_repeating_sessions() == []

    settings.MAX_UNKNOWN_ECHOES_PER_MINUTE = 0
    echoes(bridge, 30)
    assert stop_repeating_sessions() == []


def test_a_bridge_that_reports_each_of_our_messages_twice_is_not_stopped(bridge: Bridge, session: Any):
    echoes(bridge, 40)
    ours = Message.objects.filter(provider_message_id__in=[f"3EB0{number}" for number in range(20)])
    ours.update(sending_at=timezone.now(), author="agent")

    assert stop_repeating_sessions() == []


def test_a_bridge_that_cannot_be_reached_stops_the_number_here(bridge: Bridge, session: Any):
    Bridge.objects.update(kind="waha", base_url="http://127.0.0.1:9")
    session.refresh_from_db()

    assert stop_session(session)
    assert not stop_session(session)
    assert state() == STOPPED
