"""`manage.py demo_data`: a small shop to look at the inbox."""

from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from django.core.management import CommandError, call_command
from django.db.models.signals import post_save
from django.utils import timezone

from accounts.models import User
from agent.dashboard.figures import read_figures
from agent.dashboard.views import period_of
from messaging.management.demo_business import SHOP
from messaging.models import Contact, Conversation, Knowledge, Media, Message, MessageTemplate, Note, Turn
from sessions_app.drafts import changes_of, load_draft
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


def test_it_fills_each_page_that_staff_work_on(bridges: None) -> None:
    call_command("demo_data")
    shop = WhatsAppSession.objects.get(name=SHOP)
    failed = Turn.objects.get(outcome=Turn.Outcome.FAILED)
    assert (failed.conversation.needs_attention, failed.messages.count()) == (True, 1)
    assert (Knowledge.objects.count(), MessageTemplate.objects.filter(session=shop).count()) == (3, 2)
    assert shop.agent_profile is not None
    draft = load_draft(shop.agent_profile)
    assert [change.name for change in changes_of(shop.agent_profile, draft)] == ["instructions"]


def test_its_dashboard_has_figures_of_each_day_of_a_week_and_none_of_the_future(bridges: None, admin: User) -> None:
    call_command("demo_data")
    week = read_figures(admin, period_of("7d", now=timezone.localtime()))
    assert len(week.messages) >= 6
    assert (week.exchanges["agent"] > 20, week.exchanges["people"] > 3, len(week.staff)) == (True, True, 2)
    assert not Message.objects.filter(said_at__gt=timezone.now()).exists()


def test_what_fails_in_the_middle_leaves_neither_rows_nor_files(bridges: None, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path

    def stop(sender: type, **_: Any) -> None:
        assert any(path.is_file() for path in tmp_path.rglob("*"))
        raise KeyboardInterrupt

    post_save.connect(stop, sender=Media)
    try:
        with pytest.raises(KeyboardInterrupt):
            call_command("demo_data")
    finally:
        post_save.disconnect(stop, sender=Media)
    assert counts() == (0,) * len(counts())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
