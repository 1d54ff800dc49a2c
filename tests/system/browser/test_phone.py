"""The pages around the inbox on a phone: nothing is wider than the screen, and nothing is cut off."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.application import Application
from tests.support.browser import PHONE, StaffBrowser

People = Callable[..., StaffBrowser]
PAGES = {
    "dashboard": "/admin/dashboard/",
    "settings": "/admin/preferences/",
    "API key": "/admin/accounts/apikey/add/",
    "user": "/admin/accounts/user/add/",
    "link a number": "/admin/sessions_app/whatsappsession/add/",
    "number": "/admin/sessions_app/whatsappsession/{session}/change/",
    "profile": "/admin/sessions_app/agentprofile/{profile}/change/",
}


@pytest.fixture
def keys(application: Application) -> dict[str, Any]:
    """The ids of the number and of its profile."""
    ((session, profile),) = application.rows(
        "SELECT id, agent_profile_id FROM sessions_app_whatsappsession WHERE name = 'sales'"
    )
    return {"session": session, "profile": profile}


def test_no_page_around_the_inbox_is_wider_than_a_phone(people: People, keys: dict[str, Any]) -> None:
    page = people("admin", viewport=PHONE).page()
    widths = {}
    for name, path in PAGES.items():
        page.goto(path.format(**keys))
        widths[name] = page.evaluate("document.documentElement.scrollWidth")
    assert widths == dict.fromkeys(PAGES, PHONE["width"])


def test_the_menu_and_the_contact_are_closed_by_a_tap_beside_them_and_by_escape(people: People, contact: Any) -> None:
    contact.says("Hello")
    page = people("olga", viewport=PHONE).page(contact.path)
    pane, about = page.locator("#contact"), page.get_by_role("button", name="Contact")
    about.click()
    pane.locator("select[name=user]").click()
    expect(pane).to_be_visible()
    page.mouse.click(10, 400)
    expect(pane).to_be_hidden()
    about.click()
    expect(pane).to_be_visible()
    page.keyboard.press("Escape")
    expect(pane).to_be_hidden()
    page.get_by_role("link", name="Back to the list").click()
    menu = page.locator(".menu-items")
    for close in (lambda: page.mouse.click(40, 600), lambda: page.keyboard.press("Escape")):
        page.locator(".menu summary").click()
        expect(menu).to_be_visible()
        close()
        expect(menu).to_be_hidden()


@pytest.mark.parametrize("width", [390, 1280])
def test_no_field_or_button_beside_a_conversation_is_cut_off(people: People, contact: Any, width: int) -> None:
    contact.says("Hello")
    page = people("olga", viewport={"width": width, "height": 800}).page(contact.path)
    if page.locator("#contact").is_hidden():
        page.get_by_role("button", name="Contact").click()
    cut = page.locator("#contact :is(select, button)").evaluate_all(
        "all => all.filter(each => each.scrollWidth > each.clientWidth + 1 || each.clientHeight > 45"
        " || (each.matches('select') && each.clientWidth < 120)).map(each => each.textContent)"
    )
    assert cut == []


def test_the_inbox_can_be_installed(people: People) -> None:
    page = people("olga", viewport=PHONE).page()
    chrome = page.context.new_cdp_session(page)
    manifest = chrome.send("Page.getAppManifest")
    faults = chrome.send("Page.getInstallabilityErrors")["installabilityErrors"]
    names = {fault["errorId"] for fault in faults} - {"in-incognito"}  # as each browser of Playwright is
    assert (manifest["errors"], names) == ([], set())
    assert manifest["url"].endswith("/admin/inbox/manifest.webmanifest")
