"""Who sees which admin pages, and what a stranger and a viewer cannot do there."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from messaging.models import (
    Contact,
    Conversation,
    Message,
)
from sessions_app.drafts import save_draft
from sessions_app.models import WhatsAppSession
from sessions_app.profiles import create_profile
from tests.support.messaging.admin import MODELS, LogIn, empty_inline, list_url, page_url


@pytest.mark.parametrize("model", MODELS)
def test_a_member_opens_lists_and_pages(example: dict[str, Any], staff_member: User, log_in: LogIn, model: str) -> None:
    client = log_in(staff_member)
    listed = client.get(list_url(model))
    assert (listed.status_code, str(example[model].pk) in listed.content.decode()) == (200, True)
    assert client.get(page_url(example[model])).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_a_stranger_among_the_staff_finds_nothing(
    example: dict[str, Any], staff_stranger: User, log_in: LogIn, model: str
) -> None:
    listed = log_in(staff_stranger).get(list_url(model))
    assert (listed.status_code, str(example[model].pk) in listed.content.decode()) == (200, False)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("page", ["change", "history", "delete"])
def test_a_stranger_does_not_get_in_by_address(
    example: dict[str, Any], staff_stranger: User, log_in: LogIn, model: str, page: str
) -> None:
    answer = log_in(staff_stranger).get(reverse(f"admin:messaging_{model}_{page}", args=[example[model].pk]))
    assert answer.status_code in {302, 403}
    assert answer.headers.get("Location", reverse("admin:index")) == reverse("admin:index")


@pytest.mark.parametrize(("model", "action"), [
    ("conversation", "take_over"), ("message", "send_again"), ("turn", "answer_again"),
])  # fmt: skip
def test_a_stranger_s_actions_change_nothing(
    example: dict[str, Any], staff_stranger: User, log_in: LogIn, model: str, action: str
) -> None:
    Message.objects.filter(pk=example["message"].pk).update(status="failed")
    log_in(staff_stranger).post(
        list_url(model), {"action": action, "_selected_action": [str(example[model].pk)], "confirmed": "1"}
    )
    example["conversation"].refresh_from_db()
    assert (example["conversation"].control, example["conversation"].due_at is None) == ("agent", False)
    assert not Message.objects.filter(status="queued").exists()
    assert not Message.objects.filter(status="received").exists()


@pytest.mark.parametrize("model", MODELS)
def test_a_viewer_reads(example: dict[str, Any], viewer: User, log_in: LogIn, model: str) -> None:
    client = log_in(viewer)
    assert [client.get(address).status_code for address in (list_url(model), page_url(example[model]))] == [200, 200]


@pytest.mark.parametrize(("model", "action"), [
    ("conversation", "take_over"), ("message", "send_again"), ("turn", "answer_again"), ("fact", "forget"),
])  # fmt: skip
def test_a_viewer_s_actions_change_nothing(
    example: dict[str, Any], viewer: User, log_in: LogIn, model: str, action: str
) -> None:
    Message.objects.filter(pk=example["message"].pk).update(status="failed")
    log_in(viewer).post(
        list_url(model), {"action": action, "_selected_action": [str(example[model].pk)], "confirmed": "1"}
    )
    example["conversation"].refresh_from_db()
    example["fact"].refresh_from_db()
    assert (example["conversation"].control, example["fact"].forgotten_at) == ("agent", None)
    assert not Message.objects.filter(status__in=["queued", "received"]).exists()


def test_a_viewer_does_not_block_a_contact(conversation: Conversation, viewer: User, log_in: LogIn) -> None:
    answer = log_in(viewer).post(
        page_url(conversation.contact), {"is_blocked": "on"} | empty_inline("aliases") | empty_inline("facts")
    )
    assert (answer.status_code, Contact.objects.get().is_blocked) == (403, False)


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_a_user_who_is_not_staff_is_asked_to_log_in(
    conversation: Conversation, stranger: User, log_in: LogIn, who: str
) -> None:
    client = log_in(stranger) if who == "stranger" else Client()
    answer = client.get(page_url(conversation))
    assert (answer.status_code, answer.headers["Location"].startswith(reverse("admin:login"))) == (302, True)


@pytest.mark.parametrize("model", ["message", "savedreply", "knowledge", "libraryfile"])
def test_filters_show_no_names_of_other_sessions_or_profiles(
    session: WhatsAppSession, staff_stranger: User, log_in: LogIn, model: str
) -> None:
    WhatsAppSession.objects.filter(pk=session.pk).update(name="secret-project")
    create_profile(name="secret-project of others")
    assert "secret-project" not in log_in(staff_stranger).get(list_url(model)).content.decode()


@pytest.mark.parametrize("model", ["knowledge", "libraryfile"])
def test_a_filter_offers_each_visible_profile_once_and_no_draft(
    session: WhatsAppSession, admin: User, log_in: LogIn, model: str
) -> None:
    save_draft(profile=create_profile(name="Night shift"), purpose="Sales")
    (offered,) = [
        spec.lookup_choices
        for spec in log_in(admin).get(list_url(model)).context["cl"].filter_specs
        if spec.title == "agent profile"
    ]
    assert [name for _, name in offered] == [session.agent_profile.name, "Night shift"]


def test_a_foreign_session_cannot_be_probed_through_a_filter(
    example: dict[str, Any], staff_stranger: User, log_in: LogIn
) -> None:
    answer = log_in(staff_stranger).get(list_url("message"), {"session__id__exact": example["conversation"].session_id})
    assert str(example["message"].pk) not in answer.content.decode()


def test_a_secret_cannot_be_probed_through_a_lookup(example: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    answer = log_in(staff_member).get(list_url("message"), {"session__bridge__api_key__startswith": "a"})
    assert answer.status_code == 400
