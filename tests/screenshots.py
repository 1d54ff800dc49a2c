"""Pictures of the inbox and of the pages around it over `manage.py demo_data`: light, dark and on a phone.

    python -m tests.screenshots [--output DIR]      make screenshots

All are written to DIR (by default /tmp/screenshots); those in README.md are written to docs/img as well.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support.application import ROOT, SECRETS, Application, open_to_all
from tests.support.browser import LAPTOP, PHONE, StaffBrowser, chromium

ADMIN_PAGES = {
    "dashboard": "/admin/dashboard/?period=7d",
    "settings": "/admin/preferences/",
    "numbers": "/admin/sessions_app/whatsappsession/",
    "number": "/admin/sessions_app/whatsappsession/",
    "link-a-number": "/admin/sessions_app/whatsappsession/add/",
    "profile": "/admin/sessions_app/agentprofile/",
    "saved-replies": "/admin/messaging/savedreply/",
    "knowledge": "/admin/messaging/knowledge/",
}
FIRST_OF_LIST = {"number", "profile"}  # the page of the list's first row
IN_README = {"conversation-light": "inbox", "conversation-dark": "inbox-dark", "list-phone": "inbox-phone"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()) / "screenshots")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        application = Application(
            open_to_all(Path(data)) / "data", ANONYMOUS_RATE_PER_MINUTE=0, TIME_ZONE="Europe/London"
        )
        with application, chromium() as browser:
            application.manage("demo_data")
            for name, picture in pictures(browser, application.url):
                image = Image.open(io.BytesIO(picture)).convert("RGB")
                image.save(output / f"{name}.png", optimize=True)
                if readme_name := IN_README.get(name):
                    image.save(ROOT / "docs" / "img" / f"{readme_name}.webp", quality=80, method=6)
                sys.stdout.write(f"{output / name}.png\n")


def pictures(browser: Browser, url: str) -> Iterator[tuple[str, bytes]]:
    """Yield each page with its name, in light, in dark and on a phone."""
    looks = {"light": (LAPTOP, "light"), "dark": (LAPTOP, "dark"), "phone": (PHONE, "light")}
    for look, (viewport, scheme) in looks.items():
        person = StaffBrowser(browser, url=url, viewport=viewport, color_scheme=scheme)
        page = person.log_in("admin", SECRETS["ADMIN_PASSWORD"])
        yield f"list-{look}", page.screenshot()
        open_conversation(page, "Priya Raman")
        yield f"conversation-{look}", page.screenshot()
        page.locator(".bubble.by-agent [data-why]").last.click(force=True)
        page.locator("#why h2").wait_for()
        yield f"why-{look}", page.screenshot()
        page.goto("/admin/inbox/?tab=needs")
        open_conversation(page, "Tom Okafor")
        yield f"needs-a-person-{look}", page.screenshot()
        if page.locator("#contact").is_hidden():
            page.get_by_role("button", name="Contact").click()
        yield f"contact-{look}", page.screenshot()
        page.goto("/admin/inbox/")
        page.get_by_role("button", name="Alerts").click()
        yield f"alerts-{look}", page.screenshot()
        for name, path in ADMIN_PAGES.items():
            page.goto(path)
            if name in FIRST_OF_LIST:
                page.locator("#result_list tbody a").first.click()
            page.wait_for_load_state("networkidle")
            yield f"{name}-{look}", page.screenshot(full_page=True)
        person.close()


def open_conversation(page: Page, name: str) -> None:
    page.locator("a.row", has_text=name).first.click()
    page.locator(".bubble").last.wait_for()
    page.wait_for_load_state("networkidle")


if __name__ == "__main__":
    main()
