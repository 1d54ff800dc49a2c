"""Phone numbers: what is one, and which two spellings are one subscriber's and nobody else's."""

import pytest

from agent.bridges.addresses import read_address
from commands.callers import find_conversation, is_owner
from messaging.inbound import is_note_to_self
from messaging.models import Contact, Conversation, Message
from messaging.outbound import conversation_by_phone
from sessions_app.models import WhatsAppSession
from tests.conftest import message_event
from whatsapp_agent.errors import InvalidInput, NotFound
from whatsapp_agent.text.phones import owner_spellings, parse_phone, phone_spellings


@pytest.mark.parametrize(
    ("phone", "other"),
    [
        ("+5511988840001", "+551188840001"),
        ("+5511967654321", "+551167654321"),
        ("+5585996765432", "+558596765432"),
        ("+5215512349999", "+525512349999"),
        ("+5491123456789", "+541123456789"),
        ("+5492966123456", "+542966123456"),
    ],
)
def test_a_mobile_number_has_a_second_spelling_in_both_directions(phone, other):
    assert phone_spellings(phone) == [phone, other]
    assert phone_spellings(other) == [other, phone]


@pytest.mark.parametrize(
    "phone",
    [
        "+551133334444",  # landlines
        "+551144445555",
        "+551155556666",
        "+551122223333",
        "+5511933334444",  # mobiles that never had eight digits
        "+5511944445555",
        "+5511955556666",
        "+5520988887777",  # no area code
        "+552088887777",
        "+5511888877776",  # nine digits without a 9 before them
        "+5211234567890",  # no Mexican number begins with a 1
        "+15551234567",
        "+4915112345678",
        "+542234567",
    ],
)
def test_any_other_number_has_no_second_spelling(phone):
    assert phone_spellings(phone) == [phone]


def test_an_argentine_number_gives_no_rights_under_its_other_spelling():
    assert owner_spellings("+541123456789") == ["+541123456789"]
    assert owner_spellings("+5491123456789") == ["+5491123456789"]


@pytest.mark.parametrize(
    ("owner", "writer", "has_rights"),
    [
        ("+551144445555", "5511944445555", False),
        ("+5511944445555", "551144445555", False),
        ("+551144445555", "551144445555", True),
        ("+5511988840001", "551188840001", True),
        ("+551188840001", "5511988840001", True),
        ("+5215512349999", "525512349999", True),
        ("+541123456789", "5491123456789", False),
        ("+5491123456789", "5491123456789", True),
    ],
)
def test_only_the_owners_own_number_gives_the_owners_rights(says, session, owner, writer, has_rights):
    WhatsAppSession.objects.update(owner_phone=owner)
    says("/help", chat=f"{writer}@s.whatsapp.net")
    session.refresh_from_db()
    assert is_owner(session=session, contact=Contact.objects.get()) is has_rights


@pytest.mark.parametrize(
    ("own", "chat", "is_ours"),
    [
        ("+551144445555", "5511944445555", False),
        ("+5511944445555", "551144445555", False),
        ("+5511988840001", "551188840001", True),
    ],
)
def test_a_note_to_self_is_one_to_the_own_number(session, bridge, own, chat, is_ours):
    WhatsAppSession.objects.update(phone=own)
    event = message_event("/help", chat=f"{chat}@s.whatsapp.net", outbound=True)
    assert is_note_to_self(bridge=bridge, event=event) is is_ours


def test_a_message_to_a_landline_goes_to_nobodys_mobile(session, says):
    says("Hello", chat="5511933334444@s.whatsapp.net")
    conversation = conversation_by_phone(session=session, phone="+551133334444")
    assert (conversation.contact.phone, conversation.address) == ("+551133334444", "551133334444@s.whatsapp.net")
    assert Conversation.objects.count() == 2


def test_the_owner_who_names_a_landline_reads_nobodys_mobile(session, says):
    says("Hello", chat="5511933334444@s.whatsapp.net")
    with pytest.raises(NotFound):
        find_conversation(session=session, who="+55 11 3333-4444")


def test_the_exact_number_is_preferred_where_both_spellings_are_known(session):
    for phone in ("+551188840001", "+5511988840001"):
        contact = Contact.objects.create(session=session, phone=phone)
        contact.aliases.create(session=session, kind="phone", value=phone)
        Conversation.objects.create(session=session, contact=contact, address=f"{phone[1:]}@s.whatsapp.net")
        assert conversation_by_phone(session=session, phone=phone).contact == contact
        assert find_conversation(session=session, who=phone).contact == contact


@pytest.mark.parametrize(
    ("typed", "phone"),
    [
        ("+5511988887777", "+5511988887777"),
        ("5511988887777", "+5511988887777"),
        (" 5511988887777", "+5511988887777"),  # a + that was not encoded in an address
        ("+55 (11) 98888-7777", "+5511988887777"),
        ("+55 (0)11 98888-7777", "+5511988887777"),
        ("+551188887777", "+551188887777"),
        ("551188887777", "+551188887777"),
        ("+5215512349999", "+5215512349999"),  # as the API shows it
        ("5215512349999", "+5215512349999"),
        ("+52 1 55 1234 9999", "+5215512349999"),
        ("+5491123456789", "+5491123456789"),
        ("tel:+5511988887777", "+5511988887777"),
        ("\u202a+55 11 98888\u20117777\u202c", "+5511988887777"),  # as WhatsApp and macOS copy it
        ("\u200e5511988887777", "+5511988887777"),
        ("\ufeff+5511988887777\u200b", "+5511988887777"),
    ],
)
def test_a_number_with_its_country_code_is_a_phone_however_it_is_typed(typed, phone):
    assert parse_phone(typed) == phone


@pytest.mark.parametrize(
    "typed",
    [
        "(11) 98888-7777",  # would be a number in the United States
        "11 98888-7777",
        "011 98888-7777",
        "98888-7777",
        "+5511",
        "+55119888877771234",
        "+5211234567890123",
        "hello",
        "",
        "+5511988887777 ext. 5",
        "+999123456789",
        "\u202a\u202c",
        "\u202a11 98888-7777\u202c",
    ],
)
def test_what_lacks_its_country_code_or_is_no_number_is_refused(typed):
    with pytest.raises(InvalidInput):
        parse_phone(typed)


def test_what_a_landline_writes_stays_apart_from_the_mobile_with_a_nine_before_it(says):
    says("landline", chat="551133334444@s.whatsapp.net")
    says("mobile", chat="5511933334444@s.whatsapp.net")
    assert Contact.objects.count() == Conversation.objects.count() == Message.objects.count() == 2
    assert read_address("551133334444").phone == "+551133334444"
