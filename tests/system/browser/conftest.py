"""One application, one browser and its people for the tests of the inbox."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.application import ROOT, SECRETS, Application
from tests.support.background import becomes_true
from tests.support.browser import CHROMIUM, LAPTOP, StaffBrowser, chromium
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

PASSWORD = "a long password 1"
ROLES = {"olga": "operator", "pedro": "operator", "dora": "operator", "vera": "viewer"}


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        reason = "NO BROWSER: the inbox is not tested (apt-get install chromium-headless-shell)"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(api_key="fake-model-key") as fake:
        yield fake


@pytest.fixture(scope="package")
def zapw() -> Iterator[FakeZapw]:
    with FakeZapw() as fake:
        fake.add_session("sales", phone="5511999990000")
        yield fake


@pytest.fixture(scope="package")
def application(
    tmp_path_factory: pytest.TempPathFactory,
    browser: Browser,
    prepared_data: Path,
    model: FakeOpenAI,
    zapw: FakeZapw,
) -> Iterator[Application]:
    application = Application(
        tmp_path_factory.mktemp("inbox"),
        prepared=prepared_data,
        WHATSAPP_API_URL=zapw.url,
        WHATSAPP_API_KEY=zapw.api_key,
        OPENAI_BASE_URL=model.base_url,
        OPENAI_API_KEY="fake-model-key",
        AGENT_DEBOUNCE_S=0.1,
        AGENT_SWEEP_S=0.2,
        AGENT_MAX_TRIES=1,
        SEND_GAP_S=0,
        WEBHOOK_ALLOW_PRIVATE_NETWORKS="true",
        WEB_PROCESSES=1,
        ENGINE_PROCESSES=1,
        ANONYMOUS_RATE_PER_MINUTE=0,
        API_RATE_PER_MINUTE=0,
    )
    zapw.webhook_url = application.webhook_url
    with application:
        zapw.emit_connected("sales")
        create_people(application)
        yield application


CREATE_PEOPLE = """
import sys
import django
django.setup()
from django.core.management import call_command
from io import StringIO
for pair in sys.argv[2:]:
    name, role = pair.split(":")
    sys.stdin = StringIO(sys.argv[1])
    call_command("create_user", name, role=role, session=["sales"], password_stdin=True, stdout=StringIO())
"""


def create_people(application: Application) -> None:
    people = [f"{name}:{role}" for name, role in ROLES.items()]
    environment = application.environment | {"DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"}
    subprocess.run([sys.executable, "-c", CREATE_PEOPLE, PASSWORD, *people], cwd=ROOT, env=environment, check=True)


@pytest.fixture(autouse=True)
def model_as_usual(model: FakeOpenAI, zapw: FakeZapw) -> None:
    """No failure or answer that an earlier test has asked for is left."""
    model.heal()
    model.next_answers.clear()
    model.let_go()
    zapw.heal()


@pytest.fixture(scope="package")
def logins() -> dict[str, Any]:
    """The cookies of those who have logged in already: a password takes its time."""
    return {}


@pytest.fixture(scope="package")
def kept(browser: Browser) -> Iterator[dict[str, StaffBrowser]]:
    """The browser of each person between two tests: pages find there the files that earlier ones have loaded."""
    browsers: dict[str, StaffBrowser] = {}
    yield browsers
    for person in browsers.values():
        person.close()


@pytest.fixture
def people(
    application: Application, browser: Browser, logins: dict[str, Any], kept: dict[str, StaffBrowser]
) -> Iterator[Callable[..., StaffBrowser]]:
    """Open a browser for somebody: `people("olga")`, already logged in. The test fails if a script complained.

    With options of a context, a browser of its own, which is closed after the test.
    """
    opened: list[StaffBrowser] = []
    to_keep: dict[str, StaffBrowser] = {}

    def open_for(name: str, *, viewport: dict[str, int] = LAPTOP, **options: Any) -> StaffBrowser:
        if not options and name in kept:
            person = to_keep[name] = kept.pop(name)
            person.begin_again(cookies=logins[name])
        else:
            person = StaffBrowser(browser, url=application.url, **{"is_hurried": True} | options)
            if name in logins:
                person.context.add_cookies(logins[name])
            else:
                person.log_in(name, SECRETS["ADMIN_PASSWORD"] if name == "admin" else PASSWORD).close()
                logins[name] = person.context.cookies()
            if not options:
                to_keep.setdefault(name, person)
        person.viewport = viewport
        opened.append(person)
        return person

    yield open_for
    kept.update(to_keep)
    complaints = [complaint for person in opened for complaint in person.close_pages()]
    for person in opened:
        if person not in to_keep.values():
            person.close()
    assert complaints == []


@pytest.fixture
def olga(people: Callable[..., StaffBrowser]) -> StaffBrowser:
    """An operator."""
    return people("olga")


_numbers = count(1)


class Contact:
    """Somebody who writes to the number, with their own phone."""

    def __init__(self, zapw: FakeZapw, application: Application) -> None:
        self.phone = f"551198{next(_numbers):07d}"
        self._zapw, self._application = zapw, application

    def says(self, text: str = "", **fields: Any) -> None:
        assert self._zapw.emit_message(text, phone=self.phone, **fields) == [200]

    def is_answered(self, text: str) -> None:
        """Say it and wait for the answer: a page that is opened now has both, and need not poll for them."""
        before = len(self.heard)
        self.says(text)
        assert becomes_true(lambda: len(self.heard) > before)

    @property
    def heard(self) -> list[str]:
        """What the bridge was asked to send to them."""
        return [sent["text"] for sent in list(self._zapw.sent) if sent["jid"].startswith(self.phone)]

    @property
    def path(self) -> str:
        """The page of their conversation."""
        (key,) = self.row("id")
        return f"/admin/inbox/{key}/"

    def row(self, columns: str) -> tuple[Any, ...]:
        (row,) = self._application.rows(
            f"SELECT {columns} FROM messaging_conversation conversation WHERE address LIKE %s",  # noqa: S608
            f"{self.phone}@%",
        )
        return row


@pytest.fixture
def contact(zapw: FakeZapw, application: Application) -> Contact:
    return Contact(zapw, application)


@pytest.fixture
def new_contact(zapw: FakeZapw, application: Application) -> Callable[[], Contact]:
    return lambda: Contact(zapw, application)


@pytest.fixture
def opened(olga: StaffBrowser, contact: Contact) -> Page:
    """Olga has opened the conversation of a contact who has been answered once."""
    contact.is_answered("Good morning")
    page = olga.page(contact.path)
    page.locator(".bubble.by-agent").wait_for()
    return page


@pytest.fixture
def unhurried(people: Callable[..., StaffBrowser], contact: Contact) -> Page:
    """The same, but the page asks for what is new as often as it does for people."""
    contact.is_answered("Good morning")
    page = people("olga", is_hurried=False).page(contact.path)
    page.locator(".bubble.by-agent").wait_for()
    return page


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep a picture of each open page of a test that fails, beside pytest's other files."""
    report: Any = yield
    if report.failed and "browser" in getattr(item, "funcargs", {}):
        folder = Path(item.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
        pages = [page for context in item.funcargs["browser"].contexts for page in context.pages]
        for number, page in enumerate(pages):
            page.screenshot(path=folder / f"{item.name}-{number}.png")
    return report
