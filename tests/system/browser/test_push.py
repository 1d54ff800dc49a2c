"""Notifications while the inbox is closed, in a real browser, with a push service of ours."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.application import Application
from tests.support.browser import StaffBrowser
from tests.support.messaging.push_service import PushService

People = Callable[..., StaffBrowser]
# The browser's side of a subscription, with the address and the keys of our service.
SUBSCRIBE = """fields => {
    let current = null;
    PushManager.prototype.subscribe = async function (options) {
        window.applicationServerKey = options.applicationServerKey;
        const { endpoint, ...keys } = fields;
        current = { toJSON: () => ({ endpoint, keys }), unsubscribe: async () => { current = null; return true; } };
        return current;
    };
    PushManager.prototype.getSubscription = async () => current;
    Notification.requestPermission = async () => "granted";
}"""

# What the worker asks the browser to show: a browser without windows has nowhere to show it. As in one that has, a
# notification replaces the one with its tag.
COLLECT_SHOWN = """() => {
    self.shown = {};
    self.registration.showNotification = async (title, options) => { self.shown[options.tag] = [title, options]; };
}"""


def becomes_true(page: Page, condition: Callable[[], bool], *, tries: int = 200) -> bool:
    """Wait for it; the page goes on meanwhile."""
    for _ in range(tries):
        if condition():
            return True
        page.wait_for_timeout(100)
    return False


def titles(service: PushService) -> list[tuple[str, str]]:
    return [(shown["title"], shown["url"]) for shown in service.shown]


@pytest.fixture
def service() -> Iterator[PushService]:
    with PushService() as service:
        yield service


def test_a_browser_is_registered_notified_and_forgotten(
    people: People, application: Application, contact: Any, service: PushService
) -> None:
    contact.says("Help")
    page = people("pedro", permissions=["notifications"]).page()
    page.evaluate(SUBSCRIBE, service.fields)
    page.get_by_role("button", name="Alerts").click()
    choice = page.get_by_label("Notify this device also while the inbox is closed")
    choice.check()
    own = "SELECT count(*) FROM agent_pushsubscription WHERE endpoint = %s"
    endpoint = service.fields["endpoint"]
    assert becomes_true(page, lambda: application.rows(own, endpoint) == [(1,)])
    assert page.evaluate("window.applicationServerKey").startswith("B")
    application.rows(
        "UPDATE messaging_conversation SET needs_attention = true, attention_reason = 'handoff' WHERE address LIKE %s",
        f"{contact.phone}@%",
    )
    assert becomes_true(page, lambda: ("Somebody needs a person", contact.path) in titles(service))
    choice.uncheck()
    assert becomes_true(page, lambda: application.rows(own, endpoint) == [(0,)])


def test_the_service_worker_shows_a_push_while_nobody_looks_at_the_inbox(people: People, contact: Any) -> None:
    contact.says("Help")
    olga = people("olga", permissions=["notifications"])
    page = olga.page()
    devtools = olga.context.new_cdp_session(page)
    registrations: list[dict[str, Any]] = []
    devtools.on("ServiceWorker.workerRegistrationUpdated", lambda event: registrations.extend(event["registrations"]))
    devtools.send("ServiceWorker.enable")
    with olga.context.expect_event("serviceworker") as started:
        page.evaluate("""async () => {
            await navigator.serviceWorker.register(document.body.dataset.pushWorker);
            await navigator.serviceWorker.ready;
        }""")
    worker = started.value
    worker.evaluate(COLLECT_SHOWN)
    page.goto("/admin/preferences/")
    assert becomes_true(page, lambda: bool(registrations))
    to = {"origin": olga.url, "registrationId": registrations[0]["registrationId"]}
    pushed = {
        tag: {"title": "Somebody needs a person", "url": f"{contact.path}?of={tag}", "tag": tag, "icon": f"/{tag}.png"}
        for tag in ("first", "second")
    }

    def are_shown() -> bool:  # pushed again until then: the inbox that was just left still counts as looked at
        for content in pushed.values():
            devtools.send("ServiceWorker.deliverPushMessage", to | {"data": json.dumps(content)})
        return len(worker.evaluate("self.shown")) == len(pushed)

    assert becomes_true(page, are_shown)
    assert worker.evaluate("self.shown") == {
        tag: [
            "Somebody needs a person",
            {"tag": tag, "icon": f"/{tag}.png", "renotify": True, "data": {"url": f"{contact.path}?of={tag}"}},
        ]
        for tag in pushed
    }
