"""Run failed turns and failed sends again, many at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from messaging import leases
from messaging.models import Message, Turn
from messaging.outbound import send_again
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import AppError

EARLIER_PART_FAILED = "earlier_part_failed"  # set by `outbox.mark_failed`


@dataclass(frozen=True, slots=True)
class Requeued:
    """One turn or message, and why it was not queued again if it was not."""

    kind: str  # turn or message
    id: str
    session: str
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    since: datetime
    until: datetime
    session: WhatsAppSession | None = None
    turns: bool = True
    sends: bool = True
    unconfirmed: bool = False  # they may have been sent


def requeue(selection: Selection, *, dry_run: bool = False) -> Iterator[Requeued]:
    """Queue what failed again, oldest first, each in its own transaction; yield each. `dry_run` changes nothing.

    A turn whose messages were answered since is left alone, as is one in a conversation that a person controls.
    """
    if selection.turns:
        yield from _turns(selection, dry_run=dry_run)
    if selection.sends:
        yield from _sends(selection, dry_run=dry_run)


def _turns(selection: Selection, *, dry_run: bool) -> Iterator[Requeued]:
    rows = Turn.objects.failed().filter(created_at__gte=selection.since, created_at__lte=selection.until)
    if selection.session:
        rows = rows.filter(conversation__session=selection.session)
    ids = list(rows.order_by("created_at", "id").values_list("pk", flat=True))
    for turn_id in ids:
        turn = Turn.objects.select_related("conversation__session").filter(pk=turn_id).first()
        if turn is None:
            continue
        refused = ""
        if turn.conversation.control != "agent":
            refused = "A person has control of this conversation. Release it first."
        elif not dry_run:
            try:
                leases.answer_again(turn=turn)
            except AppError as exc:
                refused = str(exc)
        yield Requeued("turn", str(turn.pk), turn.conversation.session.name, refused)


def _sends(selection: Selection, *, dry_run: bool) -> Iterator[Requeued]:
    status = Q(status=Message.Status.FAILED) | Q(
        status=Message.Status.CANCELLED,
        error_code=EARLIER_PART_FAILED,  # the rest of an answer whose first part failed
    )
    if selection.unconfirmed:
        status |= Q(status=Message.Status.UNCONFIRMED)
    rows = Message.objects.filter(
        status,
        direction=Message.Direction.OUTBOUND,
        created_at__gte=selection.since,
        created_at__lte=selection.until,
    )
    if selection.session:
        rows = rows.filter(session=selection.session)
    for message_id in list(rows.order_by("created_at", "id").values_list("pk", flat=True)):
        message = Message.objects.select_related("session").filter(pk=message_id).first()
        if message is None:
            continue
        refused = "Its session has ended." if message.session.ended_at else ""
        if not refused and not dry_run:
            try:
                send_again(message=message)
            except AppError as exc:
                refused = str(exc)
        yield Requeued("message", str(message.pk), message.session.name, refused)
