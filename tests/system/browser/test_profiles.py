"""What the agent is told, in a real browser: a draft, its test chat, and publishing it."""

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.support.application import Application
from tests.support.browser import StaffBrowser
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

People = Callable[..., StaffBrowser]


@pytest.fixture
def name() -> str:
    """The name of a profile of this test's own."""
    return f"Profile {uuid4().hex[:8]}"


@pytest.fixture
def editor(people: People, name: str) -> Page:
    """An administrator's page of that profile."""
    page = people("admin").page("/admin/sessions_app/agentprofile/add/")
    page.fill("input[name=name]", name)
    page.fill("textarea[name=instructions]", "Be brief.")
    page.locator("[name=_continue]").click()
    page.wait_for_url(re.compile(r"/agentprofile/[0-9a-f-]{36}/change/"))
    return page


def save(page: Page) -> None:
    page.locator("[name=_save]").click()


def live_instructions(application: Application, name: str) -> str:
    ((text,),) = application.rows(
        "SELECT instructions FROM sessions_app_agentprofile WHERE name = %s AND draft_of_id IS NULL", name
    )
    return str(text)


def test_a_draft_is_tried_in_a_test_chat_and_then_published(
    editor: Page, name: str, application: Application, model: FakeOpenAI, zapw: FakeZapw
) -> None:
    sent_before = len(zapw.sent)
    editor.fill("textarea[name=instructions]", f"Answer as {name} would.")
    save(editor)
    expect(editor.get_by_text("Saved as a draft.")).to_be_visible()
    expect(editor.locator("section[aria-labelledby=draft]")).to_contain_text(f"Answer as {name} would.")
    assert live_instructions(application, name) == "Be brief."

    editor.locator("summary", has_text="Test chat and replay").click()
    expect(editor.locator("#test-messages")).to_contain_text("Nothing said yet.")  # htmx knows the form now
    model.say("The draft is speaking.")
    editor.fill("#test-text", "Who are you?")
    editor.press("#test-text", "Enter")
    expect(editor.locator("#test-messages")).to_contain_text("The draft is speaking.")
    expect(editor.locator("#test-text")).to_have_value("")
    assert any(f"Answer as {name} would." in str(asked.body) for asked in list(model.requests))
    assert len(zapw.sent) == sent_before  # nothing leaves

    editor.get_by_label("Why (for colleagues)").fill("It sounds like us")
    editor.get_by_role("button", name="Publish").click()
    expect(editor.get_by_text("Published as version 2.")).to_be_visible()
    expect(editor.locator("section[aria-labelledby=draft]")).to_have_count(0)
    expect(editor.locator("section[aria-labelledby=versions] summary", has_text="Version 2")).to_contain_text(
        "It sounds like us"
    )
    assert live_instructions(application, name) == f"Answer as {name} would."


def test_a_draft_is_discarded_only_after_a_question(editor: Page, name: str, application: Application) -> None:
    editor.fill("textarea[name=instructions]", "Never mind.")
    save(editor)
    discard = editor.get_by_role("button", name="Discard the draft")
    expect(discard).to_be_hidden()
    editor.locator("summary", has_text="Discard …").click()
    discard.click()
    expect(editor.get_by_text("The draft was discarded.")).to_be_visible()
    expect(editor.locator("textarea[name=instructions]")).to_have_value("Be brief.")


def test_an_earlier_version_is_restored_only_after_a_question(
    editor: Page, name: str, application: Application
) -> None:
    editor.fill("textarea[name=instructions]", "Be long.")
    save(editor)
    editor.get_by_role("button", name="Publish").click()
    expect(editor.get_by_text("Published as version 2.")).to_be_visible()
    first = editor.locator("section[aria-labelledby=versions] li", has_text="Version 1").first
    first.locator("summary").first.click()
    restore = first.get_by_role("button", name="Restore this version")
    expect(restore).to_be_hidden()
    first.locator("summary", has_text="Restore …").click()
    expect(first).to_contain_text("The agent answers with this version at once.")
    restore.click()
    expect(editor.get_by_text("Restored version 1; it is live.")).to_be_visible()
    assert live_instructions(application, name) == "Be brief."


def test_an_operator_reads_a_profile_and_changes_nothing(people: People, application: Any) -> None:
    ((key,),) = application.rows(
        "SELECT profile.id FROM sessions_app_agentprofile profile JOIN sessions_app_whatsappsession session"
        " ON session.agent_profile_id = profile.id WHERE session.name = 'sales'"
    )
    page = people("olga").page(f"/admin/sessions_app/agentprofile/{key}/change/")
    expect(page.locator("section[aria-labelledby=versions]")).to_be_visible()
    expect(page.locator("[name=_save]")).to_have_count(0)
    expect(page.locator("summary", has_text="Test chat and replay")).to_have_count(0)
