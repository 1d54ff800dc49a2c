"""How staff share conversations: assignment, labels, notes, snooze and done."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import Role, User
from messaging.control import ConversationGone
from messaging.models import Conversation, Note
from messaging.models.conversations import NO_ATTENTION
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.periodic import periodic
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import single_line_error

MAX_LABELS = 20
MAX_LABEL_LENGTH = 40
MAX_NOTE_LENGTH = 4000
MAX_NOTES_FOR_MODEL = 20
MAX_REASON_LENGTH = 200
MAX_COLLEAGUES = 200


def colleagues(conversation: Conversation) -> list[User]:
    """Return who may work on the conversation: operators among its session's members, and administrators."""
    sees_it = Q(memberships__session=conversation.session_id) & Q(groups__name="operator")
    is_administrator = Q(is_superuser=True) | Q(groups__name="admin")
    users = User.objects.filter(sees_it | is_administrator, is_active=True).distinct().order_by("username")
    return list(users[:MAX_COLLEAGUES])


def assign(*, conversation: Conversation, to: User | None, by: User | None = None) -> None:
    """Give the conversation to a colleague, or back to everyone. Raises InvalidInput for someone who may not.

    Who assigns it to themselves (`by`) is not alerted of it.
    """
    if to is not None and (to.role < Role.OPERATOR or to not in colleagues(conversation)):
        raise InvalidInput(_("This person may not answer in this conversation."), field="user")
    is_own = to is not None and to == by
    _update(conversation, assigned_to=to, assigned_at=timezone.now() if to else None, is_self_assigned=is_own)


def set_labels(*, conversation: Conversation, labels: Sequence[str]) -> None:
    """Replace the labels. Raises InvalidInput."""
    wanted = list(dict.fromkeys(label.strip() for label in labels if label.strip()))
    if len(wanted) > MAX_LABELS:
        raise InvalidInput(_("A conversation may have %(limit)s labels.") % {"limit": MAX_LABELS}, field="labels")
    for label in wanted:
        if len(label) > MAX_LABEL_LENGTH:
            raise InvalidInput(
                _("A label may have %(limit)s characters.") % {"limit": MAX_LABEL_LENGTH},
                field="labels",
            )
        if error := single_line_error(label):
            raise InvalidInput(error, field="labels")
    _update(conversation, labels=wanted)


def add_note(*, conversation: Conversation, by: User, text: str, is_shown_to_model: bool = False) -> Note:
    """Store a note for colleagues. It is never sent; the model is given it only if ticked. Raises InvalidInput."""
    text = storable(text).strip()
    if not text:
        raise InvalidInput(_("The note is empty."), field="text")
    if len(text) > MAX_NOTE_LENGTH:
        raise InvalidInput(_("A note may have %(limit)s characters.") % {"limit": MAX_NOTE_LENGTH}, field="text")
    return Note.objects.create(conversation=conversation, author=by, text=text, is_shown_to_model=is_shown_to_model)


def notes_for_model(conversation: Conversation) -> list[Note]:
    """Return the newest notes that the model may be shown, oldest first."""
    rows = Note.objects.filter(conversation=conversation, is_shown_to_model=True)
    return list(rows.order_by("-created_at", "-id")[:MAX_NOTES_FOR_MODEL])[::-1]


def show_note_to_model(*, note: Note, is_shown: bool) -> Note:
    """Have the model be given a note from its next turn on, or no longer."""
    note.is_shown_to_model = is_shown
    note.save(update_fields=["is_shown_to_model"])
    return note


def snooze(*, conversation: Conversation, until: datetime) -> None:
    """Put the conversation aside until a time, or until the contact writes. Raises InvalidInput."""
    if until <= timezone.now():
        raise InvalidInput(_("Must be in the future."), field="until")
    _update(conversation, snoozed_until=until, done_at=None, done_reason="")


def finish(*, conversation: Conversation, reason: str = "") -> None:
    """Mark the conversation as done; nobody is asked to look any more. The contact's next message opens it again."""
    reason = storable(reason).strip()
    if error := single_line_error(reason):
        raise InvalidInput(error, field="reason")
    if len(reason) > MAX_REASON_LENGTH:
        raise InvalidInput(
            _("A reason may have %(limit)s characters.") % {"limit": MAX_REASON_LENGTH},
            field="reason",
        )
    _update(
        conversation, done_at=timezone.now(), done_reason=reason, snoozed_until=None, unread_count=0, **NO_ATTENTION
    )


def reopen(*, conversation: Conversation) -> None:
    """Open a conversation that is done or snoozed."""
    _update(conversation, done_at=None, done_reason="", snoozed_until=None)


@periodic(every_s=10)
def reopen_snoozed() -> int:
    """Open the conversations whose time has come; return how many."""
    return Conversation.objects.filter(snoozed_until__lte=timezone.now()).update(snoozed_until=None)


# `waiting`: assigned for longer than the limit, and waiting for a person. The assignee's answer is a message of staff,
# or one typed on the phone, after the contact's last message.
RETURN_UNANSWERED = """
WITH waiting AS (
    SELECT conversation.id FROM messaging_conversation conversation
     WHERE assigned_to_id IS NOT NULL AND done_at IS NULL AND snoozed_until IS NULL
       AND (needs_attention OR control = 'human')
       AND COALESCE(assigned_at, '-infinity') < %(before)s
       AND %(before)s > ALL (SELECT said_at FROM messaging_message message
                              WHERE message.conversation_id = conversation.id AND direction = 'inbound'
                              ORDER BY said_at DESC LIMIT 1)
       AND (SELECT author NOT IN ('staff', 'phone') FROM messaging_message message
             WHERE message.conversation_id = conversation.id AND author IN ('contact', 'staff', 'phone')
             ORDER BY said_at DESC LIMIT 1)
     ORDER BY assigned_at LIMIT 1000
       FOR UPDATE SKIP LOCKED
), returned AS (
    UPDATE messaging_conversation conversation SET assigned_to_id = NULL, assigned_at = NULL
      FROM waiting WHERE conversation.id = waiting.id
    RETURNING conversation.id
)
SELECT id FROM returned
"""


@periodic(every_s=30)
def return_unanswered() -> int:
    """Give back to everyone what its assignee has not answered in ASSIGNMENT_TIMEOUT_MINUTES; return how many.

    A note in the conversation tells colleagues.
    """
    if not (minutes := settings.ASSIGNMENT_TIMEOUT_MINUTES):
        return 0
    before = timezone.now() - timedelta(minutes=minutes)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(RETURN_UNANSWERED, {"before": before})
        ids = [row[0] for row in cursor.fetchall()]
        text = f"Not answered for {minutes} minutes: assigned to nobody again."  # shown by `translate_stored`
        Note.objects.bulk_create([Note(conversation_id=each, text=text) for each in ids])
    return len(ids)


def _update(conversation: Conversation, **values: object) -> None:
    if not Conversation.objects.filter(pk=conversation.pk).update(**values):
        raise ConversationGone()
    for name, value in values.items():
        setattr(conversation, name, value)
