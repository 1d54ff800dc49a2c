"""Chats that another program holds at the platform (Cloud API): named, silent, and answered again once given back."""

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from agent.bridges.events import AliasKind, ChatAddress, HandoverChanged
from agent.inbox import handle_event
from messaging import control
from messaging.contacts.merging import merge_contacts
from messaging.contacts.unmerging import unmerge
from messaging.models import Contact, Conversation, Message
from messaging.outbound import send_text
from tests.conftest import as_user, message_event

pytestmark = pytest.mark.django_db

ANA = ChatAddress("5511988887777", AliasKind.PHONE, phone="+5511988887777")
BIA = ChatAddress("5521977776666", AliasKind.PHONE, phone="+5521977776666")


@pytest.fixture
def receive(session: Any) -> Any:
    """Receive an event that the platform dates so many seconds ago."""
    count = 0

    def message(text: str, *, ago: float = 0, **values: Any) -> None:
        nonlocal count
        count += 1
        values = {"chat": ANA, "sender": ANA} | values
        event = message_event(text, number=count, age=timedelta(seconds=ago), **values)
        handle_event(bridge=session.bridge, event=event)

    return message


@pytest.fixture
def hand_over(session: Any) -> Any:
    def hand_over(*, to: str, ago: float = 0) -> None:
        event = HandoverChanged(
            session=session.name,
            chat=ANA,
            type="control_passed" if to == "us" else "control_taken",
            is_ours=to == "us",
            new_owner_role="" if to == "us" else to,
            at=timezone.now() - timedelta(seconds=ago),
        )
        handle_event(bridge=session.bridge, event=event)

    return hand_over


def state() -> tuple[str, str]:
    conversation = Conversation.objects.get()
    return conversation.control, conversation.external_controller


STANDBY: dict[str, Any] = {"is_standby": True, "answerable": False}


def test_the_program_that_takes_a_chat_is_named_in_the_api(hand_over: Any, receive: Any, member: Any):
    receive("Hi")
    hand_over(to="ai_agent")

    shown = as_user(member).get(f"/api/v1/conversations/{Conversation.objects.get().pk}/").json()
    listed = as_user(member).get("/api/v1/conversations/").json()["results"][0]
    assert (shown["control"], shown["external_controller"]) == ("muted", "ai_agent")
    assert listed["external_controller"] == "ai_agent"


def test_a_chat_that_is_passed_back_has_no_other_controller(hand_over: Any, receive: Any):
    receive("Hi")
    hand_over(to="ai_agent", ago=5)
    hand_over(to="us")

    assert state() == ("agent", "")


def test_handovers_that_come_in_the_wrong_order_end_as_the_platform_reports(hand_over: Any, receive: Any):
    receive("Hi", ago=20)
    hand_over(to="us", ago=5)
    hand_over(to="ai_agent", ago=10)

    assert state() == ("agent", "")


def test_a_message_of_a_chat_that_others_hold_reports_them_without_a_handover(receive: Any):
    receive("Hi", ago=9)
    receive("to the other", ago=5, **STANDBY)

    assert state() == ("muted", "another program")
    assert Message.objects.get(text="to the other").status == "handled"


def test_what_the_other_program_writes_shows_that_it_holds_the_chat(receive: Any):
    receive("Hi", ago=9)
    receive("from the other", ago=5, outbound=True, is_echo=True, **STANDBY)

    assert state() == ("muted", "another program")


def test_a_message_of_a_chat_that_others_hold_does_not_take_the_name_away(hand_over: Any, receive: Any):
    receive("Hi", ago=20)
    hand_over(to="ai_agent", ago=10)
    receive("to the other", ago=5, **STANDBY)

    assert state() == ("muted", "ai_agent")


def test_the_next_message_to_us_gives_the_chat_back_and_is_answered(hand_over: Any, receive: Any):
    receive("Hi", ago=20)
    Message.objects.update(status="handled")
    hand_over(to="ai_agent", ago=10)
    receive("to us again")

    assert state() == ("agent", "")
    assert Conversation.objects.due().exists()


def test_a_message_that_comes_late_does_not_give_the_chat_back(hand_over: Any, receive: Any):
    receive("Hi", ago=20)
    hand_over(to="ai_agent", ago=10)
    receive("sent before it was taken", ago=15)

    assert state() == ("muted", "ai_agent")


def test_a_message_that_comes_again_days_later_does_not_take_the_chat(receive: Any):
    receive("to the other", ago=100, **STANDBY)
    receive("to us", ago=50)
    receive("to the other, again", ago=90, **STANDBY)

    assert state() == ("agent", "")


