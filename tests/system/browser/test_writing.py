"""Writing and finding in a real browser: drafts, files, quotes, saved replies, search, and the keyboard alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.support.application import Application
from tests.support.background import becomes_true
from tests.support.browser import PHONE, StaffBrowser
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw

People = Callable[..., StaffBrowser]
COMES_TO_ITS_END = """scroller => new Promise(resolve => {
    const look = framesLeft => {
        const isThere = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2;
        if (isThere || !framesLeft) resolve(isThere);
        else requestAnimationFrame(() => look(framesLeft - 1));
    };
    look(600);
})"""
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738"
    "550000000049454e44ae426082"
)

# The answer to the first reply is replaced by a proxy's own, once the server has done its work.
ANSWER_ONCE = """status => {
    const real = window.fetch;
    window.fetch = async (url, options) => {
        const answer = await real(url, options);
        if (!String(url).includes("/reply/")) return answer;
        window.fetch = real;
        return new Response("<h1>Not from the application</h1>", { status });
    };
}"""


def test_a_draft_survives_a_reload_a_click_and_another_conversation(
    opened: Page, contact: Any, new_contact: Callable[[], Any]
) -> None:
    opened.fill("#text", "I will look it up")
    opened.get_by_role("button", name="Take over").click()
    expect(opened.locator("#head")).to_contain_text("olga has taken over")
    expect(opened.locator("#text")).to_have_value("I will look it up")
    other = new_contact()
    other.says("Hello")
    opened.locator(f'a.row[href*="{other.path}"]').click()
    expect(opened.locator("#text")).to_have_value("")
    opened.goto(contact.path)
    opened.reload()
    expect(opened.locator("#text")).to_have_value("I will look it up")


def test_a_saved_reply_is_chosen_by_its_shortcut_with_the_contacts_name(
    opened: Page, application: Application, contact: Any
) -> None:
    application.rows(
        "INSERT INTO messaging_savedreply (id, session_id, shortcut, text, created_at, updated_at)"
        " VALUES (gen_random_uuid(), NULL, %s, 'Hello {name}! Until six.', now(), now())",
        f"hours{contact.phone}",
    )
    application.rows("UPDATE messaging_contact SET name = 'Ana' WHERE phone = %s", f"+{contact.phone}")
    opened.locator("#text").press_sequentially(f"/hours{contact.phone[-4:]}"[:6])
    option = opened.locator("#replies li", has_text="Until six").first
    expect(option).to_contain_text("Hello Ana! Until six.")
    opened.press("#text", "Enter")
    expect(opened.locator("#text")).to_have_value("Hello Ana! Until six.")
    opened.press("#text", "Enter")
    expect(opened.locator(".bubble.by-staff")).to_contain_text("Hello Ana! Until six.")


def test_pictures_go_both_ways(opened: Page, contact: Any, zapw: FakeZapw, tmp_path: Path) -> None:
    picture = tmp_path / "a chair.png"
    picture.write_bytes(PNG)
    opened.set_input_files("#file", picture)
    expect(opened.locator("#attached")).to_contain_text("a chair.png")
    opened.fill("#text", "This one?")
    opened.press("#text", "Enter")
    image = opened.locator(".bubble.by-staff img")
    image.wait_for()
    assert becomes_true(lambda: image.evaluate("image => image.complete && image.naturalWidth === 1"))
    expect(opened.locator("#attached")).to_be_hidden()
    assert becomes_true(lambda: any(sent["type"] == "image" for sent in zapw.sent if sent["jid"][:13] == contact.phone))
    contact.says("And this", kind="image", mimetype="image/png")
    expect(opened.locator(".bubble.theirs", has_text="And this")).to_be_visible()


def test_a_pasted_and_a_dropped_file_is_attached(opened: Page) -> None:
    for kind in ("paste", "drop"):
        opened.evaluate(
            """kind => {
            const data = new DataTransfer();
            data.items.add(new File(["a,b"], `${kind}.csv`, {type: "text/csv"}));
            const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: data, cancelable: true})
                : new DragEvent("drop", {dataTransfer: data, cancelable: true, bubbles: true});
            document.getElementById(kind === "paste" ? "text" : "scroller").dispatchEvent(event);
        }""",
            kind,
        )
        expect(opened.locator("#attached")).to_contain_text(f"{kind}.csv")
        opened.get_by_role("button", name="Remove the file").click()


def test_several_files_are_sent_in_order_and_a_refused_one_does_not_lose_the_others(
    opened: Page, contact: Any, zapw: FakeZapw, tmp_path: Path
) -> None:
    for name, content in (("first.png", PNG), ("empty.txt", b""), ("last.png", PNG)):
        (tmp_path / name).write_bytes(content)
    opened.set_input_files("#file", [tmp_path / name for name in ("first.png", "empty.txt", "last.png")])
    expect(opened.locator("#attached li")).to_have_text([re.compile("first"), re.compile("empty"), re.compile("last")])
    opened.fill("#text", "These two")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("empty.txt: ")
    expect(opened.locator("#attached li")).to_have_count(1)
    expect(opened.locator("#attached li .error-reason")).not_to_be_empty()
    expect(opened.locator(".bubble.by-staff img")).to_have_count(2)
    expect(opened.locator(".bubble.by-staff").first).to_contain_text("These two")
    expect(opened.locator(".bubble.by-staff").last).not_to_contain_text("These two")
    expect(opened.locator("#text")).to_have_value("")
    opened.get_by_role("button", name="Remove the file").click()
    expect(opened.locator("#attached")).to_be_hidden()


@pytest.mark.parametrize("status", [500, 504, 429])
def test_files_whose_answer_is_lost_behind_a_proxy_are_sent_once(
    opened: Page, contact: Any, zapw: FakeZapw, tmp_path: Path, status: int
) -> None:
    for name in ("first.png", "last.png"):
        (tmp_path / name).write_bytes(PNG)
    opened.evaluate(ANSWER_ONCE, status)
    opened.set_input_files("#file", [tmp_path / "first.png", tmp_path / "last.png"])
    opened.fill("#text", "Both of them")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text(str(status))
    expect(opened.locator(".bubble.by-staff img")).to_have_count(1)
    expect(opened.locator("#attached li")).to_have_count(2)
    expect(opened.locator("#text")).to_have_value("Both of them")
    opened.press("#text", "Enter")
    expect(opened.locator("#attached")).to_be_hidden()
    expect(opened.locator(".bubble.by-staff.sent img")).to_have_count(2)
    expect(opened.locator(".bubble.by-staff", has_text="Both of them")).to_have_count(1)
    assert [sent["type"] for sent in zapw.sent if sent["jid"][:13] == contact.phone].count("image") == 2


def test_a_file_that_a_proxy_refuses_does_not_lose_the_others(opened: Page, tmp_path: Path) -> None:
    for name in ("large.png", "last.png"):
        (tmp_path / name).write_bytes(PNG)
    opened.evaluate(ANSWER_ONCE, 413)
    opened.set_input_files("#file", [tmp_path / "large.png", tmp_path / "last.png"])
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("large.png: ")
    expect(opened.locator("#attached li")).to_have_text([re.compile("large")])


# The bridge of these tests cannot quote: the button is put in as it is for one that can.
ADD_QUOTE = """tools => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.dataset.quote = tools.closest(".bubble").dataset.key;
    button.textContent = "Quote";
    tools.append(button);
}"""


def test_a_quoted_message_is_shown_with_the_reply(opened: Page) -> None:
    bubble = opened.locator(".bubble.theirs")
    bubble.locator(".tools").evaluate(ADD_QUOTE)
    bubble.hover()
    bubble.get_by_role("button", name="Quote").click()
    expect(opened.locator("#quoting")).to_contain_text("Good morning")
    opened.get_by_role("button", name="Emoji").click()
    opened.locator("#emoji button", has_text="👍").click()
    expect(opened.locator("#text")).to_have_value("👍")


def test_where_nothing_is_delivered_only_a_note_can_be_written_until_the_contact_can_be_reached(
    opened: Page, contact: Any, application: Application
) -> None:
    send, refusal = opened.locator("#send"), opened.locator("#refusal")
    expect(refusal).to_be_hidden()
    hidden = f"{contact.phone}@lid"
    application.rows(
        "UPDATE messaging_conversation SET address = %s WHERE address LIKE %s RETURNING id",
        hidden,
        f"{contact.phone}@%",
    )
    opened.reload()
    expect(refusal).to_contain_text("hidden")
    expect(send).to_be_hidden()
    opened.fill("#text", "Never sent")
    opened.press("#text", "Enter")
    expect(opened.locator("#said")).to_contain_text("hidden")
    opened.get_by_role("button", name="Store as a note").click()
    expect(opened.locator(".bubble.colleague")).to_contain_text("Never sent")
    contact.says("It is me")
    expect(send).to_be_visible(timeout=20_000)
    expect(refusal).to_be_hidden()
    assert "Never sent" not in contact.heard


def test_the_page_explains_an_answer_and_takes_a_correction(opened: Page, contact: Any) -> None:
    bubble = opened.locator(".bubble.by-agent")
    bubble.hover()
    bubble.get_by_role("button", name="Why?").click()
    why = opened.locator("#why")
    expect(why).to_contain_text("version 1")
    expect(why).to_contain_text("Messages that it was shown (1)")
    why.locator("textarea").fill("Is called Dr. Silva")
    why.get_by_role("button", name="Keep as a fact").click()
    expect(opened.locator("#said")).to_contain_text("Stored as a fact")
    opened.reload()
    expect(opened.locator("#contact")).to_contain_text("Is called Dr. Silva")


def test_a_draft_of_the_model_is_put_into_the_empty_box(opened: Page, model: FakeOpenAI, contact: Any) -> None:
    model.say("Gladly, on Tuesday.")
    opened.get_by_role("button", name="Draft a reply").click()
    expect(opened.locator("#text")).to_have_value("Gladly, on Tuesday.")
    model.say("They greeted us.")
    opened.get_by_role("button", name="Summarize").click()
    expect(opened.locator("#result")).to_contain_text("They greeted us.")
    assert len(contact.heard) == 1
    opened.get_by_role("button", name="Send to the contact").click()
    expect(opened.locator("#result-dialog")).to_be_hidden()
    expect(opened.locator(".bubble.by-staff")).to_contain_text("They greeted us.")
    assert becomes_true(lambda: contact.heard[1:] == ["They greeted us."])
    expect(opened.locator("#text")).to_have_value("Gladly, on Tuesday.")  # what was in the box stays there


def test_a_line_of_the_instructions_is_proposed_edited_and_saved_in_the_draft(
    people: People, contact: Any, opened: Page, application: Application
) -> None:
    page = people("admin").page(contact.path)
    page.locator(".bubble.by-agent").hover()
    page.locator(".bubble.by-agent").get_by_role("button", name="Why?").click()
    page.locator("#why textarea").fill("We open at nine")
    page.get_by_role("button", name="Add to the instructions").click()
    proposal = page.locator("#proposal textarea")
    expect(proposal).to_have_value("We open at nine")
    line = f"We open at ten, says test {uuid4().hex}."
    proposal.fill(line)
    page.get_by_role("button", name="Save in the draft").click()
    expect(page.locator("#said")).to_contain_text("The agent says so once the draft is published.")
    rows = application.rows(
        "SELECT draft_of_id IS NULL FROM sessions_app_agentprofile WHERE position(%s IN instructions) > 0", line
    )
    assert rows == [(False,)]  # the draft alone


IS_INDEXED = """
SELECT count(*) FROM messaging_searchentry entry JOIN messaging_message message ON message.id = entry.message_id
 WHERE message.text = 'The xylophone has arrived'
