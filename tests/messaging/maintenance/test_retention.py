"""`manage.py prune`: what is older than it is to be kept is deleted, in batches."""

import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from commands.models import CommandRun
from messaging.maintenance import retention
from messaging.models import DailyRun, Fact, Media, Message, SearchEntry, Summary, ToolCall, Turn, UnindexedMessage
from messaging.search.index import index_waiting

pytestmark = pytest.mark.django_db(transaction=True)
OLD = timedelta(days=100)


@pytest.fixture(autouse=True)
def media_root(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def prune(*arguments: str) -> dict:
    out = io.StringIO()
    call_command("prune", "--json", *arguments, stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())["deleted"]


def message(conversation, *, age=timedelta(), **values):
    at = timezone.now() - age
    defaults = {"direction": "inbound", "author": "contact", "status": "handled", "text": "Hello"}
    return Message.objects.create(
        session=conversation.session, conversation=conversation, said_at=at, created_at=at, **defaults | values
    )


def test_old_messages_are_deleted_and_new_ones_stay(conversation):
    for _ in range(130):  # more than one batch
        message(conversation, age=OLD)
    new = message(conversation)
    index_waiting(limit=500)
    assert prune("--messages", "90d") == {"messages": 130}
    assert list(Message.objects.all()) == [new]
    assert list(SearchEntry.objects.values_list("message", flat=True)) == [new.pk]


@pytest.mark.parametrize("status", ["received", "queued", "sending"])
def test_what_has_to_be_answered_or_sent_stays(conversation, status):
    message(conversation, age=OLD, status=status)
    assert prune("--messages", "90d") == {"messages": 0}


def test_what_refers_to_a_deleted_message_stays_without_it(conversation):
    old = message(conversation, age=OLD)
    reply = message(conversation, quoted=old)
    fact = Fact.objects.create(contact=conversation.contact, text="likes tea", proposed_by="contact", message=old)
    prune("--messages", "90d")
    reply.refresh_from_db()
    fact.refresh_from_db()
    assert (reply.quoted, fact.message) == (None, None)
    assert not UnindexedMessage.objects.filter(message_id=old.pk).exists()


def test_a_dry_run_counts_and_deletes_nothing(conversation):
    message(conversation, age=OLD)
    assert prune("--messages", "90d", "--dry-run") == {"messages": 1}
    assert Message.objects.exists()


def test_old_files_are_deleted_and_their_messages_stay(conversation):
    media = Media.objects.create(
        message=message(conversation, age=OLD), filename="a.pdf", ref="secret", created_at=timezone.now() - OLD
    )
    media.file.save("a.pdf", ContentFile(b"x"))
    name = media.file.name
    assert prune("--media", "90d") == {"media": 1}
    media.refresh_from_db()
    assert (media.file.name, media.ref, default_storage.exists(name)) == ("", "", False)


def test_the_file_of_a_deleted_message_is_deleted_too(conversation):
    media = Media.objects.create(message=message(conversation, age=OLD))
    media.file.save("a.pdf", ContentFile(b"x"))
    prune("--messages", "90d")
    assert not default_storage.exists(media.file.name)


def test_turns_go_when_no_message_needs_them_and_take_their_tool_calls_along(conversation):
    at = timezone.now() - OLD
    unused = Turn.objects.create(conversation=conversation, outcome="command", started_at=at, created_at=at)
    used = Turn.objects.create(conversation=conversation, outcome="command", started_at=at, created_at=at)
    message(conversation, age=OLD, turn=used)
    for turn in (used, unused):
        ToolCall.objects.create(turn=turn, name="remember", status="done")
        CommandRun.objects.create(conversation=conversation, turn=turn, name="help", surface="tool", caller="model")
    assert prune("--turns", "90d") == {"turns": 1}
    assert list(Turn.objects.all()) == [used]
    assert ToolCall.objects.get().turn == used
    assert CommandRun.objects.filter(turn=None).count() == 1


def test_the_summary_in_use_stays(conversation):
    at = timezone.now() - OLD
    for version in (1, 2):
        Summary.objects.create(conversation=conversation, version=version, text="x", until=at, created_at=at)
    type(conversation).objects.update(summary_version=2)
    assert prune("--summaries", "90d") == {"summaries": 1}
    assert Summary.objects.get().version == 2


def test_command_runs_and_tool_calls_have_ages_of_their_own(conversation):
    at = timezone.now() - OLD
    CommandRun.objects.create(conversation=conversation, name="help", surface="api", caller="staff", created_at=at)
    assert prune("--command-runs", "90d", "--tool-calls", "90d") == {"command_runs": 1, "tool_calls": 0}


def test_nothing_is_deleted_by_default(conversation):
    message(conversation, age=OLD)
    with pytest.raises(CommandError, match="Nothing is set"):
        prune()
    retention.prune_daily()
    assert Message.objects.exists()


def test_the_engine_prunes_by_the_settings_once_a_day_over_all_processes_and_restarts(conversation, settings):
    settings.RETENTION_MESSAGES_DAYS = 90
    message(conversation, age=OLD)
    retention.prune_daily()
    assert not Message.objects.exists()
    message(conversation, age=OLD)
    due_at = DailyRun.objects.get().due_at  # all that another process knows
    assert timedelta(hours=23) < due_at - timezone.now() <= timedelta(hours=24)
    retention.prune_daily()
    assert Message.objects.exists()
    DailyRun.objects.update(due_at=timezone.now() - timedelta(seconds=1))  # the next day
    retention.prune_daily()
    assert not Message.objects.exists()


def test_a_daily_deletion_that_fails_is_done_again_within_the_hour(conversation, settings, monkeypatch):
    settings.RETENTION_MESSAGES_DAYS = 90

    def fail(ids):
        raise OSError("The disk is full.")

    message(conversation, age=OLD)
    with monkeypatch.context() as broken:
        broken.setitem(retention.kinds, "messages", replace(retention.kinds["messages"], delete=fail))
        with pytest.raises(OSError, match="full"):
            retention.prune_daily()
    assert DailyRun.objects.get().due_at - timezone.now() <= timedelta(hours=1)
    DailyRun.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    retention.prune_daily()
    assert not Message.objects.exists()


def test_every_kind_has_a_setting_that_is_off(settings):
    assert {getattr(settings, kind.setting) for kind in retention.kinds.values()} == {0}


def test_an_age_that_is_none_ends_the_command_with_an_error(db):
    with pytest.raises(CommandError, match="is no age"):
        prune("--messages", "old")


@pytest.mark.parametrize("what", ["--media", "--messages"])
def test_the_preview_of_an_old_image_is_deleted_with_it(conversation, what):
    media = Media.objects.create(message=message(conversation, age=OLD), created_at=timezone.now() - OLD)
    media.file.save("a.jpg", ContentFile(b"x"))
    media.preview.save("a.jpg", ContentFile(b"y"))
    prune(what, "90d")
    assert [default_storage.exists(name) for name in (media.file.name, media.preview.name)] == [False, False]


def test_an_old_file_that_was_never_fetched_is_not_fetched_any_more(conversation):
    old = timezone.now() - OLD
    Media.objects.create(
        message=message(conversation, age=OLD), ref="x", status="waiting", next_try_at=old, created_at=old
    )
    prune("--media", "90d")
    assert Media.objects.get().next_try_at is None
