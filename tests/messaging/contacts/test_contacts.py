"""Contacts: one person is one contact under every spelling of their phone, and keeps the name that staff gave."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent.bridges.addresses import read_address
from agent.bridges.events import AliasKind, ChatAddress
from messaging import control
from messaging.inbound import receive_message, receive_own_message
from messaging.models import Contact, Conversation, Fact, Message
from messaging.outbound import conversation_by_phone, send_text
from sessions_app.models import WhatsAppSession
from tests.conftest import as_user, message_event

PAIRS = [
    ("5511988840001", "551188840001"),
    ("5215512349999", "525512349999"),
    ("5491123456789", "541123456789"),
]
BOTH_WAYS = [*PAIRS, *((second, first) for first, second in PAIRS)]


def jid(digits: str) -> str:
    return f"{digits}@s.whatsapp.net"


@pytest.mark.parametrize(("written_to", "answers_from"), BOTH_WAYS)
def test_an_answer_under_the_other_spelling_comes_to_the_same_conversation(session, says, written_to, answers_from):
    conversation = conversation_by_phone(session=session, phone=f"+{written_to}")
    send_text(conversation=conversation, text="Hello")
    answer = says("Hi", chat=jid(answers_from))
    conversation = Conversation.objects.get()
    assert answer.due_at is None  # a person has control
    assert conversation.control == "human"
    assert conversation.address == jid(answers_from)
    assert set(conversation.contact.aliases.values_list("value", flat=True)) == {f"+{written_to}", f"+{answers_from}"}
    assert [message.text for message in conversation.messages.order_by("created_at")] == ["Hello", "Hi"]


@pytest.mark.parametrize(("first", "second"), BOTH_WAYS)
def test_who_wrote_first_is_written_to_under_the_address_they_wrote_from(session, says, first, second):
    says("Hi", chat=jid(first))
    conversation = conversation_by_phone(session=session, phone=f"+{second}")
    assert conversation == Conversation.objects.get()
    assert conversation.address == jid(first)


def test_the_second_message_under_the_other_spelling_costs_one_query(says):
    says("one", chat=jid("5511988840001"))
    says("two", chat=jid("551188840001"))
    with CaptureQueriesContext(connection) as queries:
        says("three", chat=jid("551188840001"))
    assert len(queries) == 1


def test_what_our_phone_writes_under_the_other_spelling_takes_over_the_same_conversation(bridge, says):
    says("Hi", chat=jid("551188840001"))
    receive_own_message(
        bridge=bridge, event=message_event("I am here", number=9, chat=jid("5511988840001"), outbound=True)
    )
    assert Conversation.objects.get().control == "human"


def test_a_block_holds_under_the_other_spelling(says):
    says("Hi", chat=jid("5511988840001"))
    Contact.objects.update(is_blocked=True)
    says("Hi again", chat=jid("551188840001"))
    assert Message.objects.get(text="Hi again").unanswered == "policy"


def test_who_is_allowed_is_answered_under_the_other_spelling(says):
    WhatsAppSession.objects.update(access_policy="listed")
    says("Hi", chat=jid("5511988840001"))
    Contact.objects.update(is_allowed=True)
    assert says("Hi again", chat=jid("551188840001")).due_at is not None


def test_the_writer_in_a_group_is_the_contact_of_the_other_spelling(says):
    says("Hi", chat=jid("5511988840001"))
    says("Hello all", chat="120363041234567890@g.us", sender=jid("551188840001"))
    assert Message.objects.get(text="Hello all").sender == Contact.objects.get(is_group=False)


def test_a_hidden_number_that_the_bridge_ties_to_the_other_spelling_is_the_same_person(says):
    hidden = ChatAddress("99887766@lid", AliasKind.LID)
    says("by phone", chat=jid("5511988840001"))
    says("hidden", chat=hidden, sender=hidden)
    tied = ChatAddress("99887766@lid", AliasKind.LID, alternates=(read_address(jid("551188840001")),))
    says("both", chat=tied, sender=tied)
    assert Conversation.objects.get().messages.count() == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_spellings_that_write_at_once_become_one_contact(bridge, session, first, second):
    def receive(number: int) -> None:
        try:
            chat = jid(first if number % 2 else second)
            for _ in range(3):
                try:
                    receive_message(bridge=bridge, event=message_event("Hello", number=number, chat=chat))
                    return
                except Conversation.DoesNotExist:  # the address changed at this moment; the inbox tries again
                    continue
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(receive, range(8)))
    assert (Contact.objects.count(), Conversation.objects.count()) == (1, 1)


# --- twins of before ----------------------------------------------------------------------------------------------


def twin(session: WhatsAppSession, digits: str, **values: object) -> Contact:
    contact = Contact.objects.create(session=session, phone=f"+{digits}", **values)
    contact.aliases.create(session=session, kind="phone", value=f"+{digits}")
    Conversation.objects.create(session=session, contact=contact, address=jid(digits))
    return contact


def doctor(*arguments: str) -> str:
    out = io.StringIO()
    call_command("contacts_doctor", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def twins(session, says):
    """Two contacts of one person, who wrote to both; the first is blocked, the second a person's."""
    first, second = twin(session, "5511988840001", is_blocked=True), twin(session, "551188840001", name="Ana")
    says("old", chat=jid("5511988840001"))
    says("new", chat=jid("551188840001"))
    Fact.objects.create(contact=first, text="likes tea", proposed_by="staff")
    Fact.objects.create(contact=second, text="likes cake", proposed_by="staff")
    control.take_over(conversation=first.conversation)
    control.mute(conversation=second.conversation, until=timezone.now() + timedelta(hours=1))
    return first, second


