"""What staff do is in Django's log, with who did it, and without what was written."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts.credentials.keys import create_key
from accounts.models import User
from messaging.models import Contact, ContactMerge, Conversation, WebhookEndpoint
from tests.support.messaging.admin import LogIn, create_outbound, list_url


def entries(user: User) -> list[tuple[str, str]]:
    rows = LogEntry.objects.filter(user=user).order_by("pk")
    return [(row.object_id, row.change_message) for row in rows]


@pytest.mark.parametrize(
    ("model", "action", "entry"),
    [
        ("conversation", "take_over", "Control: human."),
        ("conversation", "mute", "Control: muted."),
        ("conversation", "release", "Control: agent."),
        ("turn", "answer_again", "Ran again."),
        ("fact", "forget", "Forgotten."),
    ],
)
def test_an_action_on_a_list_is_logged_at_each_row(
    example: dict[str, Any], staff_member: User, log_in: LogIn, model: str, action: str, entry: str
) -> None:
    row = example[model]
    log_in(staff_member).post(list_url(model), {"action": action, "_selected_action": [str(row.pk)], "confirmed": "1"})
    assert entries(staff_member) == [(str(row.pk), entry)]


def test_only_the_message_that_is_sent_again_is_logged(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    failed, sent = (create_outbound(conversation, status=status) for status in ("failed", "sent"))
    form = {"action": "send_again", "_selected_action": [str(failed.pk), str(sent.pk)]}
    log_in(staff_member).post(list_url("message"), form)
    assert entries(staff_member) == [(str(failed.pk), "Sent again.")]


def test_a_reply_and_a_command_from_the_inbox_are_logged_without_their_words(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    client, address = log_in(staff_member), reverse("inbox-reply", args=[conversation.pk])
    client.post(address, {"text": "The code is 1234", "key": "0198c0de-0000-7000-8000-000000000001"})
    client.post(address, {"text": "The code is 1234", "key": "0198c0de-0000-7000-8000-000000000001"})  # a repetition
    client.post(address, {"text": "/stats"})
    key = str(conversation.pk)
    assert entries(staff_member) == [(key, "Inbox: reply."), (key, "Inbox: /stats.")]


def test_decisions_about_merges_are_logged_at_the_contact_that_is_kept(
    conversation: Conversation, admin: User, log_in: LogIn
) -> None:
    keep = conversation.contact
    other = Contact.objects.create(session=conversation.session, name="Ana again")
    client = log_in(admin)
    client.post(
        list_url("contact"), {"action": "merge", "_selected_action": [str(keep.pk), str(other.pk)], "confirmed": "1"}
    )
    merge = ContactMerge.objects.get()
    client.post(list_url("contactmerge"), {"action": "undo", "_selected_action": [str(merge.pk)], "confirmed": "1"})
    assert entries(admin) == [
        (str(keep.pk), f"Merged the contact {other.pk} into this one."),
        (str(keep.pk), f"Merge {merge.pk}: undone."),
    ]


def test_an_endpoint_is_switched_off_and_on_in_the_log(admin: User, log_in: LogIn) -> None:
    endpoint = WebhookEndpoint.objects.create(owner=admin, url="https://example.com/", secret="whsec_x")
    client = log_in(admin)
    for action in ("disable", "enable"):
        form = {"action": action, "confirmed": "1", "_selected_action": [str(endpoint.pk)]}
        client.post(list_url("webhookendpoint"), form)
    assert entries(admin) == [(str(endpoint.pk), "Disabled."), (str(endpoint.pk), "Enabled.")]


def test_a_key_that_is_revoked_twice_is_logged_once(admin: User, log_in: LogIn) -> None:
    key, text = create_key(user=admin, name="CRM", scopes=["messages:read"])
    client, form = log_in(admin), {"action": "revoke", "_selected_action": [str(key.pk)], "confirmed": "1"}
    for _ in range(2):
        client.post(reverse("admin:accounts_apikey_changelist"), form)
    assert entries(admin) == [(str(key.pk), "Revoked.")]
    assert text not in LogEntry.objects.get().object_repr
