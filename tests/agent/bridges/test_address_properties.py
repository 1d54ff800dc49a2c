"""Whatever is written as an address: it is parsed to one form, and that form is parsed to itself."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bridges.addresses import phone_of_digits, reachable_digits, read_address
from agent.bridges.events import AliasKind
from agent.bridges.parsing import WrongShape

DIGITS = st.text("0123456789", min_size=5, max_size=20)
DOMAINS = st.sampled_from(
    ["s.whatsapp.net", "c.us", "lid", "hosted", "hosted.lid", "g.us", "newsletter", "broadcast", "bot"]
)
DEVICES = st.sampled_from(["", ":0", ":3", ":99", "_1", "_1:12"])


@given(digits=DIGITS, device=DEVICES, domain=DOMAINS)
@settings(max_examples=300, deadline=None)
def test_an_address_is_known_by_one_form_whatever_its_device(digits: str, device: str, domain: str):
    address = read_address(f"{digits}{device}@{domain}")

    if domain in {"newsletter", "broadcast"}:
        assert address is None
        return
    assert address is not None
    assert address == read_address(f"{digits}@{domain}")
    assert read_address(address.address) == address  # parsing what we store changes nothing
    assert ":" not in address.address
    assert (address.kind == AliasKind.LID) == domain.endswith("lid")
    assert address.is_group == (domain == "g.us")
    if address.phone is not None:
        assert address.phone == f"+{digits}" == phone_of_digits(digits)
        assert reachable_digits(address.address) == digits
        assert domain in {"s.whatsapp.net", "c.us", "hosted"}


@given(text=st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_address_with_aliases_or_none(text: str):
    with suppress(WrongShape):
        address = read_address(text)
        if address is not None:
            assert address.aliases
            assert all(value for _, value in address.aliases)


@given(digits=DIGITS)
@settings(max_examples=200, deadline=None)
def test_two_domains_of_a_phone_are_one_person(digits: str):
    one, other = (read_address(f"{digits}@{domain}") for domain in ("s.whatsapp.net", "c.us"))

    assert one is not None
    assert other is not None
    assert one.phone == other.phone
    if one.phone:
        assert one.aliases == other.aliases


def test_a_group_is_never_a_phone():
    with pytest.raises(WrongShape):
        read_address("not an address@g.us")
