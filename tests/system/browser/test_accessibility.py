"""axe-core finds no serious fault on the pages of the inbox, in light, in dark and on a phone."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.support.browser import LAPTOP, PHONE, StaffBrowser

People = Callable[..., StaffBrowser]


def serious_faults(page: Page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node['failureSummary'][:200]}"
        for each in violations
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize(("viewport", "scheme"), [(LAPTOP, "light"), (LAPTOP, "dark"), (PHONE, "light")])
def test_axe_finds_no_serious_fault(people: People, contact: Any, viewport: dict[str, int], scheme: str) -> None:
    contact.is_answered("Good *morning*, see https://example.com")
    page = people("olga", viewport=viewport, color_scheme=scheme).page("/admin/inbox/?control=agent")
    faults = {"list": serious_faults(page)}
    page.goto(contact.path)
    page.locator(".bubble.by-agent").wait_for()
    faults["conversation"] = serious_faults(page)
    page.locator(".bubble.by-agent [data-why]").first.click(force=True)
    page.locator("#why h2").wait_for()
    faults["why"] = serious_faults(page)
    page.keyboard.press("Escape")
    page.locator("[data-open-dialog=settings-dialog]").first.evaluate("button => button.click()")
    faults["alerts"] = serious_faults(page)
    assert faults == {name: [] for name in faults}
