"""Templates in a real browser: what is filled in stays in its own form while the page brings what is new."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.support.application import ROOT, Application
from tests.support.browser import StaffBrowser

CREATE_SILENT = """
import django
django.setup()
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from messaging.models import Contact, Conversation, Message, MessageTemplate
from sessions_app.models import Bridge, Membership, WhatsAppSession

at = timezone.now()
bridge = Bridge.objects.create(slug="silent", kind="cloud", base_url="http://127.0.0.1:9", api_key="x", synced_at=at)
profile = WhatsAppSession.objects.get(name="sales").agent_profile
session = WhatsAppSession.objects.create(bridge=bridge, agent_profile=profile, name="silent", status="connected")
Membership.objects.create(session=session, user=User.objects.get(username="olga"))
contact = Contact.objects.create(session=session, name="Silent")
conversation = Conversation.objects.create(session=session, contact=contact, address="5511900000009", control="muted")
before = at - timedelta(days=2)
Message.objects.create(
    session=session, conversation=conversation, direction="inbound", author="contact", status="handled", text="Hi",
    written_at=before, said_at=before,
)
for name, header in (("first", ""), ("second", "image")):
    MessageTemplate.objects.create(
        session=session, name=name, language="en", status="APPROVED", body="{{1}} {{2}}", placeholders=["1", "2"],
        header=header, synced_at=at,
    )
print(conversation.pk)
"""
DELETE_SILENT = (
    CREATE_SILENT.partition("at = ")[0]
    + """
WhatsAppSession.objects.filter(bridge__slug="silent").delete()
Bridge.objects.filter(slug="silent").delete()
"""
)


def run(application: Application, script: str) -> str:
    environment = application.environment | {"DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def silent(application: Application) -> Iterator[str]:
    """The id of a conversation on the Cloud API whose contact wrote two days ago; its number has two templates."""
    yield run(application, CREATE_SILENT)
    run(application, DELETE_SILENT)


def test_what_is_filled_into_templates_survives_what_is_new_in_its_own_form(
    olga: StaffBrowser, silent: str, application: Application
) -> None:
    page = olga.page(f"/admin/inbox/{silent}/")

    def form_of(name: str) -> Locator:
        return page.locator("#contact details", has=page.locator("summary", has_text=f"{name} (en)"))

    for name, words in (("first", ("Ana", "Monday")), ("second", ("Bia", ""))):
        form = form_of(name)
        form.locator("summary").click()
        for field, word in zip(form.locator("input[name=body]").all(), words, strict=True):
            field.fill(word)
    picture = {"name": "a.png", "mimeType": "image/png", "buffer": b"x"}
    form_of("second").locator("input[type=file]").set_input_files([picture])  # type: ignore[list-item]
    page.locator("#contact h2").click()  # nobody is in a field: what is new is put in
    application.rows("UPDATE messaging_conversation SET labels = %s WHERE id = %s", ["new"], silent)
    expect(page.locator("#contact input[name=labels]")).to_have_value("new")
    for name, words in (("first", ("Ana", "Monday")), ("second", ("Bia", ""))):
        for field, word in zip(form_of(name).locator("input[name=body]").all(), words, strict=True):
            expect(field).to_be_visible()  # its form is still open
            expect(field).to_have_value(word)
