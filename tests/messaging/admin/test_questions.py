"""What cannot simply be taken back is asked about first, on a page of its own."""

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from accounts.credentials.keys import create_key
from accounts.models import User
from messaging.models import Contact, ContactMerge, Conversation, Message, WebhookEndpoint
from sessions_app.models import Bridge
from tests.support.messaging.admin import LogIn, create_outbound

Rows = Callable[[Conversation, User], list[Any]]


def _two_contacts(conversation: Conversation, admin: User) -> list[Any]:
    return [conversation.contact, Contact.objects.create(session=conversation.session, name="Ana again")]


def _merge(status: str) -> Rows:
    def create(conversation: Conversation, admin: User) -> list[Any]:
        keep, other = _two_contacts(conversation, admin)
        return [
            ContactMerge.objects.create(
                session=conversation.session, contact=keep, merged_id=other.pk, status=status, reason="phones"
            )
        ]

    return create


def _bridge(conversation: Conversation, admin: User) -> list[Any]:
    return [Bridge.objects.create(slug="second", kind="zapw", base_url="http://127.0.0.1:9", webhook_secret="hush")]


def _message(status: str) -> Rows:
    return lambda conversation, admin: [create_outbound(conversation, status=status)]  # noqa: ARG005


ACTIONS: dict[str, Rows] = {
    "renew_webhook_secret": _bridge,
    "revoke": lambda conversation, admin: [create_key(user=admin, name="CRM", scopes=["messages:read"])[0]],  # noqa: ARG005
    "merge": _two_contacts,
    "accept": _merge("proposed"),
    "refuse": _merge("proposed"),
    "undo": _merge("merged"),
    "forget": lambda conversation, admin: [  # noqa: ARG005
        conversation.contact.facts.create(text="Ana is kind", proposed_by="staff")
    ],
    "connect_again": lambda conversation, admin: [conversation.session],  # noqa: ARG005
    "send_again": _message("unconfirmed"),
    "disable": lambda conversation, admin: [  # noqa: ARG005
        WebhookEndpoint.objects.create(owner=admin, url="https://example.com/", secret="whsec_x")
    ],
    "set_up": lambda conversation, admin: [  # noqa: ARG005
        Bridge.objects.create(slug="second", kind="waha", base_url="http://127.0.0.1:9", webhook_secret="hush")
    ],
}


def _list(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_changelist")


def _stored(rows: list[Any]) -> list[dict[str, Any]]:
    return [type(row)._base_manager.filter(pk=row.pk).values().get() for row in rows]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_that_cannot_simply_be_taken_back_asks_first(
    conversation: Conversation, admin: User, log_in: LogIn, action: str
) -> None:
    rows = ACTIONS[action](conversation, admin)
    before = _stored(rows)
    form = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    answer = log_in(admin).post(_list(rows[0]) + "?p=0", form)
    assert (answer.status_code, answer.templates[0].name) == (200, "accounts/question.html")
    assert _stored(rows) == before
    page = answer.content.decode()
    fields = {"action": action, "confirmed": "1"}
    assert all(f'name="{name}" value="{value}"' in page for name, value in fields.items())
    assert [f'name="_selected_action" value="{row.pk}"' in page for row in rows] == [True] * len(rows)
    assert f'href="{_list(rows[0])}?p=0"' in page  # leads back


@pytest.mark.parametrize("action", sorted(ACTIONS.keys() - {"undo", "connect_again", "set_up"}))
def test_what_the_page_of_the_question_sends_is_done(
    conversation: Conversation, admin: User, log_in: LogIn, action: str
) -> None:
    rows = ACTIONS[action](conversation, admin)
    before = _stored(rows[-1:])
    form = {"action": action, "confirmed": "1", "_selected_action": [str(row.pk) for row in rows]}
    assert log_in(admin).post(_list(rows[0]), form).status_code == 302
    left = type(rows[-1])._base_manager.filter(pk=rows[-1].pk)
    assert list(left.values()) != before


def test_a_message_that_has_surely_failed_is_sent_again_at_once(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    (failed,) = _message("failed")(conversation, staff_member)
    log_in(staff_member).post(_list(failed), {"action": "send_again", "_selected_action": [str(failed.pk)]})
    assert Message.objects.get(pk=failed.pk).status == "queued"


def test_the_question_is_about_the_messages_that_may_have_arrived(
    conversation: Conversation, staff_member: User, log_in: LogIn
) -> None:
    rows = [create_outbound(conversation, status=status, text=status) for status in ("failed", "unconfirmed")]
    form = {"action": "send_again", "_selected_action": [str(row.pk) for row in rows]}
    answer = log_in(staff_member).post(_list(rows[0]), form)
    assert answer.context["rows"] == ["Ana: unconfirmed"]
    assert answer.context["fields"] == [("action", "send_again"), *(("_selected_action", str(row.pk)) for row in rows)]


def test_a_viewer_is_not_asked(conversation: Conversation, viewer: User, log_in: LogIn) -> None:
    (fact,) = ACTIONS["forget"](conversation, viewer)
    answer = log_in(viewer).post(_list(fact), {"action": "forget", "_selected_action": [str(fact.pk)]})
    assert "accounts/question.html" not in [template.name for template in answer.templates]
