"""What a file really is, and a name that is safe."""

import io
import os
import time
from datetime import timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.core.management import call_command
from django.core.signing import TimestampSigner
from django.utils import timezone

from agent.bridges.events import Kind
from messaging.media import files as media_files
from messaging.media.types import OFFICE, OTHER, PLAIN_TEXT
from messaging.models import Media, Message
from tests.support.messaging.files import JPEG, MP4, OGG, PDF, PNG
from whatsapp_agent.errors import InvalidInput, NotFound

PROGRAM = b"MZ\x90\x00" + b"\x00" * 60
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 60


def zipped(name: str = "a.xml", text: str = "<a/>", *more: str) -> bytes:
    content = io.BytesIO()
    with ZipFile(content, "w") as archive:
        for each in (name, *more):
            archive.writestr(each, text)
    return content.getvalue()


def iso_media(brand: str) -> bytes:
    return b"\x00\x00\x00\x18ftyp" + brand.encode() + b"\x00" * 60


def take(content: bytes, name: str) -> media_files.NewFile:
    return media_files.take(io.BytesIO(content), name=name, size_bytes=len(content))


@pytest.mark.parametrize(
    ("content", "name", "kind", "mime_type", "filename"),
    [
        (JPEG, "a.jpg", Kind.IMAGE, "image/jpeg", "a.jpg"),
        (JPEG, "a.png", Kind.IMAGE, "image/jpeg", "a.png.jpg"),
        (PNG, "A.PNG", Kind.IMAGE, "image/png", "A.PNG"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a.webp", Kind.IMAGE, "image/webp", "a.webp"),
        (b"GIF89a" + b"\x00" * 9, "a.gif", Kind.DOCUMENT, "image/gif", "a.gif"),
        (MP4, "clip", Kind.VIDEO, "video/mp4", "clip.mp4"),
        (OGG, "v.opus", Kind.AUDIO, "audio/ogg", "v.opus"),
        (b"ID3\x04" + b"\x00" * 9, "song.mp3", Kind.AUDIO, "audio/mpeg", "song.mp3"),
        (PDF, "invoice.pdf", Kind.DOCUMENT, "application/pdf", "invoice.pdf"),
        (PDF, "invoice.exe", Kind.DOCUMENT, "application/pdf", "invoice.exe.pdf"),
        (zipped(), "report.docx", Kind.DOCUMENT, OFFICE[".docx"], "report.docx"),
        (zipped(), "all.zip", Kind.DOCUMENT, "application/zip", "all.zip"),
        ("Olá, tudo bem? 👍".encode(), "notes.txt", Kind.DOCUMENT, "text/plain", "notes.txt"),
        (("é" * 4096).encode()[:4095], "cut.csv", Kind.DOCUMENT, "text/csv", "cut.csv"),
        (zipped(), "quote.odt", Kind.DOCUMENT, "application/vnd.oasis.opendocument.text", "quote.odt"),
        (zipped(), "quote.ODS", Kind.DOCUMENT, "application/vnd.oasis.opendocument.spreadsheet", "quote.ODS"),
        (zipped(), "list.xlsm", Kind.DOCUMENT, "application/vnd.ms-excel.sheet.macroEnabled.12", "list.xlsm"),
        (zipped(), "talk.ppsx", Kind.DOCUMENT, OFFICE[".ppsx"], "talk.ppsx"),
        (zipped("mimetype", OFFICE[".odt"]), "quote", Kind.DOCUMENT, OFFICE[".odt"], "quote.odt"),
        (zipped("mimetype", OFFICE[".ods"]), "list.zip", Kind.DOCUMENT, OFFICE[".ods"], "list.zip.ods"),
        (zipped("[Content_Types].xml", "", "xl/workbook.xml"), "list", Kind.DOCUMENT, OFFICE[".xlsx"], "list.xlsx"),
        (zipped(), "slides.key", Kind.DOCUMENT, OTHER, "slides.key"),
        (OLE, "letter.doc", Kind.DOCUMENT, "application/msword", "letter.doc"),
        (OLE, "list.xls", Kind.DOCUMENT, "application/vnd.ms-excel", "list.xls"),
        (OLE, "talk.ppt", Kind.DOCUMENT, "application/vnd.ms-powerpoint", "talk.ppt"),
        (OLE, "talk.PPS", Kind.DOCUMENT, "application/vnd.ms-powerpoint", "talk.PPS"),
        (OLE, "secret.xlsx", Kind.DOCUMENT, OFFICE[".xlsx"], "secret.xlsx"),
        (OLE, "drawing.ole", Kind.DOCUMENT, OTHER, "drawing.ole"),
        (b"{\\rtf1 Ol\\'e1}", "letter.rtf", Kind.DOCUMENT, "application/rtf", "letter.rtf"),
        ("Preço;São Paulo".encode("cp1252"), "prices.csv", Kind.DOCUMENT, "text/csv", "prices.csv"),
        ("“Preço” – 10 €\r\n".encode("cp1252"), "prices.csv", Kind.DOCUMENT, "text/csv", "prices.csv"),
        ("Preço;São Paulo\r\n".encode("utf-16"), "prices.csv", Kind.DOCUMENT, "text/csv", "prices.csv"),
        (b"\xfe\xff" + "Preço;1".encode("utf-16-be"), "prices.txt", Kind.DOCUMENT, PLAIN_TEXT, "prices.txt"),
        ("価格;東京\n".encode("utf-16"), "prices.csv", Kind.DOCUMENT, "text/csv", "prices.csv"),
        (b"\xef\xbb\xbfname;price", "prices.csv", Kind.DOCUMENT, "text/csv", "prices.csv"),
        (b"# Read me", "readme.md", Kind.DOCUMENT, "text/markdown", "readme.md"),
        (b'{"a": 1}', "data.json", Kind.DOCUMENT, "application/json", "data.json"),
        (b"BEGIN:VCARD\r\nEND:VCARD", "ana.vcf", Kind.DOCUMENT, "text/vcard", "ana.vcf"),
        (b"BEGIN:VCALENDAR\r\n", "invite.ics", Kind.DOCUMENT, "text/calendar", "invite.ics"),
        (b"a: 1", "settings.yaml", Kind.DOCUMENT, PLAIN_TEXT, "settings.yaml"),
        (b"a: 1", "README", Kind.DOCUMENT, PLAIN_TEXT, "README"),
        (b"\x00\x01\x02\x03" * 9, "plan.dwg", Kind.DOCUMENT, OTHER, "plan.dwg"),
        (b"\x00\x01\x02\x03" * 9, "../plan 2.dwg", Kind.DOCUMENT, OTHER, "plan 2.dwg"),
        (PROGRAM, "setup.exe", Kind.DOCUMENT, OTHER, "setup.exe"),
        (PROGRAM, "setup.exe.", Kind.DOCUMENT, OTHER, "setup.exe"),
        (PROGRAM, "photo.jpg\u202e.ex\u200be", Kind.DOCUMENT, OTHER, "photo.jpg.exe"),
        (zipped(), "app.apk", Kind.DOCUMENT, OTHER, "app.apk"),
        (OLE, "setup.msi", Kind.DOCUMENT, OTHER, "setup.msi"),
        (b"#!/bin/sh\nls", "run.sh", Kind.DOCUMENT, PLAIN_TEXT, "run.sh"),
        (b"alert(1)", "a.JS", Kind.DOCUMENT, PLAIN_TEXT, "a.JS"),
        (b"<html><script>alert(1)</script>", "page.html", Kind.DOCUMENT, PLAIN_TEXT, "page.html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing.svg", Kind.DOCUMENT, PLAIN_TEXT, "drawing.svg"),
        (b"<?xml version='1.0'?><svg/>", "drawing.xml", Kind.DOCUMENT, "application/xml", "drawing.xml"),
        ("<html>".encode("utf-16"), "page.txt", Kind.DOCUMENT, PLAIN_TEXT, "page.txt"),
        (b"7z\xbc\xaf\x27\x1c", "all.7z", Kind.DOCUMENT, "application/x-7z-compressed", "all.7z"),
        (iso_media("MSNV"), "clip.mp4", Kind.VIDEO, "video/mp4", "clip.mp4"),
        (iso_media("dash"), "clip.mp4", Kind.VIDEO, "video/mp4", "clip.mp4"),
        (iso_media("iso6"), "clip.mp4", Kind.VIDEO, "video/mp4", "clip.mp4"),
        (iso_media("mp42"), "note.m4a", Kind.AUDIO, "audio/mp4", "note.m4a"),
        (iso_media("isom"), "note.M4A", Kind.AUDIO, "audio/mp4", "note.M4A"),
        (iso_media("mp42"), "clip.mp4", Kind.VIDEO, "video/mp4", "clip.mp4"),
        (iso_media("M4A "), "note", Kind.AUDIO, "audio/mp4", "note.m4a"),
        (iso_media("3gp5"), "clip.3gp", Kind.VIDEO, "video/3gpp", "clip.3gp"),
        (iso_media("qt  "), "clip.mov", Kind.DOCUMENT, "video/quicktime", "clip.mov"),
        (iso_media("heic"), "photo.heic", Kind.DOCUMENT, "image/heic", "photo.heic"),
    ],
)
def test_a_file_is_what_its_bytes_say(content, name, kind, mime_type, filename):
    file = take(content, name)
    assert (file.kind, file.mime_type, file.filename) == (kind, mime_type, filename)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PROGRAM, "photo.jpg"),
        (PROGRAM, "invoice.pdf"),
        (PROGRAM, "letter.docx"),
        (b"<html><script>alert(1)</script>", "photo.png"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo.webp"),
        (b"\x7fELF" + b"\x00" * 60, "a.txt"),
        (b"\xff\xfe\x00\x01", "a.txt"),
        (b"x", ""),
        (b"\x00\x01\x02", "photo.jpg"),
        (b"no picture", "photo.png"),
        (b"no document", "letter.docx"),
        (b"\x00\x01\x02", "list.csv"),
    ],
)
def test_a_file_whose_content_differs_from_its_extension_is_refused(content, name):
    with pytest.raises(media_files.UnsupportedFile):
        take(content, name)


