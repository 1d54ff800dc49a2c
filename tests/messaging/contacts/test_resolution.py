"""Which contact an address belongs to, over random sequences of sightings: repetition changes nothing, no id has two
owners, and two people with a phone each are never merged without a person."""

import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import structlog
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts.locks import ContactGone
from messaging.contacts.lookup import resolve_contact
from messaging.control import ConversationGone
from messaging.inbound import receive_message
from messaging.models import Contact, ContactAlias, ContactMerge, Conversation, EarlyChange, Message
from tests.conftest import message_event
from whatsapp_agent.text.phones import canonical_phone

PHONES = ["+5511988887777", "+551188887777", "+5521977776666", "+5215512349999", "+525512349999"]
LIDS = ["281474976710655@lid", "281474976710111@lid", "281474976710222@lid"]
BSUIDS = ["BR.111", "BR.222", "BR.ENT.333"]
JIDS = ["12345@s.whatsapp.net"]
USERNAMES = [None, "@ana", "@bia"]


def one(value: str) -> ChatAddress:
    if value in PHONES:
        return ChatAddress(f"{value[1:]}@s.whatsapp.net", AliasKind.PHONE, phone=value)
    kind = AliasKind.LID if value in LIDS else AliasKind.BSUID if value in BSUIDS else AliasKind.JID
    return ChatAddress(value, kind)


def sighting(values: list[str], *, username: str | None = None, name: str | None = None) -> ChatAddress:
    """The first is the address; the bridge names the others together with it."""
    first, *others = map(one, values)
    return ChatAddress(first.address, first.kind, first.phone, name=name, alternates=tuple(others), username=username)


IDS = st.lists(st.sampled_from([*PHONES, *LIDS, *BSUIDS, *JIDS]), min_size=1, max_size=3, unique=True)
SIGHTINGS = st.builds(sighting, IDS, username=st.sampled_from(USERNAMES), name=st.sampled_from([None, "Ana", "Bia"]))
FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)


def owners() -> dict[Any, set[tuple[str, str]]]:
    """Return every contact with its aliases."""
    found = defaultdict(set)
    for contact, kind, value in ContactAlias.objects.values_list("contact", "kind", "value"):
        found[contact].add((kind, value))
    return dict(found)


def phones() -> dict[Any, str]:
    return {pk: canonical_phone(phone) for pk, phone in Contact.objects.exclude(phone="").values_list("pk", "phone")}


def merges() -> set[tuple[Any, Any]]:
    return set(ContactMerge.objects.filter(status="merged").values_list("contact", "merged_id"))


def assert_no_two_owners() -> None:
    aliases = list(ContactAlias.objects.values_list("session", "kind", "value"))
    assert len(aliases) == len(set(aliases))
    by_phone = defaultdict(set)
    for contact, value in ContactAlias.objects.filter(kind="phone").values_list("contact", "value"):
        by_phone[canonical_phone(value)].add(contact)
    assert [(phone, contacts) for phone, contacts in by_phone.items() if len(contacts) > 1] == []


@pytest.mark.django_db
@FEW
@given(st.lists(SIGHTINGS, min_size=1, max_size=8))
def test_a_sighting_that_comes_again_changes_nothing(session: Any, sightings: list[ChatAddress]):
    with transaction.atomic():
        for address in sightings:
            contact = resolve_contact(session=session, address=address)
            before = owners(), phones(), ContactMerge.objects.count()

            assert resolve_contact(session=session, address=address) == contact
            assert (owners(), phones(), ContactMerge.objects.count()) == before
        transaction.set_rollback(True)


@pytest.mark.django_db
@FEW
@given(st.lists(SIGHTINGS, min_size=1, max_size=8))
def test_no_id_has_two_owners_whatever_is_seen(session: Any, sightings: list[ChatAddress]):
    with transaction.atomic():
        for number, address in enumerate(sightings):
            event = message_event("Hi", number=number, chat=address, sender=address)
            result = receive_message(bridge=session.bridge, event=event)
            owner = Conversation.objects.get(pk=result.conversation_id).contact

            assert_no_two_owners()
            known = owners()[owner.pk]
            assert any((kind.value, value) in known for kind, value in address.aliases) or owner.phone
            assert Message.objects.count() == number + 1
        transaction.set_rollback(True)


