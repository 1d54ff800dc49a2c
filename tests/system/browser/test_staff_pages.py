"""The pages around the inbox in a real browser: light or dark, a lost network, an expired login."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.application import Application
from tests.support.browser import StaffBrowser

People = Callable[..., StaffBrowser]
ADD_REPLY = "/admin/messaging/savedreply/add/"
_shortcuts = (f"staff-page-{number}" for number in count(1))


@pytest.fixture
def half_typed(people: People, application: Application) -> Iterator[tuple[Page, str]]:
    """Dora's page of a saved reply that she has written and not saved, and its shortcut."""
    shortcut = next(_shortcuts)
    page = people("dora").page(ADD_REPLY)
    page.select_option("[name=session]", label="sales")
    page.fill("[name=shortcut]", shortcut)
    page.fill("[name=text]", "We open at nine")
    yield page, shortcut
    application.rows("DELETE FROM messaging_savedreply WHERE shortcut = %s RETURNING id", shortcut)


def rename(application: Application, contact: Any, name: str) -> None:
    application.rows("UPDATE messaging_contact SET name = %s WHERE phone = %s RETURNING id", name, f"+{contact.phone}")


def stored(application: Application, shortcut: str) -> list[tuple[Any, ...]]:
    return application.rows("SELECT text FROM messaging_savedreply WHERE shortcut = %s", shortcut)


def press_save(page: Page) -> None:
    page.locator("[name=_save]").click()


def is_dark(page: Page) -> bool:
    """Return whether the page is darker than its words."""
    paper = "getComputedStyle(document.querySelector('#main, .pane')).backgroundColor"
    brightness: float = page.evaluate(
        "paper => { const canvas = document.createElement('canvas').getContext('2d'); canvas.fillStyle = paper;"
        " canvas.fillRect(0, 0, 1, 1); return Math.max(...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)); }",
        page.evaluate(paper),
    )
    return brightness < 128


def test_light_or_dark_is_chosen_once_for_every_browser_and_page(people: People, application: Application) -> None:
    page = people("dora", color_scheme="light").page("/admin/preferences/")
    assert not is_dark(page)
    page.locator("[x-on\\:click='openUserLinks = !openUserLinks']").click()
    with page.expect_response("**/preferences/theme/") as answer:
        page.get_by_role("button", name="Dark").click()
    assert (answer.value.status, is_dark(page)) == (204, True)
    elsewhere = people("dora", color_scheme="light").page("/admin/dashboard/")
    seen = {}
    for path in ("/admin/dashboard/", ADD_REPLY, "/admin/inbox/"):
        elsewhere.goto(path)
        seen[path] = is_dark(elsewhere)
    elsewhere.goto("/admin/preferences/")
    elsewhere.select_option("[name=theme]", "")
    press = elsewhere.get_by_role("button", name="Save")
    with elsewhere.expect_navigation():
        press.click()
    assert (seen, is_dark(elsewhere)) == (dict.fromkeys(seen, True), False)
    page.goto("/admin/inbox/")
    assert not is_dark(page)


def test_a_lost_network_is_shown_and_what_was_typed_is_saved_once_it_is_back(
    half_typed: tuple[Page, str], application: Application
) -> None:
    page, shortcut = half_typed
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("No connection to the server")
    press_save(page)
    expect(page.locator("[name=text]")).to_have_value("We open at nine")
    assert stored(application, shortcut) == []
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_be_hidden()
    with page.expect_navigation():
        press_save(page)
    assert stored(application, shortcut) == [("We open at nine",)]


def test_after_an_expired_login_what_was_typed_is_saved_by_logging_in_in_another_tab(
    half_typed: tuple[Page, str], application: Application
) -> None:
    page, shortcut = half_typed
    page.context.clear_cookies(name="sessionid")
    press_save(page)
    expect(page.locator("#connection")).to_contain_text("You are logged out")
    expect(page.locator("[name=text]")).to_have_value("We open at nine")
    with page.context.expect_page() as opened:
        page.locator("#connection").get_by_role("link", name="Log in again").click()
    login = opened.value
    login.fill("input[name=username]", "dora")
    login.fill("input[name=password]", "a long password 1")
    login.press("input[name=password]", "Enter")
    login.wait_for_url(f"**{ADD_REPLY}")
    login.close()
    with page.expect_navigation():
        press_save(page)
    assert stored(application, shortcut) == [("We open at nine",)]


def test_the_login_page_never_stands_within_a_page_that_asks_for_a_part_of_it(
    people: People, application: Application
) -> None:
    ((profile,),) = application.rows("SELECT agent_profile_id FROM sessions_app_whatsappsession WHERE name = 'sales'")
    page = people("admin").page(f"/admin/sessions_app/agentprofile/{profile}/change/")
    page.locator("summary", has_text="Test chat and replay").click()
    page.locator("#test-messages").wait_for(state="attached")
    page.context.clear_cookies(name="sessionid")
    expect(page.locator("#connection")).to_contain_text("You are logged out")
    expect(page.locator("#test-messages input[name=password]")).to_have_count(0)


def test_the_menu_and_the_filters_are_opened_with_the_keyboard_alone(people: People) -> None:
    page = people("dora").page("/admin/messaging/contact/")
    page.get_by_role("button", name="Filters").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#changelist-filter")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="dora").focus()
    page.keyboard.press(" ")
    settings = page.get_by_role("link", name="My settings")
    expect(settings).to_be_visible()
    settings.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/preferences/")


def test_a_name_of_200_letters_hides_no_column_of_a_list(
    people: People, contact: Any, application: Application
) -> None:
    contact.says("Hello")
    rename(application, contact, "W" * 200)
    page = people("olga").page("/admin/messaging/contact/")
    expect(page.locator("#result_list tbody", has_text="W" * 50).first).to_be_visible()
    columns = page.locator("#result_list thead th").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().right)"
    )
    assert len(columns) > 3
    assert max(columns) <= 1366
