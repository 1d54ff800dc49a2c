"""`manage.py import_chat`: every line of an exported chat becomes the right message, once, and none is answered."""

import io
import json
import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from django.core.files.storage import InMemoryStorage, default_storage
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from messaging.imports.parsing import decode_lines, parse_chat
from messaging.imports.service import run_import
from messaging.models import Contact, Conversation, Media, Message
from whatsapp_agent.errors import InvalidInput

EXPORTS = Path(__file__).resolve().parents[2] / "payloads" / "exported_chats"
NAMES = sorted(path.stem for path in EXPORTS.glob("*.txt"))
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 1, 1, 8, 2, 0, 0, 0) + b"\0" * 50
PHONE = "+5511988887777"
CHAT = "27/10/2026, 09:05 - Ana: Hello\n27/10/2026, 09:06 - The Shop: Good morning\n"


@pytest.fixture(autouse=True)
def surroundings(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.TIME_ZONE = "UTC"


def imported(content: bytes | str | Path, session: Any, **options: Any) -> Any:
    if isinstance(content, Path):
        content = content.read_bytes()
    content = content.encode() if isinstance(content, str) else content
    return list(run_import(io.BytesIO(content), session=session, **{"contact": PHONE, "me": "The Shop"} | options))[-1]


def zipped(files: dict[str, bytes | str]) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def rows() -> list[dict[str, Any]]:
    return [
        {
            "at": message.said_at.replace(tzinfo=None).isoformat(),
            "from": "us" if message.direction == "outbound" else "them",
            "kind": message.kind,
            "text": message.text,
            "filename": media.filename if (media := getattr(message, "media", None)) else "",
            "mark": "deleted" if message.revoked_at else "edited" if message.edited_at else "",
        }
        for message in Message.objects.select_related("media").order_by("id")
    ]


# --- reading ------------------------------------------------------------------------------------------------------


def test_there_are_twelve_exports_or_more():
    assert len(NAMES) >= 12


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_every_line_of_an_export_becomes_the_right_message(session, name):
    expected = json.loads((EXPORTS / f"{name}.json").read_text())
    report = imported(EXPORTS / f"{name}.txt", session, me=expected["me"])
    assert rows() == expected["messages"]
    assert (report.date_order, report.system) == (expected["date_order"], expected["system"])
    assert report.unreadable == []
    assert report.new == len(expected["messages"])


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_an_export_imported_twice_adds_nothing(session, name):
    me = json.loads((EXPORTS / f"{name}.json").read_text())["me"]
    first = imported(EXPORTS / f"{name}.txt", session, me=me)
    before = rows()
    second = imported(EXPORTS / f"{name}.txt", session, me=me)
    assert (second.new, second.known, second.changed) == (0, first.new, 0)
    assert rows() == before


def order_of(*dates: str, half: str = "") -> tuple[str, bool]:
    lines = [f"{date}, 9:05{half} - Ana: Hello" for date in dates]
    chat = parse_chat((line, "") for line in lines)
    return chat.date_order, chat.is_order_sure


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (["05/06/2026", "06/06/2026", "07/06/2026"], "dmy"),  # days that follow each other
        (["06/05/2026", "06/06/2026", "06/07/2026"], "mdy"),
        (["01/02/2026", "13/02/2026"], "dmy"),  # no thirteenth month
        (["01/02/2026", "02/13/2026"], "mdy"),
        (["30/01/2026", "01/02/2026"], "dmy"),
        (["2026/02/01", "2026/02/13"], "ymd"),
        (["1.2.26", "2.3.26"], "dmy"),
    ],
)
def test_day_and_month_are_inferred_from_the_whole_file(dates, order):
    assert order_of(*dates) == (order, True)


def test_a_guess_of_day_and_month_is_reported_as_a_guess(session):
    assert order_of("05/06/2026") == ("dmy", False)
    assert order_of("5/6/26", half=" AM") == ("mdy", False)


@pytest.mark.django_db
def test_the_order_of_a_date_can_be_given(session):
    imported("05/06/2026, 09:05 - Ana: Hello\n05/06/2026, 09:06 - The Shop: Hi\n", session, date_order="mdy")
    assert rows()[0]["at"] == "2026-05-06T09:05:00"


def test_every_line_that_cannot_be_read_is_listed():
    text = (
        "An old title\n27/10/2026, 09:05 - Ana: Hello\n32/13/2026, 09:06 - Ana: Never\n27/10/2026, 09:07 - Ana: Bye\n"
    )
    lines = [*decode_lines(text.encode()), *decode_lines(b"27/10/2026, 09:08 - Ana: \x81 odd")]
    chat = parse_chat(lines)
    assert [each.line for each in chat.unreadable] == [1, 3, 6]
    assert [entry.text for entry in chat.messages][:2] == ["Hello", "Bye"]