def test_a_refused_file_is_answered_with_the_types_that_can_be_sent():
    with pytest.raises(media_files.UnsupportedFile, match=r"JPEG.*MP4.*PDF.*office documents"):
        take(PROGRAM, "photo.jpg")


def test_an_empty_file_is_refused():
    with pytest.raises(InvalidInput):
        take(b"", "a.jpg")


def test_a_file_that_is_too_large_is_refused(settings):
    settings.MEDIA_MAX_BYTES = 10
    with pytest.raises(media_files.FileTooLarge):
        take(JPEG, "a.jpg")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd.jpg"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("photo\u202egpj.exe", "photogpj.exe.jpg"),
        ("a\x00b\r\nc.jpg", "abc.jpg"),
        ('a"b<c>.jpg', "a_b_c_.jpg"),
        ("..jpg", "jpg.jpg"),
        (".", "file.jpg"),
        ("", "file.jpg"),
        ("férias na praia.jpeg", "férias na praia.jpeg"),
        ("x" * 300 + ".jpg", "x" * 96 + ".jpg"),
    ],
)
def test_a_name_is_made_safe(name, safe):
    assert media_files.safe_name(name, mime_type="image/jpeg") == safe


@pytest.fixture
def media(conversation, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    settings.PUBLIC_URL = "https://agent.example.com"
    message = Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="api",
        status="queued",
        kind="image",
    )
    media = Media(message=message, mime_type="image/jpeg", filename="a.jpg", size_bytes=len(JPEG))
    media.file.save("../a.jpg", io.BytesIO(JPEG))
    return media


