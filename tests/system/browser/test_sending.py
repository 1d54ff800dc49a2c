"""Sending other things than texts in a real browser, and changing what was sent: over WAHA, which can do all of it."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.application import Application
from tests.support.background import becomes_true
from tests.support.bridges.fake_waha import FakeWaha
from tests.support.browser import PHONE, StaffBrowser
from tests.support.messaging.files import WEBP

CREATE = """
from django.utils import timezone
from accounts.models import User
from messaging.models import Contact, Conversation, Message
from sessions_app.models import Bridge, Membership, WhatsAppSession

at = timezone.now()
bridge = Bridge.objects.create(slug="waha", kind="waha", base_url="{url}", api_key="{api_key}", synced_at=at)
profile = WhatsAppSession.objects.get(name="sales").agent_profile
session = WhatsAppSession.objects.create(bridge=bridge, agent_profile=profile, name="waha", status="connected")
Membership.objects.create(session=session, user=User.objects.get(username="olga"))
for digit, key in enumerate({keys}):
    contact = Contact.objects.create(session=session, phone="+551197777666" + str(digit))
    conversation = Conversation.objects.create(
        pk=key, session=session, contact=contact, address=contact.phone[1:] + "@c.us", control="muted",
        last_message_at=at,
    )
    values = dict(session=session, conversation=conversation, said_at=at)
    Message.objects.create(
        direction="inbound", author="contact", status="handled", text="When do you close?", provider_message_id="ASKED",
        written_at=at, **values
    )
    for number in ("six", "seven"):
        Message.objects.create(
            direction="outbound", author="agent", status="delivered", text="We close at " + number + ".", sent_at=at,
            provider_message_id="ANSWER" + number, **values
        )