def test_lines_of_mixed_encodings_are_read():
    content = "27/10/2026, 09:05 - Ana: Olá\n".encode() + "27/10/2026, 09:06 - Ana: amanhã é\n".encode("cp1252")
    assert [entry.text for entry in parse_chat(decode_lines(content)).messages] == ["Olá", "amanhã é"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8-sig", "utf-16"])
def test_other_encodings_are_recognized(encoding):
    lines = decode_lines(CHAT.replace("Hello", "Olá").encode(encoding))
    assert [entry.text for entry in parse_chat(lines).messages] == ["Olá", "Good morning"]


def test_a_chat_that_is_quoted_in_a_message_stays_a_part_of_it():
    text = "27/10/2026, 09:05 - Ana: He wrote\n[26/10/2026, 08:00:00] Rui: Sold\n27/10/2026, 09:06 - Ana: See?\n"
    chat = parse_chat(decode_lines(text.encode()))
    assert [entry.text for entry in chat.messages] == ["He wrote\n[26/10/2026, 08:00:00] Rui: Sold", "See?"]


@pytest.mark.parametrize("content", ["", "Just a text\nof two lines", "27/10/2026 is a day"])
def test_what_is_no_chat_is_refused(content):
    with pytest.raises(InvalidInput, match="no exported chat"):
        parse_chat(decode_lines(content.encode()))


# --- storing ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_later_export_adds_what_is_new(session):
    imported(CHAT, session)
    report = imported(CHAT + "28/10/2026, 10:00 - Ana: One more thing\n", session)
    assert (report.new, report.known) == (1, 2)
    assert [row["text"] for row in rows()] == ["Hello", "Good morning", "One more thing"]


@pytest.mark.django_db
def test_the_same_words_twice_in_a_minute_are_two_messages(session):
    twice = "27/10/2026, 09:05 - Ana: ok\n" * 2 + "27/10/2026, 09:06 - The Shop: ?\n"
    assert imported(twice, session).new == 3
    assert imported(twice, session).new == 0


@pytest.mark.django_db
def test_what_was_edited_or_deleted_since_changes_the_message(session):
    imported(CHAT, session)
    later = CHAT.replace("Hello", "Hello! <This message was edited>").replace(
        "Good morning", "You deleted this message"
    )
    report = imported(later, session)
    assert (report.new, report.changed) == (0, 2)
    assert [(row["text"], row["mark"]) for row in rows()] == [("Hello!", "edited"), ("Good morning", "deleted")]
    assert Message.objects.order_by("id")[0].earlier_texts[0]["text"] == "Hello"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("first", "mark"), [("This message was deleted", "deleted"), ("Hi <This message was edited>", "edited")]
)
def test_a_change_is_of_no_message_that_a_later_line_of_its_minute_equals(session, first, mark):
    imported(CHAT, session)
    both = f"27/10/2026, 09:05 - Ana: {first}\n{CHAT}"
    report = imported(both, session)
    assert (report.new, report.known, report.changed) == (1, 2, 0)
    assert [(row["text"], row["mark"]) for row in rows()][:2] == [("Hello", ""), ("Good morning", "")]
    assert rows()[2]["mark"] == mark
    assert imported(both, session).new == 0


@pytest.mark.django_db
def test_what_the_bridge_has_brought_is_not_imported_again(session, says):
    at = datetime(2026, 10, 27, 9, 5, 42, tzinfo=UTC)
    says("Hello", sent_at=at)
    assert (imported(CHAT, session).new, Message.objects.count()) == (1, 2)


@pytest.mark.django_db
def test_history_is_never_answered(session):
    imported(CHAT, session)
    conversation = Conversation.objects.get()
    assert (conversation.due_at, conversation.unread_count, conversation.control) == (None, 0, "agent")
    assert list(Message.objects.order_by("id").values_list("status", "unanswered")) == [
        ("handled", "history"),
        ("sent", ""),
    ]


@pytest.mark.django_db
def test_times_are_of_the_sessions_zone(session):
    session.time_zone = "America/Sao_Paulo"
    session.save()
    imported(CHAT, session)
    assert Message.objects.order_by("id")[0].said_at == datetime(2026, 10, 27, 12, 5, tzinfo=UTC)


