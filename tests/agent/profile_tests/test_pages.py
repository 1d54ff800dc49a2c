"""Trying the draft of a profile: the test chat, from which nothing leaves, and the replay of real questions."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from agent.profile_tests import chat
from agent.turns.turn import take_turn
from messaging.models import Conversation, Message, Turn
from sessions_app import drafts
from sessions_app.models import Membership, WhatsAppSession
from tests.support.background import BackgroundCall


@pytest.fixture
def browser(admin, log_in):
    return log_in(admin)


def address(name, profile, *args):
    return reverse(f"profile-test{name}", args=[profile.pk, *args])


def answer_of_chat(browser, profile):
    take_turn(Conversation.objects.get(session__agent_profile__draft_of=profile).pk)
    return browser.get(address("-messages", profile)).content.decode()


def test_the_test_chat_is_answered_by_the_draft(browser, profile, simulator, model):
    drafts.save_draft(profile=profile, instructions="Answer like a pirate.", debounce_s=0, debounce_max_s=0)
    browser.post(address("-say", profile), {"text": "Hello <b>you</b>"})
    shown = answer_of_chat(browser, profile)
    assert "Answer like a pirate." in str(model.requests[-1])
    assert "Hello &lt;b&gt;you&lt;/b&gt;" in shown
    assert Message.objects.filter(direction="outbound").count() == 1
    assert WhatsAppSession.objects.get().bridge == simulator
    assert Conversation.objects.get().contact.name == "admin"


def test_a_test_chat_is_no_conversation_to_work_on(browser, profile, simulator, conversation):
    browser.post(address("-say", profile), {"text": "Hello"})
    tried = Conversation.objects.get(session__agent_profile__draft_of=profile)
    Conversation.objects.filter(pk=tried.pk).ask_for_attention("handoff", note="Nobody is waiting.")
    page = browser.get(reverse("inbox"))
    assert [row["key"] for row in page.context["rows"]] == [str(conversation.pk)]
    assert tried.session.name not in page.content.decode()
    assert page.context["state"].waiting == 0
    waiting = next(card for card in browser.get(reverse("dashboard")).context["cards"] if "tab=needs" in card["link"])
    assert waiting["value"] == "0"
    assert "Nobody is waiting." in browser.get(reverse("inbox-conversation", args=[tried.pk])).content.decode()


@pytest.mark.django_db(transaction=True)
def test_two_requests_that_open_the_chat_at_once_share_it(admin, profile, simulator):
    draft = drafts.ensure_draft(profile)
    with transaction.atomic():
        name = f"test-{profile.pk.hex[-12:]}"
        first = WhatsAppSession.objects.create(bridge=simulator, name=name, agent_profile=draft, status="connected")
        Membership.objects.create(session=first, user=admin)
        second = BackgroundCall(lambda: chat.open_chat(profile=profile, user=admin))
        second.wait_for_lock()
    assert second.result().session == first


def test_starting_over_hides_earlier_messages_from_the_model_and_the_page(browser, profile, model):
    browser.post(address("-say", profile), {"text": "Remember the word plum"})
    answer_of_chat(browser, profile)
    emptied = browser.post(address("-start-over", profile)).content.decode()
    assert "plum" not in emptied
    browser.post(address("-say", profile), {"text": "Which word?"})
    answer_of_chat(browser, profile)
    assert "plum" not in str(model.requests[-1])


def test_starting_over_ends_the_summary_and_the_request_for_attention(browser, profile):
    browser.post(address("-say", profile), {"text": "Hello"})
    Conversation.objects.update(
        summary="Plum.", summary_version=3, needs_attention=True, attention_reason="handoff", attention_note="Help"
    )
    browser.post(address("-start-over", profile))
    chat = Conversation.objects.get()
    assert (chat.summary, chat.summary_version) == ("", 4)  # a summary that is being written now counts no more
    assert (chat.needs_attention, chat.attention_reason, chat.attention_note) == (False, "", "")


@pytest.mark.parametrize("text", ["", "  ", "x" * 4001])
def test_a_text_that_cannot_be_sent_is_refused_where_it_was_typed(browser, profile, text):
    answer = browser.post(address("-say", profile), {"text": text})
    assert 'role="alert"' in answer.content.decode()
    assert Message.objects.count() == 0


@pytest.fixture
def answered(conversation, profile, says):
    """A question that the live profile has answered."""
    asked = says("When do you open?")
    turn = Turn.objects.create(
        conversation=conversation, agent_profile=profile, outcome="answered", started_at=timezone.now()
    )
    Message.objects.filter(pk=asked.message_id).update(turn=turn, status="handled")
    Message.objects.create(
        session=conversation.session, conversation=conversation, direction="outbound", author="agent", status="sent",
        text="At nine.", turn=turn,
    )  # fmt: skip
    return turn


def test_a_question_is_replayed_with_the_draft_and_changes_nothing(browser, profile, answered, model, settings):
    settings.MODEL_PRICES = {settings.OPENAI_MODEL: {"prompt": 1000.0, "cached": 0.0, "completion": 0.0}}
    drafts.save_draft(profile=profile, instructions="Answer like a pirate.")
    counts = Message.objects.count(), Turn.objects.count()
    page = browser.get(address("", profile)).content.decode()
    assert ("When do you open?" in page, "At nine." in page) == (True, True)
    shown = browser.post(address("-replay", profile, answered.pk)).content.decode()
    request = model.requests[-1]
    assert ("pirate" in str(request), "At nine." in str(request)) == (True, False)
    assert "tokens" in shown
    assert (Message.objects.count(), Turn.objects.count()) == counts


def test_a_failing_model_is_reported_beside_the_question(browser, profile, answered, settings):
    settings.OPENAI_BASE_URL, settings.MODEL_TIMEOUT_S = "http://127.0.0.1:9", 1.0
    assert 'role="alert"' in browser.post(address("-replay", profile, answered.pk)).content.decode()


def test_a_turn_of_another_profile_is_not_replayed(browser, profile, answered):
    other = drafts.ensure_draft(profile)
    Turn.objects.update(agent_profile=other)
    assert browser.post(address("-replay", profile, answered.pk)).status_code == 404


def test_what_is_tried_is_in_the_log_of_the_profile_without_its_text(
    browser, admin, profile, answered, simulator, model
):
    for name, values in (("-say", {"text": "plum"}), ("-say", {"text": " "}), ("-start-over", {})):
        browser.post(address(name, profile), values)
    browser.post(address("-replay", profile, answered.pk))
    rows = LogEntry.objects.order_by("pk").values_list("user", "object_id", "change_message")
    assert list(rows) == [
        (admin.pk, str(profile.pk), "Test chat: wrote a message."),
        (admin.pk, str(profile.pk), "Test chat: started over."),
        (admin.pk, str(profile.pk), "Asked the draft an earlier question again."),
    ]


@pytest.mark.parametrize("name", ["", "-messages", "-say", "-start-over"])
def test_only_administrators_try_drafts(name, profile, staff_member, staff_viewer, log_in, client):
    for user in (staff_member, staff_viewer):
        browser = log_in(user)
        assert {browser.get(address(name, profile)).status_code, browser.post(address(name, profile)).status_code} <= {
            404, 405,
        }  # fmt: skip
    assert Conversation.objects.count() == 0
