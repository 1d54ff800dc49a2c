"""Control of a conversation: who answers, the agent, a person or nobody. A person always wins."""

import re
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy, gettext_noop

from accounts.models import User
from agent.bridges.events import HandoverChanged
from messaging.contacts.lookup import resolve_contact, resolve_conversation
from messaging.contacts.recycled import without_former_phone
from messaging.loops import is_other_program
from messaging.models import Conversation, Message
from sessions_app.models import Bridge
from sessions_app.services import register_session
from whatsapp_agent import wakeups
from whatsapp_agent.errors import NotFound
from whatsapp_agent.periodic import periodic

Control = Conversation.Control
HELD_BY_PLATFORM = "held by the platform's own agent"
ANOTHER_PROGRAM = gettext_noop("another program")  # holds the chat, and the platform does not say which


SWITCH = re.compile(r"\s*[/#]bot\s+(on|off)\s*", re.IGNORECASE)


class ConversationGone(NotFound):
    detail = gettext_lazy("This conversation was merged into another one. Look the contact up again.")


def lock_conversation(conversation_id: UUID) -> Conversation:
    """Lock and return the conversation until the end of the transaction. Raises ConversationGone."""
    rows = Conversation.objects.select_for_update(of=["self"]).select_related("session__agent_profile")
    conversation = rows.filter(pk=conversation_id).first()
    if conversation is None:
        raise ConversationGone()
    return conversation


def take_over(
    *, conversation: Conversation, by: User | None = None, until: datetime | None = None, reason: str = ""
) -> Conversation:
    """Give control to a person. Drafts and queued replies of the agent are dropped.

    `until` None: until released by hand. Raises ConversationGone.
    """
    return _set_control(conversation, to=Control.HUMAN, by=by, until=until, reason=reason)


def mute(
    *, conversation: Conversation, by: User | None = None, until: datetime | None = None, reason: str = ""
) -> Conversation:
    """Let nobody answer: the agent is silent and no person is asked to. Raises what `take_over` raises."""
    return _set_control(conversation, to=Control.MUTED, by=by, until=until, reason=reason)


@transaction.atomic
def _set_control(
    conversation: Conversation, *, to: Control, by: User | None, until: datetime | None, reason: str
) -> Conversation:
    # Completing a turn waits for this row lock, then finds another epoch and stores nothing.
    changed = Conversation.objects.filter(pk=conversation.pk).update(
        control=to,
        control_until=until,
        control_reason=reason[:200],
        control_epoch=F("control_epoch") + 1,
        controlled_by=by,
        due_at=None,
        burst_started_at=None,
        retry_at=None,
        tries=0,
        lease_token=None,
        lease_expires_at=None,
    )
    if not changed:
        raise ConversationGone()
    _reopen_unanswered(conversation)
    Message.objects.filter(conversation=conversation).cancel_queued_replies()
    conversation.refresh_from_db()
    return conversation


def _reopen_unanswered(conversation: Conversation) -> None:
    """Make messages unanswered again whose answer is about to be cancelled before any part of it was sent."""
    messages = Message.objects.filter(conversation=conversation)
    replies = messages.filter(direction=Message.Direction.OUTBOUND)
    sent = replies.exclude(status__in=[Message.Status.QUEUED, Message.Status.FAILED, Message.Status.CANCELLED])
    queued = replies.filter(status=Message.Status.QUEUED, control_epoch__isnull=False)
    turns = set(queued.values_list("turn", flat=True)) - {None}
    turns -= set(sent.filter(turn__in=turns).values_list("turn", flat=True))
    messages.filter(turn__in=turns, direction=Message.Direction.INBOUND).update(
        status=Message.Status.RECEIVED, turn=None
    )


@transaction.atomic
def release(*, conversation: Conversation, reason: str = "", if_expired: bool = False) -> Conversation:
    """Give the conversation back to the agent, which answers what is unanswered only if it is fresh.

    What is too old to be answered asks for attention. While another program holds the chat at the platform, a control
    that has expired leaves it muted; a release by somebody says that the agent is to take the chat from that program.
    Raises ConversationGone.
    """
    row = lock_conversation(conversation.pk)
    now = timezone.now()
    was_prolonged = if_expired and (row.control_until is None or row.control_until > now)
    if was_prolonged or (row.control == Control.AGENT and not row.external_controller):
        conversation.refresh_from_db()
        return conversation
    if if_expired and row.external_controller:
        return mute(conversation=conversation, reason=HELD_BY_PLATFORM)
    if row.external_controller:
        Conversation.objects.filter(pk=row.pk).update(external_controller="", external_controller_at=now)
    waiting = Message.objects.filter(conversation=row, status=Message.Status.RECEIVED)
    longest = timedelta(seconds=row.session.agent_profile.max_answer_age_s)
    is_fresh = waiting.filter(said_at__gte=Now() - longest).exists()
    if not is_fresh and waiting.update(status=Message.Status.HANDLED, unanswered=Message.Unanswered.STALE):
        Conversation.objects.filter(pk=row.pk).ask_for_attention(
            Conversation.Attention.UNANSWERED,
            note=gettext_noop("Control went back to the agent with a question that was too old for it to answer."),
        )
    changes: dict[str, Any] = {
        "control": Control.AGENT,
        "control_until": None,
        "control_reason": reason[:200],
        "controlled_by": None,
        "due_at": Now() if is_fresh else None,
        "burst_started_at": Now() if is_fresh else None,
    }
    Conversation.objects.filter(pk=row.pk).update(control_epoch=F("control_epoch") + 1, **changes)
    wakeups.notify(row.pk, session_id=row.session_id)
    conversation.refresh_from_db()
    return conversation


