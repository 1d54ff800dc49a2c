"""Files and addresses made to do harm: each ends within its limits, with a reason, and the turn goes on."""

import io
import resource
import time
import zlib
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from django.utils import timezone
from PIL import Image

from agent.bridges.events import Kind, MediaRef
from agent.turns import turn as turns
from messaging.media import fetching
from messaging.models import Conversation, Media, Message, Turn
from tests.support.fake_openai import own_words
from tests.support.messaging.documents import docx, image, with_part

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
HEIC = b"\x00\x00\x00\x18ftypheic" + bytes(100)


def body(inner: str) -> bytes:
    return f'<w:document xmlns:w="{WORD}"><w:body>{inner}</w:body></w:document>'.encode()


def animation(format: str, frames: int) -> bytes:
    content = io.BytesIO()
    first, *others = (Image.new("RGB", (40, 40), (number % 256, number // 256, 0)) for number in range(frames))
    first.save(content, format, save_all=True, append_images=others)
    return content.getvalue()


def pdf(*objects: bytes) -> bytes:
    written, offsets = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
    return written + end % (len(objects) + 1, table, len(objects) + 1, len(written))


def huge_stream() -> bytes:
    packed = zlib.compressobj(9)
    part = b"(a) Tj " * 1_000_000
    stream = b"".join(packed.compress(part) for _ in range(40)) + packed.flush()
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /Font << /F1 "
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
    )


def many_parts() -> bytes:
    content = io.BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED) as archive:
        for number in range(6000):
            archive.writestr(f"word/{number}.xml", b"")
    return content.getvalue()


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGES_WITHIN_THEMSELVES = pdf(CATALOG, b"<< /Type /Pages /Kids [2 0 R] /Count 9 >>")
PAGES_OF_PAGES = pdf(CATALOG, b"<< /Type /Pages /Kids [3 0 R 3 0 R] /Count 9 >>", b"<< /Type /Pages /Kids [2 0 R] >>")
DOCUMENT = "word/document.xml"
PARAGRAPHS = with_part(docx("x"), DOCUMENT, body("<w:p><w:r><w:t>a</w:t></w:r></w:p>" * 1_500_000))
SPAN = '<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="100000000"/></w:tcPr><w:p/></w:tc></w:tr></w:tbl>'

FAILS = {
    "a truncated JPEG": (lambda: image()[:400], "a.jpg", "damaged"),
    "a PDF whose pages contain themselves": (lambda: PAGES_WITHIN_THEMSELVES, "a.pdf", "damaged"),
    "a PDF of pages of pages": (lambda: PAGES_OF_PAGES, "a.pdf", "damaged"),
    "a PDF with a huge stream": (huge_stream, "a.pdf", "too_large"),
    "a DOCX of a million paragraphs": (lambda: PARAGRAPHS, "a.docx", "too_large"),
    "a DOCX with an endless cell": (lambda: with_part(docx("x"), DOCUMENT, body(SPAN)), "a.docx", "too_large"),
    "a DOCX of 6,000 parts": (many_parts, "a.docx", "too_large"),
    "a HEIC image": (lambda: HEIC, "a.heic", "unsupported_image"),
}


@pytest.mark.parametrize(("make", "name", "code"), FAILS.values(), ids=FAILS)
def test_a_hostile_file_ends_within_its_limits_and_the_turn_goes_on(receive, conversation, model, make, name, code):
    kind = Kind.IMAGE if name.endswith(("jpg", "heic")) else Kind.DOCUMENT
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()

    media = receive(make(), name, kind=kind)
    turns.take_turn(conversation.pk)

    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (time.monotonic() - started < 90, grown_mb < 150) == (True, True)
    assert (media.status, media.error_code) == ("failed", code)
    assert f"which could not be read: {media.error}" in own_words(model.requests[-1].body["messages"][-1]["content"])
    assert Turn.objects.get().outcome == "answered"


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_an_animation_of_thousands_of_frames_is_shown_by_its_first(receive, format):
    media = receive(animation(format, 2000), kind=Kind.IMAGE)

    assert (media.status, Image.open(media.preview).size) == ("ready", (40, 40))


def test_an_image_that_is_also_an_archive_is_an_image(receive):
    archive = io.BytesIO()
    with ZipFile(archive, "w") as parts:
        parts.writestr("run.js", "alert(1)")

    media = receive(image() + archive.getvalue(), "photo.jpg.zip", kind=Kind.IMAGE)

    assert (media.status, media.mime_type) == ("ready", "image/jpeg")
    with media.preview.open("rb") as preview:
        assert b"run.js" not in preview.read()


SPELLINGS = [
    "http://[::1/api/files/x",
    "http://localhost:3000/api/files/../sessions",
    "http://localhost:3000/api/files/%2e%2e/sessions",
    "http://localhost:3000/api/files/%252e%252e/sessions",
    "http://localhost:3000/api/files/..%5csessions",
    "http://localhost:3000/api/files/..\\sessions",
    "foo:@169.254.169.254/api/files/x",
    "http://2852039166/latest/meta-data",
    "http://0xa9fea9fe/latest",
    "http://[::ffff:169.254.169.254]/latest",
    "//169.254.169.254/latest",
    "file:///etc/passwd",
    "data:text/plain,hello",
    "",
]


@pytest.mark.parametrize("ref", SPELLINGS)
def test_an_address_that_leads_elsewhere_is_not_asked_and_ends_with_a_reason(says, conversation, waha, bridge, ref):
    message = says("", kind=Kind.IMAGE, media=MediaRef(ref=ref or None, downloadable=True))
    media = Media.objects.get(message=message.message_id)
    for _ in range(4):
        Media.objects.filter(next_try_at__isnull=False).update(next_try_at=timezone.now())
        fetching.process(media.pk)
    media.refresh_from_db()

    assert media.status == "failed"
    assert media.error.endswith(".")
    assert all(request.path.startswith("/api/sales/chats/") for request in waha.requests)


def test_an_unexpected_error_of_a_file_ends_with_a_reason_and_not_as_a_waiting_file(receive, monkeypatch, model):
    def fail(media: Media) -> dict[str, str]:
        raise ZeroDivisionError

    monkeypatch.setattr(fetching, "read", fail)

    media = receive(image(), kind=Kind.IMAGE)

    assert (media.status, media.error_code) == ("failed", "internal")
    turns.take_turn(Conversation.objects.get().pk)
    assert Message.objects.filter(direction="outbound").exists()
