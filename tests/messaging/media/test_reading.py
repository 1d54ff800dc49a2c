"""What is read of stored files, and that hostile ones cost little and are named."""

import io
import resource
import subprocess
import sys
import time

import pytest
from PIL import Image

from agent.bridges.events import Kind
from messaging.media.sandbox import PROGRAM
from tests.support.messaging.documents import (
    OLE,
    docx,
    huge_png,
    image,
    pdf,
    rotated_photo,
    with_claimed_sides,
    with_claimed_size,
    with_part,
    xlsx,
)

HUGE_PNG = huge_png(30_000)
DOCUMENT_PART, SHEET_PART = "word/document.xml", "xl/worksheets/sheet1.xml"
LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "haha">%b]><x>&z;</x>""" % b"".join(
    b'<!ENTITY %c "%b">' % (letter, b"&%c;" % (letter - 1) * 20) for letter in range(ord("b"), ord("z") + 1)
)


def preview_of(media) -> Image.Image:
    assert (media.status, media.error) == ("ready", "")
    return Image.open(io.BytesIO(media.preview.open().read()))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_an_image_becomes_a_small_jpeg(receive, format):
    media = receive(image(4000, 1000, format=format), kind=Kind.IMAGE)

    preview = preview_of(media)
    assert (preview.format, preview.size) == ("JPEG", (1536, 384))
    red, green, blue = preview.convert("RGB").getpixel((700, 200))
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


def test_a_small_image_is_not_enlarged(receive):
    assert preview_of(receive(image(60, 40), kind=Kind.IMAGE)).size == (60, 40)


def test_a_photo_is_turned_upright_and_loses_the_data_of_its_place_and_camera(receive):
    media = receive(rotated_photo(), kind=Kind.IMAGE)

    preview = preview_of(media)
    assert (preview.size, dict(preview.getexif()), preview.info.get("comment")) == ((40, 60), {}, None)
    assert b"Secret" not in media.preview.open().read()
    assert b"Secret" in media.file.open().read()  # what was received stays as it was


def test_a_transparent_image_stands_on_white(receive):
    media = receive(image(format="PNG", colour=(0, 0, 0, 0)), kind=Kind.STICKER)

    assert preview_of(media).convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(with_claimed_sides(image(), 30_000), id="a JPEG that claims 30,000 x 30,000"),
        pytest.param(HUGE_PNG, id="a PNG of 30,000 x 30,000"),
        pytest.param(image()[:300] + b"\x00" * 50, id="a cut JPEG"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\xff" * 90, id="a PNG of noise"),
    ],
)
def test_a_hostile_image_costs_little_and_is_named_or_shown(receive, content):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()

    media = receive(content, kind=Kind.IMAGE)

    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (time.monotonic() - started < 60, grown_mb < 100) == (True, True)
    assert media.status == "ready" or (media.status == "failed" and media.error)
    assert bool(media.preview) == (media.status == "ready")
    assert media.file


def test_an_image_of_too_many_pixels_is_not_opened(receive):
    media = receive(HUGE_PNG, kind=Kind.IMAGE)

    assert (media.status, media.error_code, media.error) == (
        "failed",
        "too_large",
        "It takes too much memory or time to open.",
    )


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (pdf("Total: 42 EUR"), "invoice.pdf", "Total: 42 EUR"),
        (
            docx("Price list", "of May", table=(("Item", "Price"), ("Wheel", "12"))),
            "prices.docx",
            "Price list\nof May\nItem | Price\nWheel | 12",
        ),
        (
            xlsx(May=[["Item", "Price"], ["Wheel", 12], [None, None]], June=[["Bell", 3.5]]),
            "prices.xlsx",
            "[May]\nItem | Price\nWheel | 12\n[June]\nBell | 3.5",
        ),
        ("Preço;São Paulo\r\n".encode("cp1252"), "prices.csv", "Preço;São Paulo"),
        ("Preço;São Paulo".encode("utf-16"), "prices.csv", "Preço;São Paulo"),
        (b"\xef\xbb\xbfOl\xc3\xa1", "note.txt", "Olá"),
        (b"# Title", "readme.md", "# Title"),
    ],
)
def test_the_text_of_a_document_is_extracted(receive, content, name, text):
    media = receive(content, name)

    assert (media.status, media.error, media.extract) == ("ready", "", text)


def test_a_long_document_is_extracted_up_to_a_limit(receive):
    media = receive(b"word " * 1_000_000, "long.txt")

    assert media.extract.startswith("word word")
    assert 39_000 < len(media.extract) <= 40_000


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        pytest.param(pdf("x", password="secret"), "a.pdf", "password", id="a PDF with a password"),
        pytest.param(OLE, "a.docx", "password", id="a DOCX with a password"),
        pytest.param(OLE, "a.xlsx", "password", id="an XLSX with a password"),
        pytest.param(pdf(""), "a.pdf", "no_text", id="a scanned PDF"),
        pytest.param(pdf("x")[:200], "a.pdf", "damaged", id="a cut PDF"),
        pytest.param(docx("x")[:2000], "a.docx", "damaged", id="a cut DOCX"),
        pytest.param(xlsx(A=[["x"]]), "a.docx", "damaged", id="an XLSX called DOCX"),
        pytest.param(b"PK\x03\x04" + b"\x00" * 90, "a.xlsx", "damaged", id="no zip"),
    ],
)
def test_a_document_that_cannot_be_read_is_stored_and_the_reason_named(receive, content, name, code):
    media = receive(content, name)

    assert (media.status, media.error_code, media.extract) == ("failed", code, "")
    assert media.error.endswith(".")
    assert media.file


def test_a_damaged_file_is_not_called_too_large_by_a_process_that_uses_much_memory():
    large_parent = "import subprocess, sys; used = b'x' * 700_000_000; subprocess.run(sys.argv[1:])"
    program = [sys.executable, "-I", str(PROGRAM), "pdf", "100"]

    result = subprocess.run([sys.executable, "-c", large_parent, *program], input=pdf("x")[:200], capture_output=True)

    assert (result.stdout, result.stderr) == (b"", b"damaged")


def test_a_zip_bomb_is_not_unpacked(receive):
    bomb = with_part(docx("x"), DOCUMENT_PART, b" " * 210_000_000)

    unpacked, claimed = receive(bomb, "a.docx"), receive(with_claimed_size(bomb, DOCUMENT_PART, 100), "b.docx")

    assert unpacked.error_code == "too_large"
    assert claimed.error_code in {"too_large", "damaged"}  # whichever limit is met first


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(with_part(docx("x"), DOCUMENT_PART, LAUGHS), "a.docx", id="entities in a DOCX"),
        pytest.param(with_part(xlsx(A=[["x"]]), SHEET_PART, LAUGHS), "a.xlsx", id="entities in an XLSX"),
        pytest.param(b"%PDF-1.7\n" + b"[" * 200_000, "a.pdf", id="a deeply nested PDF"),
    ],
)
def test_a_malicious_document_ends_within_its_limits(receive, content, name):
    started = time.monotonic()

    media = receive(content, name)

    assert time.monotonic() - started < 60
    assert media.status == "failed"


def test_an_external_entity_reads_no_file_of_ours(receive):
    xml = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>
<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>
<w:p><w:r><w:t>Here: &e;</w:t>
</w:r></w:p></w:body></w:document>"""

    media = receive(with_part(docx("x"), DOCUMENT_PART, xml), "a.docx")

    assert "root:" not in media.extract


def test_a_video_is_stored_though_nothing_is_read_from_it(receive):
    media = receive(b"\x00\x00\x00\x18ftypisom" + b"\x00" * 60, "clip.mp4", kind=Kind.VIDEO)

    assert (media.status, media.extract, bool(media.preview)) == ("ready", "", False)
