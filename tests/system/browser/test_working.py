"""What staff do all day, in a real browser: read, reply, take over, share the work."""

import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.application import Application
from tests.support.background import becomes_true
from tests.support.browser import StaffBrowser
from tests.support.fake_openai import FakeOpenAI

People = Callable[..., StaffBrowser]


AGENT_MESSAGES = """(
    SELECT count(*) FROM messaging_message WHERE conversation_id = conversation.id AND author = 'agent'
)"""


def write(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def test_someone_who_logs_in_finds_the_inbox_with_its_list(people: People, contact: Any) -> None:
    contact.says("Where is my parcel?")
    page = people("olga").page("/admin/")
    row = page.locator(f'a.row[href*="{contact.path}"]')
    expect(row).to_contain_text("Where is my parcel?")
    row.click()
    expect(page.locator(".bubble.theirs")).to_contain_text("Where is my parcel?")


def test_a_message_appears_within_two_seconds_without_a_reload(unhurried: Page, contact: Any) -> None:
    unhurried.evaluate("window.wasNotReloaded = true")
    seconds = []
    while not seconds or (seconds[-1] >= 2.5 and len(seconds) < 5):  # a busy machine is late at times
        contact.says(f"Are you open on Sunday {len(seconds)}?")
        started_at = time.monotonic()
        unhurried.locator(".bubble.theirs", has_text=f"Are you open on Sunday {len(seconds)}?").wait_for()
        seconds.append(time.monotonic() - started_at)
    assert min(seconds) < 2.5
    assert unhurried.evaluate("window.wasNotReloaded")


class Watch:
    """Counts what a page asks for while its clock, which stands still meanwhile, is put forward step by step."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.now_ms = 0
        self.asked: list[tuple[int, Any]] = []
        self._unanswered: set[Any] = set()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def _begin(self, request: Any) -> None:
        self.asked.append((self.now_ms, request))
        self._unanswered.add(request)

    def _end(self, request: Any) -> None:
        self._unanswered.discard(request)

    def forward(self, seconds: int, *, step_ms: int = 50) -> list[int]:
        """Let the time pass for the page; return when it has asked, in ms. Each answer is waited for."""
        before = len(self.asked)
        for _ in range(seconds * 1000 // step_ms):
            self.now_ms += step_ms
            self.page.clock.run_for(step_ms)
            assert becomes_true(lambda: self.page.wait_for_timeout(1) or not self._unanswered)
        return [at for at, _ in self.asked[before:]]

    def wait_until_quiet(self) -> None:
        """Wait until three polls in a row have brought nothing: what had just been done is over."""

        def is_quiet() -> bool:
            self.forward(3)
            answers = [request.response() for _, request in self.asked[-3:]]
            return [answer.status for answer in answers if answer] == [204, 204, 204]

        assert becomes_true(is_quiet)


@pytest.fixture
def watch(people: People, contact: Any) -> Watch:
    """An open conversation whose clock is ours."""
    contact.is_answered("Good morning")
    person = people("olga", is_hurried=False)
    person.context.clock.install(time=0)
    page = person.page(contact.path)
    page.locator(".bubble.by-agent").wait_for()
    page.clock.pause_at(60_000)
    watch = Watch(page)
    watch.wait_until_quiet()
    return watch


def test_an_idle_inbox_asks_at_most_five_times_in_ten_seconds(watch: Watch) -> None:
    asked = watch.forward(30)
    assert len(asked) > 10
    assert min(sixth - first for first, sixth in zip(asked, asked[5:], strict=False)) > 10_000


def test_a_hidden_inbox_asks_three_times_in_a_minute_and_at_once_when_it_is_shown(watch: Watch) -> None:
    watch.page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.isHidden, configurable: true })")
    watch.page.evaluate("window.isHidden = true")
    watch.forward(3)  # the poll that was planned before
    asked = watch.forward(61, step_ms=500)
    assert (len(asked), min(later - earlier for earlier, later in pairwise(asked)) >= 19_500) == (3, True)
    before = len(watch.asked)
    watch.page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    watch.forward(1)
    assert len(watch.asked) - before == 1


def test_a_reply_reaches_the_contact_and_takes_the_conversation_over(opened: Page, contact: Any) -> None:
    write(opened, "We open at nine.")
    expect(opened.locator(".bubble.by-staff")).to_contain_text("We open at nine.")
    expect(opened.locator("#said")).to_contain_text("You have taken over")
    expect(opened.locator("#text")).to_have_value("")
    assert becomes_true(lambda: "We open at nine." in contact.heard)
    assert contact.row("control") == ("human",)


def test_the_answer_that_the_agent_is_writing_dies_when_someone_takes_over(
    opened: Page, contact: Any, model: FakeOpenAI
) -> None:
    model.hold()
    contact.says("What does it cost?")
    opened.locator("#activity", has_text="The agent is writing").wait_for()
    opened.get_by_role("button", name="Take over").click()
    expect(opened.locator("#head")).to_contain_text("olga has taken over")
    asked = model.count
    model.let_go()
    assert becomes_true(lambda: model.waiting == 0 and contact.row("lease_token IS NULL") == (True,))
    time.sleep(0.5)  # what was completed nevertheless would leave meanwhile
    assert contact.row(AGENT_MESSAGES) == (1,)
    assert (len(contact.heard), model.count) == (1, asked)


def test_a_released_conversation_is_answered_by_the_agent_again(opened: Page, contact: Any, model: FakeOpenAI) -> None:
    write(opened, "One moment.")
    opened.get_by_role("button", name="Release").click()
    expect(opened.locator("#head")).to_contain_text("The agent answers")
    model.say("The agent is back.")
    contact.says("Thanks")
    expect(opened.locator(".bubble.by-agent", has_text="The agent is back.")).to_be_visible()


def test_a_conversation_is_assigned_to_a_colleague_who_finds_it(opened: Page, people: People, contact: Any) -> None:
    opened.select_option("select[name=user]", label="pedro")
    expect(opened.locator(f'a.row[href*="{contact.path}"] .badge.person')).to_have_text("pedro")
    page = people("pedro").page("/admin/inbox/?tab=mine")
    expect(page.locator(f'a.row[href*="{contact.path}"]')).to_be_visible()


def test_a_note_is_seen_by_colleagues_and_never_sent(opened: Page, people: People, contact: Any) -> None:
    opened.fill("#text", "She paid twice, be kind")
    opened.click("#as-note")
    expect(opened.locator(".bubble.colleague")).to_contain_text("She paid twice, be kind")
    page = people("pedro").page(contact.path)
    expect(page.locator(".bubble.colleague")).to_contain_text("olga")
    assert len(contact.heard) == 1


def test_a_note_is_shown_to_the_agent_only_while_it_is_ticked(opened: Page, contact: Any, model: FakeOpenAI) -> None:
    words = f"Gets ten percent off {contact.phone}"
    opened.fill("#text", words)
    opened.check("#note-shown")
    opened.click("#as-note")
    note = opened.locator(".bubble.colleague")
    expect(note).to_contain_text("the agent sees it")
    expect(opened.locator("#note-shown")).not_to_be_checked()
    contact.says("What does it cost?")
    expect(opened.locator(".bubble.by-agent")).to_have_count(2)
    assert any(words in str(asked.body) for asked in list(model.requests))
    note.hover()
    note.get_by_role("button", name="Hide from the agent").click()
    expect(note).not_to_contain_text("the agent sees it")
    expect(note.get_by_role("button", name="Show to the agent")).to_have_count(1)


@pytest.mark.parametrize("tab", ["snoozed", "done"])
def test_a_finished_conversation_comes_back_with_the_next_message(opened: Page, contact: Any, tab: str) -> None:
    if tab == "done":
        opened.fill("input[name=reason]", "solved")
        opened.locator("#contact").get_by_role("button", name="Done").click()
    else:
        opened.locator("#contact").get_by_role("button", name="Snooze").click()
    row = opened.locator(f'#rows a.row[href*="{contact.path}"]')
    expect(row).to_have_count(0)
    opened.goto(f"/admin/inbox/?tab={tab}")
    expect(row).to_have_count(1)
    contact.says("One more thing")
    expect(row).to_have_count(0)
    opened.goto("/admin/inbox/")
    expect(row).to_contain_text("One more thing")


def test_a_reason_typed_while_a_message_comes_finishes_the_conversation(opened: Page, contact: Any) -> None:
    opened.fill("input[name=reason]", "solved")
    contact.says("Thank you")
    expect(opened.locator(".bubble.by-agent")).to_have_count(2)
    opened.locator("#contact").get_by_role("button", name="Done").click()
    expect(opened.locator(f'#rows a.row[href*="{contact.path}"]')).to_have_count(0)


def test_the_title_and_the_icon_say_that_somebody_needs_a_person(
    opened: Page, application: Application, contact: Any
) -> None:
    before = re.match(r"\((\d+)\)", opened.title())
    application.rows(
        "UPDATE messaging_conversation SET needs_attention = true, attention_reason = 'handoff' WHERE address LIKE %s",
        f"{contact.phone}@%",
    )
    count = int(before[1]) + 1 if before else 1
    expect(opened).to_have_title(re.compile(rf"^\({count}\) Inbox"))
    expect(opened.locator("#icon")).to_have_attribute("href", re.compile("icon-waiting"))
    expect(opened.locator("#head .attention")).to_contain_text("A person was asked for")


COLLECT_NOTIFICATIONS = """() => {
    window.shown = [];
    window.Notification = class {
        static permission = "granted";
        static requestPermission = async () => "granted";
        constructor(title) { window.shown.push(title); }
    };
}"""


@pytest.fixture
def pedro(people: People, application: Application) -> Iterator[StaffBrowser]:
    """The browser of a person who wants no alerts of what is assigned, until the test has ended."""
    wants = "UPDATE accounts_user SET alerts_assigned = %s WHERE username = 'pedro'"
    application.rows(wants, False)
    yield people("pedro", permissions=["notifications"])
    application.rows(wants, True)


def test_staff_are_alerted_only_of_what_their_settings_name(
    pedro: StaffBrowser, application: Application, contact: Any
) -> None:
    contact.says("Help")
    page = pedro.page()
    page.evaluate(COLLECT_NOTIFICATIONS)
    page.get_by_role("button", name="Alerts").click()
    page.get_by_label("Show a notification").check()
    page.keyboard.press("Escape")
    application.rows(
        "UPDATE messaging_conversation SET assigned_to_id = (SELECT id FROM accounts_user WHERE username = 'pedro'),"
        " assigned_at = now() WHERE address LIKE %s",
        f"{contact.phone}@%",
    )
    expect(page.locator(f'a.row[href*="{contact.path}"]', has_text="pedro")).to_be_visible()
    application.rows(
        "UPDATE messaging_conversation SET needs_attention = true, attention_reason = 'handoff' WHERE address LIKE %s",
        f"{contact.phone}@%",
    )
    assert becomes_true(lambda: page.evaluate("window.shown.length") == 1)
    assert page.evaluate("window.shown") == ["Somebody needs a person"]


def test_alerts_are_switched_on_for_this_browser_and_shown_once(
    people: People, application: Application, contact: Any
) -> None:
    contact.says("Help")
    olga = people("olga", permissions=["notifications"])
    page = olga.page()
    page.evaluate(COLLECT_NOTIFICATIONS)
    page.get_by_role("button", name="Alerts").click()
    page.get_by_label("Show a notification").check()
    page.get_by_label("Play a sound").check()
    page.keyboard.press("Escape")
    application.rows(
        "UPDATE messaging_conversation SET assigned_to_id = (SELECT id FROM accounts_user WHERE username = 'olga'),"
        " assigned_at = now() WHERE address LIKE %s",
        f"{contact.phone}@%",
    )
    assert becomes_true(lambda: page.evaluate("window.shown.length") == 1)
    contact.says("Anybody?")
    expect(page.locator("a.row", has_text="Anybody?")).to_be_visible()
    assert page.evaluate("window.shown") == ["A conversation was assigned to you"]
    page.reload()
    page.get_by_role("button", name="Alerts").click()
    expect(page.get_by_label("Show a notification")).to_be_checked()


HIDE = """(isHidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


# A hidden tab polls rarely; a network that came back makes it poll at once.
POLL = """() => void window.dispatchEvent(new Event("online"))"""


def hide(page: Page) -> None:
    """Hide the tab and wait until it polls as a hidden one: the poll that was under way said that it is visible."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(HIDE, True)
    path = page.evaluate("document.body.dataset.poll")
    assert becomes_true(
        lambda: page.evaluate(POLL) or any(path in url and "visible=1" not in url for url in list(asked))
    )


def test_what_came_while_the_tab_was_hidden_is_read_once_it_is_visible_again(opened: Page, contact: Any) -> None:
    opened.get_by_role("button", name="Take over").click()
    expect(opened.locator("#head")).to_contain_text("olga has taken over")
    hide(opened)
    contact.says("Are you still there?")
    assert becomes_true(lambda: opened.evaluate(POLL) or "Are you still there?" in opened.inner_text("#messages"))
    assert contact.row("unread_count") == (1,)
    opened.evaluate(HIDE, False)
    assert becomes_true(lambda: contact.row("unread_count") == (0,))