def test_a_person_who_has_control_keeps_it_and_sees_who_else_does(hand_over: Any, receive: Any, member: Any):
    receive("Hi")
    control.take_over(conversation=Conversation.objects.get(), by=member)
    hand_over(to="ai_agent")
    assert state() == ("human", "ai_agent")

    hand_over(to="us")
    assert state() == ("human", "")


def expire_takeover(*, by: Any) -> None:
    conversation = Conversation.objects.get()
    control.take_over(conversation=conversation, by=by, until=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("name", ["ai_agent", "page_inbox"])
def test_a_takeover_that_ends_while_another_program_holds_the_chat_leaves_it_silent(
    hand_over: Any, receive: Any, member: Any, name: str
):
    receive("Hi", ago=30)
    expire_takeover(by=member)
    receive("to the person", ago=20)
    hand_over(to=name, ago=5)
    control.release_expired()
    assert state() == ("muted", name)
    assert not Conversation.objects.due().exists()

    hand_over(to="us")
    assert state() == ("agent", "")
    assert Conversation.objects.due().exists()


def test_a_mute_that_ends_while_another_program_holds_the_chat_ends_with_that_program(
    hand_over: Any, receive: Any, member: Any
):
    receive("Hi", ago=30)
    hand_over(to="ai_agent", ago=20)
    until = timezone.now() - timedelta(seconds=1)
    control.mute(conversation=Conversation.objects.get(), by=member, until=until, reason="muted by member")
    control.release_expired()
    assert control.release_expired() == 0
    assert state() == ("muted", "ai_agent")

    receive("to us again")
    assert state() == ("agent", "")


@pytest.mark.parametrize("holder", ["human", "muted"])
def test_a_release_by_staff_takes_the_chat_from_the_other_program(
    hand_over: Any, receive: Any, member: Any, holder: str
):
    receive("Hi", ago=30)
    if holder == "human":
        control.take_over(conversation=Conversation.objects.get(), by=member)
    hand_over(to="ai_agent", ago=5)
    assert state() == (holder, "ai_agent")

    as_user(member).post(f"/api/v1/conversations/{Conversation.objects.get().pk}/release/")
    assert state() == ("agent", "")

    receive("sent before the release", ago=3, **STANDBY)
    assert state() == ("agent", "")


def test_a_chat_that_the_other_program_takes_again_after_a_release_is_silent_again(hand_over: Any, receive: Any):
    receive("Hi", ago=30)
    hand_over(to="ai_agent", ago=5)
    control.release(conversation=Conversation.objects.get())
    receive("to the other", **STANDBY)

    assert state() == ("muted", "another program")


def test_a_mute_by_staff_outlasts_the_other_program(hand_over: Any, receive: Any, member: Any):
    receive("Hi")
    control.mute(conversation=Conversation.objects.get(), by=member, reason="muted by member")
    hand_over(to="ai_agent", ago=5)
    hand_over(to="us")

    assert state() == ("muted", "")


def test_a_message_of_staff_takes_the_chat_back(
    simulator: Any, hand_over: Any, receive: Any, session: Any, member: Any
):
    receive("Hi", ago=20)
    hand_over(to="ai_agent", ago=10)
    session.bridge = simulator
    session.save()

    send_text(conversation=Conversation.objects.get(), text="Bia here", by=member)

    assert state() == ("human", "")


def test_merged_contacts_are_held_elsewhere_if_either_is_and_are_as_before_when_separated(hand_over: Any, receive: Any):
    receive("Hi")
    receive("Hi", chat=BIA, sender=BIA)
    hand_over(to="ai_agent")
    ana, bia = Contact.objects.get(phone=ANA.phone), Contact.objects.get(phone=BIA.phone)

    merge = merge_contacts(keep=bia, lose=ana)
    assert merge is not None
    assert state() == ("muted", "ai_agent")
    unmerge(merge=merge)

    assert dict(Conversation.objects.values_list("contact__phone", "external_controller")) == {
        ANA.phone: "ai_agent",
        BIA.phone: "",
    }


def test_the_inbox_shows_who_holds_the_chat(hand_over: Any, receive: Any, staff_member: Any, log_in: Any):
    receive("Hi")
    hand_over(to="ai_agent <b>")

    page = (
        log_in(staff_member).get(reverse("inbox-conversation", args=[Conversation.objects.get().pk])).content.decode()
    )

    assert "Held at the platform by ai_agent &lt;b&gt;" in page
    assert '<span class="quiet">ai_agent &lt;b&gt; answers' in page
