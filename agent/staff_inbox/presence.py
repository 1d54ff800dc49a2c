"""Who looks at the open conversation: written and read by the statement of a poll."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Case, F, Q, QuerySet, When
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from messaging.models import Conversation, Presence
from messaging.teamwork.presence import PRESENCE_S, TYPING_S

MAX_OTHERS = 20
WRITE_EVERY_S = 8  # a poll writes no more often that someone is still here


def others_at(conversation: QuerySet[Conversation], user: User) -> QuerySet:
    """Return who else looks at the conversation, and whether they type."""
    now = timezone.now()
    rows = Presence.objects.filter(conversation__in=conversation.values("pk"))
    rows = rows.filter(seen_at__gt=now - timedelta(seconds=PRESENCE_S)).exclude(user=user).order_by("user__username")
    is_typing = Q(typed_at__gt=now - timedelta(seconds=TYPING_S))
    return rows.values(name=F("user__username"), typing=Case(When(is_typing, then=True), default=False))[:MAX_OTHERS]


def describe_others(others: Iterable[dict[str, Any]]) -> str:
    """Say who else is here; empty if nobody is."""
    texts = [
        (_("%(who)s is typing …") if each["typing"] else _("%(who)s is looking here too")) % {"who": each["name"]}
        for each in others
    ]
    return " · ".join(texts)


# A row is written again only after some seconds, or when typing begins or ends.
RECORD_PRESENCE = """
mine AS (
    INSERT INTO messaging_presence AS presence (conversation_id, user_id, seen_at, typed_at)
    SELECT looked_at.id, %s, clock_timestamp(), CASE WHEN %s THEN clock_timestamp() END FROM ({visible}) looked_at
    ON CONFLICT (conversation_id, user_id) DO UPDATE SET seen_at = excluded.seen_at, typed_at = excluded.typed_at
     WHERE presence.seen_at < clock_timestamp() - make_interval(secs => %s)
        OR presence.typed_at IS NOT NULL OR excluded.typed_at IS NOT NULL
)
"""


def record_presence(
    conversation: QuerySet[Conversation], user: User, *, is_typing: bool
) -> tuple[str, Sequence[Any]] | None:
    """Return the part of a statement that records the user as present, with its parameters; None if nothing is seen."""
    try:
        sql, values = conversation.values("id").query.sql_with_params()
    except EmptyResultSet:
        return None
    return RECORD_PRESENCE.format(visible=sql), [user.pk, is_typing, *values, WRITE_EVERY_S]