"""


def test_a_search_opens_the_message_with_the_word_marked(
    olga: StaffBrowser, application: Application, contact: Any
) -> None:
    contact.says("The xylophone has arrived")
    for number in range(3):
        contact.says(f"Something else {number}")
    assert becomes_true(lambda: application.rows(IS_INDEXED) == [(1,)])
    page = olga.page("/admin/inbox/")
    row = page.locator(f'a.row[href*="{contact.path}"][href*="at="]')
    page.fill("#q", "xylophone")
    expect(row).to_contain_text("xylophone")
    row.click()
    expect(page.locator(".bubble.hit mark")).to_have_text("xylophone")


def test_older_messages_are_read_on_scroll_without_a_jump(
    olga: StaffBrowser, application: Application, contact: Any
) -> None:
    contact.is_answered("Newest")
    page = olga.page(contact.path)
    page.locator(".bubble.by-agent").wait_for()
    application.rows(
        "INSERT INTO messaging_message (id, session_id, conversation_id, direction, author, kind, status, unanswered,"
        " text, details, quoted_provider_id, tries, error_code, error, said_at, created_at, provider_message_id)"
        " SELECT gen_random_uuid(), session_id, id, 'inbound', 'contact', 'text', 'handled', 'history',"
        " 'Line ' || number, '{}', '', 0, '', '', now() - interval '1 hour' - number * interval '1 minute', now(),"
        " 'old-' || number || address"
        " FROM messaging_conversation, generate_series(1, 150) number WHERE address LIKE %s",
        f"{contact.phone}@%",
    )
    page.reload()
    expect(page.locator(".bubble")).to_have_count(60)
    page.locator("#scroller").evaluate("scroller => { scroller.scrollTop = 150 }")
    first = page.locator(".bubble").first
    text = first.locator(".text").inner_text()
    page.locator("#scroller").evaluate("scroller => { scroller.scrollTop = 0 }")
    expect(page.locator(".bubble")).not_to_have_count(60)
    same = page.locator(".bubble", has=page.get_by_text(text, exact=True))
    expect(same).to_be_in_viewport()
    contact.says("While you read")
    expect(page.locator("#newest")).to_be_visible()
    expect(same).to_be_in_viewport()
    page.click("#newest")
    expect(page.locator(".bubble", has_text="While you read").first).to_be_in_viewport()


def test_a_picture_that_loads_while_a_conversation_scrolls_to_its_end_leaves_the_end_in_view(opened: Page) -> None:
    grow = """([height, by]) => {
        const picture = document.createElement("li");
        picture.style.height = `${height}px`;
        document.getElementById("messages").append(picture);
        document.getElementById("scroller").scrollTop += by;
    }"""
    scroller = opened.locator("#scroller")
    opened.evaluate(grow, [3000, 0])
    assert scroller.evaluate(COMES_TO_ITS_END)
    scroller.evaluate("""scroller => {
        scroller.scrollTop -= 10;
        return new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    }""")
    opened.evaluate(grow, [600, 1])
    assert scroller.evaluate(COMES_TO_ITS_END)


def test_all_is_done_with_the_keyboard_alone(olga: StaffBrowser, contact: Any, new_contact: Callable[[], Any]) -> None:
    contact.says("First")
    other = new_contact()
    other.says("Second")
    page = olga.page("/admin/inbox/")
    page.locator(f'a.row[href*="{contact.path}"]').wait_for()
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_contain_text("Assign to me")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    focused = page.locator("a.row:focus")
    assert focused.get_attribute("href") == page.locator("a.row").first.get_attribute("href")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/inbox/[0-9a-f-]{36}/"))
    page.locator("#assign-me").wait_for()
    page.keyboard.press("a")
    expect(page.locator("#assign-me")).to_have_count(0)
    page.keyboard.press("r")
    page.keyboard.type("Typed,")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("not clicked")
    page.keyboard.press("Enter")
    expect(page.locator(".bubble.by-staff")).to_contain_text("Typed,")
    assert becomes_true(lambda: "Typed,\nnot clicked" in [*contact.heard, *other.heard])
    page.keyboard.press("Escape")
    for control in ("The agent answers", "olga has taken over"):
        page.keyboard.press("t")
        expect(page.locator("#head")).to_contain_text(control)
    page.keyboard.press("e")
    expect(page.locator("#head")).to_contain_text("Done")


def test_at_least_six_conversations_are_visible_on_a_phone(people: People, new_contact: Callable[[], Any]) -> None:
    for number in range(7):
        new_contact().says(f"Question {number}")
    page = people("olga", viewport=PHONE).page("/admin/inbox/")
    page.locator("a.row").nth(6).wait_for()
    bottoms = page.locator("a.row").evaluate_all("rows => rows.map(row => row.getBoundingClientRect().bottom)")
    assert sum(bottom <= PHONE["height"] for bottom in bottoms) >= 6
    page.locator("a.row").first.click()
    expect(page.locator("#send")).to_be_in_viewport()
    page.get_by_role("button", name="Contact").click()
    expect(page.locator("#contact")).to_be_visible()
    page.locator("#contact").get_by_role("button", name="Close").click()
    page.locator("a.back").click()
    expect(page.locator("a.row").first).to_be_visible()


def test_a_location_is_sent_from_the_menu_by_the_keyboard_alone(opened: Page, contact: Any, zapw: FakeZapw) -> None:
    opened.locator("#extras summary").focus()
    opened.keyboard.press("Enter")
    opened.get_by_role("button", name="Location").press("Enter")
    dialog = opened.locator("#location-dialog")
    dialog.get_by_label("Coordinates").fill("somewhere")
    dialog.get_by_label("Coordinates").press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("-23.5505")
    dialog.get_by_label("Coordinates").fill("-23.5505, -46.6333")
    dialog.get_by_label("Coordinates").press("Enter")
    expect(dialog).to_be_hidden()
    expect(opened.locator(".bubble.by-staff a", has_text="Map")).to_be_visible()
    assert becomes_true(lambda: any(each["type"] == "location" for each in zapw.sent if contact.phone in each["jid"]))
