"""A merge of two contacts is taken back exactly, whatever they have."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from agent.bridges.events import AliasKind, ChatAddress, Kind, MediaRef
from commands.models import CommandRun
from messaging import control
from messaging.contacts.lookup import resolve_contact, resolve_conversation
from messaging.contacts.merging import merge_contacts
from messaging.contacts.unmerging import unmerge
from messaging.inbound import receive_message, receive_own_message
from messaging.maintenance.retention import delete_turns
from messaging.models import (
    CallEvent,
    Contact,
    ContactMerge,
    Event,
    Fact,
    HeldMessage,
    Message,
    Note,
    Presence,
    Summary,
    ToolCall,
    Turn,
    UnindexedMessage,
)
from messaging.search.index import index_waiting
from tests.conftest import message_event

PHONE = ChatAddress("5511988887777@s.whatsapp.net", AliasKind.PHONE, phone="+5511988887777")
LID = ChatAddress("281474976710655@lid", AliasKind.LID)
GROUP = ChatAddress("120363041234567890@g.us", AliasKind.JID, is_group=True)
NOT_DUMPED = {ContactMerge, Event, UnindexedMessage}  # what a merge leaves behind on purpose

TEXTS = st.sampled_from(["Oi", "Tudo bem?", "quero 2"])
NUMBERS = st.integers(1, 4)  # few, so that both sides have messages with the same id
ACTIONS = st.one_of(
    st.tuples(st.just("writes"), TEXTS, NUMBERS),
    st.tuples(st.just("is written to"), TEXTS, NUMBERS),
    st.tuples(st.just("writes in the group"), TEXTS, NUMBERS),
    st.tuples(st.just("sends a file"), NUMBERS),
    st.tuples(st.just("is queued a reply"), TEXTS),
    st.tuples(st.just("is known for"), st.sampled_from(["likes tea", "likes cake"])),
    st.tuples(st.just("corrects"), st.sampled_from(["likes tea", "likes cake"])),
    st.tuples(
        st.just("has"), st.sampled_from(["note", "summary", "call", "turn", "command", "held message", "presence"])
    ),
    st.tuples(st.just("control"), st.sampled_from(["take_over", "mute", "release"])),
    st.tuples(st.just("is"), st.sampled_from([("is_blocked", True), ("is_allowed", True), ("name", "Ana")])),
    st.tuples(
        st.just("conversation is"),
        st.sampled_from(
            [
                ("labels", ["vip"]),
                ("labels", ["late", "vip"]),
                ("summary", "they asked for a price"),
                ("needs_attention", True),
                ("unread_count", 3),
                ("done_reason", "sold"),
            ]
        ),
    ),
)
LIVES = st.lists(st.tuples(st.sampled_from(["phone", "lid"]), ACTIONS), max_size=12)


def dump() -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    index_waiting(limit=1000)
    rows = {}
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            if model not in NOT_DUMPED and model._meta.managed:
                cursor.execute(f'SELECT to_jsonb(row)::text FROM "{model._meta.db_table}" row')  # noqa: S608
                rows[model._meta.label] = sorted(row for (row,) in cursor.fetchall())
    return rows


@contextmanager
def rolled_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def act(contact: Contact, address: ChatAddress, what: str, *values: Any) -> None:
    session, conversation = contact.session, contact.conversation
    bridge, profile = session.bridge, session.agent_profile
    match what, values:
        case "writes", (text, number):
            receive_message(bridge=bridge, event=message_event(text, number=number, chat=address, sender=address))
        case "is written to", (text, number):
            event = message_event(text, number=10 + number, chat=address, outbound=True)
            receive_own_message(bridge=bridge, event=event)
        case "writes in the group", (text, number):
            event = message_event(text, number=20 + number, chat=GROUP, sender=address)
            receive_message(bridge=bridge, event=event)
        case "sends a file", (number,):
            media = MediaRef(mime_type="image/png", ref="x", downloadable=True)
            event = message_event("", number=30 + number, chat=address, sender=address, kind=Kind.IMAGE, media=media)
            receive_message(bridge=bridge, event=event)
        case "is queued a reply", (text,):
            conversation.refresh_from_db()
            Message.objects.create(
                session=session, conversation=conversation, direction="outbound", author="agent", status="queued",
                text=text, control_epoch=conversation.control_epoch,
            )  # fmt: skip
        case "is known for", (text,):
            Fact.objects.get_or_create(contact=contact, text=text, forgotten_at=None, defaults={"proposed_by": "staff"})
        case "corrects", (text,):
            known = Fact.objects.filter(contact=contact, text=text).first()
            Fact.objects.create(
                contact=contact, text="drinks", proposed_by="model", corrects=known, forgotten_at=timezone.now()
            )
        case "has", ("note",):
            Note.objects.create(conversation=conversation, text="call back")
        case "has", ("summary",):
            version = Summary.objects.filter(conversation=conversation).count() + 1
            Summary.objects.create(conversation=conversation, version=version, text="a price", until=timezone.now())
        case "has", ("call",):
            call_id = f"call {CallEvent.objects.count()}"
            CallEvent.objects.create(
                session=session, conversation=conversation, provider_call_id=call_id, status="missed", at=timezone.now()
            )
        case "has", ("turn",):
            turn = Turn.objects.create(
                conversation=conversation, agent_profile=profile, outcome="answered", started_at=timezone.now()
            )
            ToolCall.objects.create(turn=turn, name="remember", status="done")
            Message.objects.filter(conversation=conversation, turn=None).update(turn=turn)
        case "has", ("command",):
            CommandRun.objects.create(
                conversation=conversation, contact=contact, name="help", surface="chat", status="done"
            )
        case "has", ("held message",):
            HeldMessage.objects.create(conversation=conversation, event={})
        case "has", ("presence",):
            user, _ = User.objects.get_or_create(username="mia")
            Presence.objects.get_or_create(conversation=conversation, user=user, defaults={"seen_at": timezone.now()})
        case "control", (change,):
            getattr(control, change)(conversation=conversation)
        case "is", ((name, value),):
            Contact.objects.filter(pk=contact.pk).update(**{name: value})
        case "conversation is", ((name, value),):
            type(conversation).objects.filter(pk=conversation.pk).update(**{name: value})


def two_contacts(session: Any) -> tuple[Contact, Contact]:
    contacts = [resolve_contact(session=session, address=address) for address in (PHONE, LID)]
    for contact, address in zip(contacts, (PHONE, LID), strict=True):
        resolve_conversation(contact=contact, address=address.address)
    return contacts[0], contacts[1]


def live(contacts: tuple[Contact, Contact], lives: list[Any]) -> None:
    for who, (what, *values) in lives:
        at = 0 if who == "phone" else 1
        act(Contact.objects.get(pk=contacts[at].pk), (PHONE, LID)[at], what, *values)


@pytest.mark.django_db
@given(lives=LIVES, is_reversed=st.booleans())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_merging_and_unmerging_changes_nothing_in_any_table(session: Any, lives: list[Any], is_reversed: bool):
    with rolled_back():
        contacts = two_contacts(session)
        live(contacts, lives)
        before = dump()
        keep, lose = reversed(contacts) if is_reversed else contacts

        merge = merge_contacts(keep=keep, lose=lose)
        assert merge is not None
        assert Contact.objects.filter(is_group=False).count() == 1
        json.dumps(merge.undo)
        dump()
        unmerge(merge=merge)

        after = dump()
        assert {name: rows for name, rows in after.items() if rows != before[name]} == {}
        assert before.keys() == after.keys()


@pytest.mark.django_db
def test_a_restored_row_forgets_what_was_deleted_since_the_merge(session: Any):
    contacts = keep, lose = two_contacts(session)
    user = User.objects.create_user("ana")
    both = [(who, each) for who in ("phone", "lid") for each in [("writes", "Oi", 1), ("has", "presence")]]
    live(contacts, [*both, ("lid", ("has", "turn"))])
    control.take_over(conversation=keep.conversation, by=user, until=timezone.now() + timedelta(hours=1))
    control.mute(conversation=lose.conversation)
    (repeated,) = Message.objects.filter(conversation=lose.conversation)
    assert repeated.turn is not None
    merge = merge_contacts(keep=keep, lose=lose)
    assert merge is not None
    delete_turns([repeated.turn_id])
    User.objects.all().delete()

    unmerge(merge=merge)

    connection.check_constraints()
    assert Message.objects.get(pk=repeated.pk).turn is None
    assert [row.conversation_id for row in Presence.objects.all()] == []
    kept = type(keep.conversation).objects.get(contact=keep)
    assert (kept.control, kept.controlled_by) == ("human", None)


@pytest.mark.django_db
@given(first=LIVES, second=LIVES)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_three_contacts_merged_one_after_the_other_come_apart_in_the_other_order(
    session: Any, first: list[Any], second: list[Any]
):
    with rolled_back():
        contacts = two_contacts(session)
        live(contacts, first)
        third = ChatAddress("99887766@lid", AliasKind.LID)
        other = resolve_contact(session=session, address=third)
        resolve_conversation(contact=other, address=third.address)
        before = dump()
        one = merge_contacts(keep=contacts[0], lose=contacts[1])
        live(
            (contacts[0], other), [life for life in second if life[0] == "lid" and life[1][0] != "writes in the group"]
        )
        between = dump()
        two = merge_contacts(keep=other, lose=contacts[0])
        assert one is not None
        assert two is not None

        unmerge(merge=ContactMerge.objects.get(pk=two.pk))
        assert dump() == between
        if not second:
            unmerge(merge=ContactMerge.objects.get(pk=one.pk))
            assert dump() == before