def record_typed_on_phone(*, conversation: Conversation, text: str) -> None:
    """Record that the owner wrote to the contact on the linked phone: a person has control, unless the text is
    `/bot on`, which gives it back, or `/bot off`, which mutes. Raises ConversationGone."""
    switch = SWITCH.fullmatch(text)
    if switch is None:
        record_human_reply(conversation=conversation, reason=gettext_noop("typed on the phone"))
    elif switch[1].lower() == "on":
        release(conversation=conversation, reason="/bot on, typed on the phone")
    else:
        mute(conversation=conversation, reason="/bot off, typed on the phone")


@transaction.atomic
def record_human_reply(*, conversation: Conversation, by: User | None = None, reason: str) -> None:
    """Record that a person wrote: unanswered messages are handled, and the person has control for `takeover_s`.

    Raises ConversationGone.
    """
    row = lock_conversation(conversation.pk)
    for_s = row.session.agent_profile.takeover_s
    until = timezone.now() + timedelta(seconds=for_s) if for_s else None
    if row.control == Control.HUMAN and until is not None:  # writing does not shorten a longer takeover
        until = None if row.control_until is None else max(until, row.control_until)
    if row.control != Control.MUTED:
        take_over(conversation=conversation, by=by, until=until, reason=reason)
    Message.objects.filter(conversation=conversation, status=Message.Status.RECEIVED).update(
        status=Message.Status.HANDLED, unanswered=Message.Unanswered.PERSON
    )
    if by is None and is_other_program(conversation):
        Conversation.objects.filter(pk=conversation.pk).ask_for_attention(
            Conversation.Attention.OTHER_PROGRAM,
            note=gettext_noop("Another program seems to answer on this number: it writes faster than a person can."),
        )


@transaction.atomic
def record_external_controller(*, conversation_id: UUID, name: str, at: datetime | None = None) -> None:
    """Record which other program holds the chat at the platform since `at`; empty: none does any more.

    While one does, the agent is silent: writing would take the chat from it. A person who has control keeps it. What is
    older than what was recorded changes nothing. Raises ConversationGone.
    """
    row = lock_conversation(conversation_id)
    now = timezone.now()
    at = min(at or now, now)
    if row.external_controller_at is not None and at < row.external_controller_at:
        return
    if name == ANOTHER_PROGRAM and row.external_controller:
        name = row.external_controller
    Conversation.objects.filter(pk=row.pk).update(external_controller=name[:100], external_controller_at=at)
    if name and row.control == Control.AGENT:
        mute(conversation=row, reason=HELD_BY_PLATFORM)
    elif not name and row.control == Control.MUTED and row.control_reason == HELD_BY_PLATFORM:
        release(conversation=row, reason="given back by the platform")


@transaction.atomic
def record_handover(*, bridge: Bridge, event: HandoverChanged) -> None:
    """Record who holds a chat on the platform: we, or another program of the same number."""
    session = register_session(bridge=bridge, name=event.session)
    chat = without_former_phone(session=session, address=event.chat)
    contact = resolve_contact(session=session, address=chat)
    conversation = resolve_conversation(contact=contact, address=chat.address, at=event.at)
    name = "" if event.is_ours else event.new_owner_role or ANOTHER_PROGRAM
    record_external_controller(conversation_id=conversation.pk, name=name, at=event.at)


@periodic(every_s=5)
def release_expired(*, limit: int = 200) -> int:
    """Release conversations whose `control_until` has passed; return how many."""
    expired = Conversation.objects.filter(control_until__lte=timezone.now()).exclude(control=Control.AGENT)[:limit]
    for conversation in expired:
        with suppress(ConversationGone):
            release(conversation=conversation, reason=gettext_noop("the time was up"), if_expired=True)
    return len(expired)
