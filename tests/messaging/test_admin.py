"""The admin pages of what was said: who sees what, what they hold, and what can be done there."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from agent.bridges.events import Kind
from messaging import control
from messaging.history.timeline import MAX_EXCERPT_CHARS
from messaging.models import (
    Contact,
    Conversation,
    Event,
    Fact,
    Media,
    Message,
    Summary,
    ToolCall,
    Turn,
    WebhookDelivery,
    WebhookEndpoint,
)
from messaging.search.index import index_waiting
from sessions_app.models import Membership, WhatsAppSession
from sessions_app.profiles import change_profile

LogIn = Callable[[User], Client]
MODELS = ["contact", "conversation", "message", "media", "turn", "fact"]
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>{{ 7|add:7 }}"


@pytest.fixture
def said(conversation: Conversation, says: Callable[..., Any]) -> dict[str, Any]:
    """A question with a document, its answer, and a turn that failed: one row of each model."""
    kept = says("Where is my order?")
    question = Message.objects.get(pk=kept.message_id)
    turn = Turn.objects.create(
        conversation=conversation, outcome="failed", reason="timeout: no answer", started_at=timezone.now(),
        used={"messages": [str(question.pk)]},
    )  # fmt: skip
    Message.objects.filter(pk=question.pk).update(status="handled", turn=turn)
    ToolCall.objects.create(turn=turn, name="search", arguments={"query": "order"}, status="done")
    answer = _outbound(conversation, text="It is on its way.", status="sent", turn=turn)
    media = Media.objects.create(message=question, filename="order.pdf", ref="https://bridge/secret-ref")
    return {
        "contact": conversation.contact,
        "conversation": conversation,
        "message": answer,
        "media": media,
        "turn": turn,
        "fact": Fact.objects.create(contact=conversation.contact, text="Likes tea.", proposed_by="model"),
        "question": question,
    }


def _outbound(conversation: Conversation, **values: Any) -> Message:
    defaults = {"direction": "outbound", "author": "agent", "status": "failed", "text": "Hello."}
    return Message.objects.create(session=conversation.session, conversation=conversation, **(defaults | values))


def _list(model: str) -> str:
    return reverse(f"admin:messaging_{model}_changelist")


def _page(row: Any) -> str:
    return reverse(f"admin:messaging_{row._meta.model_name}_change", args=[row.pk])


# --- who sees what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_member_opens_lists_and_pages(said: dict[str, Any], staff_member: User, log_in: LogIn, model: str) -> None:
    client = log_in(staff_member)
    listed = client.get(_list(model))
    assert (listed.status_code, str(said[model].pk) in listed.content.decode()) == (200, True)
    assert client.get(_page(said[model])).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_a_stranger_among_the_staff_finds_nothing(
    said: dict[str, Any], staff_stranger: User, log_in: LogIn, model: str
) -> None:
    listed = log_in(staff_stranger).get(_list(model))
    assert (listed.status_code, str(said[model].pk) in listed.content.decode()) == (200, False)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("page", ["change", "history", "delete"])
def test_a_stranger_does_not_get_in_by_address(
    said: dict[str, Any], staff_stranger: User, log_in: LogIn, model: str, page: str
) -> None:
    answer = log_in(staff_stranger).get(reverse(f"admin:messaging_{model}_{page}", args=[said[model].pk]))
    assert answer.status_code in {302, 403}
    assert answer.headers.get("Location", reverse("admin:index")) == reverse("admin:index")


@pytest.mark.parametrize("door", ["transcript", "write", "control"])
def test_a_stranger_does_not_step_in(
    conversation: Conversation, staff_stranger: User, log_in: LogIn, door: str
) -> None:
    client, address = log_in(staff_stranger), reverse(f"admin:conversation-{door}", args=[conversation.pk])
    answer = client.get(address) if door == "transcript" else client.post(address, {"text": "Hi", "to": "human"})
    conversation.refresh_from_db()
    assert (answer.status_code, conversation.control, Message.objects.count()) == (404, "agent", 0)


@pytest.mark.parametrize(("model", "action"), [
    ("conversation", "take_over"), ("message", "send_again"), ("turn", "answer_again"),
])  # fmt: skip
def test_a_stranger_s_actions_change_nothing(
    said: dict[str, Any], staff_stranger: User, log_in: LogIn, model: str, action: str
) -> None:
    Message.objects.filter(pk=said["message"].pk).update(status="failed")
    log_in(staff_stranger).post(_list(model), {"action": action, "_selected_action": [str(said[model].pk)]})
    said["conversation"].refresh_from_db()
    assert (said["conversation"].control, said["conversation"].due_at is None) == ("agent", False)
    assert not Message.objects.filter(status="queued").exists()
    assert not Message.objects.filter(status="received").exists()


@pytest.fixture
def viewer(session: WhatsAppSession, staff_viewer: User) -> User:
    """A staff user who may see the session, and no more."""
    Membership.objects.create(session=session, user=staff_viewer)
    return staff_viewer


@pytest.mark.parametrize("model", MODELS)
def test_a_viewer_reads(said: dict[str, Any], viewer: User, log_in: LogIn, model: str) -> None:
    client = log_in(viewer)
    assert [client.get(address).status_code for address in (_list(model), _page(said[model]))] == [200, 200]


@pytest.mark.parametrize("door", ["write", "control"])
def test_a_viewer_does_not_step_in(conversation: Conversation, viewer: User, log_in: LogIn, door: str) -> None:
    client, address = log_in(viewer), reverse(f"admin:conversation-{door}", args=[conversation.pk])
    shown = address in client.get(_page(conversation)).content.decode()
    answer = client.post(address, {"text": "Hi", "to": "human"})
    conversation.refresh_from_db()
    assert (shown, answer.status_code, conversation.control, Message.objects.count()) == (False, 403, "agent", 0)


@pytest.mark.parametrize(("model", "action"), [
    ("conversation", "take_over"), ("message", "send_again"), ("turn", "answer_again"), ("fact", "forget"),
])  # fmt: skip
def test_a_viewer_s_actions_change_nothing(
    said: dict[str, Any], viewer: User, log_in: LogIn, model: str, action: str
) -> None:
    Message.objects.filter(pk=said["message"].pk).update(status="failed")
    log_in(viewer).post(_list(model), {"action": action, "_selected_action": [str(said[model].pk)]})
    said["conversation"].refresh_from_db()
    said["fact"].refresh_from_db()
    assert (said["conversation"].control, said["fact"].forgotten_at) == ("agent", None)
    assert not Message.objects.filter(status__in=["queued", "received"]).exists()


def test_a_viewer_does_not_block_a_contact(conversation: Conversation, viewer: User, log_in: LogIn) -> None:
    answer = log_in(viewer).post(
        _page(conversation.contact), {"is_blocked": "on"} | _inline("aliases") | _inline("facts")
    )
    assert (answer.status_code, Contact.objects.get().is_blocked) == (403, False)


def test_a_viewer_leaves_a_conversation_unread(said: dict[str, Any], viewer: User, log_in: LogIn) -> None:
    log_in(viewer).get(_page(said["conversation"]))
    said["conversation"].refresh_from_db()
    assert said["conversation"].unread_count == 1


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_who_is_no_staff_is_asked_to_log_in(
    conversation: Conversation, stranger: User, log_in: LogIn, who: str
) -> None:
    client = log_in(stranger) if who == "stranger" else Client()
    answer = client.get(_page(conversation))
    assert (answer.status_code, answer.headers["Location"].startswith(reverse("admin:login"))) == (302, True)


def test_filters_tell_no_names_of_other_sessions(session: WhatsAppSession, staff_stranger: User, log_in: LogIn) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).update(name="secret-project")
    assert "secret-project" not in log_in(staff_stranger).get(_list("message")).content.decode()


def test_a_foreign_session_cannot_be_probed_through_a_filter(
    said: dict[str, Any], staff_stranger: User, log_in: LogIn
) -> None:
    answer = log_in(staff_stranger).get(_list("message"), {"session__id__exact": said["conversation"].session_id})
    assert str(said["message"].pk) not in answer.content.decode()


def test_a_secret_cannot_be_probed_through_a_lookup(said: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    answer = log_in(staff_member).get(_list("message"), {"session__bridge__api_key__startswith": "a"})
    assert answer.status_code == 400


# --- what the pages hold ------------------------------------------------------------------------------------------


def test_hostile_texts_and_names_are_shown_and_not_run(said: dict[str, Any], admin: User, log_in: LogIn) -> None:
    Message.objects.update(text=HOSTILE, error=HOSTILE, details={"note": HOSTILE})
    Contact.objects.update(name=HOSTILE)
    Media.objects.update(filename=HOSTILE)
    Turn.objects.update(reason=HOSTILE)
    ToolCall.objects.update(arguments={"query": HOSTILE}, result=HOSTILE)
    Conversation.objects.update(summary=HOSTILE, control_reason=HOSTILE)
    Fact.objects.update(text=HOSTILE)
    Summary.objects.create(conversation=said["conversation"], version=1, text=HOSTILE, until=timezone.now())
    client = log_in(admin)
    for address in [*(_list(model) for model in MODELS), *(_page(said[model]) for model in MODELS)]:
        page = client.get(address).content.decode()
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address
        assert "alert" in page, address


def test_a_message_of_a_hundred_thousand_characters_does_not_fill_the_page(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    _outbound(conversation, text="x" * 100_000)
    page = log_in(admin).get(_page(conversation)).content.decode()
    assert "x" * MAX_EXCERPT_CHARS in page
    assert "x" * (MAX_EXCERPT_CHARS + 1) not in page


def test_the_transcript_is_read_from_top_to_bottom(conversation: Conversation, admin: User, log_in: LogIn) -> None:
    for number in range(60):
        said_at = timezone.now() - timedelta(minutes=60 - number)
        _outbound(conversation, text=f"number {number}.", status="sent", said_at=said_at)
    page = log_in(admin).get(_page(conversation)).content.decode()
    places = [page.find(f"number {number}.") for number in range(60)]
    assert places[:10] == [-1] * 10
    assert places[10:] == sorted(places[10:])
    assert "Earlier messages" in page


def test_what_failed_and_what_may_not_have_gone_is_plain_to_see(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    _outbound(conversation, status="unconfirmed", error="The bridge did not answer.")
    Turn.objects.create(conversation=conversation, outcome="failed", reason="timeout", started_at=timezone.now())
    page = log_in(admin).get(_page(conversation)).content.decode()
    assert "unconfirmed: it may have been sent" in page
    assert "The bridge did not answer." in page
    assert "timeout" in page


def test_every_kind_of_message_says_something(conversation: Conversation, admin: User, log_in: LogIn) -> None:
    details = {
        Kind.LOCATION: {"location": {"latitude": 1.5, "longitude": 2.5, "name": "Cafe"}},
        Kind.CONTACT: {"contacts": [{"name": "Bea", "phone": "+5511"}]},
        Kind.REACTION: {"emoji": "👍", "target_id": "x"},
    }
    for kind in Kind:
        _outbound(conversation, kind=kind.value, text="", status="sent", details=details.get(kind, {}))
    page = log_in(admin).get(_page(conversation)).content.decode()
    for words in ["Cafe, 1.5, 2.5", "Bea +5511", "Reacted with 👍", "Image", "Voice", "Order"]:
        assert words in page


def test_a_message_that_was_taken_back_is_not_shown_again(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    _outbound(conversation, text="my password is", revoked_at=timezone.now(), status="sent")
    page = log_in(admin).get(_page(conversation)).content.decode()
    assert ("Deleted by its author" in page, "my password is" in page) == (True, False)


def test_where_media_lies_at_the_bridge_is_for_administrators(
    said: dict[str, Any], staff_member: User, admin: User, log_in: LogIn
) -> None:
    pages = [log_in(user).get(_page(said["media"])).content.decode() for user in (staff_member, admin)]
    assert ["secret-ref" in page for page in pages] == [False, True]


def test_opening_a_conversation_marks_it_read(said: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member).get(_page(said["conversation"]))
    said["conversation"].refresh_from_db()
    assert said["conversation"].unread_count == 0


@pytest.mark.parametrize("model", ["message", "turn", "media"])
def test_what_happened_can_be_neither_written_nor_deleted(
    said: dict[str, Any], admin: User, log_in: LogIn, model: str
) -> None:
    client, row = log_in(admin), said[model]
    doors = [
        _page(row),
        reverse(f"admin:messaging_{model}_delete", args=[row.pk]),
        reverse(f"admin:messaging_{model}_add"),
    ]
    assert [client.post(door, {"post": "yes", "text": "never said"}).status_code for door in doors] == [403] * 3


@pytest.mark.parametrize("model", ["contact", "conversation"])
def test_people_and_conversations_cannot_be_deleted(
    said: dict[str, Any], admin: User, log_in: LogIn, model: str
) -> None:
    answer = log_in(admin).post(reverse(f"admin:messaging_{model}_delete", args=[said[model].pk]), {"post": "yes"})
    assert answer.status_code == 403


# --- what is found ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["delivers", "DELIVERED on saturday", "Ana", "+55 11 98888-7777", "wamid.7"])
def test_messages_are_found_by_words_contact_and_id(
    conversation: Conversation, staff_member: User, log_in: LogIn, words: str
) -> None:
    message = _outbound(conversation, text="We deliver on Saturdays.", provider_message_id="wamid.7", status="sent")
    index_waiting()
    assert str(message.pk) in log_in(staff_member).get(_list("message"), {"q": words}).content.decode()


@pytest.mark.parametrize("words", ["tuesday", "delivers tuesday", "12", "'", "' | 'saturn", "(", "%", "& |", "\ud83d"])
def test_what_does_not_match_is_not_found_and_does_no_harm(
    conversation: Conversation, staff_member: User, log_in: LogIn, words: str
) -> None:
    message = _outbound(conversation, text="We deliver on Saturdays.", status="sent")
    index_waiting()
    answer = log_in(staff_member).get(_list("message"), {"q": words.encode("utf-8", "surrogatepass").decode("latin-1")})
    assert (answer.status_code, str(message.pk) in answer.content.decode()) == (200, False)


@pytest.mark.parametrize("words", ["delivers", "Ana", "wamid.7", "+5511988887777"])
def test_a_stranger_finds_nothing(conversation: Conversation, staff_stranger: User, log_in: LogIn, words: str) -> None:
    message = _outbound(conversation, text="We deliver on Saturdays.", provider_message_id="wamid.7", status="sent")
    index_waiting()
    assert str(message.pk) not in log_in(staff_stranger).get(_list("message"), {"q": words}).content.decode()


# --- what it costs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_list_asks_the_same_queries_however_many_rows_it_shows(
    said: dict[str, Any], session: WhatsAppSession, staff_member: User, log_in: LogIn, model: str
) -> None:
    client = log_in(staff_member)
    few = _count_queries(client, _list(model))
    for number in range(5):
        _another_of_each(session, number)
    assert _count_queries(client, _list(model)) == few


def _another_of_each(session: WhatsAppSession, number: int) -> None:
    contact = Contact.objects.create(session=session, phone=f"+551198888000{number}")
    conversation = Conversation.objects.create(session=session, contact=contact, address=f"{number}@s.whatsapp.net")
    turn = Turn.objects.create(conversation=conversation, outcome="answered", started_at=timezone.now())
    message = _outbound(conversation, turn=turn, sender=contact)
    Media.objects.create(message=message, filename="a.pdf")
    Fact.objects.create(contact=contact, text=f"Fact {number}", proposed_by="model")


def _count_queries(client: Client, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_a_conversation_s_page_asks_the_same_queries_however_much_was_said(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    few = _count_queries(client, _page(conversation))
    for _ in range(10):
        turn = Turn.objects.create(conversation=conversation, outcome="failed", started_at=timezone.now())
        message = _outbound(conversation, turn=turn, sender=conversation.contact, sent_by=staff_member)
        Media.objects.create(message=_outbound(conversation, quoted=message), filename="a.pdf")
    assert _count_queries(client, _page(conversation)) == few


def test_a_transcript_that_has_not_changed_is_not_sent_again(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client, address = log_in(staff_member), reverse("admin:conversation-transcript", args=[conversation.pk])
    message = _outbound(conversation, status="sent")
    seen = client.get(address).context["fingerprint"]
    unchanged = client.get(address, {"seen": seen}).status_code
    Message.objects.filter(pk=message.pk).update(status="delivered")
    assert (unchanged, client.get(address, {"seen": seen}).status_code) == (204, 200)


# --- what can be done ---------------------------------------------------------------------------------------------


def test_writing_as_staff_queues_it_and_takes_over(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    log_in(staff_member).post(
        reverse("admin:conversation-write", args=[conversation.pk]), {"text": "Hi, Mia here.\r\nBye"}
    )
    conversation.refresh_from_db()
    message = Message.objects.get()
    assert (message.text, message.status, message.author) == ("Hi, Mia here.\nBye", "queued", "staff")
    assert (message.sent_by, conversation.control, conversation.controlled_by) == (staff_member, "human", staff_member)


def test_what_cannot_be_sent_says_why_and_keeps_the_text(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.update(status="disconnected")
    answer = log_in(staff_member).post(
        reverse("admin:conversation-write", args=[conversation.pk]),
        {"text": "A long one"},
        headers={"HX-Request": "true"},
    )
    page = answer.content.decode()
    assert ("not connected" in page, "A long one" in page, Message.objects.count()) == (True, True, 0)


def test_a_page_without_scripts_hears_of_the_failure_too(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    WhatsAppSession.objects.update(status="disconnected")
    address = reverse("admin:conversation-write", args=[conversation.pk])
    answer = log_in(staff_member).post(address, {"text": "Hello"}, follow=True)
    assert "not connected" in answer.content.decode()


def test_writing_needs_the_csrf_token(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member)
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff_member)
    answer = client.post(reverse("admin:conversation-write", args=[conversation.pk]), {"text": "Hello"})
    assert (answer.status_code, Message.objects.count()) == (403, 0)


@pytest.mark.parametrize("door", ["write", "control"])
def test_a_link_alone_changes_nothing(conversation: Conversation, staff_member: User, log_in: LogIn, door: str) -> None:
    answer = log_in(staff_member).get(
        reverse(f"admin:conversation-{door}", args=[conversation.pk]) + "?to=human&text=x"
    )
    conversation.refresh_from_db()
    assert (answer.status_code, conversation.control, Message.objects.count()) == (405, "agent", 0)


def test_taking_over_for_an_hour_ends_by_itself(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    address = reverse("admin:conversation-control", args=[conversation.pk])
    log_in(staff_member).post(address, {"to": "human", "hours": "1"})
    conversation.refresh_from_db()
    assert (conversation.control, conversation.controlled_by) == ("human", staff_member)
    assert timedelta(minutes=59) < conversation.control_until - timezone.now() < timedelta(minutes=61)


def test_releasing_gives_the_agent_its_voice_back(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    control.take_over(conversation=conversation, by=staff_member)
    log_in(staff_member).post(reverse("admin:conversation-control", args=[conversation.pk]), {"to": "agent"})
    conversation.refresh_from_db()
    assert conversation.control == "agent"


@pytest.mark.parametrize(
    "form", [{"to": "nobody"}, {"to": "human", "hours": "1e9"}, {"to": "human", "hours": "-1"}, {}]
)
def test_control_that_makes_no_sense_is_refused(
    conversation: Conversation, staff_member: User, log_in: LogIn, form: dict[str, str]
) -> None:
    answer = log_in(staff_member).post(reverse("admin:conversation-control", args=[conversation.pk]), form)
    conversation.refresh_from_db()
    assert (answer.status_code, conversation.control_epoch) == (404, 0)


@pytest.mark.parametrize(("action", "control_after"), [("take_over", "human"), ("mute", "muted"), ("release", "agent")])
def test_the_list_s_actions_say_who_speaks(
    conversation: Conversation, staff_member: User, log_in: LogIn, action: str, control_after: str
) -> None:
    before = {"take_over": "agent", "mute": "agent", "release": "human"}[action]
    Conversation.objects.update(control=before)
    log_in(staff_member).post(_list("conversation"), {"action": action, "_selected_action": [str(conversation.pk)]})
    conversation.refresh_from_db()
    assert conversation.control == control_after


def test_failed_messages_are_sent_again(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    failed, arrived = _outbound(conversation), _outbound(conversation, status="delivered")
    chosen = [str(failed.pk), str(arrived.pk)]
    log_in(staff_member).post(_list("message"), {"action": "send_again", "_selected_action": chosen})
    assert [Message.objects.get(pk=row.pk).status for row in (failed, arrived)] == ["queued", "delivered"]


def test_a_failed_turn_is_run_again_once(said: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    client, form = log_in(staff_member), {"action": "answer_again", "_selected_action": [str(said["turn"].pk)]}
    client.post(_list("turn"), form)
    again = client.post(_list("turn"), form, follow=True)
    said["question"].refresh_from_db()
    assert said["question"].status == "received"
    assert "not been run again" in again.content.decode()


def _again(conversation: Conversation, what: str, row: Any) -> str:
    return reverse("admin:conversation-retry", args=[conversation.pk, what, row.pk])


def test_what_failed_is_tried_again_from_the_transcript(
    said: dict[str, Any], staff_member: User, log_in: LogIn
) -> None:
    conversation, client = said["conversation"], log_in(staff_member)
    failed = _outbound(conversation)
    doors = [_again(conversation, "turn", said["turn"]), _again(conversation, "message", failed)]
    page = client.get(_page(conversation)).content.decode()
    for door in doors:
        client.post(door)
    said["question"].refresh_from_db()
    failed.refresh_from_db()
    assert [door in page for door in doors] == [True, True]
    assert (said["question"].status, failed.status) == ("received", "queued")


@pytest.mark.parametrize(("user", "status"), [("staff_stranger", 404), ("viewer", 403)])
def test_who_may_not_act_tries_nothing_again(
    said: dict[str, Any], request: pytest.FixtureRequest, log_in: LogIn, user: str, status: int
) -> None:
    conversation, client = said["conversation"], log_in(request.getfixturevalue(user))
    failed = _outbound(conversation)
    doors = [_again(conversation, "turn", said["turn"]), _again(conversation, "message", failed)]
    assert [client.post(door).status_code for door in doors] == [status, status]
    assert not Message.objects.filter(status__in=["queued", "received"]).exists()


def test_another_conversation_s_message_is_not_sent_by_this_one(
    said: dict[str, Any], staff_member: User, log_in: LogIn
) -> None:
    other_session = WhatsAppSession.objects.create(
        bridge=said["conversation"].session.bridge,
        name="other",
        agent_profile=said["conversation"].session.agent_profile,
    )
    contact = Contact.objects.create(session=other_session, phone="+5511900000000")
    other = Conversation.objects.create(session=other_session, contact=contact, address="5511900000000@s.whatsapp.net")
    failed = _outbound(other)
    answer = log_in(staff_member).post(_again(said["conversation"], "message", failed))
    failed.refresh_from_db()
    assert (answer.status_code, failed.status) == (404, "failed")


def test_a_turn_shows_the_parts_of_its_prompt(said: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    turn, profile = said["turn"], said["conversation"].session.agent_profile
    profile = change_profile(profile=profile, by=None, instructions="Sell tea.\n<b>Be kind.</b>", tools=["remember"])
    memory = _outbound(said["conversation"], text="We once had coffee.", status="sent")
    Summary.objects.create(
        conversation=said["conversation"], version=3, text="They talked of tea.", until=timezone.now()
    )
    Turn.objects.filter(pk=turn.pk).update(
        agent_profile=profile,
        profile_version=profile.version,
        used=turn.used | {"facts": [str(said["fact"].pk)], "memories": [str(memory.pk)], "summary_version": 3},
    )
    shown = log_in(staff_member).get(_page(turn)).content.decode()
    for part in (
        "remember", "Sell tea.", "They talked of tea.", "Where is my order?", "Likes tea.", "We once had coffee.",
    ):  # fmt: skip
        assert part in shown
    assert "<b>Be kind.</b>" not in shown


def test_a_turn_shows_no_fact_of_another_contact(said: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    other = Contact.objects.create(session=said["conversation"].session, name="Bob")
    fact = Fact.objects.create(contact=other, text="Bob is ill.", proposed_by="model")
    Turn.objects.filter(pk=said["turn"].pk).update(used={"facts": [str(fact.pk)]})
    assert "Bob is ill" not in log_in(staff_member).get(_page(said["turn"])).content.decode()


def test_a_fact_is_forgotten(said: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member).post(_list("fact"), {"action": "forget", "_selected_action": [str(said["fact"].pk)]})
    said["fact"].refresh_from_db()
    assert said["fact"].forgotten_at is not None


def test_blocking_a_contact_is_done_on_its_page(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    contact = conversation.contact
    form = {"is_blocked": "on", "name": "Forged", "phone": "+1"} | _inline("aliases") | _inline("facts")
    log_in(staff_member).post(_page(contact), form)
    contact.refresh_from_db()
    assert (contact.is_blocked, contact.name) == (True, "Ana")


def _inline(prefix: str) -> dict[str, str]:
    return {f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}


def test_a_message_s_details_are_shown_as_data(conversation: Conversation, admin: User, log_in: LogIn) -> None:
    message = _outbound(conversation, details={"location": {"latitude": 1.5}})
    page = log_in(admin).get(_page(message)).content.decode()
    assert json.dumps("latitude")[1:-1] in page


# --- webhooks of others -------------------------------------------------------------------------------------------


@pytest.fixture
def delivery(session: WhatsAppSession, staff_member: User) -> WebhookDelivery:
    """An event that was given up, of an endpoint of `staff_member`."""
    endpoint = WebhookEndpoint.objects.create(
        owner=staff_member, url="https://crm.example/hook", secret="whsec_quite-secret", description="<b>CRM</b>"
    )
    event = Event.objects.create(type="message.received", session_id=session.pk, data={})
    given_up = WebhookDelivery.objects.create(endpoint=endpoint, event=event, type=event.type, status="failed")
    given_up.attempts.create(at=timezone.now(), duration_ms=7, status_code=500, answer="<script>alert(1)</script>")
    return given_up


def test_an_endpoint_and_what_it_answered_are_shown_without_its_secret(
    delivery: WebhookDelivery, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    rows = {"webhookendpoint": delivery.endpoint, "webhookdelivery": delivery}
    for address in [*(_list(model) for model in rows), *(_page(row) for row in rows.values())]:
        page = client.get(address).content.decode()
        assert "CRM" in page, address
        assert "quite-secret" not in page
        assert "<script>alert" not in page
        assert "<b>CRM" not in page


def test_another_s_endpoint_is_neither_seen_nor_touched(
    delivery: WebhookDelivery, staff_stranger: User, log_in: LogIn
) -> None:
    client = log_in(staff_stranger)
    client.post(_list("webhookendpoint"), {"action": "disable", "_selected_action": [str(delivery.endpoint_id)]})
    client.post(_list("webhookdelivery"), {"action": "redeliver", "_selected_action": [str(delivery.pk)]})
    delivery.refresh_from_db()
    assert "crm.example" not in client.get(_list("webhookendpoint")).content.decode()
    assert [client.get(_page(row)).status_code for row in (delivery, delivery.endpoint)] == [302, 302]
    assert (delivery.status, WebhookEndpoint.objects.get().is_enabled) == ("failed", True)


def test_what_was_given_up_is_delivered_again(delivery: WebhookDelivery, staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member).post(_list("webhookdelivery"), {"action": "redeliver", "_selected_action": [str(delivery.pk)]})
    delivery.refresh_from_db()
    assert delivery.status == "pending"


def test_an_endpoint_is_stopped_and_started(delivery: WebhookDelivery, staff_member: User, log_in: LogIn) -> None:
    client, seen = log_in(staff_member), []
    for action in ("disable", "enable"):
        client.post(_list("webhookendpoint"), {"action": action, "_selected_action": [str(delivery.endpoint_id)]})
        seen.append(WebhookEndpoint.objects.get().is_enabled)
    assert seen == [False, True]
