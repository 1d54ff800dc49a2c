"""Received files are fetched in the background, once, bounded, and again where it may help."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from agent.bridges.events import Kind, MediaRef
from messaging.inbound import receive_message, receive_own_message
from messaging.media import fetching
from messaging.models import Media, Message
from sessions_app.models import Bridge
from tests.conftest import as_user, message_event
from tests.support.messaging.files import MP4, OGG

REF = MediaRef(ref="http://localhost:3000/api/files/sales/late", downloadable=True)


def due_again(media: Media) -> None:
    Media.objects.filter(pk=media.pk).exclude(next_try_at=None).update(next_try_at=timezone.now())


def try_until_it_ends(media: Media) -> Media:
    for _ in range(10):
        due_again(media)
        fetching.process(media.pk)
    media.refresh_from_db()
    assert media.next_try_at is None
    return media


def stored_files(settings) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_a_received_file_is_fetched_and_stored_with_its_true_type(receive):
    media = receive(MP4, kind=Kind.VIDEO, mime_type="video/quicktime")

    assert (media.status, media.mime_type, media.size_bytes, media.next_try_at) == (
        "ready",
        "video/mp4",
        len(MP4),
        None,
    )
    assert media.file.open().read() == MP4


def test_a_received_file_is_due_at_once_and_no_longer_when_it_is_fetched(receive):
    media = receive(MP4, is_fetched=False)

    assert fetching.due(limit=10) == [(media.pk, media.message.session_id)]
    fetching.process(media.pk)
    assert fetching.due(limit=10) == []


def test_a_file_that_is_being_fetched_is_not_fetched_by_another_process(receive, waha):
    media = receive(MP4, is_fetched=False)
    Media.objects.filter(pk=media.pk).update(next_try_at=timezone.now() + fetching.CLAIM)

    fetching.process(media.pk)

    assert not waha.requests


def test_a_file_whose_process_died_is_fetched_again(receive):
    media = receive(MP4, is_fetched=False)
    Media.objects.filter(pk=media.pk).update(tries=1, next_try_at=timezone.now() - timedelta(seconds=1))

    fetching.process(media.pk)

    media.refresh_from_db()
    assert media.status == "ready"


def test_a_file_that_ends_every_process_is_given_up(receive, settings):
    media = receive(MP4, is_fetched=False)
    Media.objects.filter(pk=media.pk).update(tries=settings.MEDIA_MAX_TRIES)

    fetching.process(media.pk)

    media.refresh_from_db()
    assert (media.status, media.error_code) == ("failed", "interrupted")


@pytest.mark.parametrize(
    "failure", [{"outcome": "drop_before"}, {"outcome": "error_500"}, {"outcome": "answer", "status": 502}]
)
def test_a_bridge_that_fails_is_asked_again_later(receive, waha, failure):
    waha.fail(call="file", times=1, **failure)
    media = receive(MP4)
    assert media.status == "waiting"
    assert media.next_try_at > timezone.now()

    due_again(media)
    fetching.process(media.pk)

    media.refresh_from_db()
    assert (media.status, media.error) == ("ready", "")


def test_a_bridge_that_fails_for_ever_is_not_asked_for_ever(receive, waha, settings):
    waha.fail("error_500", call="file")

    media = try_until_it_ends(receive(MP4))

    assert (media.status, bool(media.error)) == ("failed", True)
    assert len(waha.requests) == settings.MEDIA_MAX_TRIES


def test_a_file_that_is_gone_is_reported(receive, waha):
    media = receive(MP4, is_fetched=False)
    waha.files.clear()

    media = try_until_it_ends(media)

    assert (media.status, media.error_code) == ("failed", "not_found")


def test_a_file_larger_than_allowed_is_not_stored(receive, settings):
    settings.MEDIA_MAX_BYTES = 1000

    media = receive(MP4 + b"x" * 1000)

    assert (media.status, media.error_code, stored_files(settings)) == ("failed", "too_large", [])


def test_an_empty_file_is_not_stored(receive, settings):
    media = try_until_it_ends(receive(b""))

    assert (media.status, stored_files(settings)) == ("failed", [])


@pytest.mark.parametrize("name", ["", "invoice.pdf", "photo.jpg"])
def test_a_web_page_instead_of_a_file_is_not_stored(receive, settings, name):
    media = try_until_it_ends(receive(b"<!doctype html><title>502 Bad Gateway</title>", name))

    assert (media.status, media.error_code, stored_files(settings)) == ("failed", "not_a_file", [])


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"MZ\x90\x00" + b"\x00" * 60, "photo.jpg"), (b"no picture", "photo.png"), (b"alert(1)", "a.js")],
)
def test_a_program_or_a_mislabelled_file_is_not_stored(receive, settings, content, name):
    media = receive(content, name)

    assert (media.status, media.error_code, stored_files(settings)) == ("failed", "unsupported_file", [])


def test_a_file_of_a_type_that_is_not_allowed_is_not_stored(receive, settings):
    settings.MEDIA_TYPES = ["image/*", "application/pdf"]

    media = receive(MP4)

    assert (media.status, media.error_code, stored_files(settings)) == ("failed", "type_not_allowed", [])


def test_an_address_in_a_private_network_is_never_asked(says, waha, receive):
    receive(MP4, is_fetched=False)
    ref = MediaRef(ref="http://169.254.169.254/latest/meta-data", downloadable=True)
    media = Media.objects.get(message=says("", kind=Kind.IMAGE, media=ref).message_id)

    media = try_until_it_ends(media)

    assert media.status == "failed"
    assert not waha.requests


def test_the_name_of_a_file_cannot_lead_out_of_its_folder(receive, settings):
    media = receive(MP4, "../../../etc/cron.d/x.mp4")

    assert media.filename == "x.mp4"
    assert Path(media.file.path).is_relative_to(settings.MEDIA_ROOT)
    assert Path(media.file.path).name == f"{media.pk.hex}.mp4"


def test_a_message_that_comes_again_is_not_fetched_again(receive, says, conversation):
    media = receive(MP4)
    event = message_event("", number=1, kind=Kind.DOCUMENT, media=MediaRef(ref=media.ref, downloadable=True))

    receive_again(event)

    assert fetching.due(limit=10) == []


def test_a_file_that_its_bridge_names_later_is_fetched_then(says, waha, conversation):
    message = says("", kind=Kind.IMAGE, media=MediaRef())
    waha.files["/api/files/sales/late"] = MP4
    media = Media.objects.get(message=message.message_id)
    Media.objects.filter(pk=media.pk).update(status="failed", next_try_at=None)

    receive_again(message_event("", number=1, kind=Kind.IMAGE, media=REF))

    fetching.process(media.pk)
    media.refresh_from_db()
    assert media.status == "ready"


def receive_again(event) -> None:
    assert not receive_message(bridge=Bridge.objects.get(slug="default"), event=event).is_new


def test_what_the_owner_sends_from_the_phone_is_fetched_too(conversation, waha, bridge):
    waha.files["/api/files/sales/late"] = MP4
    event = message_event("", kind=Kind.VIDEO, media=REF, outbound=True, is_typed=True)

    receive_own_message(bridge=bridge, event=event)

    media = Media.objects.get()
    fetching.process(media.pk)
    media.refresh_from_db()
    assert (media.status, media.message.author) == ("ready", "phone")


def test_files_of_imported_history_are_not_fetched(says):
    says("", kind=Kind.IMAGE, media=REF, is_history=True)

    assert (Media.objects.get().status, fetching.due(limit=10)) == ("", [])


def test_a_bridge_that_hands_no_files_over_is_not_asked(says, bridge):
    Bridge.objects.filter(pk=bridge.pk).update(kind="zapw")
    bridge.kind = "zapw"
    says("", kind=Kind.IMAGE, media=MediaRef())

    assert (Media.objects.get().status, fetching.due(limit=10)) == ("", [])


def test_the_time_until_which_the_bridge_stores_the_file_is_known(receive):
    media = receive(OGG, is_fetched=False)

    assert media.expires_at - media.created_at == timedelta(seconds=180)


def test_the_file_of_a_message_deleted_meanwhile_is_not_left_behind(receive, settings, monkeypatch):
    media = receive(MP4, is_fetched=False)
    save = type(media.file).save

    def delete_message(self, *args, **kwargs):
        Message.objects.filter(pk=media.message_id).delete()
        save(self, *args, **kwargs)

    monkeypatch.setattr(type(media.file), "save", delete_message)

    fetching.process(media.pk)

    assert stored_files(settings) == []


@pytest.mark.django_db(transaction=True)
def test_two_workers_fetch_a_file_once(receive, waha):
    media = receive(MP4, is_fetched=False)
    ready = threading.Barrier(2)

    def work() -> None:
        ready.wait()
        fetching.process(media.pk)
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(waha.requests) == 1


def test_a_received_file_is_served_to_who_sees_its_conversation_and_to_nobody_else(receive, admin, stranger):
    media = receive(MP4, "clip.mp4")
    url = f"/api/v1/media/{media.pk}/"

    answer = as_user(admin).get(f"{url}content/")

    assert b"".join(answer.streaming_content) == MP4
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert as_user(admin).get(url).json()["status"] == "ready"
    assert [as_user(user).get(f"{url}content/").status_code for user in (stranger, None)] == [404, 401]


def test_a_file_that_is_not_fetched_yet_cannot_be_downloaded(receive, admin):
    media = receive(MP4, is_fetched=False)

    assert as_user(admin).get(f"/api/v1/media/{media.pk}/content/").status_code == 404
