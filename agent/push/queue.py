"""Queue a notification for each browser that an event concerns: who asked for it, and may see the conversation."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Role, User, names_of_groups
from agent.models import PushMessage, PushSender, PushSubscription
from messaging.events import feed
from messaging.events.feed import CursorExpired, FeedEvent, Position, Reader
from messaging.models import Conversation
from whatsapp_agent.periodic import periodic

TYPES = ("conversation.needs_attention", "conversation.assigned")
KINDS = {"conversation.needs_attention": PushMessage.Kind.WAITING, "conversation.assigned": PushMessage.Kind.ASSIGNED}
MAX_AGE = timedelta(minutes=30)  # of an event, and for how long sending is tried
PAGE_SIZE = 100


@periodic(every_s=2)
def queue_pushes() -> int:
    """Read the event feed on and queue what it brings; return how many notifications.

    The position in the feed and what is queued are one transaction: a process that dies here has done neither.
    """
    if not PushSubscription.objects.exists():
        return 0
    count = 0
    with transaction.atomic():
        sender = PushSender.objects.select_for_update().filter(pk=1).first()
        if sender is None:
            return 0
        page = feed.read(
            reader=Reader(user_id=None, sees_everything=True),
            after=_position(sender),
            types=TYPES,
            limit=PAGE_SIZE,
        )
        for event in page.events:
            count += _queue(event)
        sender.read_transaction, sender.read_event = page.end.transaction, page.end.id
        sender.save(update_fields=["read_transaction", "read_event"])
    return count


def _position(sender: PushSender) -> Position:
    """Return how far the feed was read, also after a dump was restored; events that are gone are too old anyway."""
    try:
        return feed.resolve_position(Position(sender.read_transaction, sender.read_event))
    except CursorExpired:
        return feed.last_position()


def _queue(event: FeedEvent) -> int:
    now = timezone.now()
    kind, conversation_id = KINDS[event.type], event.conversation_id
    if conversation_id is None or event.at < now - MAX_AGE:
        return 0
    if not Conversation.objects.filter(pk=conversation_id).exists():
        return 0
    users = [user for user in _candidates(event) if is_wanted(user, kind=kind, conversation_id=conversation_id)]
    messages = [
        PushMessage(
            subscription=subscription,
            conversation_id=conversation_id,
            kind=kind,
            next_try_at=now,
            expires_at=event.at + MAX_AGE,
        )
        for subscription in PushSubscription.objects.filter(user__in=users)
    ]
    PushMessage.objects.bulk_create(messages, ignore_conflicts=True)
    return len(messages)


def _candidates(event: FeedEvent) -> Iterable[User]:
    users = User.objects.filter(push_subscriptions__isnull=False).distinct()
    if event.type == "conversation.assigned":
        users = users.filter(pk__in=[event.data["assigned_to"]] if event.data["assigned_to"] else [])
    return users.annotate(group_names=names_of_groups())


def is_wanted(user: User, *, kind: str, conversation_id: UUID) -> bool:
    """Return whether the user wants to hear of the conversation, may see it, and it is still as the event said."""
    if not (user.is_active and user.is_staff and user.role >= Role.OPERATOR):
        return False
    rows = Conversation.objects.visible_to(user).filter(pk=conversation_id)
    if kind == PushMessage.Kind.ASSIGNED:
        return user.alerts_assigned and rows.filter(assigned_to=user, is_self_assigned=False, done_at=None).exists()
    unassigned_or_mine = Q(assigned_to=None) | Q(assigned_to=user)
    rows = rows.without_test_chats().filter(unassigned_or_mine, needs_attention=True, done_at=None)
    return user.alerts_waiting and rows.exists()
