"""A phone number that passes to another person does not find the one who had it, whichever event comes first."""

from typing import Any

import pytest

from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts.lookup import find_contact_by_phone, record_changed_id
from messaging.contacts.merging import merge_contacts
from messaging.models import Contact, ContactMerge, Conversation, Message
from sessions_app.models import WhatsAppSession

pytestmark = pytest.mark.django_db

PHONE, NEW_PHONE = "+5511988887777", "+5521977776666"
ANA_ID, ANA_NEW_ID, BOB_ID = "BR.111", "BR.222", "BR.333"


def by_id(*ids: str, phone: str = "") -> ChatAddress:
    """An address as the Cloud API gives it: the phone if it is shown, and business-scoped ids."""
    others = [ChatAddress(each, AliasKind.BSUID) for each in ids]
    if phone:
        return ChatAddress(phone.removeprefix("+"), AliasKind.PHONE, phone=phone, alternates=tuple(others))
    return ChatAddress(others[0].address, AliasKind.BSUID, alternates=tuple(others[1:]))


@pytest.fixture
def writes(says: Any) -> Any:
    def write(text: str, *ids: str, phone: str = "") -> Conversation:
        kept = says(text, chat=by_id(*ids, phone=phone), sender=by_id(*ids, phone=phone))
        return Conversation.objects.get(pk=kept.conversation_id)

    return write


def changes_id(session: WhatsAppSession, old: str = ANA_ID, new: str = ANA_NEW_ID) -> None:
    record_changed_id(session=session, old=by_id(old), new=by_id(new))


def texts(conversation: Conversation) -> list[str]:
    return list(Message.objects.filter(conversation=conversation).order_by("said_at").values_list("text", flat=True))


