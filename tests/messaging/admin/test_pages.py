"""What the admin pages show."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.models import (
    Contact,
    ContactMerge,
    Conversation,
    Fact,
    Media,
    Message,
    MessageTemplate,
    Summary,
    ToolCall,
    Turn,
)
from sessions_app.models import WhatsAppSession
from sessions_app.profiles import change_profile
from tests.support.messaging.admin import MODELS, LogIn, create_outbound, list_url, page_url

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>{{ 7|add:7 }}"


def test_hostile_texts_and_names_are_shown_and_not_run(example: dict[str, Any], admin: User, log_in: LogIn) -> None:
    Message.objects.update(text=HOSTILE, error=HOSTILE, details={"note": HOSTILE})
    Contact.objects.update(name=HOSTILE)
    Media.objects.update(filename=HOSTILE)
    Turn.objects.update(reason=HOSTILE)
    ToolCall.objects.update(arguments={"query": HOSTILE}, result=HOSTILE)
    Conversation.objects.update(summary=HOSTILE, control_reason=HOSTILE)
    Fact.objects.update(text=HOSTILE)
    Summary.objects.create(conversation=example["conversation"], version=1, text=HOSTILE, until=timezone.now())
    client = log_in(admin)
    for address in [*(list_url(model) for model in MODELS), *(page_url(example[model]) for model in MODELS)]:
        page = client.get(address).content.decode()
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address
        assert "alert" in page, address


def test_the_reference_of_a_file_at_the_bridge_is_shown_to_administrators_alone(
    example: dict[str, Any], staff_member: User, admin: User, log_in: LogIn
) -> None:
    pages = [log_in(user).get(page_url(example["media"])).content.decode() for user in (staff_member, admin)]
    assert ["secret-ref" in page for page in pages] == [False, True]


@pytest.mark.parametrize("model", ["message", "turn", "media"])
def test_records_can_be_neither_added_nor_deleted(
    example: dict[str, Any], admin: User, log_in: LogIn, model: str
) -> None:
    client, row = log_in(admin), example[model]
    urls = [
        page_url(row),
        reverse(f"admin:messaging_{model}_delete", args=[row.pk]),
        reverse(f"admin:messaging_{model}_add"),
    ]
    assert [client.post(url, {"post": "yes", "text": "never said"}).status_code for url in urls] == [403] * 3


@pytest.mark.parametrize("model", ["contact", "conversation"])
def test_people_and_conversations_cannot_be_deleted(
    example: dict[str, Any], admin: User, log_in: LogIn, model: str
) -> None:
    answer = log_in(admin).post(reverse(f"admin:messaging_{model}_delete", args=[example[model].pk]), {"post": "yes"})
    assert answer.status_code == 403


def test_a_turn_shows_the_parts_of_its_prompt(example: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    turn, profile = example["turn"], example["conversation"].session.agent_profile
    profile = change_profile(profile=profile, by=None, instructions="Sell tea.\n<b>Be kind.</b>", tools=["remember"])
    memory = create_outbound(example["conversation"], text="We once had coffee.", status="sent")
    Summary.objects.create(
        conversation=example["conversation"], version=3, text="They talked of tea.", until=timezone.now()
    )
    Turn.objects.filter(pk=turn.pk).update(
        agent_profile=profile,
        profile_version=profile.version,
        used=turn.used | {"facts": [str(example["fact"].pk)], "memories": [str(memory.pk)], "summary_version": 3},
    )
    shown = log_in(staff_member).get(page_url(turn)).content.decode()
    for part in (
        "remember", "Sell tea.", "They talked of tea.", "Where is my order?", "Likes tea.", "We once had coffee.",
    ):  # fmt: skip
        assert part in shown
    assert "<b>Be kind.</b>" not in shown


def test_a_turn_shows_no_fact_of_another_contact(example: dict[str, Any], staff_member: User, log_in: LogIn) -> None:
    other = Contact.objects.create(session=example["conversation"].session, name="Bob")
    fact = Fact.objects.create(contact=other, text="Bob is ill.", proposed_by="model")
    Turn.objects.filter(pk=example["turn"].pk).update(used={"facts": [str(fact.pk)]})
    assert "Bob is ill" not in log_in(staff_member).get(page_url(example["turn"])).content.decode()


def test_a_message_s_details_are_shown_as_data(conversation: Conversation, admin: User, log_in: LogIn) -> None:
    message = create_outbound(conversation, details={"location": {"latitude": 1.5}})
    page = log_in(admin).get(page_url(message)).content.decode()
    assert json.dumps("latitude")[1:-1] in page


@pytest.mark.parametrize(
    "name", ["conversation", "contact", "message", "media", "turn", "fact", "contactmerge", "messagetemplate"]
)
def test_a_page_says_that_its_number_is_offline(
    example: dict[str, Any], conversation: Conversation, admin: User, log_in: LogIn, name: str
) -> None:
    session, contact = conversation.session, conversation.contact
    if name == "contactmerge":
        row: Any = ContactMerge.objects.create(session=session, contact=contact, merged_id=uuid4(), reason="phones")
    elif name == "messagetemplate":
        row = MessageTemplate.objects.create(session=session, name="hello", language="en", synced_at=timezone.now())
    else:
        row = example[name]
    page = page_url(row)
    alert = f"The number {conversation.session.name} is not connected: nothing is sent."
    seen = []
    for status in ("disconnected", "connected"):
        WhatsAppSession.objects.update(status=status)
        seen.append(alert in log_in(admin).get(page).content.decode())
    assert seen == [True, False]
