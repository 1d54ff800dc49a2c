"""The dashboard: its figures, who sees whose, and where each leads."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.urls import reverse
from django.utils import timezone

from agent.dashboard.charts import Series, draw, starts_of
from agent.dashboard.figures import read_figures
from agent.dashboard.views import cards_of, duration, period_of
from commands.models import CommandRun
from messaging.models import Contact, Conversation, Message, Turn

URL = "/admin/dashboard/"


@pytest.fixture
def write(conversation):
    """Store a message that was said so many seconds ago: `write("inbound", 60)`."""

    def store(direction, age_s, *, author=None, to=conversation, **values):
        return Message.objects.create(
            session=to.session,
            conversation=to,
            direction=direction,
            author=author or {"inbound": "contact", "outbound": "agent"}[direction],
            status=values.pop("status", {"inbound": "handled", "outbound": "sent"}[direction]),
            said_at=timezone.now() - timedelta(seconds=age_s),
            text="x",
            **values,
        )

    return store


def figures(user, name="24h"):
    return read_figures(user, period_of(name, now=timezone.localtime()))


def test_answer_times_are_of_a_contacts_first_message_to_the_next_answer(write, admin):
    write("inbound", 300)
    write("inbound", 290)
    write("outbound", 280)
    write("outbound", 270)
    write("inbound", 200)
    write("outbound", 100, author="staff", sent_by=admin)
    write("inbound", 50)
    exchanges = figures(admin).exchanges
    assert (exchanges["total"], exchanges["agent"], exchanges["people"], exchanges["unanswered"]) == (3, 1, 1, 1)
    assert (round(exchanges["median_s"]), round(exchanges["first_median_s"])) == (60, 20)


def test_what_was_not_sent_is_no_answer(write, admin):
    write("inbound", 300)
    write("outbound", 280, status="failed")
    write("outbound", 270, status="unconfirmed")
    found = figures(admin)
    assert (found.exchanges["agent"], found.trouble) == (1, {"failed": 1, "unconfirmed": 1})
    assert round(found.exchanges["median_s"]) == 30


def test_a_message_that_nobody_asked_for_is_no_exchange(write, admin):
    write("outbound", 300)
    assert figures(admin).exchanges["total"] == 0


def test_two_conversations_are_not_mixed(write, session, admin):
    other = Conversation.objects.create(
        session=session, contact=Contact.objects.create(session=session, name="Bia"), address="x"
    )
    write("inbound", 300)
    write("outbound", 290, to=other)
    write("outbound", 200)
    assert (figures(admin).exchanges["total"], round(figures(admin).exchanges["median_s"])) == (1, 100)


def test_figures_of_staff_profiles_handoffs_and_waiting(write, conversation, profile, admin):
    write("outbound", 100, author="staff", sent_by=admin)
    Turn.objects.create(
        conversation=conversation, agent_profile=profile, outcome="answered", started_at=timezone.now(),
        prompt_tokens=1200, completion_tokens=30,
    )  # fmt: skip
    CommandRun.objects.create(conversation=conversation, name="human", surface="tool", caller="model", status="done")
    Conversation.objects.update(needs_attention=True, attention_reason="handoff")
    found = figures(admin)
    assert [(row["username"], row["messages"]) for row in found.staff] == [("admin", 1)]
    assert [(row["name"], row["prompt_tokens"]) for row in found.profiles] == [(profile.name, 1200)]
    assert (found.handoffs, found.waiting, found.outcomes) == (1, 1, {"answered": 1})
    assert found.sessions == [{"status": "connected", "n": 1}]


def test_what_is_older_than_the_period_does_not_count(write, admin):
    write("inbound", 3 * 24 * 3600)
    assert (figures(admin, "24h").exchanges["total"], figures(admin, "7d").exchanges["total"]) == (0, 1)


def test_staff_see_only_the_figures_of_their_sessions(write, conversation, member, stranger):
    write("inbound", 100)
    Turn.objects.create(conversation=conversation, outcome="failed", started_at=timezone.now())
    Conversation.objects.update(needs_attention=True)
    mine, others = figures(member), figures(stranger)
    assert (mine.exchanges["total"], mine.outcomes, mine.waiting) == (1, {"failed": 1}, 1)
    assert (others.exchanges["total"], others.outcomes, others.waiting, others.sessions) == (0, {}, 0, [])


@pytest.mark.parametrize("period", ["24h", "7d", "30d", "", "x", "\x00"])
def test_each_number_leads_to_a_list_that_opens(write, conversation, profile, admin, log_in, period):
    write("inbound", 100)
    write("outbound", 50, status="failed")
    write("outbound", 40, author="staff", sent_by=admin)
    Turn.objects.create(conversation=conversation, agent_profile=profile, outcome="answered", started_at=timezone.now())
    browser = log_in(admin)
    page = browser.get(URL, {"period": period, "part": "figures"}).content.decode()
    links = {
        unescape(link)
        for link in re.findall(r'href="(/admin/(?:messaging|commands|sessions_app|inbox)[^"]*\?[^"]*)"', page)
    }
    assert len(links) > 8
    assert {browser.get(link).status_code for link in links} == {200}


@pytest.mark.parametrize("period", ["7d", "30d"])
def test_the_page_of_a_long_period_is_shown_before_its_figures_are_counted(write, admin, log_in, period):
    write("inbound", 100)
    browser = log_in(admin)
    page = browser.get(URL, {"period": period})
    (part,) = (unescape(each) for each in re.findall(r'hx-get="([^"]+)"', page.content.decode()) if "figures" in each)
    assert "figures" not in page.context
    assert browser.get(f"{URL}{part}").context["figures"].exchanges["total"] == 1


def test_the_list_behind_a_number_has_its_rows(write, admin, log_in):
    failed = write("outbound", 50, status="failed")
    write("outbound", 40)
    browser = log_in(admin)
    page = browser.get(URL).content.decode()
    (link,) = {unescape(each) for each in re.findall(r'href="([^"]*status__exact=failed[^"]*)"', page)}
    assert [row.pk for row in browser.get(link).context["cl"].result_list] == [failed.pk]


def test_a_number_is_how_many_rows_its_list_has(write, conversation, profile, admin, log_in):
    now = timezone.now()
    for status in ("sent", "read", "failed", "cancelled", "unconfirmed"):
        write("outbound", 60, author="staff", sent_by=admin, status=status)
        write("outbound", 10 * 24 * 3600, author="staff", sent_by=admin, status=status)
    write("outbound", 50, author="staff", sent_by=admin, kind="reaction")
    for outcome in ("failed", "answered", "ignored"):
        Turn.objects.create(conversation=conversation, agent_profile=profile, outcome=outcome, started_at=now)
    for status in ("done", "failed", "refused"):
        CommandRun.objects.create(
            conversation=conversation, name="human", surface="tool", caller="model", status=status
        )
    browser = log_in(admin)
    context = browser.get(URL).context
    counted = {card["link"]: card["value"] for card in context["cards"] if card["value"].isdecimal()}
    assert len(counted) == len(context["cards"]) - 3  # a share and two times: below
    counted |= {row["link"]: str(row["messages"]) for row in context["staff"]}
    counted |= {row["link"]: str(row["turns"]) for row in context["profiles"]}
    counted |= {row["link"]: str(row["count"]) for row in context["sessions"]}
    lists = {link: browser.get(link).context for link in counted}
    assert len(counted) >= 8
    assert {
        link: str(len(each["cl"].result_list if "cl" in each else each["rows"])) for link, each in lists.items()
    } == counted
    assert sorted(counted.values()) == ["0", "0", "1", "1", "1", "1", "1", "3", "3"]


# Direction, author, kind, status, why it is not answered; and whether it counts as a message.
COUNTED = [
    *[("inbound", "contact", kind, "handled", "", kind != "reaction") for kind in Message.Kind.values],
    *[("inbound", "contact", "text", "handled", why, why != "history") for why in Message.Unanswered.values],
    *[
        ("outbound", author, "text", status, "", author != "system" and status not in {"failed", "cancelled"})
        for author in Message.Author.values
        if author != "contact"
        for status in Message.Status.values
        if status not in {"received", "handled"}
    ],
    *[("outbound", author, "text", "sent", "history", False) for author in ("agent", "staff", "phone", "api")],
    *[("outbound", author, "reaction", "sent", "", False) for author in ("agent", "staff", "phone", "api")],
]


@pytest.mark.parametrize("name", ["24h", "7d"])
def test_each_bar_and_each_time_leads_to_the_messages_that_it_is_of(write, admin, log_in, name):
    for direction, author, kind, status, why, _ in COUNTED:
        write(direction, 60, author=author, kind=kind, status=status, unanswered=why)
    for age_s in (3700, 2 * 3600, 30 * 3600):
        write("inbound", age_s)
        write("outbound", age_s, status="failed")
    browser = log_in(admin)
    context = browser.get(URL, {"period": name, "part": "figures"}).context

    def in_list(link):
        return browser.get(link).context["cl"].queryset.count()

    messages, _ = context["charts"]
    bars = {bar.link: sum(bar.values) for bar in messages.bars}
    _, by_agent, by_people = (sum(counts) for counts in zip(*(bar.values for bar in messages.bars), strict=True))
    assert {link: in_list(link) for link in bars} == bars
    is_long = name == "7d"
    assert sum(bars.values()) == sum(each[-1] for each in COUNTED) + (3 if is_long else 2)
    links = {str(card["label"]): card["link"] for card in context["cards"]}
    assert in_list(links["Answered by the agent"]) == by_agent > 0
    sent = by_agent + by_people
    assert [in_list(links[label]) for label in ("Time to the first answer", "Answer time")] == [sent, sent]


def test_each_bar_of_the_turns_leads_to_the_turns_that_it_counts(conversation, profile, admin, log_in):
    now = timezone.now()
    for age_s in (60, 60, 3700):
        for outcome in Turn.Outcome.values:
            at = now - timedelta(seconds=age_s)
            Turn.objects.create(
                conversation=conversation, agent_profile=profile, outcome=outcome, started_at=at, created_at=at
            )
    browser = log_in(admin)
    _, turns = browser.get(URL).context["charts"]
    bars = {bar.link: sum(bar.values) for bar in turns.bars}
    assert {link: browser.get(link).context["cl"].queryset.count() for link in bars} == bars
    assert sum(bars.values()) == 3 * len(Turn.Outcome.values)


def test_the_dashboard_takes_few_statements(write, admin, log_in, django_assert_max_num_queries):
    write("inbound", 100)
    browser = log_in(admin)
    browser.get(URL)
    with django_assert_max_num_queries(15):
        browser.get(URL)


def test_others_are_led_to_the_login(client, member, log_in):
    assert "/admin/login/" in client.get(URL).headers["Location"]
    assert log_in(member).get(URL).status_code == 302


def test_hostile_names_are_shown_as_text(write, conversation, profile, admin, log_in):
    type(profile).objects.filter(pk=profile.pk).update(name="<script>alert(1)</script>")
    Turn.objects.create(conversation=conversation, agent_profile=profile, outcome="answered", started_at=timezone.now())
    assert "<script>alert(1)" not in log_in(admin).get(URL).content.decode()


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (0.4, "0 s"), (99, "99 s"), (150, "2 min"), (7200, "2 h")])
def test_a_time_span_is_formatted_for_people(seconds, text):
    assert duration(seconds) == text


def test_a_chart_has_a_place_for_each_hour_and_nothing_leaves_it():
    now = timezone.localtime()
    period = period_of("24h", now=now)
    starts = starts_of(period.since, period.until, bucket="hour")
    rows = [{"at": starts[3].timestamp(), "n": 1_234_567}]
    chart = draw(
        "x", rows=rows, series=[Series("n", "n", "red")], starts=starts, label=str, links=list(map(str, starts))
    )
    (part,) = [part for bar in chart.bars for part in bar.parts]
    assert (len(chart.bars), part.y >= 0, part.x + part.width <= chart.width) == (24, True, True)


def test_the_menu_leads_to_the_dashboard(admin, log_in):
    assert f'href="{URL}"' in log_in(admin).get(reverse("admin:messaging_contact_changelist")).content.decode()


@pytest.mark.parametrize("name", ["24h", "7d"])
def test_not_answered_yet_leads_to_the_conversations_that_it_counts(write, admin, log_in, session, name):
    def another(number):
        contact = Contact.objects.create(session=session, name=f"Person {number}")
        return Conversation.objects.create(session=session, contact=contact, address=f"{number}@lid")

    waiting, answered, refused, reacted, old, done = [another(number) for number in range(6)]
    write("inbound", 60, to=waiting)
    write("inbound", 60, to=answered)
    write("outbound", 30, to=answered)
    write("inbound", 60, to=refused)
    write("outbound", 30, to=refused, status="failed")
    write("outbound", 60, to=reacted)
    write("inbound", 30, to=reacted, kind="reaction")
    write("inbound", 10 * 24 * 3600, to=old)
    write("inbound", 60, to=done)
    Conversation.objects.filter(pk=done.pk).update(done_at=timezone.now())
    for conversation in Conversation.objects.all():
        last = conversation.messages.order_by("-said_at").first()
        Conversation.objects.filter(pk=conversation.pk).update(last_message_at=last and last.said_at)
    found, client = figures(admin, name), log_in(admin)
    (card,) = [card for card in cards_of(found) if card["label"] == "Not answered yet"]
    page = client.get(card["link"])
    assert {row["key"] for row in page.context["rows"]} == {str(each.pk) for each in (waiting, refused, done)}
    assert (card["value"], found.exchanges["unanswered"]) == ("3", 3)
    assert "Only where the contact wrote last" in page.content.decode()
    known = {"unanswered_since": page.context["query"].unanswered_since, "list": page.context["state"].list_version}
    assert client.get(reverse("inbox-poll"), known).status_code == 204  # a poll does not read messages for it


@pytest.mark.parametrize("since", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_nobody_has_named_narrows_no_list(conversation, admin, log_in, since):
    rows = log_in(admin).get(reverse("inbox"), {"unanswered_since": since}).context["rows"]
    assert len(rows) == 1
