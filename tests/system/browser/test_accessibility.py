"""axe-core finds no serious fault on the pages that staff work on, in light, in dark and on a phone."""

from collections.abc import Callable
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.support.application import Application
from tests.support.browser import LAPTOP, PHONE, StaffBrowser, show_in

People = Callable[..., StaffBrowser]
SERIOUS = {"serious", "critical"}
COLOURS = {"runOnly": ["color-contrast"]}  # all that dark changes
LAYOUT = {"runOnly": ["scrollable-region-focusable", "target-size"]}  # what a phone may change
BRIEFLY = {"resultTypes": ["violations"], "preload": False}  # without a list of what is right
LOOKS: tuple[tuple[dict[str, int], str, dict[str, Any]], ...] = (
    (LAPTOP, "light", {}),
    (LAPTOP, "dark", COLOURS),
    (PHONE, "light", LAYOUT),
)
SESSION = "SELECT id FROM sessions_app_whatsappsession WHERE name = 'sales'"
PROFILE = "SELECT agent_profile_id FROM sessions_app_whatsappsession WHERE name = 'sales'"
PAGES = {
    "dashboard": ("/admin/dashboard/", ""),
    "my settings": ("/admin/preferences/", ""),
    "contacts": ("/admin/messaging/contact/", ""),
    "contact": ("/admin/messaging/contact/{}/change/", "SELECT id FROM messaging_contact ORDER BY id DESC LIMIT 1"),
    "conversation of the admin": (
        "/admin/messaging/conversation/{}/change/",
        "SELECT id FROM messaging_conversation ORDER BY id DESC LIMIT 1",
    ),
    "turn": ("/admin/messaging/turn/{}/change/", "SELECT id FROM messaging_turn ORDER BY id DESC LIMIT 1"),
    "knowledge": ("/admin/messaging/knowledge/add/", ""),
    "saved reply": ("/admin/messaging/savedreply/add/", ""),
    "templates": ("/admin/messaging/messagetemplate/", ""),
    "import of a chat": ("/admin/messaging/conversation/import/", ""),
    "numbers": ("/admin/sessions_app/whatsappsession/", ""),
    "number": ("/admin/sessions_app/whatsappsession/{}/change/", SESSION),
    "link a number": ("/admin/sessions_app/whatsappsession/add/", ""),
    "user": ("/admin/accounts/user/{}/change/", "SELECT id FROM accounts_user WHERE username = 'olga'"),
    "simulator": ("/simulator/", ""),
}
# One below the other, as axe takes its time for each page.
SHOW_DIALOGS = """() => {
    document.getElementById("extras").open = true;
    document.getElementById("result-title").textContent = "Summary";
    for (const dialog of document.querySelectorAll("dialog")) {
        dialog.show();
        dialog.style.position = "static";
    }
}"""


def serious_faults(page: Page) -> list[str]:
    """Return the faults of a page in each look, and show it in light on a laptop again."""
    found = []
    page.evaluate(AXE_SCRIPT)
    for viewport, scheme, options in LOOKS:
        show_in(page, viewport=viewport, scheme=scheme)
        page.evaluate("() => Promise.all(document.getAnimations().map(each => each.finished.catch(() => null)))")
        violations = page.evaluate("async options => (await axe.run(options)).violations", options | BRIEFLY)
        found += [
            f"{scheme}, {viewport['width']}: {each['id']}: {node['target']} {node['failureSummary'][:200]}"
            for each in violations
            if each["impact"] in SERIOUS
            for node in each["nodes"][:3]
        ]
    show_in(page, viewport=LAPTOP, scheme="light")
    return found


def test_the_inbox_has_no_serious_fault(people: People, contact: Any) -> None:
    contact.is_answered("Good *morning*, see https://example.com")
    page = people("olga").page("/admin/inbox/?control=agent")
    faults = {"list": serious_faults(page)}
    page.goto(contact.path)
    page.locator(".bubble.by-agent").wait_for()
    faults["conversation"] = serious_faults(page)
    page.locator(".bubble.by-agent").first.hover()
    page.locator(".bubble.by-agent [data-open-dialog=why-dialog]").first.click()
    page.locator("#why h2").wait_for()
    page.keyboard.press("Escape")
    page.evaluate(SHOW_DIALOGS)
    faults["dialogs and menu"] = serious_faults(page)
    assert faults == {name: [] for name in faults}


def test_no_page_around_the_inbox_has_a_serious_fault(people: People, application: Application, contact: Any) -> None:
    contact.is_answered("Good morning")
    page = people("admin").page()
    faults = []
    for name, (path, key) in PAGES.items():
        page.goto(path.format(*(application.rows(key)[0] if key else ())))
        faults += [f"{name}: {fault}" for fault in serious_faults(page)]
    assert not faults, "\n".join(faults)


def test_the_editor_of_a_profile_with_its_test_chat_has_no_serious_fault(
    people: People, application: Application
) -> None:
    ((profile,),) = application.rows(PROFILE)
    page = people("admin").page(f"/admin/sessions_app/agentprofile/{profile}/change/")
    page.locator("summary", has_text="Test chat and replay").click()
    page.locator("#replay").wait_for()
    assert serious_faults(page) == []


def test_the_login_has_no_serious_fault(people: People) -> None:
    olga = people("olga")
    olga.context.clear_cookies()
    page = olga.page("/admin/login/")
    page.locator("input[name=username]").wait_for()
    assert serious_faults(page) == []
