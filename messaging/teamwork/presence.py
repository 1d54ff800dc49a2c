"""Who looks at a conversation or types in it right now. Rows hold who and when, never what is typed."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.utils import timezone

from accounts.models import User
from messaging.models import Conversation, Presence
from whatsapp_agent.periodic import periodic

PRESENCE_S = 30  # a page that is open says so more often
TYPING_S = 8

# Says that the user is here and returns who else is. A user who does not type any more has typed before.
UPDATE_PRESENCE = """
WITH mine AS (
    INSERT INTO messaging_presence AS presence (conversation_id, user_id, seen_at, typed_at)
    VALUES (%(conversation)s, %(user)s, clock_timestamp(), CASE WHEN %(is_typing)s THEN clock_timestamp() END)
    ON CONFLICT (conversation_id, user_id) DO UPDATE
       SET seen_at = excluded.seen_at, typed_at = excluded.typed_at
)
SELECT colleague.id, colleague.username,
       COALESCE(typed_at > clock_timestamp() - make_interval(secs => %(typing_s)s), false)
  FROM messaging_presence presence JOIN accounts_user colleague ON colleague.id = presence.user_id
 WHERE conversation_id = %(conversation)s AND colleague.id <> %(user)s
   AND seen_at > clock_timestamp() - make_interval(secs => %(presence_s)s)
 ORDER BY colleague.username
"""


class Colleague(NamedTuple):
    """Someone else who has the conversation open."""

    id: UUID
    username: str
    is_typing: bool


def look(*, conversation: Conversation, user: User, is_typing: bool = False) -> list[Colleague]:
    """Say that the user looks at the conversation, and return who else does. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            UPDATE_PRESENCE,
            {
                "conversation": conversation.pk,
                "user": user.pk,
                "is_typing": is_typing,
                "typing_s": TYPING_S,
                "presence_s": PRESENCE_S,
            },
        )
        return [Colleague(*row) for row in cursor.fetchall()]


def leave(*, conversation: Conversation, user: User) -> None:
    """Say that the user does not look at the conversation any more."""
    Presence.objects.filter(conversation=conversation, user=user).delete()


@periodic(every_s=60)
def purge() -> int:
    """Delete what does not count any more; return how many rows."""
    before = timezone.now() - timedelta(seconds=PRESENCE_S)
    return Presence.objects.filter(seen_at__lt=before).delete()[0]
