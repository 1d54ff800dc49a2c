"""The inbox as staff open it: the list, a conversation, polls, and who may see it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from agent.bridges import ADAPTERS
from messaging.models import Contact, Conversation, Message
from messaging.outbound import window_ends_at, within_window
from sessions_app.models import Bridge, Membership, WhatsAppSession
from tests.support.messaging.admin import LogIn, create_outbound

Says = Callable[..., Any]
HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "long word": "x" * 200,
    "lines": "\n" * 60 + "end",
    "turned": "\u202eabc",
    "endless": "word " * 20_000,
}


@pytest.fixture
def viewer(session: WhatsAppSession, staff_viewer: User) -> User:
    Membership.objects.create(session=session, user=staff_viewer)
    return staff_viewer


def page_of(conversation: Conversation) -> str:
    return reverse("inbox-conversation", args=[conversation.pk])


def test_the_admin_leads_to_the_inbox(staff_member: User, log_in: LogIn) -> None:
    assert log_in(staff_member).get("/admin/")["Location"] == reverse("inbox")


def test_a_visitor_is_led_to_the_login(client: Any, db: None) -> None:
    assert client.get(reverse("inbox"))["Location"].startswith(reverse("admin:login"))


def test_a_row_shows_the_last_words_and_who_wrote_them(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    says("Where is my order?")
    create_outbound(conversation, text="It is on its way.", status="sent")
    page = log_in(staff_member).get(reverse("inbox")).content.decode()
    assert ("It is on its way." in page, "Agent:" in page, ">Ana<" in page) == (True, True, True)


def test_a_stranger_finds_nothing(conversation: Conversation, says: Says, staff_stranger: User, log_in: LogIn) -> None:
    says("Where is my order?")
    client = log_in(staff_stranger)
    opened = client.get(page_of(conversation))
    assert (opened.status_code, "Where is my order?" in opened.content.decode()) == (404, False)
    assert "Where is my order?" not in client.get(reverse("inbox"), {"q": "order"}).content.decode()
    polled = client.get(reverse("inbox-poll"), {"open": str(conversation.pk)})
    assert (polled.status_code, polled.json()["code"]) == (404, "not_found")


def test_a_viewer_sees_no_buttons(conversation: Conversation, says: Says, viewer: User, log_in: LogIn) -> None:
    says("Hello")
    page = log_in(viewer).get(page_of(conversation)).content.decode()
    assert ("Hello" in page, "data-act" in page, 'id="composer"' in page) == (True, False, False)


def test_opening_a_conversation_marks_it_read_for_operators_only(
    conversation: Conversation, says: Says, staff_member: User, viewer: User, log_in: LogIn
) -> None:
    says("Hello")
    log_in(viewer).get(page_of(conversation))
    conversation.refresh_from_db()
    unread_after_viewer = conversation.unread_count
    log_in(staff_member).get(page_of(conversation))
    conversation.refresh_from_db()
    assert (unread_after_viewer, conversation.unread_count) == (1, 0)


@pytest.mark.parametrize(("tab", "changes"), [
    ("needs", {"needs_attention": True, "attention_reason": "handoff"}),
    ("needs", {"control": "human", "unread_count": 1}),
    ("unassigned", {}),
    ("done", {"done_at": "2026-01-01T00:00:00Z"}),
    ("snoozed", {"snoozed_until": "2126-01-01T00:00:00Z"}),
])  # fmt: skip
def test_a_tab_counts_and_lists_its_conversations(
    conversation: Conversation, staff_member: User, log_in: LogIn, tab: str, changes: dict[str, Any]
) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(**changes)
    answer = log_in(staff_member).get(reverse("inbox"), {"tab": tab})
    assert (answer.context["state"].counts[tab], len(answer.context["rows"])) == ("1", 1)


@pytest.mark.parametrize("search", ["ana", "+55 11 98888-7777", "(11) 98888-7777", "refund"])
def test_a_search_finds_by_name_phone_and_words(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, search: str
) -> None:
    from messaging.search.index import index_waiting

    says("I need a refund")
    index_waiting()
    rows = log_in(staff_member).get(reverse("inbox"), {"q": search}).context["rows"]
    assert [row["key"] for row in rows] == [str(conversation.pk)]


@pytest.mark.parametrize("search", ["", "hello"])
@pytest.mark.parametrize("changes", [False, True])
def test_a_poll_takes_three_queries(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, changes: bool, search: str
) -> None:
    says("Hello")
    client = log_in(staff_member)
    page = client.get(page_of(conversation), {"q": search})
    known = {
        "open": str(conversation.pk),
        "list": page.context["state"].list_version,
        "seen": page.context["conversation_version"],
        "visible": "1",
        "typing": "1",
        "q": search,
    }
    if changes:
        says("More words", chat="5511955554444@s.whatsapp.net")
        says("More words")
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(reverse("inbox-poll"), known)
    assert (answer.status_code, len(queries)) == (200 if changes else 204, 3)


def test_what_has_changed_is_fetched_in_the_same_few_queries_however_much_it_is(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    client, counts = log_in(staff_member), []
    for _ in range(2):
        for number in range(30):
            says(f"Line {number}")
            create_outbound(conversation, status="sent", text=f"Answer {number}")
        with CaptureQueriesContext(connection) as queries:
            client.get(reverse("inbox-changes", args=[conversation.pk]), {"visible": "1"})
        counts.append(len(queries))
    assert counts[1] <= counts[0] <= 12


def test_what_a_search_has_found_stays_while_counts_change(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    from messaging.search.index import index_waiting

    says("I need a refund")
    index_waiting()
    client = log_in(staff_member)
    page = client.get(reverse("inbox"), {"q": "refund"})
    known = {"q": "refund", "list": page.context["state"].list_version}
    assert client.get(reverse("inbox-poll"), known).status_code == 204
    says("Hello", chat="5511955554444@s.whatsapp.net")
    changed = client.get(reverse("inbox-poll"), known).json()
    assert ("rows" in changed, "tabs" in changed) == (False, True)


def test_a_stranger_fetches_no_changes(
    conversation: Conversation, says: Says, staff_stranger: User, log_in: LogIn
) -> None:
    says("Where is my order?")
    answer = log_in(staff_stranger).get(reverse("inbox-changes", args=[conversation.pk]), {"visible": "1"})
    assert (answer.status_code, "Where is my order?" in answer.content.decode()) == (404, False)
    conversation.refresh_from_db()
    assert conversation.unread_count == 1


@pytest.mark.parametrize(
    ("kind", "hours", "shown"),
    [
        ("cloud", 1, "Messages are delivered until"),
        ("cloud", 25, "only a template is delivered"),
        ("waha", 25, ""),
    ],
)
def test_staff_see_until_when_the_platform_delivers(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, kind: str, hours: int, shown: str
) -> None:
    says("Hello")
    Message.objects.update(written_at=timezone.now() - timedelta(hours=hours))
    Bridge.objects.update(kind=kind)
    page = log_in(staff_member).get(page_of(conversation)).content.decode()
    assert (shown in page) if shown else ("delivered until" not in page and "only a template" not in page)


@pytest.mark.parametrize(
    ("kind", "address", "hours", "reason"),
    [
        ("cloud", "5511988887777", 25, "only a template is delivered"),
        ("cloud", "281474976710655@lid", 1, "belongs to a linked phone"),
        ("zapw", "281474976710655@lid", 1, "hidden"),
        ("cloud", "5511988887777", 1, ""),
        ("waha", "5511988887777@s.whatsapp.net", 25, ""),
    ],
)
def test_where_nothing_is_delivered_the_reason_stands_in_place_of_what_sends(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn,
    kind: str, address: str, hours: int, reason: str,
) -> None:  # fmt: skip
    says("Hello")
    Message.objects.update(written_at=timezone.now() - timedelta(hours=hours))
    Conversation.objects.update(address=address)
    Bridge.objects.update(kind=kind)
    client = log_in(staff_member)
    opened = client.get(page_of(conversation))
    changed = client.get(reverse("inbox-changes", args=[conversation.pk])).json()
    assert (reason in changed["refusal"], bool(changed["refusal"])) == (True, bool(reason))
    assert opened.context["refusal"] == changed["refusal"]
    assert ("only-notes" in opened.content.decode()) == bool(reason)


def test_a_poll_names_the_conversation_that_needs_a_person_in_place_of_another(
    conversation: Conversation, session: WhatsAppSession, staff_member: User, log_in: LogIn
) -> None:
    contact = Contact.objects.create(session=session, name="Bia")
    other = Conversation.objects.create(session=session, contact=contact, address="2@lid", needs_attention=True)
    client, known = log_in(staff_member), {"tab": "snoozed"}  # whose rows say nothing of it
    page = client.get(reverse("inbox"), known)
    known["list"] = page.context["state"].list_version
    assert f'data-needing="{other.pk}"' in page.content.decode()
    Conversation.objects.filter(pk=other.pk).update(needs_attention=False)
    Conversation.objects.filter(pk=conversation.pk).update(needs_attention=True)
    changed = client.get(reverse("inbox-poll"), known).json()
    assert (changed["waiting"], changed["needing"]) == (1, [str(conversation.pk)])


def test_a_poll_names_what_others_assigned_to_the_reader_and_not_what_they_took_themselves(
    conversation: Conversation, staff_member: User, admin: User, log_in: LogIn
) -> None:
    client, named = log_in(staff_member), []
    for boss in (log_in(staff_member), log_in(admin)):
        for user in ("", str(staff_member.pk)):
            path = reverse("inbox-act", args=[conversation.pk, "assign"])
            assert boss.post(path, {"user": user}).status_code == 200
        named.append(client.get(reverse("inbox-poll")).json()["assigned"])
    assert named == [[], [str(conversation.pk)]]


@pytest.mark.parametrize(("kind", "is_noticed"), [("cloud", True), ("waha", False)])
def test_a_poll_notices_that_the_reply_window_has_closed(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, kind: str, is_noticed: bool
) -> None:
    says("Hello")
    Bridge.objects.update(kind=kind)
    Conversation.objects.update(address="5511988887777", unread_count=0)
    almost, over = (timezone.now() - timedelta(hours=24, minutes=minutes) for minutes in (-1, 1))
    Message.objects.update(written_at=almost, said_at=almost)
    client = log_in(staff_member)
    known = {"open": str(conversation.pk), "seen": client.get(page_of(conversation)).context["conversation_version"]}
    Message.objects.update(written_at=over, said_at=over)  # nothing else shows that time has passed
    polled = client.get(reverse("inbox-poll"), known).json()
    changed = client.get(reverse("inbox-changes", args=[conversation.pk])).json()
    assert ("seen" in polled, bool(changed["refusal"])) == (is_noticed, is_noticed)


@pytest.mark.parametrize(("hours", "is_open"), [(23, True), (25, False), (None, False)])
@pytest.mark.parametrize("kind", ["cloud", "waha"])
def test_the_reply_window_is_the_same_for_one_conversation_and_for_a_query(
    conversation: Conversation, says: Says, kind: str, hours: int | None, is_open: bool
) -> None:
    says("Hello")
    Bridge.objects.update(kind=kind)
    at = timezone.now() - timedelta(hours=hours) if hours else None
    Message.objects.update(written_at=at, said_at=at or timezone.now())
    reply_window = ADAPTERS[kind].reply_window
    ends_at = window_ends_at(conversation.pk, reply_window=reply_window) if reply_window else None
    expected = is_open and reply_window is not None
    assert (ends_at is not None, Conversation.objects.filter(within_window()).exists()) == (expected, expected)


@pytest.mark.parametrize(("kind", "is_offered"), [("waha", True), ("zapw", False)])
def test_quoting_is_offered_where_the_bridge_can_quote(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, kind: str, is_offered: bool
) -> None:
    says("Hello")
    Bridge.objects.update(kind=kind)
    client = log_in(staff_member)
    shown = client.get(page_of(conversation)).content.decode()
    polled = client.get(reverse("inbox-changes", args=[conversation.pk])).json()["messages"]
    assert ["data-quote" in html for html in (shown, polled)] == [is_offered, is_offered]


def test_a_page_takes_the_same_few_queries_for_many_conversations(
    conversation: Conversation, says: Says, session: WhatsAppSession, staff_member: User, log_in: LogIn
) -> None:
    says("Hello")
    client, counts = log_in(staff_member), []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(page_of(conversation))
        counts.append(len(queries))
        for number in range(30):
            contact = Contact.objects.create(session=session, name=f"Person {number}")
            other = Conversation.objects.create(session=session, contact=contact, address=f"{number}@lid")
            create_outbound(other, status="sent")
        for number in range(30):
            create_outbound(conversation, status="sent", text=f"Line {number}")
        Conversation.objects.update(unread_count=0)
    assert counts[1] <= counts[0] <= 15


def test_a_poll_brings_a_new_message(conversation: Conversation, says: Says, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    page = client.get(page_of(conversation))
    says("Fresh words")
    known = {"open": str(conversation.pk), "seen": page.context["conversation_version"]}
    polled = client.get(reverse("inbox-poll"), known).json()
    changed = client.get(reverse("inbox-changes", args=[conversation.pk])).json()
    assert polled["seen"] != known["seen"]
    assert ("Fresh words" in changed["messages"], "Fresh words" in polled["rows"]) == (True, True)


def test_a_poll_brings_the_news_that_a_message_waits_for_its_receipt(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    Bridge.objects.update(kind="waha")
    create_outbound(conversation, status="sent", sent_at=timezone.now() - timedelta(minutes=4))
    client = log_in(staff_member)
    page = client.get(page_of(conversation))
    known = {"open": str(conversation.pk), "seen": page.context["conversation_version"]}
    assert "not reported as delivered" not in page.content.decode()

    Message.objects.update(sent_at=timezone.now() - timedelta(minutes=6))

    polled = client.get(reverse("inbox-poll"), known).json()
    changed = client.get(reverse("inbox-changes", args=[conversation.pk])).json()
    assert polled["seen"] != known["seen"]
    assert 'title="sent, and not reported as delivered since' in changed["messages"]


def test_a_message_that_arrives_while_the_page_is_drawn_is_brought_by_the_next_poll(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    with CaptureQueriesContext(connection) as queries:
        client.get(page_of(conversation))
    missed = []
    for number in range(len(queries)):
        page = page_during(lambda: says(f"Fresh words {number}."), client, conversation, after=number)  # noqa: B023
        known = {"open": str(conversation.pk), "seen": page.context["conversation_version"]}
        polled = client.get(reverse("inbox-poll"), known)
        shown = "".join(entry["html"] for entry in page.context["entries"])
        if polled.content and "seen" in polled.json():
            shown += client.get(reverse("inbox-changes", args=[conversation.pk])).json()["messages"]
        if f"Fresh words {number}." not in shown:
            missed.append(number)
    assert missed == []


def page_during(happens: Callable[[], Any], client: Any, conversation: Conversation, *, after: int) -> Any:
    """Get the page of a conversation; something happens after so many of its queries."""
    executed = 0
    is_inside = False

    def count(execute: Any, *arguments: Any) -> Any:
        nonlocal executed, is_inside
        result = execute(*arguments)
        if not is_inside:
            executed += 1
            if executed == after + 1:
                is_inside = True
                happens()
                is_inside = False
        return result

    with connection.execute_wrapper(count):
        return client.get(page_of(conversation))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_are_shown_as_text(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, text: str
) -> None:
    Contact.objects.update(name=HOSTILE["html"])
    says(text)
    answer = log_in(staff_member).get(page_of(conversation))
    page = answer.content.decode()
    assert ("<script>alert" in page, "<img src=x" in page, answer.status_code) == (False, False, 200)
    assert len(page) < 60_000


def test_the_page_allows_no_inline_scripts(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    answer = log_in(staff_member).get(page_of(conversation))
    policy = answer["Content-Security-Policy"]
    assert ("script-src 'self';" in policy, "unsafe" in policy) == (True, False)
    assert '"allowEval":false' in answer.content.decode()


def test_an_expired_login_is_reported_to_the_script(client: Any, db: None) -> None:
    answer = client.get(reverse("inbox-poll"))
    assert (answer.status_code, answer.json()["code"]) == (401, "logged_out")


def test_why_shows_the_turn_of_an_answer(
    conversation: Conversation, says: Says, staff_member: User, staff_stranger: User, log_in: LogIn
) -> None:
    from django.utils import timezone

    from messaging.models import ToolCall, Turn

    turn = Turn.objects.create(
        conversation=conversation, outcome="answered", model="test-model", started_at=timezone.now()
    )
    ToolCall.objects.create(turn=turn, name="search_messages", arguments={"query": "order"}, status="done")
    answer = create_outbound(conversation, text="It is on its way.", status="sent", turn=turn)
    address = reverse("inbox-why", args=[conversation.pk, answer.pk])
    shown = log_in(staff_member).get(address).content.decode()
    assert ("test-model" in shown, "search_messages" in shown) == (True, True)
    assert log_in(staff_stranger).get(address).status_code == 404
    assert Message.objects.count() == 1
