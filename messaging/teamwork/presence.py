"""For how long it counts that somebody looks at a conversation or types in it (`agent.staff_inbox.presence`).

Rows hold who and when, never what is typed.
"""

from datetime import timedelta

from django.utils import timezone

from messaging.models import Presence
from whatsapp_agent.periodic import periodic

PRESENCE_S = 30  # a page that is open says so more often
TYPING_S = 8


@periodic(every_s=60)
def purge() -> int:
    """Delete what does not count any more; return how many rows."""
    before = timezone.now() - timedelta(seconds=PRESENCE_S)
    return Presence.objects.filter(seen_at__lt=before).delete()[0]
