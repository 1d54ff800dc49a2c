"""`manage.py demo_data`: a small shop to look at the inbox."""

from typing import Any

import phonenumbers
import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from messaging.management.demo_business import SHOP
from messaging.models import Contact, Conversation, Media, Message, Note, Turn
from sessions_app.models import WhatsAppSession


def counts() -> tuple[int, ...]:
    models: list[Any] = [WhatsAppSession, Contact, Conversation, Message, Media, Note, Turn, User]
    return tuple(model.objects.count() for model in models)


def test_a_shop_is_created_once(bridges: None, capsys: Any) -> None:
    call_command("demo_data")
    first = counts()
    call_command("demo_data")
    assert (counts(), f"{SHOP} is there already." in capsys.readouterr().out) == (first, True)
    assert Conversation.objects.count() >= 12


def test_nothing_of_it_leaves_or_is_answered(bridges: None) -> None:
    call_command("demo_data")
    assert set(WhatsAppSession.objects.values_list("bridge__kind", flat=True)) == {"simulator"}
    assert not Conversation.objects.exclude(due_at=None).exists()
    assert not Message.objects.filter(status__in=["received", "queued", "sending"]).exists()


def test_its_phones_are_of_the_range_reserved_for_drama(bridges: None) -> None:
    call_command("demo_data")
    phones = {*Contact.objects.exclude(phone="").values_list("phone", flat=True),
              *WhatsAppSession.objects.values_list("phone", flat=True)}  # fmt: skip
    assert all(phone.startswith("+447700900") for phone in phones), phones
    assert all(phonenumbers.is_possible_number(phonenumbers.parse(phone)) for phone in phones)


def test_a_database_with_conversations_is_refused(conversation: Conversation) -> None:
    with pytest.raises(CommandError, match="has conversations"):
        call_command("demo_data")
    assert list(Conversation.objects.all()) == [conversation]
    call_command("demo_data", force=True)
    assert Conversation.objects.count() > 12


def test_its_colleagues_cannot_log_in(bridges: None) -> None:
    call_command("demo_data")
    assert not any(user.has_usable_password() for user in User.objects.all())
