"""What operators do in the inbox, and what viewers and strangers cannot."""

import re
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from commands.models import CommandRun
from messaging.models import Contact, Conversation, Correction, Fact, Message, Note
from sessions_app.models import Membership, WhatsAppSession
from sessions_app.profiles import change_profile
from tests.support.background import BackgroundCall
from tests.support.messaging.admin import LogIn, create_outbound

ACTIONS = [
    ("reply", {"text": "Hi"}), ("control", {"to": "human"}), ("assign", {"user": ""}), ("labels", {"labels": "vip"}),
    ("note", {"text": "Hi"}), ("note", {"text": "Hi", "shown": "1"}), ("done", {}),
    ("snooze", {"hours": "1"}), ("block", {"to": "1"}),
]  # fmt: skip


def do(client: Client, conversation: Conversation, name: str, **values: Any) -> Any:
    route = ("inbox-reply", [conversation.pk]) if name == "reply" else ("inbox-act", [conversation.pk, name])
    answer = client.post(reverse(route[0], args=route[1]), values)
    conversation.refresh_from_db()
    return answer


def a_file(content: bytes = b"a,b", name: str = "prices.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, content_type="text/csv")


def untouched(conversation: Conversation) -> bool:
    conversation.refresh_from_db()
    return (
        conversation.control, conversation.assigned_to, conversation.labels, conversation.done_at,
        conversation.snoozed_until, conversation.contact.is_blocked, Message.objects.count(), Note.objects.count(),
    ) == ("agent", None, [], None, None, False, 0, 0)  # fmt: skip


@pytest.mark.parametrize(("name", "values"), ACTIONS)
def test_a_viewer_changes_nothing(
    conversation: Conversation, session: WhatsAppSession, staff_viewer: User, log_in: LogIn, name: str,
    values: dict[str, str],
) -> None:  # fmt: skip
    Membership.objects.create(session=session, user=staff_viewer)
    answer = do(log_in(staff_viewer), conversation, name, **values)
    assert (answer.status_code, untouched(conversation)) == (403, True)


@pytest.mark.parametrize(("name", "values"), ACTIONS)
def test_a_stranger_changes_nothing(
    conversation: Conversation, staff_stranger: User, log_in: LogIn, name: str, values: dict[str, str]
) -> None:
    answer = do(log_in(staff_stranger), conversation, name, **values)
    assert (answer.status_code in {403, 404}, untouched(conversation)) == (True, True)


def test_a_reply_is_queued_and_takes_over(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    answer = do(log_in(staff_member), conversation, "reply", text="Good morning")
    message = Message.objects.get()
    assert (message.text, message.author, message.sent_by, message.status) == (
        "Good morning", "staff", staff_member, "queued",
    )  # fmt: skip
    assert (conversation.control, "taken over" in answer.json()["said"]) == ("human", True)


def test_a_repeated_reply_is_sent_once(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    client, key = log_in(staff_member), str(uuid4())
    answers = [do(client, conversation, "reply", text="Once", key=key).status_code for _ in range(2)]
    assert (answers, Message.objects.count()) == ([200, 200], 1)


def test_a_key_of_another_message_overwrites_nothing(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    other = create_outbound(conversation, text="Of the agent", status="sent")
    answer = do(log_in(staff_member), conversation, "reply", text="Mine", key=str(other.pk))
    other.refresh_from_db()
    assert (answer.status_code, other.text) == (409, "Of the agent")


def test_a_repeated_command_runs_once(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    client, key = log_in(staff_member), str(uuid4())
    answers = [do(client, conversation, "reply", text="/remember Likes tea", key=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert (CommandRun.objects.count(), Fact.objects.count()) == (1, 1)


def test_another_command_under_the_same_key_runs_too(
    conversation: Conversation, staff_member: User, admin: User, log_in: LogIn
) -> None:
    key = str(uuid4())
    for user, text in ((staff_member, "/remember Tea"), (staff_member, "/remember Milk"), (admin, "/remember Tea")):
        assert do(log_in(user), conversation, "reply", text=text, key=key).status_code == 200
    assert CommandRun.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_with_one_command_at_once_one_takes_effect(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    """The second has begun when the first is committed: its effect is undone, as its run cannot be stored."""
    client, key = log_in(staff_member), str(uuid4())
    with transaction.atomic():
        first = do(client, conversation, "reply", text="/remember Likes tea", key=key)
        call = BackgroundCall(lambda: do(client, conversation, "reply", text="/remember Likes tea", key=key))
        call.wait_for_lock()
    assert (first.status_code, call.result().status_code) == (200, 409)
    assert (CommandRun.objects.count(), Fact.objects.count()) == (1, 1)


@pytest.mark.parametrize("text", ["/help", "/nosuchcommand", " /help", "／help"])
def test_a_command_is_never_sent(conversation: Conversation, staff_member: User, log_in: LogIn, text: str) -> None:
    answer = do(log_in(staff_member), conversation, "reply", text=text)
    body = answer.json()
    assert (Message.objects.count(), bool(body.get("said") or body.get("detail"))) == (0, True)
    assert conversation.control == "agent"


def test_staff_read_the_answer_of_a_command_without_marks(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    said = do(log_in(staff_member), conversation, "reply", text="/help").json()["said"]
    assert ("*/" in said, "\n/forget" in said) == (False, True)


@pytest.mark.parametrize("length", [70_000, 300_000])
def test_a_text_of_any_length_is_refused_with_the_reason_and_never_cut(
    conversation: Conversation, staff_member: User, log_in: LogIn, length: int
) -> None:
    client = log_in(staff_member)
    answer = do(client, conversation, "reply", text="x" * length)
    assert (answer.status_code, Message.objects.count()) == (400, 0)
    assert "longer than" in answer.json()["detail"]
    page = client.get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    boxes = re.findall(r"<textarea[^>]*>", page)
    assert len(boxes) >= 2
    assert not [box for box in boxes if "maxlength" in box]  # a browser cuts what is pasted to it


@pytest.mark.parametrize("text", ["/help", "/nosuchcommand", "／help"])
def test_a_command_with_a_file_is_refused_and_is_no_caption(
    conversation: Conversation, staff_member: User, log_in: LogIn, text: str
) -> None:
    answer = do(log_in(staff_member), conversation, "reply", text=text, file=a_file())
    assert (answer.status_code, "command takes no file" in answer.json()["detail"]) == (400, True)
    assert untouched(conversation)


def test_a_note_with_a_file_is_refused_and_not_stored_without_it(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    answer = do(log_in(staff_member), conversation, "note", text="See the file", file=a_file())
    assert (answer.status_code, "note takes no file" in answer.json()["detail"]) == (400, True)
    assert untouched(conversation)


def test_a_reply_is_refused_when_a_colleague_has_taken_over_meanwhile(
    conversation: Conversation, admin: User, staff_member: User, log_in: LogIn
) -> None:
    seen = str(conversation.control_epoch)
    do(log_in(admin), conversation, "control", to="human")
    answer = do(log_in(staff_member), conversation, "reply", text="Hi", epoch=seen)
    assert (answer.status_code, admin.username in answer.json()["detail"], Message.objects.count()) == (409, True, 0)


def test_a_stale_page_does_not_change_control(
    conversation: Conversation, admin: User, staff_member: User, log_in: LogIn
) -> None:
    seen = str(conversation.control_epoch)
    do(log_in(admin), conversation, "control", to="muted")
    answer = do(log_in(staff_member), conversation, "control", to="human", epoch=seen)
    assert (answer.status_code, conversation.control) == (409, "muted")


def test_control_is_taken_and_released(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    controls = []
    for to in ("human", "agent", "muted"):
        do(client, conversation, "control", to=to)
        controls.append(conversation.control)
    assert controls == ["human", "agent", "muted"]


def test_a_note_that_is_ticked_for_the_agent_is_marked_on_the_page(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    said = do(client, conversation, "note", text="Gets 10 % off", shown="1").json()["said"]
    note = Note.objects.get()
    page = client.get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert ("the agent see it" in said, note.is_shown_to_model, "Hide from the agent" in page) == (True, True, True)
    do(client, conversation, "show-note", row=str(note.pk), to="0")
    note.refresh_from_db()
    page = client.get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert (note.is_shown_to_model, "Show to the agent" in page) == (False, True)


def test_a_note_of_another_conversation_is_not_ticked_here(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    contact = Contact.objects.create(session=conversation.session, name="Bo")
    other = Conversation.objects.create(session=conversation.session, contact=contact, address="1234@lid")
    note = Note.objects.create(conversation=other, text="Elsewhere")
    assert do(log_in(staff_member), conversation, "show-note", row=str(note.pk), to="1").status_code == 404
    note.refresh_from_db()
    assert not note.is_shown_to_model


def test_a_note_is_shown_to_colleagues_and_never_sent(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    do(client, conversation, "note", text="Careful <b>here</b>")
    page = client.get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert ("Careful &lt;b&gt;here" in page, Message.objects.count()) == (True, 0)


def test_work_is_assigned_labelled_and_done(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    client = log_in(staff_member)
    do(client, conversation, "assign", user=str(staff_member.pk), seen_assignee="")
    do(client, conversation, "labels", labels="vip, order")
    do(client, conversation, "done", reason="solved")
    assert (conversation.assigned_to, conversation.labels, conversation.done_reason) == (
        staff_member, ["vip", "order"], "solved",
    )  # fmt: skip


def test_an_assignment_made_meanwhile_is_not_overwritten(
    conversation: Conversation, admin: User, staff_member: User, log_in: LogIn
) -> None:
    Conversation.objects.update(assigned_to=admin)
    answer = do(log_in(staff_member), conversation, "assign", user=str(staff_member.pk), seen_assignee="")
    assert (answer.status_code, conversation.assigned_to) == (409, admin)


def test_a_failed_message_is_sent_again(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    message = create_outbound(conversation, status="failed")
    do(log_in(staff_member), conversation, "retry", kind="message", row=str(message.pk))
    message.refresh_from_db()
    assert message.status == "queued"


def test_an_unconfirmed_message_is_settled_once(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    message, client = create_outbound(conversation, status="unconfirmed"), log_in(staff_member)
    codes = [do(client, conversation, "settle", row=str(message.pk)).status_code for _ in range(2)]
    message.refresh_from_db()
    assert (codes, message.status) == ([200, 409], "sent")


def test_a_conversation_is_started_with_a_number(
    conversation: Conversation, session: WhatsAppSession, staff_member: User, log_in: LogIn
) -> None:
    values = {"session": str(session.pk), "phone": "+55 11 97777-6666", "text": "Hello"}
    answer = log_in(staff_member).post(reverse("inbox-start"), values)
    message = Message.objects.get()
    assert answer.json()["go"] == reverse("inbox-conversation", args=[message.conversation_id])
    assert message.conversation.contact.phone == "+5511977776666"


def test_a_contact_is_blocked_and_unblocked(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    client, blocked = log_in(staff_member), []
    for to in ("1", "0"):
        do(client, conversation, "block", to=to)
        conversation.contact.refresh_from_db()
        blocked.append(conversation.contact.is_blocked)
    assert blocked == [True, False]


@pytest.mark.parametrize(("until", "status"), [
    ("2126-05-04T09:30", 200), ("2001-01-01T00:00", 400), ("tomorrow", 400), ("2126-05-04T09:30Z", 400), ("", 400),
    ("9999-12-31T23:59", 400), ("0001-01-01T00:00", 400), ("2126-13-40T09:30", 400),
])  # fmt: skip
def test_a_conversation_is_put_aside_until_a_time_on_the_readers_clock(
    conversation: Conversation, staff_member: User, log_in: LogIn, until: str, status: int
) -> None:
    staff_member.time_zone = "America/Sao_Paulo"
    staff_member.save()
    answer = do(log_in(staff_member), conversation, "snooze", until=until)
    with timezone.override("America/Sao_Paulo"):
        at = timezone.localtime(conversation.snoozed_until) if conversation.snoozed_until else None
    assert answer.status_code == status
    assert (f"{at:%Y-%m-%dT%H:%M}" if at else None) == (until if status == 200 else None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "values", "meanwhile"), [
    ("labels", {"labels": "mine", "seen_labels": ""}, {"labels": ["of a colleague"]}),
    ("control", {"to": "human", "epoch": "0"}, {"control": "muted", "control_epoch": 1}),
    ("reply", {"text": "Hi", "epoch": "0"}, {"control": "muted", "control_epoch": 1}),
])  # fmt: skip
def test_what_a_colleague_is_changing_at_this_moment_is_not_overwritten(
    conversation: Conversation, staff_member: User, log_in: LogIn, name: str, values: dict[str, str],
    meanwhile: dict[str, Any],
) -> None:  # fmt: skip
    client = log_in(staff_member)
    route = ("inbox-reply", [conversation.pk]) if name == "reply" else ("inbox-act", [conversation.pk, name])
    with transaction.atomic():
        Conversation.objects.filter(pk=conversation.pk).update(**meanwhile)
        call = BackgroundCall(lambda: client.post(reverse(route[0], args=route[1]), values))
        call.wait_for_lock()
    answer = call.result()
    conversation.refresh_from_db()
    assert (answer.status_code, Message.objects.count()) == (409, 0)
    assert {field: getattr(conversation, field) for field in meanwhile} == meanwhile


@pytest.mark.django_db(transaction=True)
def test_two_corrections_at_once_both_become_instructions(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    client, message = log_in(admin), create_outbound(conversation, status="sent")
    profile = conversation.session.agent_profile
    values = {"row": str(message.pk), "as": "instruction", "text": "Second"}
    with transaction.atomic():
        change_profile(profile=profile, instructions="First")
        call = BackgroundCall(lambda: client.post(reverse("inbox-act", args=[conversation.pk, "correct"]), values))
        call.wait_for_lock()
    assert call.result().status_code == 200
    profile.refresh_from_db()
    assert (profile.instructions, profile.draft.instructions) == ("First", "First\nSecond")
    version = Correction.objects.get(conversation=conversation).version
    assert (version.profile, version.version) == (profile.draft, profile.draft.version)


def test_a_reply_needs_the_csrf_token(conversation: Conversation, staff_member: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff_member)
    assert (do(client, conversation, "reply", text="Hi").status_code, untouched(conversation)) == (403, True)


@pytest.mark.parametrize(("name", "values"), ACTIONS)
def test_a_link_alone_changes_nothing(
    conversation: Conversation, staff_member: User, log_in: LogIn, name: str, values: dict[str, str]
) -> None:
    route = ("inbox-reply", [conversation.pk]) if name == "reply" else ("inbox-act", [conversation.pk, name])
    answer = log_in(staff_member).get(reverse(route[0], args=route[1]), values)
    assert (answer.status_code, untouched(conversation)) == (405, True)


@pytest.mark.parametrize(
    "values", [{"to": "nobody"}, {"to": "human", "hours": "1e9"}, {"to": "human", "hours": "-1"}, {}]
)
def test_an_invalid_control_is_refused(
    conversation: Conversation, staff_member: User, log_in: LogIn, values: dict[str, str]
) -> None:
    answer = do(log_in(staff_member), conversation, "control", **values)
    assert (answer.status_code, conversation.control_epoch) == (400, 0)


def test_a_message_of_another_conversation_is_not_sent_again_from_here(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    contact = Contact.objects.create(session=conversation.session, name="Bo")
    other = Conversation.objects.create(session=conversation.session, contact=contact, address="1234@lid")
    failed = create_outbound(other)
    answer = do(log_in(staff_member), conversation, "retry", kind="message", row=str(failed.pk))
    failed.refresh_from_db()
    assert (answer.status_code, failed.status) == (404, "failed")
