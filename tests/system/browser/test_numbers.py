"""Linking a number in a real browser: the code, its end, the link that appears by itself, and what asks first."""

import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import StaffBrowser
from tests.support.fake_zapw import FakeZapw

People = Callable[..., StaffBrowser]
ADD = "/admin/sessions_app/whatsappsession/add/"
_names = count(1)


@pytest.fixture
def number(people: People, zapw: FakeZapw) -> Iterator[tuple[Page, str]]:
    """An administrator's page of a number that is being linked, and its name. The number is ended afterwards."""
    name = f"linked-{next(_names)}"
    page = people("admin").page(ADD)
    page.fill("input[name=name]", name)
    page.get_by_role("button", name="Show the QR code").click()
    page.wait_for_url(re.compile(r"/whatsappsession/[0-9a-f-]{36}/change/"))
    yield page, name
    if page.get_by_text("End this number").count():
        end(page)


def end(page: Page) -> None:
    page.locator("summary", has_text="End …").click()
    page.get_by_role("button", name="End this number").click()
    expect(page.locator("#link-state h2")).to_contain_text("Ended")


def code_of(page: Page) -> str:
    """Return the code that is shown; empty while there is none."""
    shown: str = page.evaluate("document.querySelector('#link-state img')?.src ?? ''")
    return shown


def another_code(page: Page, before: str, *, timeout_s: float = 30.0) -> str:
    give_up_at = time.monotonic() + timeout_s
    while (shown := code_of(page)) in {"", before}:
        assert time.monotonic() < give_up_at, "the code is still the same"
        page.wait_for_timeout(100)
    return shown


def test_a_scanned_code_turns_into_the_number_by_itself(number: tuple[Page, str], zapw: FakeZapw) -> None:
    page, name = number
    page.evaluate("window.wasNotReloaded = true")
    state = page.locator("#link-state")
    expect(state.get_by_alt_text("QR code to scan with WhatsApp")).to_be_visible()
    expect(state.locator("figcaption")).to_have_text(re.compile(r"Valid until \d\d:\d\d:\d\d"))
    zapw.scan(name, phone="5511977776666", name="Corner shop")
    expect(state.locator("h2")).to_have_text("Connected as +5511977776666")
    expect(state).to_contain_text("Corner shop")
    expect(state.locator("img")).to_have_count(0)
    assert page.evaluate("window.wasNotReloaded")


def test_a_code_that_has_expired_is_replaced_by_itself(number: tuple[Page, str], zapw: FakeZapw) -> None:
    page, name = number
    first = another_code(page, "")
    page.evaluate("window.wasNotReloaded = true")
    zapw.expire_code(name)
    assert another_code(page, first).startswith("data:image/png;base64,")
    assert page.evaluate("window.wasNotReloaded")


def test_a_number_is_ended_only_after_a_question(number: tuple[Page, str], zapw: FakeZapw) -> None:
    page, name = number
    button = page.get_by_role("button", name="End this number")
    expect(button).to_be_hidden()
    page.locator("summary", has_text="End …").click()
    expect(page.locator("#link-state")).to_contain_text("Its messages stay here.")
    assert name in zapw.sessions
    button.click()
    expect(page.locator("#link-state h2")).to_contain_text("Ended")
    assert name not in zapw.sessions


def test_a_number_is_connected_again_only_after_a_question_that_stays_open_while_the_page_polls(
    number: tuple[Page, str],
) -> None:
    page, session = number
    state = page.locator("#link-state")
    button = state.get_by_role("button", name="Connect again", exact=True)
    expect(button).to_be_hidden()
    state.locator("summary", has_text="Connect again …").click()
    for _ in range(2):
        with page.expect_response("**/link/"):
            pass
    expect(button).to_be_visible()
    button.click()
    expect(page.get_by_text(re.compile(f"^\\s*{session}: "))).to_be_visible()


def test_a_viewer_sees_the_number_without_its_buttons(people: People, application: Any) -> None:
    ((key,),) = application.rows("SELECT id FROM sessions_app_whatsappsession WHERE name = 'sales'")
    page = people("vera").page(f"/admin/sessions_app/whatsappsession/{key}/change/")
    expect(page.locator("#link-state h2")).to_contain_text("Connected")
    expect(page.locator("#link-state form")).to_have_count(0)
