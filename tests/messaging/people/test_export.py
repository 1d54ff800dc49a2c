"""The export of a person holds everything that forgetting would delete."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from django.core.management import CommandError, call_command

from messaging.models import Contact
from tests.messaging.people.conftest import NAME, NUMBER, SECRET

pytestmark = pytest.mark.django_db(transaction=True)


def export(contact: Contact, path: Path) -> ZipFile:
    call_command("export_contact", str(contact.pk), "--output", str(path))
    return ZipFile(path)


def test_the_export_holds_messages_files_and_every_row_of_the_person(person, tmp_path):
    with export(person, tmp_path / "person.zip") as archive:
        rows = json.loads(archive.read("contact.json"))
        messages = json.loads(archive.read("conversation.json"))["messages"]
        in_groups = json.loads(archive.read("groups.json"))
        files = [archive.read(name) for name in archive.namelist() if name.startswith("media/")]
        page = archive.read("conversation.html").decode()
    assert rows["contact"]["name"] == NAME
    assert {row["value"] for row in rows["messaging_contactalias"]} == {f"+{NUMBER}", f"{NUMBER}@s.whatsapp.net"}
    for table in ("messaging_fact", "messaging_summary"):
        assert [row["text"] for row in rows[table]] == [SECRET]
    for table in ("messaging_note", "messaging_callevent", "messaging_toolcall", "messaging_turn", "messaging_event"):
        assert rows[table]
    assert messages[0]["text"] == SECRET
    assert [message["text"] for message in in_groups] == [SECRET]
    assert files == [SECRET.encode()] * 2
    assert "pelargonium" in page


def test_a_person_who_never_wrote_is_exported(session, tmp_path):
    contact = Contact.objects.create(session=session, phone="+5511900000001")
    with export(contact, tmp_path / "person.zip") as archive:
        assert json.loads(archive.read("contact.json"))["contact"]["phone"] == "+5511900000001"
        assert json.loads(archive.read("groups.json")) == []


def test_an_export_overwrites_no_file(person, tmp_path):
    path = tmp_path / "person.zip"
    path.write_text("mine")
    with pytest.raises(CommandError, match="exists already"):
        export(person, path)
    assert path.read_text() == "mine"


def test_an_unknown_contact_leaves_no_file(db, tmp_path):
    with pytest.raises(CommandError, match="Contact not found"):
        call_command("export_contact", "+5511900000000", "--output", str(tmp_path / "person.zip"))
    assert not (tmp_path / "person.zip").exists()
