"""`POST conversations/import/`: importing an exported chat, for administrators alone."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from messaging.models import Contact, Message
from tests.conftest import as_user

pytestmark = pytest.mark.django_db
PATH = "/api/v1/conversations/import/"
CHAT = "27/10/2026, 09:05 - Ana: Hello\n27/10/2026, 09:06 - The Shop: Good morning\n"


def upload(user, of, content=CHAT, **changes):
    form = {"session": str(of.pk), "contact": "+5511988887777", "me": "The Shop"} | changes
    file = SimpleUploadedFile("chat.txt", content.encode())
    return as_user(user).post(PATH, form | {"file": file}, format="multipart")


def test_an_administrator_imports_a_chat(session, admin):
    answer = upload(admin, session, content=f"Title\n{CHAT}")
    assert answer.status_code == 200, answer.content
    report = answer.json()
    assert (report["new"], report["known"], report["date_order"]) == (2, 0, "dmy")
    assert report["unreadable"] == [{"line": 1, "reason": "it stands before the first message"}]
    assert upload(admin, session).json()["known"] == 2
    assert Message.objects.count() == 2


def test_a_dry_run_imports_nothing(session, admin):
    assert upload(admin, session, dry_run="true").json()["new"] == 2
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"content": "no chat"}, "file"),
        ({"content": "PK\x03\x04 half"}, "file"),
        ({"content": CHAT + "\n" * 50_000}, "file"),
        ({"content": CHAT.replace("\n", "\r") + "\r" * 50_000}, "file"),
        ({"contact": "12"}, "contact"),
        ({"contact": "01a2060c-0186-76a7-9642-3a280e006d9b"}, "contact"),
        ({"me": "Rui"}, "me"),
        ({"date_order": "dym"}, "date_order"),
        ({"session": "01a2060c-0186-76a7-9642-3a280e006d9b"}, "session"),
    ],
)
def test_wrong_input_is_refused_by_its_field(session, admin, changes, field):
    answer = upload(admin, session, **changes)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert not Message.objects.exists()


def test_nobody_else_imports(session, member, stranger):
    assert upload(member, session).status_code == 403
    assert upload(stranger, session).status_code == 403
    assert upload(None, session).status_code == 401
    assert not Message.objects.exists()
