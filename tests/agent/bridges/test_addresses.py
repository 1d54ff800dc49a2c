"""Who an address is, and which phone is behind it."""

import pytest

from agent.bridges.addresses import phone_as_written, reachable_digits, read_address
from agent.bridges.events import AliasKind
from agent.bridges.parsing import WrongShape


@pytest.mark.parametrize(
    ("raw", "address", "phone"),
    [
        ("5511988887777@s.whatsapp.net", "5511988887777@s.whatsapp.net", "+5511988887777"),
        ("5511988887777:3@s.whatsapp.net", "5511988887777@s.whatsapp.net", "+5511988887777"),
        ("5511988887777_1:12@s.whatsapp.net", "5511988887777@s.whatsapp.net", "+5511988887777"),
        ("5511988887777@c.us", "5511988887777@c.us", "+5511988887777"),
        ("5511988887777:99@hosted", "5511988887777@s.whatsapp.net", "+5511988887777"),  # a device hosted by Meta
        ("5511988887777@hosted", "5511988887777@s.whatsapp.net", "+5511988887777"),
        ("5511988887777", "5511988887777", "+5511988887777"),
        ("551188887777", "551188887777", "+551188887777"),  # without the ninth digit
        ("5215512345678@s.whatsapp.net", "5215512345678@s.whatsapp.net", "+5215512345678"),  # with the 1 after 52
        ("5491123456789@s.whatsapp.net", "5491123456789@s.whatsapp.net", "+5491123456789"),
    ],
)
def test_a_person_is_known_by_phone_whatever_device_writes(raw, address, phone):
    read = read_address(raw)

    assert (read.address, read.phone, read.kind) == (address, phone, AliasKind.PHONE)
    assert read.aliases == ((AliasKind.PHONE, phone),)


@pytest.mark.parametrize(
    ("raw", "address", "kind", "is_group"),
    [
        ("123456789012345@lid", "123456789012345@lid", AliasKind.LID, False),
        ("123456789012345:7@lid", "123456789012345@lid", AliasKind.LID, False),
        ("123456789012345:99@hosted.lid", "123456789012345@lid", AliasKind.LID, False),
        ("120363041234567890@g.us", "120363041234567890@g.us", AliasKind.JID, True),
        ("5511988887777-1400000000@g.us", "5511988887777-1400000000@g.us", AliasKind.JID, True),
        ("999999999999999@s.whatsapp.net", "999999999999999@s.whatsapp.net", AliasKind.JID, False),  # no such country
        ("0@s.whatsapp.net", "0@s.whatsapp.net", AliasKind.JID, False),
        ("12345@bot", "12345@bot", AliasKind.JID, False),
    ],
)
def test_digits_that_are_no_phone_are_not_taken_for_one(raw, address, kind, is_group):
    read = read_address(raw)

    assert (read.address, read.kind, read.is_group, read.phone) == (address, kind, is_group, None)


@pytest.mark.parametrize("raw", ["status@broadcast", "1234567890@broadcast", "120363041234567890@newsletter"])
def test_stories_lists_and_channels_are_nobody(raw):
    assert read_address(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "@",
        "a b@s.whatsapp.net",
        "x@y@z",
        "@s.whatsapp.net",
        "5511988887777@",
        "٥٥١١٩٨٨٨٨٧٧٧٧",
        "1" * 90,
        "\ufffd@lid",
        "1@lid\n",
    ],
)
def test_an_invalid_address_is_refused_without_repeating_it(raw):
    with pytest.raises(WrongShape) as caught:
        read_address(raw)

    assert not raw or raw not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "digits"),
    [
        ("5511988887777@s.whatsapp.net", "5511988887777"),
        ("5511988887777@c.us", "5511988887777"),
        ("5511988887777", "5511988887777"),
        ("+5511988887777", "5511988887777"),
        ("5511988887777:3@s.whatsapp.net", None),
        ("120363041234567890@g.us", None),
        ("120363041234567890", None),
        ("123456789012345@lid", None),
        ("status@broadcast", None),
        ("1234567", None),
        ("1234567890123456", None),
        ("05511988887777", None),
        ("+55 11 98888-7777", None),
        ("٥٥١١٩٨٨٨٨٧٧٧٧", None),
        ("5511988887777@s.whatsapp.net\n", None),
        ("", None),
    ],
)
def test_only_a_persons_whole_phone_can_be_reached_by_digits(address, digits):
    assert reachable_digits(address) == digits


@pytest.mark.parametrize(
    ("written", "phone"),
    [
        ("+55 11 97777-6666", "+5511977776666"),
        ("+1 (555) 010-9999", "+15550109999"),
        ("\u202a+55 11 97777-6666\u202c", "+5511977776666"),
        ("+55", None),
        ("11 97777-6666", None),
        ("", None),
        ("call me", None),
        ("+" + "1" * 5000, None),
    ],
)
def test_a_phone_on_a_contact_card_is_read_when_it_names_its_country(written, phone):
    assert phone_as_written(written) == phone
