"""What goes wrong while staff work, in a real browser: nothing typed is lost, and it is said where one is looking."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.support.application import Application
from tests.support.background import becomes_true
from tests.support.browser import PHONE, StaffBrowser
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

People = Callable[..., StaffBrowser]
HOSTILE = {
    "html": "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\"><b>bold</b>",
    "long word": "x" * 4000,
    "lines": "\n".join("line" for _ in range(60)),
    "right to left": "\u202e\u2067 gnp.exe \u0591\u0591\u0591",
    "marks": "Z" + "\u0335\u0321\u0322" * 200,
    "markup": "*_~`" * 500,
    "htmx": '<p hx-get="/admin/logout/" hx-trigger="load" data-act>hx</p>',
}


def test_an_expired_login_is_shown_at_once_and_the_draft_stays(opened: Page, contact: Any) -> None:
    opened.fill("#text", "Half a sentence")
    opened.context.clear_cookies(name="sessionid")
    link = opened.locator("#trouble a")
    expect(link).to_have_text("Log in again")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("You are logged out")
    expect(opened.locator("#text")).to_have_value("Half a sentence")
    link.click()
    opened.fill("input[name=username]", "olga")
    opened.fill("input[name=password]", "a long password 1")
    opened.press("input[name=password]", "Enter")
    expect(opened.locator("#text")).to_have_value("Half a sentence")
    assert contact.path in opened.url


def test_a_reply_is_sent_after_a_new_login_in_another_tab(opened: Page, olga: StaffBrowser, contact: Any) -> None:
    opened.context.clear_cookies(name="sessionid")
    olga.log_in("olga", "a long password 1").close()
    opened.fill("#text", "It is me again")
    opened.press("#text", "Enter")
    expect(opened.locator(".bubble.by-staff")).to_have_count(1)
    expect(opened.locator("#text")).to_have_value("")


def test_nothing_is_sent_in_the_name_of_another_person_who_has_logged_in(
    opened: Page, olga: StaffBrowser, contact: Any
) -> None:
    opened.context.clear_cookies(name="sessionid")
    olga.log_in("pedro", "a long password 1").close()
    opened.fill("#text", "Not from pedro")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("You are logged out")
    expect(opened.locator("#text")).to_have_value("Not from pedro")
    assert "Not from pedro" not in contact.heard


def test_a_lost_network_is_shown_at_once_and_the_reply_is_sent_once_it_is_back(opened: Page, contact: Any) -> None:
    opened.context.set_offline(True)
    expect(opened.locator("#trouble")).to_contain_text("No connection to the server")
    opened.fill("#text", "Are you there?")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("No connection")
    expect(opened.locator("#text")).to_have_value("Are you there?")
    opened.context.set_offline(False)
    expect(opened.locator("#trouble")).to_be_hidden()
    opened.press("#text", "Enter")
    expect(opened.locator(".bubble.by-staff")).to_have_count(1)


def test_a_reply_edited_after_its_answer_was_lost_is_sent_too(opened: Page, contact: Any) -> None:
    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    opened.route("**/reply/", lose_the_answer, times=1)
    opened.fill("#text", "On Monday")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("No connection")
    expect(opened.locator("#text")).to_have_value("On Monday")
    opened.fill("#text", "On Tuesday")
    opened.press("#text", "Enter")
    expect(opened.locator(".bubble.by-staff", has_text="On Tuesday")).to_have_count(1)
    expect(opened.locator(".bubble.by-staff", has_text="On Monday")).to_have_count(1)
    expect(opened.locator("#text")).to_have_value("")


def test_a_message_that_the_bridge_refuses_is_sent_again_by_a_click(opened: Page, contact: Any, zapw: FakeZapw) -> None:
    zapw.fail("invalid", call="send")
    opened.fill("#text", "Second try")
    opened.press("#text", "Enter")
    again = opened.locator(".bubble.failed").get_by_role("button", name="Send again")
    opened.set_viewport_size(PHONE)
    above = "(button) => button.closest('.bubble').querySelector('.tools').getBoundingClientRect().bottom"
    assert again.evaluate(above) <= again.evaluate("(button) => button.getBoundingClientRect().top")
    again.wait_for()
    zapw.heal()
    again.click()
    expect(opened.locator(".bubble.by-staff.sent")).to_contain_text("Second try")
    assert contact.heard.count("Second try") == 1


def test_a_turn_that_failed_is_run_again_once(opened: Page, contact: Any, model: FakeOpenAI) -> None:
    model.fail("bad_request")
    contact.says("What about Monday?")
    failed = opened.locator(".note.failed", has_text="The agent could not answer")
    expect(failed).to_contain_text("answer yourself")
    model.heal()
    failed.get_by_role("button", name="Run again").click()
    expect(opened.locator(".bubble.by-agent", has_text="Monday")).to_be_visible()
    expect(failed).to_contain_text("It was run again.")
    expect(failed.get_by_role("button", name="Run again")).to_have_count(0)


def test_a_stale_page_does_not_take_over_from_a_colleague(opened: Page, people: People, contact: Any) -> None:
    opened.route("**/poll/**", lambda route: route.abort())  # this page learns nothing any more
    pedro = people("pedro").page(contact.path)
    pedro.get_by_role("button", name="Take over").click()
    expect(pedro.locator("#head")).to_contain_text("pedro has taken over")
    opened.fill("#text", "I answer")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("pedro")
    expect(opened.locator("#text")).to_have_value("I answer")
    assert contact.row("control, controlled_by_id IS NULL") == ("human", False)


@pytest.mark.parametrize("is_left", [False, True], ids=["in the field", "beside it"])
def test_labels_typed_while_a_colleague_changes_them_stay_and_are_saved_after_one_warning(
    opened: Page, application: Application, contact: Any, is_left: bool
) -> None:
    labels, save = opened.locator("input[name=labels]"), opened.locator("#contact").get_by_role("button", name="Save")
    labels.fill("typed by olga")
    if is_left:
        opened.locator("#contact h2").click()
    application.rows(
        "UPDATE messaging_conversation SET labels = %s WHERE address LIKE %s", ["of pedro"], f"{contact.phone}@%"
    )
    expect(opened.locator(f'a.row[href*="{contact.path}"]')).to_contain_text("of pedro")
    expect(labels).to_have_value("typed by olga")
    save.click()
    expect(opened.locator("#said")).to_contain_text("someone changed the labels: of pedro")
    assert contact.row("labels") == (["of pedro"],)
    expect(opened.locator("input[name=seen_labels]")).to_have_value("of pedro")
    expect(labels).to_have_value("typed by olga")
    save.click()
    expect(opened.locator("#said")).to_be_hidden()
    expect(opened.locator(f'a.row[href*="{contact.path}"]')).to_contain_text("typed by olga")
    assert contact.row("labels") == (["typed by olga"],)


def test_labels_are_saved_after_one_warning_when_the_form_was_renewed_while_the_server_answered(
    opened: Page, application: Application, contact: Any
) -> None:
    held: list[tuple[Route, APIResponse]] = []
    opened.route("**/labels/", lambda route: held.append((route, route.fetch())))
    save = opened.locator("#contact").get_by_role("button", name="Save")
    opened.locator("input[name=labels]").fill("typed by olga")
    opened.evaluate("document.querySelector('input[name=labels]').form.dataset.old = ''")
    application.rows(
        "UPDATE messaging_conversation SET labels = %s WHERE address LIKE %s", ["of pedro"], f"{contact.phone}@%"
    )
    expect(opened.locator(f'a.row[href*="{contact.path}"]')).to_contain_text("of pedro")
    save.click()
    expect(opened.locator("form[data-old]")).to_have_count(0)
    assert becomes_true(lambda: held or opened.wait_for_timeout(50))
    route, response = held[0]
    route.fulfill(response=response)
    opened.unroute("**/labels/")
    expect(opened.locator("#said")).to_contain_text("someone changed the labels: of pedro")
    expect(opened.locator("input[name=seen_labels]")).to_have_value("of pedro")
    save.click()
    expect(opened.locator("#said")).to_be_hidden()
    assert contact.row("labels") == (["typed by olga"],)


def test_a_reason_half_typed_survives_what_a_colleague_does(
    opened: Page, application: Application, contact: Any
) -> None:
    opened.fill("input[name=reason]", "half a rea")
    opened.locator("#contact h2").click()
    application.rows(
        "UPDATE messaging_conversation SET labels = %s WHERE address LIKE %s", ["of pedro"], f"{contact.phone}@%"
    )
    expect(opened.locator("input[name=seen_labels]")).to_have_value("of pedro")
    expect(opened.locator("input[name=labels]")).to_have_value("of pedro")
    expect(opened.locator("input[name=reason]")).to_have_value("half a rea")


def test_who_takes_over_while_a_field_is_in_use_is_shown_once_it_is_left(opened: Page, contact: Any) -> None:
    epoch = opened.locator("#head input[name=epoch]").input_value()
    opened.locator("#head select[name=hours]").focus()
    with opened.expect_response(lambda answer: "/poll/" in answer.url and answer.status == 200):
        status = opened.evaluate("""async () => {
            const csrf = document.querySelector("[name=csrfmiddlewaretoken]").value;
            const form = new URLSearchParams({to: "muted"});
            return (await fetch("control/", {method: "POST", body: form, headers: {"X-CSRFToken": csrf}})).status;
        }""")
    assert status == 200
    with opened.expect_response(lambda answer: "/poll/" in answer.url and answer.status == 204):
        pass  # nothing that comes later brings the change again
    assert opened.locator("#head input[name=epoch]").input_value() == epoch
    opened.locator("#scroller").click()
    expect(opened.locator("#head")).to_contain_text("Muted: nobody answers")


def test_two_people_in_one_conversation_see_each_other(opened: Page, people: People, contact: Any) -> None:
    pedro = people("pedro").page(contact.path)
    expect(pedro.locator("#others")).to_have_text("olga is looking here too")

    def is_seen() -> bool:  # typed again until then: who pauses for some seconds no longer types
        pedro.locator("#text").press("x")
        return opened.locator("#others").inner_text() == "pedro is typing …"

    assert becomes_true(is_seen)


def test_a_command_typed_into_the_box_is_never_sent(opened: Page, contact: Any) -> None:
    opened.fill("#text", "/nosuchthing please")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("not sent to the contact")
    opened.fill("#text", "/stats")
    opened.press("#text", "Enter")
    expect(opened.locator("#text")).to_have_value("")
    expect(opened.locator("#said")).not_to_be_empty()
    assert len(contact.heard) == 1


def test_a_viewer_looks_and_changes_nothing(people: People, contact: Any) -> None:
    contact.is_answered("Hello")
    page = people("vera").page(contact.path)
    expect(page.locator(".bubble.by-agent")).to_be_visible()
    expect(page.locator("form[data-act], #composer, #new")).to_have_count(0)
    status = page.evaluate("""async () => {
        const csrf = document.querySelector("[name=csrfmiddlewaretoken]").value;
        const form = new URLSearchParams({text: "Hi"});
        return (await fetch("reply/", {method: "POST", body: form, headers: {"X-CSRFToken": csrf}})).status;
    }""")
    assert (status, len(contact.heard)) == (403, 1)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_change_neither_layout_nor_page_on_a_phone(
    people: People, contact: Any, application: Application, text: str
) -> None:
    contact.says(text)
    renamed = "UPDATE messaging_contact SET name = %s WHERE phone = %s RETURNING id"
    assert len(application.rows(renamed, text[:200].replace("\x00", ""), f"+{contact.phone}")) == 1
    page = people("olga", viewport=PHONE).page("/admin/inbox/")
    row = page.locator(f'a.row[href*="{contact.path}"]')
    box = row.bounding_box()
    assert box is not None
    assert (box["width"] <= PHONE["width"], box["height"] < 120) == (True, True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    row.click()
    expect(page.locator(".bubble.theirs .text")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.querySelector('#scroller').scrollWidth") <= PHONE["width"]
    assert "hacked" not in page.title()
    assert page.locator(".bubble script, .bubble img, .bubble [hx-get='/admin/logout/']").count() == 0
    send = page.locator("#send").bounding_box()
    assert send is not None
    assert send["y"] + send["height"] <= PHONE["height"]