def test_the_next_owner_of_a_number_is_a_new_contact_after_the_first_has_another_id(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    changes_id(session)
    bob = writes("Bob", BOB_ID, phone=PHONE)

    assert (texts(ana), texts(bob)) == (["Ana"], ["Bob"])
    assert find_contact_by_phone(session=session, phone=PHONE) == bob.contact


def test_the_next_owner_of_a_number_is_a_new_contact_before_the_event_of_the_first_comes(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    bob = writes("Bob", BOB_ID, phone=PHONE)
    changes_id(session)
    later = writes("Ana again", ANA_NEW_ID)

    assert (texts(ana), texts(bob)) == (["Ana", "Ana again"], ["Bob"])
    assert later == ana
    assert find_contact_by_phone(session=session, phone=PHONE) == bob.contact


def test_a_recycled_number_without_an_id_is_a_new_contact(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    changes_id(session)
    bob = writes("Bob", phone=PHONE)

    assert bob != ana


def test_a_recycled_number_in_its_other_spelling_is_a_new_contact(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    changes_id(session)
    bob = writes("Bob", BOB_ID, phone="+551188887777")

    assert bob != ana


def test_nothing_is_sent_to_the_number_that_somebody_else_has(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    writes("Bob", BOB_ID, phone=PHONE)
    ana.refresh_from_db()
    assert (ana.address, ana.contact.phone) == (ANA_ID, "")

    changes_id(session)
    ana.refresh_from_db()
    assert ana.address == ANA_NEW_ID


def test_a_person_with_another_id_is_found_by_both_and_by_the_number_they_write_from_then(session: Any, writes: Any):
    ana = writes("one", ANA_ID, phone=PHONE)
    changes_id(session)

    assert {writes("two", ANA_NEW_ID), writes("three", ANA_NEW_ID, phone=NEW_PHONE), writes("late", ANA_ID)} == {ana}
    assert Contact.objects.get().phone == NEW_PHONE


def test_an_event_that_comes_again_does_not_take_the_new_number_away(session: Any, writes: Any):
    writes("one", ANA_ID, phone=PHONE)
    changes_id(session)
    writes("two", ANA_NEW_ID, phone=NEW_PHONE)
    changes_id(session)

    assert Contact.objects.get().phone == NEW_PHONE


def test_who_wrote_under_the_new_id_before_its_event_is_the_same_person(session: Any, writes: Any):
    ana = writes("one", ANA_ID, phone=PHONE)
    writes("two", ANA_NEW_ID)
    changes_id(session)

    assert texts(ana) == ["one", "two"]
    assert ContactMerge.objects.get().status == "merged"
    assert writes("Bob", BOB_ID, phone=PHONE) != ana


def test_two_phones_of_one_person_wait_for_a_person_to_decide(session: Any, writes: Any):
    writes("one", ANA_ID, phone=PHONE)
    writes("two", ANA_NEW_ID, phone=NEW_PHONE)
    changes_id(session)

    merge = ContactMerge.objects.get()
    assert (merge.status, merge.reason) == ("proposed", "number_changed")
    assert Contact.objects.count() == 2


def test_a_number_that_changed_with_its_id_is_kept_when_the_event_of_the_id_follows(session: Any, writes: Any):
    writes("one", ANA_ID, phone=PHONE)
    record_changed_id(session=session, old=by_id(ANA_ID, phone=PHONE), new=by_id(ANA_NEW_ID, phone=NEW_PHONE))
    changes_id(session)

    contact = Contact.objects.get()
    assert contact.phone == NEW_PHONE
    assert find_contact_by_phone(session=session, phone=NEW_PHONE) == contact


def test_an_event_about_the_first_owner_does_not_change_the_next(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID)
    bob = writes("Bob", BOB_ID, phone=PHONE)
    record_changed_id(session=session, old=by_id(ANA_ID, phone=PHONE), new=by_id(ANA_NEW_ID, phone=NEW_PHONE))

    assert (ana.contact.phone, bob.contact.phone) == (NEW_PHONE, PHONE)


@pytest.mark.parametrize(
    ("first", "second"),
    [((ANA_ID, "BR.ENT.1"), (ANA_ID, "BR.ENT.2")), ((ANA_ID,), ("BR.ENT.1",)), ((), (ANA_ID,)), ((ANA_ID,), ())],
)
def test_a_number_whose_ids_do_not_contradict_each_other_stays_one_contact(
    writes: Any, first: tuple[str, ...], second: tuple[str, ...]
):
    assert writes("one", *first, phone=PHONE) == writes("two", *second, phone=PHONE)


def test_a_merged_contact_has_the_ids_of_both(session: Any, writes: Any):
    ana, bob = writes("Ana", ANA_ID, phone=PHONE), writes("Bob", BOB_ID)
    merge_contacts(keep=ana.contact, lose=bob.contact)

    assert writes("from either", BOB_ID, phone=PHONE) == ana


def test_a_message_of_the_first_owner_that_comes_late_leaves_the_number_to_the_next(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    bob = writes("Bob", BOB_ID, phone=PHONE)
    late = writes("Ana, late", ANA_ID, phone=PHONE)

    ana.refresh_from_db()
    bob.refresh_from_db()
    assert (texts(late), texts(bob)) == (["Ana", "Ana, late"], ["Bob"])
    assert (ana.address, ana.contact.phone) == (ANA_ID, "")
    assert (bob.address, bob.contact.phone) == (PHONE.removeprefix("+"), PHONE)
    assert find_contact_by_phone(session=session, phone=PHONE) == bob.contact
    assert writes("Bob again", BOB_ID, phone=PHONE) == bob


@pytest.mark.parametrize("spelling", [PHONE, "+551188887777"])
@pytest.mark.parametrize("bob_ids", [(), (BOB_ID,), None], ids=["without an id", "with an id", "nobody"])
def test_a_message_under_the_former_id_does_not_bring_the_number_back(
    session: Any, writes: Any, bob_ids: tuple[str, ...] | None, spelling: str
):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    changes_id(session)
    bob = None if bob_ids is None else writes("Bob", *bob_ids, phone=PHONE)
    late = writes("Ana, late", ANA_ID, phone=spelling)

    ana.refresh_from_db()
    assert texts(late) == ["Ana", "Ana, late"]
    assert (ana.address, ana.contact.phone) == (ANA_NEW_ID, "")
    assert find_contact_by_phone(session=session, phone=PHONE) == (bob.contact if bob else None)


def test_a_message_under_the_former_id_and_number_does_not_take_the_new_number_away(session: Any, writes: Any):
    ana = writes("one", ANA_ID, phone=PHONE)
    record_changed_id(session=session, old=by_id(ANA_ID, phone=PHONE), new=by_id(ANA_NEW_ID, phone=NEW_PHONE))
    assert writes("late", ANA_ID, phone=PHONE) == ana

    ana.refresh_from_db()
    assert (ana.address, ana.contact.phone) == (ANA_NEW_ID, NEW_PHONE)
    assert writes("two", ANA_NEW_ID, phone=NEW_PHONE) == ana
    ana.refresh_from_db()
    assert ana.address == NEW_PHONE.removeprefix("+")


def test_a_number_that_somebody_hid_so_far_passes_to_them_when_they_show_it(session: Any, writes: Any):
    ana = writes("Ana", ANA_ID, phone=PHONE)
    bob = writes("Bob", BOB_ID)

    assert writes("Bob shows it", BOB_ID, phone=PHONE) == bob
    ana.refresh_from_db()
    assert ana.address == ANA_ID


def test_a_first_owner_who_is_known_by_a_parent_id_alone_is_not_written_to_at_the_number(writes: Any):
    ana = writes("Ana", "BR.ENT.1", phone=PHONE)
    bob = writes("Bob", "BR.ENT.2", phone=PHONE)

    ana.refresh_from_db()
    assert bob != ana
    assert (ana.address, ana.contact.phone) == ("BR.ENT.1", "")
