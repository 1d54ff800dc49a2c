"""Test chats are no customers: lists and figures leave them out, and show them where they are asked for."""

import re
from html import unescape

import pytest
from django.contrib import admin as django_admin
from django.urls import reverse
from django.utils import timezone

from agent.dashboard.figures import read_figures
from agent.dashboard.views import period_of
from agent.profile_tests.chat import open_chat
from commands.models import CommandRun
from messaging.models import Contact, Conversation, Message, Turn
from sessions_app.admin import SessionScopedAdmin
from sessions_app.models import WhatsAppSession

LISTS = [WhatsAppSession, Contact, Conversation, Message, Turn, CommandRun]


@pytest.fixture
def chats(conversation, profile, simulator, admin):
    """A customer's conversation and a test chat, each with a message that failed, a turn and a hand-off."""
    tested = open_chat(profile=profile, user=admin)
    for each in (conversation, tested):
        now = timezone.now()
        Message.objects.create(session=each.session, conversation=each, direction="inbound", author="contact",
                               status="handled", said_at=now, text="x")  # fmt: skip
        Message.objects.create(session=each.session, conversation=each, direction="outbound", author="agent",
                               status="failed", said_at=now, text="x")  # fmt: skip
        Turn.objects.create(conversation=each, agent_profile=each.session.agent_profile, outcome="failed",
                            started_at=now, prompt_tokens=7)  # fmt: skip
        CommandRun.objects.create(conversation=each, name="human", surface="tool", caller="model", status="done")
    return conversation, tested


def listed(browser, model, **lookups):
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return set(browser.get(url, lookups).context["cl"].result_list)


def rows_of(model, conversation):
    path = {WhatsAppSession: "pk", Contact: "session", Message: "session", Conversation: "session"}
    return set(model.objects.filter(**{path.get(model, "conversation__session"): conversation.session_id}))


@pytest.mark.parametrize("model", LISTS)
def test_a_list_shows_test_chats_only_to_those_who_ask(chats, model, admin, log_in):
    customer, tested = chats
    browser = log_in(admin)
    assert listed(browser, model) == rows_of(model, customer) != set()
    assert listed(browser, model, test_chats="only") == rows_of(model, tested) != set()


def test_every_list_of_what_belongs_to_a_number_can_show_test_chats(chats, admin, log_in):
    browser = log_in(admin)
    scoped = [each for each in django_admin.site._registry.values() if isinstance(each, SessionScopedAdmin)]
    assert len(scoped) > len(LISTS)
    for each in scoped:
        url = reverse(f"admin:{each.opts.app_label}_{each.opts.model_name}_changelist")
        assert b"?test_chats=only" in browser.get(url).content


def test_the_figures_count_no_test_chat_but_the_tokens_of_its_draft(chats, admin):
    _, tested = chats
    found = read_figures(admin, period_of("24h", now=timezone.localtime()))
    assert (found.exchanges["total"], found.outcomes, found.trouble, found.handoffs) == (
        1,
        {"failed": 1},
        {"failed": 1},
        1,
    )
    assert [sum(row["inbound"] for row in found.messages), sum(row["failed"] for row in found.turns)] == [1, 1]
    assert sum(row["n"] for row in found.sessions) == 1
    drafts = {row["id"]: row["prompt_tokens"] for row in found.profiles if row["is_draft"]}
    assert drafts == {str(tested.session.agent_profile_id): 7}


def test_the_tokens_of_a_draft_lead_to_its_turns(chats, admin, log_in):
    browser, (_, tested) = log_in(admin), chats
    page = browser.get("/admin/dashboard/").content.decode()
    draft = tested.session.agent_profile_id
    (link,) = {unescape(each) for each in re.findall(r'href="([^"]*agent_profile__id__exact=[^"]*)"', page)
               if str(draft) in each}  # fmt: skip
    assert set(browser.get(link).context["cl"].result_list) == rows_of(Turn, tested)


def test_the_page_of_a_test_chat_leads_to_its_messages(chats, admin, log_in):
    browser, (_, tested) = log_in(admin), chats
    page = browser.get(reverse("admin:messaging_conversation_change", args=[tested.pk])).content.decode()
    (link,) = {unescape(each) for each in re.findall(r'href="(/admin/messaging/message/\?[^"]*)"', page)}
    assert set(browser.get(link).context["cl"].result_list) == rows_of(Message, tested)
