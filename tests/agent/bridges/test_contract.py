"""What every adapter keeps, whichever bridge it speaks to."""

import pytest

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import Capability
from agent.bridges.events import AliasKind, Link
from agent.bridges.exchange import Refused
from tests.support.bridges.live import LiveBridge
from whatsapp_agent.errors import InvalidInput

PHONE = "+5511988887777"
UNUSUAL = {
    Capability.SEND_TO_GROUP: ("120363041234567890@g.us", True),
    Capability.SEND_TO_LID: ("123456789012345@lid", False),
}


def test_an_adapter_is_known_by_its_kind(bridge: LiveBridge):
    assert ADAPTERS[bridge.kind] is type(bridge.adapter)


def test_a_phone_becomes_an_address_that_can_be_written_to(bridge: LiveBridge):
    address = bridge.address_of_phone(PHONE)

    sent = bridge.send_text(session="sales", address=address.address, text="Oi")

    assert sent.provider_message_id
    assert sent.at is not None
    assert sent.at.tzinfo is not None
    assert address.aliases == ((AliasKind.PHONE, PHONE),)
    assert bridge.unreachable_reason(address=address.address, is_group=False) is None


@pytest.mark.parametrize(
    "phone", ["", "5511", "+55 11 98888-7777", "ana", "5511988887777@s.whatsapp.net", "+" + "9" * 20]
)
def test_what_is_no_phone_becomes_no_address(bridge: LiveBridge, phone):
    with pytest.raises(InvalidInput):
        bridge.address_of_phone(phone)


def test_two_sends_have_two_ids(bridge: LiveBridge):
    address = bridge.address_of_phone(PHONE).address

    ids = {bridge.send_text(session="sales", address=address, text="Oi").provider_message_id for _ in range(20)}

    assert len(ids) == 20


@pytest.mark.parametrize("capability", UNUSUAL)
def test_a_bridge_can_write_to_the_addresses_that_it_declares_reachable(bridge: LiveBridge, capability):
    address, is_group = UNUSUAL[capability]
    can = capability in bridge.capabilities

    assert (bridge.unreachable_reason(address=address, is_group=is_group) is None) == can
    if can:
        assert bridge.send_text(session="sales", address=address, text="Oi")
    else:
        with pytest.raises(Refused):
            bridge.send_text(session="sales", address=address, text="Oi")


@pytest.mark.parametrize(
    "text", ["", "x" * 4096, "👍🏽", "\u202eשלום", "a\x00b", "\ud800"], ids=lambda text: ascii(text[:8])
)
def test_any_text_is_sent_or_refused(bridge: LiveBridge, text):
    address = bridge.address_of_phone(PHONE).address
    try:
        bridge.send_text(session="sales", address=address, text=text)
    except Refused:
        assert not text


def test_a_started_session_is_reported_until_it_is_deleted(bridge: LiveBridge):
    started = bridge.start_session(name="ops")
    state = bridge.session_state(name="ops")
    bridge.delete_session(name="ops")

    assert started.name == "ops"
    assert state is not None
    assert state.status in {Link.QR_WAITING, Link.CONNECTED}
    if bridge.stores_sessions:
        assert bridge.session_state(name="ops") is None


def test_deleting_what_is_not_there_is_fine(bridge: LiveBridge):
    bridge.start_session(name="ops")
    bridge.delete_session(name="never-was")

    assert bridge.session_state(name="ops") is not None


@pytest.mark.parametrize(
    ("capability", "ask"), [(Capability.RESTART, "restart_session"), (Capability.LOGOUT, "logout_session")]
)
def test_what_a_bridge_lacks_is_refused(bridge: LiveBridge, capability, ask):
    if capability in bridge.capabilities:
        getattr(bridge, ask)(name="sales")
    else:
        with pytest.raises(Refused) as caught:
            getattr(bridge, ask)(name="sales")
        assert caught.value.code == "not_supported"


def test_a_bridge_that_answers_is_healthy(bridge: LiveBridge):
    assert bridge.health().is_healthy
