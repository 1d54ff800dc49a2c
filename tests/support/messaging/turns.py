"""Turns as tests complete them."""

from django.utils import timezone

from messaging import leases
from messaging.leases import Settlement
from messaging.models import Conversation, Turn


def settlement(conversation: Conversation, **changes: object) -> Settlement:
    conversation.refresh_from_db()
    values = {
        "outcome": Turn.Outcome.ANSWERED,
        "burst": list(conversation.messages.filter(status="received").values_list("pk", flat=True)),
        "seen": conversation.inbound_count,
        "started_at": timezone.now(),
        "replies": ["Hi"],
    }
    return Settlement(**values | changes)


def settle(lease, conversation, *, even_if_stale=False, **changes):
    return leases.settle(
        lease,
        settlement(conversation, **changes),
        even_if_stale=even_if_stale,
    )
