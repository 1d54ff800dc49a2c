"""The inbox in a real browser: Debian's Chromium, steered by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

# The headless shell is the same engine without a browser's windows, and takes less than half of the processor time.
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",  # a microphone that beeps, and may be used
    "--use-fake-ui-for-media-stream",
]
FAILED_REQUEST = ("Failed to load resource", "ERR_", "Response Status Error", "htmx:sendError", "htmx:afterRequest")
# Pages poll for what is new every two or three seconds: no test of what they then show needs to wait for that long.
HURRY = """
const wait = window.setTimeout.bind(window);
window.setTimeout = (act, ms, ...values) => wait(act, ms > 500 && ms <= 3000 ? ms / 5 : ms, ...values);
"""
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1366, "height": 768}
expect.set_options(timeout=45_000)  # on a busy machine too


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def show_in(page: Page, *, viewport: dict[str, int], scheme: str) -> None:
    """Show an open page in another size, and in light or dark as it would be loaded in it."""
    page.set_viewport_size(viewport)  # type: ignore[arg-type]
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.evaluate("isDark => document.documentElement.classList.toggle('dark', isDark)", scheme == "dark")


class StaffBrowser:
    """A person's browser: pages of one login. What the scripts complain about is gathered in `complaints`.

    `is_hurried`: its pages poll five times as often. `viewport` is the size of the pages that are opened from then on.
    """

    def __init__(self, browser: Browser, *, url: str, is_hurried: bool = False, **options: Any) -> None:
        self.url = url
        self.viewport = LAPTOP
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=url, viewport=LAPTOP, locale="en-US", **options)
        if is_hurried:
            self.context.add_init_script(HURRY)
        self.context.set_default_timeout(45_000)
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.context.on("console", lambda line: self._gather(line))

    def _gather(self, line: Any) -> None:
        if line.type == "error" and not any(words in line.text for words in FAILED_REQUEST):
            self.complaints.append(line.text)

    def page(self, path: str = "/admin/inbox/") -> Page:
        page = self.context.new_page()
        if self.viewport != LAPTOP:
            page.set_viewport_size(self.viewport)  # type: ignore[arg-type]
        page.goto(path)
        return page

    def log_in(self, username: str, password: str) -> Page:
        """Log in as people do, and return the page where that leads."""
        page = self.page("/admin/login/?next=/admin/")
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", password)
        page.press("input[name=password]", "Enter")
        page.wait_for_url("**/admin/inbox/**")
        return page

    def begin_again(self, *, cookies: Any) -> None:
        """Forget all but these cookies and the files that it has loaded. Fails if a script has complained since its
        pages were closed."""
        assert self.close_pages() == []
        self.context.set_offline(False)
        self.context.clear_cookies()
        self.context.add_cookies(cookies)
        blank = self.context.new_page()
        self.context.new_cdp_session(blank).send(
            "Storage.clearDataForOrigin", {"origin": self.url, "storageTypes": "local_storage,service_workers"}
        )
        blank.close()
        self.viewport = LAPTOP

    def close_pages(self) -> list[str]:
        """Close its pages; return what their scripts complained about, once."""
        for page in self.context.pages:
            page.close()
        complaints, self.complaints = self.complaints, []
        return complaints

    def close(self) -> None:
        self.context.close()
