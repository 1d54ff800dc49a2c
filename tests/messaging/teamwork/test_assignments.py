"""What goes back to everyone when its assignee does not answer."""

from datetime import timedelta

import pytest
from django.utils import timezone

from messaging import teamwork
from messaging.models import Conversation, Message, Note

HOUR = timedelta(hours=1)


@pytest.fixture
def waiting(conversation, member, says):
    """Assigned two hours ago; an hour and a half ago the contact wrote."""
    says("Hello?")
    Message.objects.update(said_at=timezone.now() - 1.5 * HOUR)
    Conversation.objects.update(
        assigned_to=member, assigned_at=timezone.now() - 2 * HOUR, control="human", unread_count=1
    )
    return conversation


def test_what_an_assignee_does_not_answer_goes_back_to_everyone(waiting):
    assert (teamwork.return_unanswered(), teamwork.return_unanswered()) == (1, 0)
    waiting.refresh_from_db()
    assert (waiting.assigned_to, waiting.assigned_at) == (None, None)
    note = Note.objects.get()
    assert (note.author, "60 minutes" in note.text) == (None, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"assigned_at": timezone.now()},
        {"control": "agent"},
        {"done_at": timezone.now()},
        {"snoozed_until": timezone.now() + HOUR},
    ],
)
def test_an_assignment_stays_while_nobody_waits_for_the_assignee(waiting, changes):
    Conversation.objects.update(**changes)
    assert teamwork.return_unanswered() == 0


@pytest.mark.parametrize("author", ["staff", "phone"])
def test_an_answered_conversation_stays_assigned(waiting, author):
    Message.objects.create(
        session=waiting.session, conversation=waiting, direction="outbound", author=author, status="sent", text="Hi"
    )
    assert teamwork.return_unanswered() == 0


def test_an_answer_of_the_agent_is_none_of_the_assignee(waiting):
    Conversation.objects.update(control="agent", needs_attention=True)
    Message.objects.create(
        session=waiting.session,
        conversation=waiting,
        direction="outbound",
        author="agent",
        status="sent",
        text="A person",
    )
    assert teamwork.return_unanswered() == 1


def test_a_contact_who_wrote_just_now_has_not_waited_long(waiting, says):
    says("Hello again?")
    assert teamwork.return_unanswered() == 0


def test_assignments_stay_for_good_without_a_time_limit(waiting, settings):
    settings.ASSIGNMENT_TIMEOUT_MINUTES = 0
    assert teamwork.return_unanswered() == 0
