"""The Content-Security-Policy of the admin, in a real browser: it breaks no page, and no inline script runs."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.application import Application
from tests.support.browser import StaffBrowser

People = Callable[..., StaffBrowser]
PAGES = [
    "/admin/dashboard/", "/admin/preferences/", "/admin/messaging/conversation/", "/admin/messaging/message/",
    "/admin/messaging/turn/", "/admin/accounts/user/", "/admin/accounts/user/add/", "/admin/accounts/apikey/add/",
    "/admin/sessions_app/whatsappsession/", "/admin/sessions_app/whatsappsession/add/", "/admin/sessions_app/bridge/",
    "/admin/sessions_app/agentprofile/add/", "/admin/no-such-page/", "/admin/inbox/",
]  # fmt: skip
INJECT = """() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'hacked'";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", "<img src='data:,' onerror=\\"document.title = 'hacked'\\">");
}"""


def test_no_page_of_the_admin_breaks_the_policy(people: People, application: Application, contact: Any) -> None:
    contact.says("Good morning")
    rows = {
        "sessions_app/whatsappsession": "SELECT id FROM sessions_app_whatsappsession WHERE name = 'sales'",
        "sessions_app/agentprofile": "SELECT agent_profile_id FROM sessions_app_whatsappsession WHERE name = 'sales'",
        "messaging/conversation": "SELECT id FROM messaging_conversation LIMIT 1",
    }
    changes = [f"/admin/{model}/{application.rows(query)[0][0]}/change/" for model, query in rows.items()]
    admin = people("admin")  # whose fixture fails with what the browser complained about
    page = admin.page("/admin/inbox/")
    for path in [*PAGES, *changes]:
        answer = page.goto(path)
        assert answer is not None
        assert "script-src 'self'" in answer.headers["content-security-policy"], path
        expect(page.locator("body")).to_be_visible()
        page.wait_for_timeout(100)  # what scripts do once the page is loaded
    assert admin.complaints == []


def test_the_login_keeps_to_the_policy(people: People, application: Application) -> None:
    olga = people("olga")
    olga.context.clear_cookies()
    page = olga.page("/admin/login/")
    expect(page.locator("input[name=username]")).to_be_visible()
    assert olga.complaints == []


@pytest.mark.parametrize("path", ["/admin/dashboard/", "/admin/preferences/"])
def test_an_inline_script_does_not_run(people: People, path: str) -> None:
    olga = people("olga")
    page = olga.page(path)
    title = page.title()
    with page.expect_console_message(lambda line: "Content Security Policy" in line.text):
        page.evaluate(INJECT)
    assert page.title() == title
    olga.complaints.clear()  # they are what was asked for
