"""Writing to a number that nobody wrote from yet: the bridge is asked if it is on WhatsApp, and how it is spelled."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import reverse

from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeConfig
from messaging.models import Contact, Conversation, Message
from sessions_app.models import Bridge
from tests.conftest import as_user
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha

URL = "/api/v1/messages/"
TYPED, SPELLED = "+5511988840001", "551188840001"


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges: None, waha: FakeWaha) -> Bridge:
    return connect_default_bridge("waha", waha)


def answer(waha: FakeWaha, **number: Any) -> None:
    waha.fail("answer", call="number", status=200, body=json.dumps(number))


def asked(waha: FakeWaha) -> int:
    return sum(request.path == "/api/contacts/check-exists" for request in waha.requests)


def send(user: Any, session: Any, to: str = TYPED, **headers: str) -> Any:
    body = {"session": str(session.pk), "to": to, "text": "Hello"}
    return as_user(user).post(URL, body, format="json", headers=headers)


def test_a_number_that_is_not_on_whatsapp_is_refused_and_leaves_nothing(member: Any, session: Any, waha: FakeWaha):
    answer(waha, numberExists=False)

    refused = send(member, session)

    assert (refused.status_code, refused.json()["code"]) == (409, "not_on_whatsapp")
    assert not Contact.objects.exists()
    assert not Message.objects.exists()


def test_a_new_number_is_written_to_as_whatsapp_spells_it(member: Any, session: Any, waha: FakeWaha):
    answer(waha, numberExists=True, chatId=f"{SPELLED}@c.us")

    assert send(member, session).status_code == 201

    assert Contact.objects.get().phone == f"+{SPELLED}"
    assert Conversation.objects.get().address.startswith(SPELLED)


def test_a_number_that_whatsapp_hides_is_written_to_as_typed(member: Any, session: Any, waha: FakeWaha):
    answer(waha, numberExists=True, chatId="281474976710655@lid")

    assert send(member, session).status_code == 201
    assert Contact.objects.get().phone == TYPED


@pytest.mark.parametrize("chat_id", [{}, {"chatId": None}, {"chatId": "nonsense"}])
def test_a_number_that_exists_without_a_readable_address_is_not_refused(
    member: Any, session: Any, waha: FakeWaha, chat_id: dict[str, Any]
):
    answer(waha, numberExists=True, **chat_id)

    assert send(member, session).status_code == 201
    assert Contact.objects.get().phone == TYPED


@pytest.mark.parametrize("kind", ["waha", "evolution"])
def test_a_number_is_looked_up_for_five_seconds_at_most(kind: str):
    request = next(ADAPTERS[kind](BridgeConfig()).check_number(session="sales", phone=TYPED))

    assert request.timeout_s == 5


def test_a_contact_that_is_known_is_not_asked_about(member: Any, session: Any, waha: FakeWaha, says: Any):
    says("Hi")
    answer(waha, numberExists=False)

    assert send(member, session, to="+5511988887777").status_code == 201
    assert asked(waha) == 0


@pytest.mark.parametrize("outcome", ["error_500", "drop_before", "nonsense", "redirect"])
def test_a_bridge_that_cannot_say_refuses_nothing(member: Any, session: Any, waha: FakeWaha, outcome: str):
    waha.fail(outcome, call="number")

    assert send(member, session).status_code == 201
    assert Contact.objects.get().phone == TYPED


def test_a_bridge_that_cannot_look_numbers_up_is_not_asked(member: Any, session: Any, bridge: Bridge, waha: FakeWaha):
    Bridge.objects.filter(pk=bridge.pk).update(kind="zapw")

    assert send(member, session).status_code == 201
    assert asked(waha) == 0


def test_a_request_that_is_sent_twice_asks_and_sends_once(member: Any, session: Any, waha: FakeWaha):
    first = send(member, session, **{"Idempotency-Key": "one"})
    answer(waha, numberExists=False)
    again = send(member, session, **{"Idempotency-Key": "one"})

    assert (first.status_code, again.status_code, again.json()["id"]) == (201, 201, first.json()["id"])
    assert Message.objects.count() == 1


def test_a_stranger_learns_nothing_of_a_number(stranger: Any, session: Any, waha: FakeWaha):
    assert send(stranger, session).status_code == 404
    assert asked(waha) == 0


def test_the_inbox_refuses_a_number_that_is_not_on_whatsapp(
    staff_member: Any, session: Any, waha: FakeWaha, log_in: Any
):
    answer(waha, numberExists=False)
    form = {"session": str(session.pk), "phone": TYPED, "text": "Hello"}

    refused = log_in(staff_member).post(reverse("inbox-start"), form)

    assert (refused.status_code, refused.json()["code"]) == (409, "not_on_whatsapp")
    assert not Contact.objects.exists()