"""
DELETE = """
from sessions_app.models import Bridge, WhatsAppSession
WhatsAppSession.objects.filter(bridge__slug="waha").delete()
Bridge.objects.filter(slug="waha").delete()
"""
COUNT_MICROPHONES = """() => {
    const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);
    window.streams = [];
    devices.getUserMedia = async wanted => {
        const stream = await ask(wanted);
        window.streams.push(stream);
        return stream;
    };
}"""
ASKS_BEFORE_LEAVING = "!window.dispatchEvent(new Event('beforeunload', {cancelable: true}))"


@pytest.fixture(scope="module")
def waha() -> Iterator[FakeWaha]:
    with FakeWaha(echoes=False, acks=()) as fake:
        fake.add_session("waha", phone="5511999990000")
        yield fake


@pytest.fixture(scope="module")
def keys(application: Application, waha: FakeWaha) -> Iterator[list[str]]:
    """Conversations over WAHA, one for each test: a question, and two answers that can still be changed."""
    keys = [str(uuid4()) for _ in range(4)]
    application.manage("shell", "-v0", "-c", CREATE.format(url=waha.url, api_key=waha.api_key, keys=keys))
    yield keys
    application.manage("shell", "-v0", "-c", DELETE)


@pytest.fixture
def page(olga: StaffBrowser, keys: list[str]) -> Page:
    """Olga has opened one of the conversations."""
    return olga.page(f"/admin/inbox/{keys.pop()}/")


def press(bubble: Locator, name: str) -> None:
    bubble.hover()
    bubble.get_by_role("button", name=name, exact=True).click()


def sent(waha: FakeWaha, kind: str) -> list[Any]:
    return [each for each in list(waha.sent) if each["type"] == kind]


def test_everything_but_text_is_sent_and_what_was_sent_is_changed(page: Page, waha: FakeWaha) -> None:
    answer = page.locator(".bubble.mine", has_text="We close at").first
    press(page.locator(".bubble.theirs"), "React")
    page.locator("#reaction-dialog").get_by_role("button", name="👍").click()
    assert becomes_true(lambda: [each["reaction"] for each in list(waha.reactions)] == ["👍"])

    press(answer, "Edit")
    box = page.locator("#edit-dialog textarea")
    expect(box).to_have_value("We close at six.")
    expect(box).to_be_focused()
    box.fill("/summarize")
    page.locator("#edit-dialog").get_by_role("button", name="Save").click()
    expect(page.locator("#edit-dialog").get_by_role("alert")).to_contain_text("command")
    box.fill("We close at five.")
    page.locator("#edit-dialog").get_by_role("button", name="Save").click()
    expect(page.locator("#edit-dialog")).to_be_hidden()
    expect(answer.locator(".text")).to_have_text("We close at five.")
    assert list(waha.edited.values()) == ["We close at five."]

    press(answer, "Delete")
    page.locator("#revoke-dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".bubble.mine", has_text="This message was deleted")).to_be_visible()
    assert len(waha.revoked) == 1

    for name in ("Carla", "Dora"):
        page.locator("#extras summary").click()
        page.get_by_role("button", name="Contact card").click()
        dialog = page.locator("#card-dialog")
        expect(dialog.get_by_label("Name")).to_have_value("")
        dialog.get_by_label("Name").fill(name)
        dialog.get_by_label("Phone").fill("+55 11 96666-5555")
        dialog.get_by_role("button", name="Send").click()
        expect(dialog).to_be_hidden()
    assert becomes_true(lambda: len(sent(waha, "sendContactVcard")) == 2)

    page.locator("#extras summary").click()
    page.get_by_role("button", name="Question with choices").press("Enter")
    dialog = page.locator("#choices-dialog")
    dialog.get_by_role("radio", name="Poll").press("Space")
    expect(dialog.get_by_label("Several answers")).to_be_visible()
    expect(dialog.get_by_label("What opens the list")).to_be_hidden()  # what only a list has
    dialog.get_by_label("Question").fill("Which day?")
    dialog.get_by_label("Choices").fill("Monday")
    dialog.get_by_role("button", name="Send").press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("at least 2")
    dialog.get_by_label("Choices").fill("Monday\nTuesday")
    dialog.get_by_role("button", name="Send").press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".bubble.by-staff .text", has_text="2. Tuesday")).to_be_visible()
    assert becomes_true(lambda: [each["body"]["poll"]["options"] for each in sent(waha, "sendPoll")] != [])

    page.set_input_files(
        "input[data-as=sticker]",
        [{"name": "a.webp", "mimeType": "image/webp", "buffer": WEBP}],  # type: ignore[list-item]
    )
    expect(page.locator("#attached")).to_contain_text("a.webp")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#attached")).to_be_hidden()
    assert becomes_true(lambda: len(sent(waha, "sendSticker")) == 1)


def test_a_voice_note_is_recorded_once_and_kept_however_it_ends(page: Page, waha: FakeWaha) -> None:
    page.evaluate(COUNT_MICROPHONES)
    page.locator("#extras summary").click()
    page.locator("#record").evaluate("button => { button.click(); button.click(); }")
    expect(page.locator("#recording")).to_contain_text("0:01")
    assert page.evaluate("streams.length") == 1
    assert page.evaluate(ASKS_BEFORE_LEAVING)
    page.evaluate("streams[0].getTracks()[0].stop()")  # the microphone is unplugged
    expect(page.locator("#attached li")).to_have_count(1)
    expect(page.locator("#recording")).to_be_hidden()

    page.locator("#extras summary").click()
    page.locator("#record").click()
    expect(page.locator("#recording")).to_be_visible()
    expect(page.locator("#recording")).to_contain_text("0:01")
    page.locator("#composer").evaluate("form => form.classList.add('only-notes')")  # the reply window has closed
    page.locator("#stop-recording").evaluate("button => button.click()")
    expect(page.locator("#attached li")).to_have_count(2)
    page.locator("#composer").evaluate("form => form.classList.remove('only-notes')")
    assert page.evaluate("streams.flatMap(each => each.getTracks()).map(each => each.readyState)") == ["ended"] * 2

    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#attached")).to_be_hidden()
    assert becomes_true(lambda: len(sent(waha, "sendVoice")) == 2)


def test_a_dialog_never_shows_another_message_and_says_why_it_shows_nothing(page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    answers = page.locator(".bubble.mine", has_text="We close at")
    dialog = page.locator("#edit-dialog")
    press(answers.first, "Edit")
    expect(dialog.locator("textarea")).to_have_value("We close at six.")
    dialog.get_by_role("button", name="Cancel").click()
    held: list[Route] = []
    page.route("**/edit/*/", lambda route: held.append(route))
    press(answers.last, "Edit")
    expect(dialog).to_be_visible()
    expect(dialog.locator("textarea")).to_have_count(0)
    expect(dialog.get_by_role("button", name="Save")).to_be_hidden()
    assert becomes_true(lambda: page.evaluate("true") and len(held) == 1)
    held[0].fulfill(status=409, json={"detail": "This message cannot be edited any more.", "code": "conflict"})
    expect(dialog.get_by_role("alert")).to_have_text("This message cannot be edited any more.")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    page.route("**/why/*/", lambda route: route.abort())
    press(page.locator(".bubble.theirs"), "Why no answer?")
    expect(page.locator("#why-dialog").get_by_role("alert")).to_contain_text("No connection")
    page.locator("#why-dialog").get_by_role("button", name="Close").click()
    expect(page.locator("#why-dialog")).to_be_hidden()