@pytest.mark.django_db
def test_our_own_number_comes_from_the_contact_or_is_asked_for(session):
    with pytest.raises(InvalidInput, match="Ana, The Shop"):
        imported(CHAT, session, me="")
    with pytest.raises(InvalidInput, match="has written nothing"):
        imported(CHAT, session, me="Rui")
    contact = Contact.objects.create(session=session, phone=PHONE, name="Ana")
    contact.aliases.create(session=session, kind="phone", value=PHONE)
    Conversation.objects.create(session=session, contact=contact, address="5511988887777@s.whatsapp.net")
    assert imported(CHAT, session, me="").me == "The Shop"


@pytest.mark.django_db
def test_a_groups_chat_is_not_given_to_one_person(session):
    text = CHAT + "27/10/2026, 09:07 - Rui: Me too\n"
    with pytest.raises(InvalidInput, match="a group's chat"):
        imported(text, session)
    assert not Message.objects.exists()
    group = Contact.objects.create(session=session, is_group=True, name="Buyers")
    Conversation.objects.create(session=session, contact=group, address="1203@g.us")
    imported(text + "27/10/2026, 09:08 - +55 11 97777-6666: Hi\n", session, contact=str(group.pk))
    assert [message.details.get("author") for message in Message.objects.order_by("id")] == [
        "Ana", None, "Rui", "+55 11 97777-6666",
    ]  # fmt: skip


@pytest.mark.django_db
def test_many_messages_of_one_minute_are_matched_in_seconds(session, budget_s):
    text = "".join(f"27/10/2026, 09:05 - {'Ana' if n % 2 else 'The Shop'}: Line {n // 4}\n" for n in range(8000))
    later = re.sub(r"(Ana: Line \d{1,3})\n", r"\1! <This message was edited>\n", text)
    with budget_s(20):
        assert imported(text, session).new == 8000
        report = imported(later, session)
    assert (report.new, report.known, report.changed) == (0, 8000, 2000)


@pytest.mark.django_db
def test_names_and_words_with_a_nul_are_imported(session):
    text = "27/10/2026, 09:05 - A\0na: Hel\0lo\n27/10/2026, 09:06 - The Shop: Hi\n"
    assert imported(text, session).new == 2
    assert "\0" not in Message.objects.order_by("id")[0].text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_known", [True, False])
def test_an_import_that_fails_leaves_no_contact_that_was_not_there(session, monkeypatch, is_known):
    if is_known:
        contact = Contact.objects.create(session=session, phone=PHONE, name="Ana")
        contact.aliases.create(session=session, kind="phone", value=PHONE)
        Conversation.objects.create(session=session, contact=contact, address="5511988887777@s.whatsapp.net")

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(Media.objects, "bulk_create", fail)
    with pytest.raises(OperationalError):
        imported(CHAT, session)
    assert (Contact.objects.count(), Conversation.objects.count()) == (is_known, is_known)
    assert not Message.objects.exists()


# --- archives -----------------------------------------------------------------------------------------------------

WITH_FILE = "27/10/2026, 09:05 - Ana: IMG-20261027-WA0001.jpg (file attached)\n27/10/2026, 09:06 - The Shop: Nice\n"


@pytest.mark.django_db
@pytest.mark.parametrize("chat", ["_chat.txt", "WhatsApp Chat with Ana.txt", "folder/_chat.txt"])
def test_the_files_of_an_archive_are_stored(session, chat):
    content = zipped({chat: WITH_FILE.replace(".jpg", ".png"), "IMG-20261027-WA0001.png": PNG, "notes.txt": "nothing"})
    report = imported(content, session)
    media = Media.objects.get()
    assert (report.files, media.mime_type, media.file.read()) == (1, "image/png", PNG)


class OutsideTransactions(InMemoryStorage):
    def _save(self, name: str, content: Any) -> str:
        assert not connection.in_atomic_block, "a transaction waits for this file"
        return super()._save(name, content)


@pytest.mark.django_db(transaction=True)
def test_no_transaction_waits_for_files(session, settings):
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": f"{__name__}.OutsideTransactions"}}
    content = zipped({"_chat.txt": WITH_FILE.replace(".jpg", ".png"), "IMG-20261027-WA0001.png": PNG})
    assert imported(content, session).files == 1
    assert Media.objects.get().file.read() == PNG


