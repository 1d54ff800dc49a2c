"""The phones of people who are known by a hidden number alone are asked for in the background, once."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.utils import timezone

from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts import hidden_numbers
from messaging.contacts.hidden_numbers import look_up_phones
from messaging.models import Contact, ContactAlias, ContactMerge
from messaging.people.forgetting import forget_contact, request_forgetting
from sessions_app.models import Bridge, WhatsAppSession
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha

pytestmark = pytest.mark.django_db

DIGITS, PHONE = "281474976710655", "+5511988887777"
HIDDEN = ChatAddress(f"{DIGITS}@lid", AliasKind.LID)


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges: None, waha: FakeWaha) -> Bridge:
    return connect_default_bridge("waha", waha)


@pytest.fixture
def hidden(says: Any) -> Contact:
    says("hidden", chat=HIDDEN, sender=HIDDEN)
    return Contact.objects.get()


def asked(waha: FakeWaha) -> int:
    return sum("/lids/" in request.path for request in waha.requests)


def test_the_phone_of_a_hidden_number_is_asked_for_and_becomes_an_alias(hidden: Contact, waha: FakeWaha):
    waha.phones[DIGITS] = PHONE.removeprefix("+")

    assert look_up_phones() == 1

    hidden.refresh_from_db()
    assert hidden.phone == PHONE
    assert set(hidden.aliases.values_list("kind", "value")) == {("lid", HIDDEN.address), ("phone", PHONE)}


def test_a_phone_that_another_contact_has_makes_them_one_which_is_logged(hidden: Contact, waha: FakeWaha, says: Any):
    says("by phone")
    waha.phones[DIGITS] = PHONE.removeprefix("+")

    with structlog.testing.capture_logs() as logs:
        look_up_phones()

    assert Contact.objects.get().conversation.messages.count() == 2
    assert ContactMerge.objects.get().reason == "addresses"
    assert "contact_resolved" in [entry["event"] for entry in logs]
    assert PHONE not in str(logs)


def test_a_phone_that_the_bridge_does_not_know_is_asked_for_once(hidden: Contact, waha: FakeWaha):
    assert (look_up_phones(), look_up_phones()) == (0, 0)
    assert asked(waha) == 1


def test_a_bridge_that_fails_is_asked_again_later_and_not_for_everybody(hidden: Contact, waha: FakeWaha, says: Any):
    other = ChatAddress("281474976710111@lid", AliasKind.LID)
    says("other", chat=other, sender=other)
    waha.fail("error_500", call="lid")
    look_up_phones()
    assert asked(waha) == 1

    waha.heal()
    waha.phones[DIGITS] = PHONE.removeprefix("+")
    assert look_up_phones() == 1
    assert asked(waha) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda: WhatsAppSession.objects.update(status="disconnected"),
        lambda: WhatsAppSession.objects.update(ended_at=timezone.now()),
        lambda: Bridge.objects.update(kind="evolution"),
        lambda: Contact.objects.update(phone=PHONE),
        lambda: Contact.objects.update(forget_requested_at=timezone.now()),
    ],
    ids=["disconnected", "ended", "a bridge that cannot say", "a known phone", "being forgotten"],
)
def test_nobody_is_asked_about_where_it_is_no_use(hidden: Contact, waha: FakeWaha, change: Any):
    change()

    look_up_phones()

    assert asked(waha) == 0


@pytest.fixture
def while_asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Do something while the bridge is asked."""
    ask = hidden_numbers.call_bridge

    def patch(act: Any) -> None:
        def call(bridge: Bridge, steps: Any) -> Any:
            act()
            return ask(bridge, steps)

        monkeypatch.setattr(hidden_numbers, "call_bridge", call)

    return patch


def test_who_is_forgotten_while_the_bridge_is_asked_is_not_created_again(
    hidden: Contact, waha: FakeWaha, while_asked: Any
):
    waha.phones[DIGITS] = PHONE.removeprefix("+")
    while_asked(lambda: list(forget_contact(hidden)))

    assert look_up_phones() == 0

    assert asked(waha) == 1
    assert not Contact.objects.exists()
    assert not ContactAlias.objects.exists()


def test_who_is_being_forgotten_when_the_bridge_answers_gets_no_phone(
    hidden: Contact, waha: FakeWaha, while_asked: Any
):
    waha.phones[DIGITS] = PHONE.removeprefix("+")
    while_asked(lambda: request_forgetting(contact=hidden))

    assert look_up_phones() == 0

    assert asked(waha) == 1
    assert Contact.objects.get().phone == ""
    assert not ContactAlias.objects.filter(kind=AliasKind.PHONE).exists()