def test_a_file_is_stored_under_a_generated_name(media, tmp_path):
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert stored.name == f"{media.pk.hex}.jpg"


def test_a_bridge_may_fetch_a_file_for_an_hour_at_an_address_nobody_can_guess(media, client, monkeypatch):
    url = media_files.public_url(media)
    path = url.removeprefix("https://agent.example.com")
    answer = client.get(path)
    assert b"".join(answer.streaming_content) == JPEG
    assert (answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == ("image/jpeg", "nosniff")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    token = path.split("/")[2]
    for wrong in (media.pk.hex, token[:-1], token.replace(media.pk.hex, "0" * 32), "x", TimestampSigner().sign("x")):
        assert client.get(f"/media/{wrong}/").status_code == 404
    assert client.post(path).status_code == 405
    later = time.time() + timedelta(hours=1, minutes=1).total_seconds()
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    with pytest.raises(NotFound):
        media_files.by_token(token)


def test_a_file_has_no_url_without_a_public_address(media, settings):
    settings.PUBLIC_URL = ""
    assert media_files.public_url(media) == ""


def purge(*arguments):
    output = io.StringIO()
    call_command("purge_media", *arguments, stdout=output)
    return output.getvalue()


def test_files_that_no_message_has_any_more_are_counted_and_then_deleted(media, tmp_path):
    old = (timezone.now() - media_files.UNUSED_AFTER - timedelta(minutes=1)).timestamp()
    folder = Path(media.file.path).parent
    (orphan, young, other) = folder / "orphan.jpg", folder / "young.jpg", tmp_path / "not-ours.txt"
    for path in (orphan, young, other):
        path.write_bytes(JPEG)
    for path in (orphan, other, Path(media.file.path)):
        os.utime(path, (old, old))
    assert purge() == "Files that no message has: 1, 0.0 MB. Run it with --delete to delete them.\n"
    assert orphan.exists()
    assert purge("--delete") == "Files that no message has: 1, 0.0 MB. Deleted.\n"
    assert [path.exists() for path in (orphan, young, other, Path(media.file.path))] == [False, True, True, True]


def test_the_file_of_a_deleted_message_is_one_that_no_message_has(media, tmp_path):
    old = (timezone.now() - media_files.UNUSED_AFTER - timedelta(minutes=1)).timestamp()
    os.utime(media.file.path, (old, old))
    media.message.delete()
    assert purge("--delete") == "Files that no message has: 1, 0.0 MB. Deleted.\n"
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_purging_without_any_file_deletes_nothing(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "nowhere"
    assert purge("--delete") == "Files that no message has: 0, 0.0 MB. Deleted.\n"
