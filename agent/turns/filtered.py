"""Find what made the model's provider filter a prompt, so that it does not block every later turn."""

from collections.abc import Sequence
from uuid import UUID

import structlog
from django.db.models import F

from messaging.history.withheld import withhold
from messaging.models import Conversation, Message, Turn

log = structlog.get_logger(__name__)

MAX_PASSED_TURNS = 50


def withhold_filtered(conversation: Conversation, *, shown: Sequence[str], burst: Sequence[UUID]) -> None:
    """Withhold what made a provider filter a prompt whose burst alone it takes.

    That is among the messages which no answered turn was shown before. If all were, it is any of them, or the summary.
    """
    past = {UUID(pk) for pk in shown} - set(burst)
    turns = Turn.objects.filter(conversation=conversation, outcome=Turn.Outcome.ANSWERED).order_by("-created_at")
    passed: set[UUID] = set()
    for used in turns.values_list("used", flat=True)[:MAX_PASSED_TURNS]:
        passed.update(UUID(pk) for pk in used.get("messages", ()))
    answers = Message.objects.filter(pk__in=past, turn__outcome=Turn.Outcome.ANSWERED, direction="outbound")
    suspects = past - passed - set(answers.values_list("pk", flat=True))
    if not suspects:
        suspects = past
        Conversation.objects.filter(pk=conversation.pk, summary_version=conversation.summary_version).update(
            summary="", summary_version=F("summary_version") + 1
        )
    withhold(sorted(suspects))
    log.warning("messages_withheld", conversation=str(conversation.pk), count=len(suspects))
