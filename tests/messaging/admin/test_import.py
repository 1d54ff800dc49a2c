"""Importing an exported chat in the admin: a preview, then the import, for administrators alone."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from accounts.models import User
from messaging.models import Contact, Conversation, Message
from sessions_app.models import WhatsAppSession
from tests.support.messaging.admin import LogIn

PATH = "/admin/messaging/conversation/import/"
CHAT = "Title\n27/10/2026, 09:05 - Ana: Hello <b>you</b>\n27/10/2026, 09:06 - The Shop: Good morning\n"


def form(of: WhatsAppSession, content: str | bytes = CHAT, **changes: Any) -> dict[str, Any]:
    raw = content if isinstance(content, bytes) else content.encode()
    values = {"session": str(of.pk), "contact": "+5511988887777", "me": "The Shop", "date_order": ""}
    return values | {"file": SimpleUploadedFile("chat.txt", raw)} | changes


def test_a_preview_shows_what_would_be_imported_and_imports_nothing(
    session: WhatsAppSession, admin: User, log_in: LogIn
) -> None:
    page = log_in(admin).post(PATH, form(session, preview="1")).content.decode()
    assert "Preview: nothing has been imported yet" in page
    assert "2 new messages, 0 were here already" in page
    assert "1: it stands before the first message" in page
    assert "2026-10-27 09:05" in page
    assert "Hello &lt;b&gt;you&lt;/b&gt;" in page
    assert not Contact.objects.exists()
    assert not LogEntry.objects.exists()


def test_an_administrator_imports_a_chat_which_the_admin_logs(
    session: WhatsAppSession, admin: User, log_in: LogIn
) -> None:
    client = log_in(admin)
    page = client.post(PATH, form(session, **{"import": "1"})).content.decode()
    conversation = Conversation.objects.get()
    assert reverse("inbox-conversation", args=[conversation.pk]) in page
    assert sorted(Message.objects.values_list("text", flat=True)) == ["Good morning", "Hello <b>you</b>"]
    (entry,) = LogEntry.objects.all()
    assert (entry.user, entry.object_id) == (admin, str(conversation.pk))
    assert entry.change_message == "Imported a chat: 2 messages, 0 changed, 0 files."
    again = client.post(PATH, form(session, **{"import": "1"})).content.decode()
    assert "0 new messages, 2 were here already" in again
    assert Message.objects.count() == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"content": "no chat"}, "This is no exported chat"),
        ({"content": b""}, "empty"),
        ({"content": b"PK\x03\x04 half"}, "damaged or not whole"),
        ({"contact": "12"}, "Invalid phone number"),
        ({"contact": ""}, "required"),
        ({"contact": "01a2060c-0186-76a7-9642-3a280e006d9b"}, "Contact not found"),
        ({"me": "Rui"}, "has written nothing"),
        ({"date_order": "dym"}, "Select a valid choice"),
        ({"session": "01a2060c-0186-76a7-9642-3a280e006d9b"}, "Select a valid choice"),
        ({"content": CHAT + "\n" * 50_000}, "imports more with manage.py import_chat"),
        ({"content": CHAT + "x" * (16 * 1024 * 1024)}, "too large"),
    ],
)
def test_wrong_input_is_shown_with_its_reason_and_imports_nothing(
    session: WhatsAppSession, admin: User, log_in: LogIn, changes: dict[str, Any], reason: str
) -> None:
    client = log_in(admin)
    answer = client.post(PATH, form(session, **{"import": "1"} | changes))
    assert (answer.status_code, reason in answer.content.decode()) == (400, True)
    shown = client.post(PATH, form(session, **{"import": "1"} | changes), headers={"HX-Request": "true"})
    assert (shown.status_code, reason in shown.content.decode()) == (200, True)
    assert not Contact.objects.exists()


def test_nobody_else_gets_to_the_page_or_imports(
    session: WhatsAppSession, staff_member: User, staff_stranger: User, log_in: LogIn
) -> None:
    for user in (staff_member, staff_stranger):
        client = log_in(user)
        assert client.get(PATH).status_code == 403
        assert client.post(PATH, form(session, **{"import": "1"})).status_code == 403
        assert PATH not in client.get(reverse("admin:messaging_conversation_changelist")).content.decode()
    assert not Message.objects.exists()


def test_an_administrator_finds_the_page_in_the_menu(session: WhatsAppSession, admin: User, log_in: LogIn) -> None:
    client = log_in(admin)
    assert PATH in client.get(reverse("admin:messaging_conversation_changelist")).content.decode()
    assert client.get(PATH).status_code == 200