def test_twins_are_listed_and_left_alone(twins):
    listed = doctor()
    assert "+5511988840001" in listed
    assert "+551188840001" in listed
    assert "--merge" in listed
    assert Contact.objects.count() == 2


def test_merged_twins_keep_messages_facts_block_name_and_the_stricter_control(twins):
    doctor("--merge")
    contact = Contact.objects.get()
    conversation = Conversation.objects.get()
    assert set(conversation.messages.values_list("text", flat=True)) == {"old", "new"}
    assert set(contact.facts.values_list("text", flat=True)) == {"likes tea", "likes cake"}
    assert (contact.is_blocked, contact.name) == (True, "Ana")
    assert (conversation.control, conversation.control_until) == ("human", None)  # longer than an hour of mute
    assert conversation.address == jid("551188840001")  # last written from
    assert doctor() == "No twins found.\n"


def test_only_the_named_twins_are_merged(twins, session):
    for digits in ("5521988840002", "552188840002"):
        twin(session, digits)
    doctor("--merge", "+5521988840002")
    assert Contact.objects.filter(phone__startswith="+5511").count() == 2
    assert Contact.objects.filter(phone__startswith="+5521").count() == 1


def test_argentine_twins_who_both_wrote_are_merged_only_by_name(session, says):
    for digits in ("5491123456789", "541123456789"):
        twin(session, digits)
        says("Hello", chat=jid(digits))
    assert "two people" in doctor("--merge")
    assert Contact.objects.count() == 2
    doctor("--merge", "+5491123456789")
    assert Contact.objects.count() == 1


def test_a_landline_and_the_mobile_with_a_nine_before_it_are_no_twins(session):
    for digits in ("551133334444", "5511933334444"):
        twin(session, digits)
    assert doctor("--merge") == "No twins found.\n"
    assert Contact.objects.count() == 2


def test_the_same_person_at_two_sessions_is_no_twin(session, bridge, profile):
    other = WhatsAppSession.objects.create(bridge=bridge, name="other", agent_profile=profile)
    twin(session, "5511988840001")
    twin(other, "551188840001")
    assert doctor() == "No twins found.\n"


# --- names --------------------------------------------------------------------------------------------------------


def named(name: str) -> ChatAddress:
    return ChatAddress(jid("5511988887777"), AliasKind.PHONE, phone="+5511988887777", name=name)


def names() -> tuple[str, str]:
    contact = Contact.objects.get()
    return contact.name, contact.bridge_name


def test_a_contact_is_called_what_the_bridge_last_called_them(says):
    says("Hi", chat=named("Ana"))
    says("Hi", chat=named("Ana Maria"))
    assert names() == ("Ana Maria", "Ana Maria")


def test_a_name_given_by_staff_stays_and_the_bridges_name_is_stored_beside_it(says, member):
    says("Hi", chat=named("Ana"))
    contact = Contact.objects.get()
    answer = as_user(member).patch(f"/api/v1/contacts/{contact.pk}/", {"name": "Customer 12"}, format="json")
    says("Hi", chat=named("Ana Maria"))
    assert answer.status_code == 200
    assert names() == ("Customer 12", "Ana Maria")


def test_a_name_that_staff_gave_up_is_the_bridges_again(says, member):
    says("Hi", chat=named("Ana"))
    Contact.objects.update(name="Customer 12")
    contact = Contact.objects.get()
    as_user(member).patch(f"/api/v1/contacts/{contact.pk}/", {"name": ""}, format="json")
    assert names() == ("Ana", "Ana")
    says("Hi", chat=named("Bea"))
    assert names() == ("Bea", "Bea")


def test_a_text_of_a_contact_whom_staff_renamed_costs_one_query(says):
    says("Hi", chat=named("Ana"))
    Contact.objects.update(name="Customer 12")
    with CaptureQueriesContext(connection) as queries:
        says("Hi", chat=named("Ana"))
    assert len(queries) == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_our_own_name_never_becomes_the_customers(says, bridge, session, is_known):
    if is_known:
        says("Hi", chat=named("Ana"))
    own = message_event("Hello from the shop", number=9, chat=named("The Shop"), outbound=True)
    receive_own_message(bridge=bridge, event=own)
    assert names() == (("Ana", "Ana") if is_known else ("", ""))


def test_twins_keep_the_name_that_staff_gave(session):
    twin(session, "5511988840001", name="ana ✨", bridge_name="ana ✨")
    twin(session, "551188840001", name="Customer 12", bridge_name="ana ✨")
    doctor("--merge")
    assert Contact.objects.get().name == "Customer 12"
