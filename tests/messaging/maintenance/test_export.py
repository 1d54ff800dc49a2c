"""`manage.py export_conversation`: JSON, text and HTML, with the files in a .zip."""

import io
import json
import stat
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command

from messaging.models import Media, Message
from tests.support.messaging.files import PNG

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>\nsecond line"


@pytest.fixture(autouse=True)
def media_root(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def message(conversation):
    return Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        sender=conversation.contact,
        direction="inbound",
        author="contact",
        status="handled",
        kind="image",
        text=HOSTILE,
    )


@pytest.fixture
def media(message):
    media = Media.objects.create(message=message, filename='"><b>.png', mime_type="image/png")
    media.file.save("photo.png", ContentFile(PNG))
    return media


def export(conversation, *arguments: object) -> str:
    out = io.StringIO()
    call_command("export_conversation", str(conversation.pk), *map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_json_holds_every_message_with_its_text(conversation, message):
    data = json.loads(export(conversation, "--format", "json"))
    assert [each["text"] for each in data["messages"]] == [HOSTILE]
    assert data["contact"]["phone"] == "+5511988887777"


def test_an_empty_conversation_is_valid_json(conversation):
    assert json.loads(export(conversation, "--format", "json"))["messages"] == []


def test_text_indents_further_lines_so_that_nobody_can_forge_a_message(conversation, message):
    assert "Ana: <image> <script>alert(1)</script>\n    second line\n" in export(conversation)


def test_html_escapes_what_people_wrote(conversation, media):
    page = export(conversation, "--format", "html")
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_a_zip_holds_the_page_and_its_files(conversation, media, tmp_path: Path):
    file = tmp_path / "ana.zip"
    export(conversation, "--output", file)
    with ZipFile(file) as archive:
        page, picture = sorted(archive.namelist())
        assert archive.read(picture) == PNG
        assert picture in archive.read(page).decode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_exists_is_not_overwritten(conversation, tmp_path: Path):
    file = tmp_path / "ana.json"
    file.write_text("mine")
    with pytest.raises(CommandError, match="exists already"):
        export(conversation, "--output", file)
    assert file.read_text() == "mine"


def test_an_export_that_fails_leaves_no_file(conversation, media, tmp_path: Path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("django.core.files.storage.FileSystemStorage.open", fail)
    with pytest.raises(CommandError, match="The disk is full"):
        export(conversation, "--output", tmp_path / "ana.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["media"]


@pytest.mark.parametrize("wrong", ["nonsense", "01a2060c-0186-76a7-9642-3a280e006d9b"])
def test_an_unknown_conversation_ends_the_command_with_an_error(db, wrong):
    with pytest.raises(CommandError, match="no conversation with this id"):
        call_command("export_conversation", wrong)


@pytest.mark.parametrize("format", ["json", "text", "html"])
def test_the_transcript_of_a_voice_note_is_exported(conversation, message, media, format):
    Media.objects.update(transcript="Could you call me back?")
    assert "Could you call me back?" in export(conversation, "--format", format)


@pytest.mark.parametrize("format", ["json", "text", "html"])
def test_the_text_before_an_edit_is_exported(conversation, message, format):
    edit = {"text": "Two wheels", "until": "2026-11-27T10:00:00Z"}
    Message.objects.update(edited_at="2026-11-27T10:00:00Z", earlier_texts=[edit])
    assert "Two wheels" in export(conversation, "--format", format)
