"""Files that staff send as a contact in the simulator: stored, read, and given to the model as from any bridge."""

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agent.bridges.base import BridgeConfig, MessageRef
from agent.bridges.exchange import Refused
from agent.bridges.simulator import SimulatorBridge
from messaging.media import fetching
from messaging.media.files import unused
from messaging.models import Media
from sessions_app.models import WhatsAppSession
from tests.support.messaging.documents import docx, image

CHAT = "5511988887777@s.whatsapp.net"


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def number(simulator, profile) -> WhatsAppSession:
    return WhatsAppSession.objects.create(bridge=simulator, name="main", status="connected", agent_profile=profile)


def upload(client: Client, number: WhatsAppSession, content: bytes, name: str) -> Any:
    url = reverse("simulator-files", args=[number.pk])
    return client.post(url, {"file": SimpleUploadedFile(name, content)})


def send(client: Client, number: WhatsAppSession, content: bytes, name: str) -> Media:
    uploaded = upload(client, number, content, name).json()
    event = {"event": "message", "id": "AA", "chat": CHAT, "text": "Look", **uploaded}
    url = reverse("simulator-events", args=[number.pk])
    assert client.post(url, event, content_type="application/json").json()["kept"] == 1
    media = Media.objects.get()
    fetching.process(media.pk)
    media.refresh_from_db()
    return media


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (image(), "photo.jpg", "image"),
        (docx("Hello"), "a.docx", "document"),
        (b"OggS" + bytes(60), "note.ogg", "voice"),
    ],
)
def test_a_file_is_sent_as_the_contact_and_read(number, admin, log_in, content, name, kind):
    media = send(log_in(admin), number, content, name)
    assert (media.message.kind, media.message.text, media.status) == (kind, "Look", "ready")
    with media.file.open("rb") as file:
        assert file.read() == content


def test_a_hostile_file_of_the_simulator_ends_with_a_reason(number, admin, log_in):
    media = send(log_in(admin), number, b"MZ" + bytes(100), "setup.exe")
    assert (media.status, media.error_code) == ("failed", "unsupported_file")


def test_a_file_that_is_too_large_is_refused(number, admin, log_in, settings):
    settings.MEDIA_MAX_BYTES = 10
    assert upload(log_in(admin), number, b"x" * 11, "a.txt").status_code == 413


def test_only_operators_of_the_session_upload(number, staff_stranger, staff_viewer, client, log_in):
    assert upload(client, number, b"x", "a.txt").status_code == 401
    assert upload(log_in(staff_viewer), number, b"x", "a.txt").status_code == 403
    assert upload(log_in(staff_stranger), number, b"x", "a.txt").status_code == 404
    assert not default_storage.exists("simulator")


@pytest.mark.parametrize(
    "ref",
    ["../secrets.env", "simulator/../../secrets.env", "/etc/passwd", "2026/11/x.jpg", "", "simulator/" + "a" * 32],
)
def test_no_other_file_of_ours_is_handed_over(ref):
    with pytest.raises(Refused):
        SimulatorBridge(BridgeConfig()).fetch_media(
            session="main", ref=ref, address=CHAT, message=MessageRef("AA"), max_bytes=100
        )


def test_uploaded_files_are_purged_after_a_day(number, admin, log_in, monkeypatch):
    ref = upload(log_in(admin), number, b"x", "a.txt").json()["media"]["ref"]
    assert list(unused()) == []
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + timezone.timedelta(days=2))
    assert list(unused()) == [ref]