@pytest.mark.django_db(transaction=True)
def test_an_import_that_fails_leaves_no_file(session, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(Media.objects, "bulk_create", fail)
    content = zipped({"_chat.txt": WITH_FILE.replace(".jpg", ".png"), "IMG-20261027-WA0001.png": PNG})
    with pytest.raises(OperationalError):
        imported(content, session)
    assert not Message.objects.exists()
    assert [path for path in Path(default_storage.location).rglob("*") if path.is_file()] == []


@pytest.mark.django_db
def test_a_file_that_is_missing_or_not_allowed_is_left_out(session):
    content = zipped({"_chat.txt": WITH_FILE, "IMG-20261027-WA0001.jpg": ""})
    report = imported(content, session)
    assert [name for name, _ in report.skipped_files] == ["IMG-20261027-WA0001.jpg"]
    assert (report.new, Media.objects.get().file.name) == (2, "")


def hostile(kind: str) -> bytes:
    good = {"_chat.txt": CHAT}
    match kind:
        case "leads out":
            return zipped(good | {"../../evil.jpg": PNG})
        case "absolute":
            return zipped(good | {"/etc/evil.jpg": PNG})
        case "backslashes":
            return zipped(good | {"..\\evil.jpg": PNG})
        case "bomb":
            return zipped(good | {"bomb.jpg": b"\0" * 50_000_000})
        case "text bomb":
            return zipped({"_chat.txt": CHAT + "a" * 50_000_000})
        case "half":
            whole = zipped(good | {"IMG.png": PNG * 50})
            return whole[: len(whole) // 2]
        case "damaged":
            whole = bytearray(zipped(good))
            whole[45] ^= 0xFF
            return bytes(whole)
        case "no chat":
            return zipped({"readme.txt": "Hello", "IMG.png": PNG})
    raise AssertionError(kind)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("leads out", "leads out of its folder"),
        ("absolute", "leads out of its folder"),
        ("backslashes", "leads out of its folder"),
        ("bomb", "too large"),
        ("text bomb", "too large"),
        ("half", "not whole"),
        ("damaged", "not whole"),
        ("no chat", "no exported chat"),
    ],
)
def test_a_hostile_or_broken_archive_is_refused_and_nothing_is_stored(session, kind, reason):
    with pytest.raises(InvalidInput, match=reason):
        imported(hostile(kind), session)
    assert not Contact.objects.exists()
    assert not Path(default_storage.location).exists()


@pytest.mark.django_db(transaction=True)
def test_an_import_that_is_stopped_leaves_nothing(session):
    text = "".join(f"27/10/2026, {n // 60 % 24:02}:{n % 60:02} - Ana: Line {n}\n" for n in range(2500))
    running = run_import(io.BytesIO(text.encode()), session=session, contact=PHONE, me="The Shop")
    assert next(running).new >= 1000
    assert Message.objects.count() == 1000
    running.close()  # as Ctrl-C does
    assert not Message.objects.exists()
    assert imported(text, session).new == 2500


def test_two_hundred_thousand_lines_are_read_in_seconds(budget_s):
    lines = (
        f"{1 + n // 1440 % 28:02}/{1 + n // 40320:02}/2026, {n // 60 % 24:02}:{n % 60:02} - "
        f"{'Ana' if n % 3 else 'The Shop'}: Line {n} of a long chat about an order\n"
        for n in range(200_000)
    )
    content = "".join(lines).encode()
    with budget_s(25):
        chat = parse_chat(decode_lines(content))
    assert len(chat.messages) == 200_000


# --- the command ---------------------------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("import_chat", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.mark.django_db
def test_the_command_imports_and_reports_what_it_did(session, tmp_path):
    file = tmp_path / "chat.txt"
    file.write_text("Title\n" + CHAT)
    arguments = (str(file), "--session", "sales", "--contact", PHONE, "--me", "The Shop")
    assert "2 messages would be imported" in command(*arguments, "--dry-run")
    assert not Message.objects.exists()
    assert not Contact.objects.exists()
    printed = command(*arguments)
    assert "2 messages imported" in printed
    assert "line 1: it stands before the first message" in printed
    assert json.loads(command(*arguments, "--json"))["known"] == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"--session": "nobody"}, "no session"),
        ({"--contact": "12"}, "Invalid phone number"),
        ({"--contact": "01a2060c-0186-76a7-9642-3a280e006d9b"}, "Contact not found"),
        ({"--me": "Rui"}, "has written nothing"),
        ({"file": "missing.txt"}, "No such file"),
        ({"file": "."}, "Is a directory"),
    ],
)
def test_wrong_input_ends_the_command_with_an_error(session, tmp_path, changes, reason):
    file = tmp_path / "chat.txt"
    file.write_text(CHAT)
    values = {"--session": "sales", "--contact": PHONE, "--me": "The Shop"} | changes
    given = str(tmp_path / values.pop("file")) if "file" in values else str(file)
    with pytest.raises(CommandError, match=reason):
        command(given, *(part for pair in values.items() for part in pair))
    assert not Message.objects.exists()