@pytest.mark.django_db
@FEW
@given(st.lists(SIGHTINGS, min_size=1, max_size=8))
def test_two_contacts_with_a_phone_each_are_never_merged_by_themselves(session: Any, sightings: list[ChatAddress]):
    with transaction.atomic():
        for address in sightings:
            had, merged = phones(), merges()
            resolve_contact(session=session, address=address)
            for keep, lose in merges() - merged:
                assert had.get(keep, had.get(lose)) == had.get(lose, had.get(keep))
        transaction.set_rollback(True)


@pytest.mark.django_db
@FEW
@given(st.lists(st.sampled_from([*PHONES, *LIDS, *BSUIDS, *JIDS]), min_size=1, max_size=8), st.randoms())
def test_ids_that_are_seen_one_by_one_are_the_same_contacts_in_any_order(session: Any, seen: list[str], rng: Any):
    def partition(values: list[str]) -> set[frozenset[str]]:
        with transaction.atomic():
            found = defaultdict(set)
            for value in values:
                found[resolve_contact(session=session, address=one(value)).pk].add(value)
            transaction.set_rollback(True)
        return {frozenset(each) for each in found.values()}

    shuffled = seen + seen[: len(seen) // 2]
    rng.shuffle(shuffled)

    assert partition(seen) == partition(shuffled)


@pytest.mark.django_db
@FEW
@given(IDS, st.randoms())
def test_what_a_bridge_names_together_in_whichever_order_is_one_contact_unless_it_has_two_phones(
    session: Any, values: list[str], rng: Any
):
    together = list(values)
    rng.shuffle(together)
    numbers = {canonical_phone(value) for value in values if value in PHONES}
    with transaction.atomic():
        for value in values:
            resolve_contact(session=session, address=one(value))
        for order in (values, together, values):
            resolve_contact(session=session, address=sighting(order))
        assert Contact.objects.count() == max(1, len(numbers))
        assert ContactMerge.objects.filter(status="proposed").exists() == (len(numbers) > 1)
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_the_other_spelling_of_a_phone_stays_with_who_has_the_phone(session: Any):
    ana = resolve_contact(session=session, address=one(PHONES[0]))
    bia = resolve_contact(session=session, address=one(PHONES[2]))

    assert resolve_contact(session=session, address=sighting([PHONES[2], PHONES[1]])) == bia

    assert_no_two_owners()
    assert resolve_contact(session=session, address=one(PHONES[1])) == ana


MAY_CHANGE_MEANWHILE = (IntegrityError, Conversation.DoesNotExist, ContactGone, ConversationGone)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(4))
def test_sightings_that_come_twice_at_once_are_stored_once_and_leave_no_id_with_two_owners(
    bridge: Any, session: Any, seed: int
):
    rng = random.Random(seed)
    everything = [*PHONES, *LIDS, *JIDS]  # business-scoped ids move phones, so that a repetition may come elsewhere
    sightings = [sighting(rng.sample(everything, rng.randint(1, 3)), name=rng.choice(["Ana", None])) for _ in range(12)]
    events = [message_event("Hi", number=each, chat=seen, sender=seen) for each, seen in enumerate(sightings)]

    def receive(event: Any) -> None:
        try:
            for _ in range(20):  # the inbox tries three times, then the bridge posts again
                with suppress(*MAY_CHANGE_MEANWHILE):
                    receive_message(bridge=bridge, event=event)
                    return
            raise AssertionError("it was never stored")
        finally:
            connection.close()

    twice = events * 2
    rng.shuffle(twice)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(receive, twice))

    assert_no_two_owners()
    assert Message.objects.count() == len(events)
    assert not Conversation.objects.filter(contact=None).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("username", "is_changed_early"), [(None, False), ("@ana", False), (None, True)])
def test_it_is_logged_that_a_contact_was_created_once_and_without_the_number(
    bridge: Any, session: Any, username: Any, is_changed_early: bool
):
    seen = sighting([PHONES[0]], username=username, name="Ana")  # a username takes the long way
    events = [message_event("Hi", number=number, chat=seen, sender=seen) for number in range(2)]
    if is_changed_early:  # the message is stored after its contact
        EarlyChange.objects.create(
            session=session, provider_message_id=events[0].provider_message_id, is_revoked=True, at=timezone.now()
        )

    with structlog.testing.capture_logs() as logs:
        for event in events:
            receive_message(bridge=bridge, event=event)

    entries = [entry for entry in logs if entry.get("decided_by") == "created"]
    contact = Contact.objects.get()
    assert [(each["event"], each["contact"], each["session"]) for each in entries] == [
        ("contact_resolved", str(contact.pk), str(session.pk))
    ]
    assert not any(part in str(logs) for part in ("5511988887777", "@ana"))
