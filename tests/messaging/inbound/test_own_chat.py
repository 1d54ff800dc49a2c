"""The chat of a number with itself, by phone or hidden number, and what only seems to be it."""

from typing import Any

import pytest

from agent import inbox
from agent.bridges.addresses import read_address
from agent.bridges.events import AliasKind, ChatAddress, MessageEdited, MessageRevoked
from agent.turns import turn as turns
from commands.callers import is_owner
from messaging.models import Contact, ContactAlias, Conversation, EarlyChange, Message
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import CUSTOMER, message_event

OWN = "5511999990000@s.whatsapp.net"
OWN_LID = "990000000000001@lid"
OTHER = "281474976710655@lid"
GROUP = "120363041234567890@g.us"
ID = "3EB00000000000000001"


@pytest.fixture
def own(session: WhatsAppSession) -> WhatsAppSession:
    Bridge.objects.update(kind="waha")  # zapw cannot write to hidden numbers
    WhatsAppSession.objects.update(phone="+5511999990000", lid=OWN_LID)
    session.refresh_from_db()
    return session


def changes(chat: str) -> list[MessageEdited | MessageRevoked]:
    where = {"session": "sales", "target_id": ID, "chat": read_address(chat), "outbound": True}
    return [MessageEdited(text="At six", **where), MessageRevoked(**where)]


def run(conversation: Conversation) -> None:
    while turns.take_turn(conversation.pk) is not None:
        pass


@pytest.mark.parametrize("chat", [OWN, OWN_LID])
@pytest.mark.parametrize("is_early", [False, True], ids=["after its message", "before its message"])
def test_a_change_that_names_us_as_the_chat_is_of_the_message_with_its_id(own: Any, chat: str, is_early: bool):
    events = [message_event("At five", number=1), *changes(chat)]
    for event in events[1:] + events[:1] if is_early else events:
        inbox.handle_event(bridge=own.bridge, event=event)

    message = Message.objects.get()
    assert (message.text, message.revoked_at is not None, message.unanswered) == ("At six", True, "kind")
    assert not EarlyChange.objects.exists()


@pytest.mark.parametrize("others", [[CUSTOMER, OTHER], [GROUP]], ids=["two people", "a group"])
def test_a_change_that_names_us_changes_no_message_that_may_be_anothers(own: Any, others: list[str]):
    for chat in others:
        inbox.handle_event(bridge=own.bridge, event=message_event("At five", number=1, chat=chat, sender=CUSTOMER))
    for event in changes(OWN):
        inbox.handle_event(bridge=own.bridge, event=event)

    assert set(Message.objects.values_list("text", "revoked_at")) == {("At five", None)}


def test_a_change_in_our_own_chat_is_of_the_message_there(own: Any):
    for chat in (OWN, CUSTOMER):
        inbox.handle_event(bridge=own.bridge, event=message_event("At five", number=1, chat=chat, outbound=True))
    for event in changes(OWN):
        inbox.handle_event(bridge=own.bridge, event=event)

    texts = dict(Message.objects.values_list("address", "text"))
    assert texts == {OWN: "At six", CUSTOMER: "At five"}


@pytest.mark.parametrize("changed", [{}, {"own_lid": OWN_LID}], ids=["known", "named by the event"])
def test_a_command_in_our_own_chat_by_hidden_number_is_the_owners(
    own: Any, conversation: Conversation, changed: dict[str, str]
):
    if changed:
        WhatsAppSession.objects.update(lid="")
    note = {"chat": OWN_LID, "outbound": True, **changed}
    inbox.handle_event(bridge=own.bridge, event=message_event("/pause @Ana", number=7, **note))
    place = Conversation.objects.exclude(pk=conversation.pk).get()
    run(place)

    conversation.refresh_from_db()
    assert (conversation.control, place.contact.phone) == ("muted", "+5511999990000")


def test_a_note_in_our_own_chat_by_hidden_number_mutes_nothing_and_is_one_chat_with_the_phone(own: Any):
    for number, chat in enumerate([OWN, OWN_LID, OWN], start=1):
        inbox.handle_event(bridge=own.bridge, event=message_event("buy milk", number=number, chat=chat, outbound=True))

    assert Conversation.objects.get().control == "agent"
    assert Message.objects.count() == 3


@pytest.mark.parametrize("policy", ["nobody", "listed"])
def test_a_command_in_our_own_chat_runs_whatever_the_access_policy(own: Any, conversation: Conversation, policy: str):
    WhatsAppSession.objects.update(access_policy=policy)
    note = message_event("/pause @Ana", number=7, chat=OWN, outbound=True)
    inbox.handle_event(bridge=own.bridge, event=note)
    inbox.handle_event(bridge=own.bridge, event=message_event("Hello", number=8))
    run(Conversation.objects.exclude(pk=conversation.pk).get())

    conversation.refresh_from_db()
    assert conversation.control == "muted"
    assert Message.objects.get(text="Hello").unanswered == "policy"


def test_a_command_in_our_own_chat_does_not_run_once_the_number_has_ended(own: Any, conversation: Conversation):
    WhatsAppSession.objects.update(ended_at=own.created_at)
    inbox.handle_event(bridge=own.bridge, event=message_event("/pause @Ana", number=7, chat=OWN, outbound=True))

    assert Message.objects.get().unanswered == "policy"


@pytest.mark.parametrize("is_known", [False, True], ids=["a new person", "beside our own chat"])
@pytest.mark.parametrize(
    "address",
    [
        ChatAddress(OTHER, AliasKind.LID, phone="+5511999990000"),
        ChatAddress(OWN, AliasKind.PHONE, phone="+5511999990000", alternates=(ChatAddress(OTHER, AliasKind.LID),)),
    ],
    ids=["a hidden number with our phone", "our phone with a hidden number"],
)
def test_a_hidden_number_that_is_not_ours_never_gets_our_phone(
    own: Any, bridge: Bridge, is_known: bool, address: ChatAddress
):
    if is_known:
        inbox.handle_event(bridge=bridge, event=message_event("buy milk", number=5, chat=OWN, outbound=True))
    inbox.handle_event(bridge=bridge, event=message_event("/pause", number=7, chat=address, own_phone=None))
    hidden = ContactAlias.objects.filter(value=OTHER).select_related("contact")

    assert all(not is_owner(session=own, contact=alias.contact) for alias in hidden)
    assert not Contact.objects.filter(aliases__value=OTHER).filter(aliases__value="+5511999990000").exists()
