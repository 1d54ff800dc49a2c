"""Pictures of the pages that staff work on over `manage.py demo_data`: light, dark and on a phone.

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
from tests.support.browser import LAPTOP, PHONE, StaffBrowser, chromium, show_in

SHOP = "Harbour Street Cycles"
ADMIN_PAGES = {
    "dashboard": "/admin/dashboard/?period=7d",
    "settings": "/admin/preferences/",
    "numbers": "/admin/sessions_app/whatsappsession/",
    "number": "/admin/sessions_app/whatsappsession/",
    "contacts": "/admin/messaging/contact/",
    "contact": "/admin/messaging/contact/",
    "merges": "/admin/messaging/contactmerge/",
    "conversations": "/admin/messaging/conversation/",
    "admin-conversation": "/admin/messaging/conversation/",
    "messages": "/admin/messaging/message/",
    "message": "/admin/messaging/message/",
    "turns": "/admin/messaging/turn/",
    "turn": "/admin/messaging/turn/",
    "bridges": "/admin/sessions_app/bridge/",
    "bridge": "/admin/sessions_app/bridge/",
    "api-keys": "/admin/accounts/apikey/",
    "add-api-key": "/admin/accounts/apikey/add/",
    "endpoints": "/admin/messaging/webhookendpoint/",
    "saved-replies": "/admin/messaging/savedreply/",
    "knowledge": "/admin/messaging/knowledge/",
    "templates": "/admin/messaging/messagetemplate/",
    "import": "/admin/messaging/conversation/import/",
    "user": "/admin/accounts/user/",
    "link-a-number": "/admin/sessions_app/whatsappsession/add/",
}
FIRST_OF_LIST = {
    "number",
    "user",
    "contact",
    "admin-conversation",
    "message",
    "turn",
    "bridge",
}  # the page of the list's first row
DIALOGS_WITH_CONTENT = {"why-dialog", "edit-dialog", "result-dialog"}  # which comes from the server
LOOKS = {"light": (LAPTOP, "light"), "dark": (LAPTOP, "dark"), "phone": (PHONE, "light")}
IN_README = {"conversation-light": "inbox", "conversation-dark": "inbox-dark", "list-phone": "inbox-phone"}
Picture = tuple[str, bytes]


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
            for name, picture in pictures(browser, application):
                image = Image.open(io.BytesIO(picture)).convert("RGB")
                image.save(output / f"{name}.png", optimize=True)
                if readme_name := IN_README.get(name):
                    image.save(ROOT / "docs" / "img" / f"{readme_name}.webp", quality=80, method=6)
                sys.stdout.write(f"{output / name}.png\n")
                sys.stdout.flush()


def pictures(browser: Browser, application: Application) -> Iterator[Picture]:
    """Yield each page with its name, in light, in dark and on a phone."""
    person = StaffBrowser(browser, url=application.url)
    yield from in_each_look(person.page("/admin/login/"), "login")
    page = person.log_in("admin", SECRETS["ADMIN_PASSWORD"])
    yield from inbox(page)
    yield from simulator(page)
    for name, path in ADMIN_PAGES.items():
        page.goto(path)
        if name in FIRST_OF_LIST:
            page.locator("#result_list tbody a").first.click()
        yield from in_each_look(page, name, full_page=True)
    yield from question(page)
    yield from profile(page)
    page.goto(ADMIN_PAGES["link-a-number"])
    page.fill("input[name=name]", "qr-front-desk")  # the simulator shows a code for a name like that
    page.get_by_role("button", name="Show the QR code").click()
    page.locator("#link-state img").wait_for()
    yield from in_each_look(page, "qr", full_page=True)
    application.rows("UPDATE sessions_app_whatsappsession SET status = 'disconnected' WHERE name = %s", SHOP)
    page.goto("/admin/inbox/")
    yield from in_each_look(page, "number-offline")
    person.close()


def inbox(page: Page) -> Iterator[Picture]:
    page.goto("/admin/inbox/?tab=all")
    yield from in_each_look(page, "list")
    open_conversation(page, "Priya Raman")
    yield from in_each_look(page, "conversation")
    why = page.locator("[data-open-dialog=why-dialog]")
    page.locator(".bubble.by-agent", has=why).last.hover()
    page.locator(".bubble.by-agent").locator(why).last.click()
    page.locator("#why h2").wait_for()
    yield from in_each_look(page, "why")
    page.keyboard.press("Escape")
    yield from dialogs(page)
    page.goto("/admin/inbox/?tab=needs")
    open_conversation(page, "Sofia Marchetti")
    yield from in_each_look(page, "failed-turn")
    page.goto("/admin/inbox/?tab=needs")
    open_conversation(page, "Tom Okafor")
    yield from in_each_look(page, "needs-a-person")
    show_in(page, viewport=PHONE, scheme="light")
    page.get_by_role("button", name="Contact").click()
    yield "contact-phone", page.screenshot()
    show_in(page, viewport=LAPTOP, scheme="light")
    page.goto("/admin/inbox/")
    page.get_by_role("button", name="Alerts").click()
    yield from in_each_look(page, "alerts")


def dialogs(page: Page) -> Iterator[Picture]:
    """Yield the menu of what else can be sent from the open conversation, and each dialog over it."""
    page.locator("#extras summary").click()
    yield from in_each_look(page, "menu")
    for dialog in page.locator("dialog[id]").all():
        name = str(dialog.get_attribute("id"))
        if name in DIALOGS_WITH_CONTENT:
            continue
        dialog.evaluate("dialog => dialog.showModal()")
        yield from in_each_look(page, name)
        dialog.evaluate("dialog => dialog.close()")
    edit = page.locator("[data-open-dialog=edit-dialog]")
    page.locator(".bubble", has=edit).last.hover()
    edit.last.click()
    page.locator("#edit-form").wait_for()
    yield from in_each_look(page, "edit-dialog")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Summarize").click()
    page.locator("#result-dialog[open]").wait_for()
    yield from in_each_look(page, "result-dialog")
    page.keyboard.press("Escape")


def simulator(page: Page) -> Iterator[Picture]:
    page.goto("/simulator/")
    page.locator("#text").fill("When do you open on Saturday?")
    page.locator("#text").press("Enter")
    page.locator(".bubble.theirs").last.wait_for()
    yield from in_each_look(page, "simulator")


def question(page: Page) -> Iterator[Picture]:
    """Yield the page that asks before two contacts are merged, in both languages."""
    for language, name in (("pt-br", "question-pt-br"), ("en", "question")):
        page.goto("/admin/preferences/")
        page.select_option("select[name=language]", language, force=True)
        with page.expect_navigation():
            page.locator("#content form button[type=submit]").last.click()
        page.goto(ADMIN_PAGES["contacts"])
        for row in range(2):
            page.locator("input.action-select").nth(row).check()
        page.select_option("select[name=action]", "merge")
        page.locator("button[name=index]").click()
        page.locator("input[name=confirmed]").wait_for(state="attached")
        yield from in_each_look(page, name, full_page=True)


def profile(page: Page) -> Iterator[Picture]:
    """Yield the editor of the shop's profile with its draft, and the test chat beside the replay."""
    page.goto("/admin/sessions_app/agentprofile/")
    page.get_by_role("link", name="Shop assistant").first.click()
    yield from in_each_look(page, "profile", full_page=True)
    page.locator("summary", has_text="Test chat and replay").click()
    page.fill("#test-text", "Can I come by today? I cannot ride home.")
    page.press("#test-text", "Enter")
    page.locator("#test-messages li").nth(1).wait_for()
    page.locator("#replay-all").click()
    page.locator("#replay", has_text="tokens").wait_for()
    yield from in_each_look(page, "test-chat")


def in_each_look(page: Page, name: str, *, full_page: bool = False) -> Iterator[Picture]:
    page.wait_for_load_state("networkidle")
    for look, (viewport, scheme) in LOOKS.items():
        show_in(page, viewport=viewport, scheme=scheme)
        page.wait_for_timeout(300)  # what is drawn anew
        yield f"{name}-{look}", page.screenshot(full_page=full_page)
    show_in(page, viewport=LAPTOP, scheme="light")


def open_conversation(page: Page, name: str) -> None:
    page.locator("a.row", has_text=name).first.click()
    page.locator(".bubble").last.wait_for()


if __name__ == "__main__":
    main()
