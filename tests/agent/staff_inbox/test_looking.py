"""What the inbox shows beside the messages: filters, hits of a search, reasons, colleagues, corrections."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import Conversation, Fact, Message, Presence, Turn
from messaging.search.index import index_waiting
from messaging.teamwork.presence import PRESENCE_S, TYPING_S, purge
from sessions_app import drafts
from sessions_app.models import AgentProfile, Membership, WhatsAppSession
from tests.support.messaging.admin import LogIn, create_outbound

Says = Callable[..., Any]


def page_of(conversation: Conversation) -> str:
    return reverse("inbox-conversation", args=[conversation.pk])


def said(received: Any) -> Message:
    return Message.objects.get(pk=received.message_id)


def do(client: Any, conversation: Conversation, name: str, **values: Any) -> Any:
    return client.post(reverse("inbox-act", args=[conversation.pk, name]), values)


@pytest.mark.parametrize(("wanted", "found"), [
    ({"control": "human"}, 1), ({"control": "agent"}, 0), ({"label": "vip"}, 1), ({"label": "sale"}, 0),
    ({"label": "vip", "control": "muted"}, 0),
])  # fmt: skip
def test_a_list_is_narrowed_by_label_and_control(
    conversation: Conversation, staff_member: User, log_in: LogIn, wanted: dict[str, str], found: int
) -> None:
    Conversation.objects.update(control="human", labels=["vip"])
    answer = log_in(staff_member).get(reverse("inbox"), wanted)
    assert len(answer.context["rows"]) == found
    assert all(f"{name}={value}" in answer.content.decode() for name, value in wanted.items())


def test_a_found_message_is_shown_amid_its_neighbours(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    hit = said(says("The zebra has stripes"))
    now = timezone.now()
    for number in range(100):
        create_outbound(conversation, status="sent", text=f"Line {number}", said_at=now + timedelta(seconds=number))
    index_waiting()
    client = log_in(staff_member)
    (row,) = client.get(reverse("inbox"), {"q": "zebra"}).context["rows"]
    answer = client.get(page_of(conversation), {"q": "zebra", "at": row["hit"]})
    shown = [entry["message"].text for entry in answer.context["entries"]]
    assert (row["hit"], row["words"]) == (str(hit.pk), "The zebra has stripes")
    assert ("Line 5" in shown, "Line 99" in shown, answer.context["is_past"]) == (True, False, True)
    assert f' hit" data-key="{hit.pk}"' in answer.content.decode()


def test_a_stranger_is_shown_no_hit(
    conversation: Conversation, says: Says, staff_stranger: User, log_in: LogIn
) -> None:
    says("The zebra has stripes")
    index_waiting()
    assert log_in(staff_stranger).get(reverse("inbox"), {"q": "zebra"}).context["rows"] == []


def test_a_message_of_another_conversation_is_not_opened_here(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    other = said(says("Elsewhere", chat="5511955554444@s.whatsapp.net"))
    answer = log_in(staff_member).get(page_of(conversation), {"at": str(other.pk)})
    assert (answer.status_code, answer.context["hit"]) == (200, None)


def test_who_looks_and_who_types_is_shown_to_others(
    conversation: Conversation, staff_member: User, admin: User, log_in: LogIn
) -> None:
    poll = {"open": str(conversation.pk), "visible": "1"}
    log_in(admin).get(reverse("inbox-poll"), poll | {"typing": "1"})
    changed = log_in(staff_member).get(reverse("inbox-poll"), poll).json()
    assert changed["others"] == "admin is typing …"
    again = log_in(staff_member).get(reverse("inbox-poll"), poll | {"others": changed["others"]}).json()
    assert "others" not in again


def test_two_people_see_each_other(conversation: Conversation, staff_member: User, admin: User, log_in: LogIn) -> None:
    poll = {"open": str(conversation.pk), "visible": "1"}
    assert "others" not in log_in(staff_member).get(reverse("inbox-poll"), poll).json()
    seen = log_in(admin).get(reverse("inbox-poll"), poll | {"typing": "1"}).json()["others"]
    assert seen == f"{staff_member} is looking here too"
    assert log_in(staff_member).get(reverse("inbox-poll"), poll).json()["others"] == "admin is typing …"


@pytest.mark.parametrize(("ago", "shown"), [
    ({"seen_at": PRESENCE_S + 5}, None), ({"typed_at": TYPING_S + 5}, "admin is looking here too"),
])  # fmt: skip
def test_looking_and_typing_end_by_themselves(
    conversation: Conversation, staff_member: User, admin: User, log_in: LogIn, ago: dict[str, int], shown: str | None
) -> None:
    poll = {"open": str(conversation.pk), "visible": "1"}
    log_in(admin).get(reverse("inbox-poll"), poll | {"typing": "1"})
    Presence.objects.update(**{name: timezone.now() - timedelta(seconds=seconds) for name, seconds in ago.items()})
    assert log_in(staff_member).get(reverse("inbox-poll"), poll).json().get("others") == shown
    assert purge() == ("seen_at" in ago)
    assert Presence.objects.filter(user=staff_member).exists()


def test_a_stranger_is_not_recorded_as_looking(conversation: Conversation, staff_stranger: User, log_in: LogIn) -> None:
    log_in(staff_stranger).get(reverse("inbox-poll"), {"open": str(conversation.pk), "visible": "1"})
    assert not Presence.objects.exists()


def test_a_message_without_an_answer_has_a_reason(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    message = said(says("Old news", age=timedelta(days=3)))
    answer = log_in(staff_member).get(reverse("inbox-why", args=[conversation.pk, message.pk]))
    assert "older than 600 seconds" in answer.content.decode()


def test_a_failed_turn_is_explained_to_staff(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    Turn.objects.create(
        conversation=conversation,
        outcome="failed",
        reason="timeout: The model took too long.",
        started_at=timezone.now(),
    )
    page = log_in(staff_member).get(page_of(conversation)).content.decode()
    assert "the language model did not answer" in page
    assert ("It was run again." in page, "Run again" in page) == (True, False)  # no message is left to answer


@pytest.mark.parametrize(("role", "kept_as", "status"), [
    ("operator", "fact", 200), ("operator", "instruction", 403), ("admin", "instruction", 200), ("admin", "song", 400),
])  # fmt: skip
def test_a_correction_is_stored_where_the_user_may_store_it(
    conversation: Conversation, says: Says, staff_member: User, admin: User, log_in: LogIn, role: str, kept_as: str,
    status: int,
) -> None:  # fmt: skip
    message = create_outbound(conversation, status="sent")
    client = log_in(admin if role == "admin" else staff_member)
    values = {"row": str(message.pk), "text": "We open at nine.", "as": kept_as}
    assert do(client, conversation, "correct", **values).status_code == status
    is_fact = Fact.objects.filter(text="We open at nine.", contact=conversation.contact).exists()
    profile = AgentProfile.objects.get(pk=conversation.session.agent_profile_id)
    draft = drafts.load_draft(profile)
    is_instruction = draft is not None and draft.instructions.endswith("We open at nine.")
    assert (is_fact, is_instruction) == (
        status == 200 and kept_as == "fact",
        status == 200 and kept_as == "instruction",
    )
    assert (profile.version, "nine" in profile.instructions) == (1, False)  # live once it is published


def test_a_line_of_the_instructions_is_proposed_and_then_saved_in_the_draft(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    message, client = create_outbound(conversation, status="sent"), log_in(admin)
    profile = conversation.session.agent_profile
    colleague = User.objects.create_superuser("paula", password="a long password 4")
    drafts.save_draft(profile=profile, by=colleague, purpose="Sales")
    url = reverse("inbox-proposal", args=[conversation.pk, message.pk])
    proposal = client.post(url, {"text": " We <b>open</b>\n at nine. "})
    page = proposal.content.decode()
    assert "We &lt;b&gt;open&lt;/b&gt; at nine.</textarea>" in page
    assert all(words in page for words in ("There is a draft of paula from", "It changes: purpose."))
    assert drafts.ensure_draft(profile).instructions == profile.instructions
    versions = {"version": profile.version, "draft_version": proposal.context["draft_version"]}
    values = {"row": str(message.pk), "text": "We open at ten.", "as": "instruction"} | versions
    assert do(client, conversation, "correct", **values).status_code == 200
    assert do(client, conversation, "correct", **values).status_code == 409  # a second click adds nothing twice
    draft = drafts.ensure_draft(profile)
    assert (draft.purpose, draft.instructions) == ("Sales", f"{profile.instructions}\nWe open at ten.".strip())
    assert "Your draft of" in client.post(url).content.decode()


@pytest.mark.parametrize("length", [301, 20_000])
def test_a_correction_that_is_too_long_is_refused_with_its_reason_and_never_cut(
    conversation: Conversation, admin: User, log_in: LogIn, length: int
) -> None:
    message, client = create_outbound(conversation, status="sent"), log_in(admin)
    values = {"row": str(message.pk), "text": "x" * length}
    proposed = client.post(reverse("inbox-proposal", args=[conversation.pk, message.pk]), values)
    saved = [do(client, conversation, "correct", **values, **{"as": kept_as}) for kept_as in ("fact", "instruction")]
    for answer in (proposed, *saved):
        assert (answer.status_code, "at most 300 characters" in answer.json()["detail"]) == (400, True)
    assert (Fact.objects.exists(), drafts.load_draft(conversation.session.agent_profile)) == (False, None)


def test_only_administrators_are_proposed_a_line_of_the_instructions(
    conversation: Conversation, staff_member: User, staff_stranger: User, log_in: LogIn
) -> None:
    url = reverse("inbox-proposal", args=[conversation.pk, create_outbound(conversation, status="sent").pk])
    assert [log_in(user).post(url).status_code for user in (staff_member, staff_stranger)] == [403, 403]


def test_a_correction_of_a_profile_changed_meanwhile_is_refused(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    message = create_outbound(conversation, status="sent")
    values = {"row": str(message.pk), "text": "We open at nine.", "as": "instruction", "version": "7"}
    assert do(log_in(admin), conversation, "correct", **values).status_code == 409


@pytest.mark.parametrize(("name", "values"), [
    ("done", {"last": "2026-01-01T00:00:00+00:00"}),
    ("snooze", {"last": "2026-01-01T00:00:00+00:00", "hours": "1"}),
    ("labels", {"seen_labels": "vip", "labels": "sale"}),
])  # fmt: skip
def test_a_stale_page_overwrites_nothing(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, name: str, values: dict[str, str]
) -> None:
    says("New words")
    answer = do(log_in(staff_member), conversation, name, **values)
    conversation.refresh_from_db()
    assert (answer.status_code, conversation.done_at, conversation.snoozed_until, conversation.labels) == (
        409, None, None, [],
    )  # fmt: skip


def test_a_reply_of_ours_that_came_meanwhile_does_not_keep_staff_from_finishing(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    says("Thank you")
    conversation.refresh_from_db()
    last = conversation.last_message_at.isoformat()
    reply = create_outbound(conversation, status="sent")
    Conversation.objects.update(last_message_at=reply.said_at)
    assert do(log_in(staff_member), conversation, "done", last=last).status_code == 200


def test_the_text_before_an_edit_is_shown(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn
) -> None:
    message = said(says("Five chairs"))
    Message.objects.filter(pk=message.pk).update(
        edited_at=timezone.now(), text="Six chairs", earlier_texts=[{"text": "Five <b>chairs", "until": "2026"}]
    )
    page = log_in(staff_member).get(page_of(conversation)).content.decode()
    assert ("Five &lt;b&gt;chairs" in page, "Six chairs" in page) == (True, True)
    Message.objects.filter(pk=message.pk).update(revoked_at=timezone.now())
    assert "chairs" not in log_in(staff_member).get(page_of(conversation)).content.decode()


@pytest.mark.parametrize("name", ["draft", "summarize", "tasks", "reset"])
def test_buttons_run_only_the_commands_that_have_one_and_viewers_none(
    conversation: Conversation, session: WhatsAppSession, says: Says, staff_member: User, staff_viewer: User,
    log_in: LogIn, name: str,
) -> None:  # fmt: skip
    says("Hello")
    Membership.objects.create(session=session, user=staff_viewer)
    route = reverse("inbox-ask", args=[conversation.pk, name])
    assert log_in(staff_viewer).post(route).status_code == 403
    assert log_in(staff_member).post(route).status_code == (404 if name == "reset" else 200)
    assert not Message.objects.filter(direction="outbound").exists()
    logged = list(LogEntry.objects.values_list("user", "object_id", "change_message"))
    assert logged == ([] if name == "reset" else [(staff_member.pk, str(conversation.pk), f"Inbox: /{name}.")])


def test_why_there_is_no_draft_is_shown_to_the_reader_and_offered_to_nobody(
    conversation: Conversation, says: Says, staff_member: User, log_in: LogIn, settings: Any
) -> None:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = ""
    says("Hello")
    answer = log_in(staff_member).post(reverse("inbox-ask", args=[conversation.pk, "draft"]))
    assert answer.json() == {"said": "No language model is set up, so no reply can be suggested."}


def test_the_app_can_be_installed_from_its_manifest(client: Any, uncollected: None) -> None:
    values = client.get(reverse("inbox-manifest")).json()
    assert (values["start_url"], values["display"]) == (reverse("inbox"), "standalone")
    assert {icon["sizes"] for icon in values["icons"]} >= {"192x192", "512x512"}
