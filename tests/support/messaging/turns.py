"""Turns as tests complete them."""

from dataclasses import fields
from typing import Any

from django.utils import timezone

from messaging import leases
from messaging.leases import Lease, TurnResult
from messaging.models import Conversation, Turn

RESULT_FIELDS = {field.name for field in fields(TurnResult)}


def turn_result(conversation: Conversation, **changes: Any) -> TurnResult:
    """Return the result of an answered turn; `changes` are fields of the result or of its turn."""
    conversation.refresh_from_db()
    of_turn = {name: value for name, value in changes.items() if name not in RESULT_FIELDS}
    values: dict[str, Any] = {
        "turn": Turn(**{"outcome": Turn.Outcome.ANSWERED, "started_at": timezone.now()} | of_turn),
        "burst": list(conversation.messages.filter(status="received").values_list("pk", flat=True)),
        "seen": conversation.inbound_count,
        "replies": ["Hi"],
    }
    return TurnResult(**values | {name: value for name, value in changes.items() if name in RESULT_FIELDS})


def settle(lease: Lease, conversation: Conversation, *, even_if_stale: bool = False, **changes: Any) -> Turn | None:
    return leases.complete_turn(lease, turn_result(conversation, **changes), even_if_stale=even_if_stale)
