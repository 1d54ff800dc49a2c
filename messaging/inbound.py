"""Store the messages that the bridge reports, those of our own phone too. Everything may come twice."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from psycopg2.extras import Json
from pydantic import TypeAdapter
from uuid_utils.compat import uuid7

from agent.bridges.events import ChatAddress, Kind, MessageReceived
from messaging import control
from messaging.contacts.creation import contact_creation
from messaging.contacts.locks import ContactGone
from messaging.contacts.lookup import log_created, resolve_contact, resolve_conversation
from messaging.contacts.ourselves import is_own_chat, record_own_lid, with_known_phones
from messaging.media import fetching
from messaging.models import Contact, Conversation, HeldMessage, Message
from messaging.receipts import (
    apply_early_changes,
    find_unsettled_send,
    record_full_id,
    record_sent,
    same_content,
    settle_earlier_try,
    unsettled_sends,
)
from sessions_app.bridges import BridgeChanged
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import mark_connected, register_session
from whatsapp_agent import wakeups
from whatsapp_agent.periodic import periodic
from whatsapp_agent.postgres.prepared import Call, Statement
from whatsapp_agent.text.phones import owner_spellings

QUESTION_DEBOUNCE_S = 0.5  # a text that ends like a question is likely complete
QUESTION_MARKS = ("?", "？", "؟", "⸮", ";")
EVENT = TypeAdapter(MessageReceived)
COMMAND_MARKS = ("/", "#")

# One round trip, because every webhook request waits for it: find the conversation by the chat's alias, insert the
# message once, and move the conversation's due time. The conversation is null when the contact is unknown.
INSERT_INBOUND_MESSAGE = Statement("""
WITH bridge AS (  -- nothing is stored if it is not as it was when the request was authenticated
    SELECT id FROM sessions_app_bridge
     WHERE id = %(bridge_id)s AND %(bridge_version)s IN ('', ROW(xmin, ctid)::text)
), target AS (
    SELECT conversation.id AS conversation_id, session.id AS session_id, session.status AS link, alias.contact_id,
           profile.debounce_s, profile.debounce_max_s, profile.instant_reaction,
           conversation.external_controller <> '' AS is_held_elsewhere,
           EXISTS (SELECT FROM messaging_earlychange early WHERE early.session_id = session.id
                      AND early.provider_message_id = %(provider_message_id)s) AS is_changed_early,
           CASE
               WHEN NOT %(answerable)s THEN 'kind'
               WHEN %(is_history)s THEN 'history'
               WHEN contact.is_blocked OR session.ended_at IS NOT NULL OR (NOT %(is_own_command)s AND (
                       session.access_policy = 'nobody'
                       OR (session.access_policy = 'listed' AND NOT contact.is_allowed))) THEN 'policy'
               WHEN contact.is_group AND session.group_policy <> 'all' AND NOT (
                       session.group_policy = 'mention'
                       AND (%(calls_us)s OR session.phone = ANY(%(called)s::text[])
                            OR session.lid = ANY(%(called)s::text[])
                            OR EXISTS (SELECT FROM messaging_message ours
                                        WHERE ours.provider_message_id = %(quoted_id)s
                                          AND ours.conversation_id = conversation.id AND ours.direction = 'outbound')))
                   THEN 'group'
               WHEN %(is_missed)s AND EXISTS (
                       SELECT FROM messaging_message reply
                        WHERE reply.conversation_id = conversation.id AND reply.said_at >= %(written_at)s
                          AND reply.direction = 'outbound' AND reply.sending_at IS NULL AND reply.kind <> 'reaction'
                          AND reply.author IN ('phone', 'api') AND reply.written_at >= %(written_at)s)
                   THEN 'person'
               WHEN %(written_at)s < statement_timestamp() - make_interval(secs => profile.max_answer_age_s)
                   THEN 'stale'
               ELSE ''
           END AS unanswered
      FROM bridge
      JOIN sessions_app_whatsappsession session ON session.bridge_id = bridge.id
      JOIN sessions_app_agentprofile profile ON profile.id = session.agent_profile_id
      JOIN messaging_contactalias alias
        ON alias.session_id = session.id AND alias.kind = %(alias_kind)s AND alias.value = %(alias_value)s
      JOIN messaging_contact contact ON contact.id = alias.contact_id
      JOIN messaging_conversation conversation ON conversation.contact_id = alias.contact_id
     WHERE session.name = %(session)s
       AND (conversation.address = %(address)s OR %(is_resolved)s)
       AND (%(name)s = '' OR contact.bridge_name = %(name)s)
       AND NOT EXISTS (  -- the bridge ties an address to this contact that we do not know yet
           SELECT 1 FROM unnest(%(alternates)s::text[]) alternate
            WHERE alternate NOT IN (SELECT known.value FROM messaging_contactalias known
                                     WHERE known.contact_id = alias.contact_id))
), inserted AS (
    INSERT INTO messaging_message (
        id, session_id, conversation_id, sender_id, direction, author, kind, status, unanswered, text, details,
        provider_message_id, address, quoted_id, quoted_provider_id, tries, error_code, error, said_at, written_at,
        created_at)
    SELECT %(id)s::uuid, session_id, conversation_id, COALESCE(%(sender_id)s::uuid, contact_id),
           'inbound', 'contact', %(kind)s::text,
           CASE unanswered WHEN '' THEN 'received' ELSE 'handled' END, unanswered, %(text)s::text,
           %(details)s::jsonb, %(provider_message_id)s::text, %(address)s::text,
           (SELECT quoted.id FROM messaging_message quoted
             WHERE quoted.session_id = target.session_id AND quoted.provider_message_id = %(quoted_id)s
               AND quoted.conversation_id = target.conversation_id),  -- nobody reads along elsewhere by answering it
           COALESCE(%(quoted_id)s, ''), 0, '', '',
           -- Clocks differ: what comes now is ordered as it comes, only what is not answered may have an earlier place.
           CASE WHEN %(is_history)s OR (%(is_missed)s AND unanswered <> '')
                THEN LEAST(%(written_at)s, statement_timestamp()) ELSE statement_timestamp() END,
           LEAST(%(written_at)s, statement_timestamp()), statement_timestamp()
      FROM target
     WHERE %(is_resolved)s OR NOT is_changed_early  -- the change has to be applied in the same transaction
    ON CONFLICT (provider_message_id, conversation_id) DO NOTHING
    RETURNING conversation_id, unanswered, said_at, unanswered <> 'history' AND kind <> 'reaction' AS reopens
), moved AS (
    UPDATE messaging_conversation conversation
       SET inbound_count = inbound_count + (inserted.unanswered = '')::int,
           unread_count = unread_count + (inserted.unanswered <> 'history')::int,
           last_message_at = GREATEST(last_message_at, inserted.said_at),
           snoozed_until = CASE WHEN NOT inserted.reopens THEN snoozed_until END,
           done_at = CASE WHEN NOT inserted.reopens THEN done_at END,
           done_reason = CASE WHEN NOT inserted.reopens THEN done_reason ELSE '' END,
           burst_started_at = CASE WHEN inserted.unanswered = '' AND control = 'agent'
                                   THEN COALESCE(burst_started_at, statement_timestamp()) ELSE burst_started_at END,
           due_at = CASE WHEN inserted.unanswered = '' AND control = 'agent'
                         THEN GREATEST(retry_at, LEAST(
                             statement_timestamp() + make_interval(secs => LEAST(debounce_s, %(max_debounce_s)s)),
                             COALESCE(burst_started_at, statement_timestamp()) + make_interval(secs => debounce_max_s)))
                         ELSE due_at END
      FROM inserted, target
     WHERE conversation.id = inserted.conversation_id
    RETURNING conversation.id, conversation.due_at,
              control = 'agent' AND inserted.unanswered = '' AND burst_started_at = statement_timestamp() AS begins
)
SELECT EXISTS (SELECT FROM bridge), target.conversation_id, target.session_id, target.contact_id,
       inserted.conversation_id IS NOT NULL, moved.due_at, inserted.unanswered = '', target.link,
       target.is_changed_early, CASE WHEN moved.begins THEN target.instant_reaction ELSE '' END,
       target.is_held_elsewhere
  FROM (VALUES (1)) AS one LEFT JOIN target ON true LEFT JOIN inserted ON true LEFT JOIN moved ON true
""")


@dataclass(frozen=True, slots=True)
class ReceiveResult:
    """The result of storing an inbound message. `due_at` is when its conversation is due, None if it is not.

    `reaction` is the emoji to put on it at once: set on the first message of a burst that is going to be answered.
    """

    message_id: UUID
    conversation_id: UUID
    session_id: UUID
    contact_id: UUID
    is_new: bool
    due_at: datetime | None
    reaction: str = ""


def receive_message(*, bridge: Bridge, event: MessageReceived) -> ReceiveResult:
    """Store an inbound message once, and return when its conversation is due.

    Raises Conversation.DoesNotExist or ContactGone when they change meanwhile (a merge, another address): try again;
    and BridgeChanged, with no message stored.
    """
    result = _insert(bridge=bridge, event=event) or _insert_with_new_contact(bridge=bridge, event=event)
    if result is None:
        with transaction.atomic():
            event, sender_id = _ensure_conversation(bridge=bridge, event=event)
            result = _insert(bridge=bridge, event=event, sender_id=sender_id, is_resolved=True)
            if result is None:
                raise Conversation.DoesNotExist("the conversation was created a line above, and has changed since")
    return result


def _insert_with_new_contact(*, bridge: Bridge, event: MessageReceived) -> ReceiveResult | None:
    """Store the first message of a person in one round trip; return None if there is more to be looked up first."""
    if event.outbound:  # a command in our own chat, which our session names
        return None
    creation = contact_creation(bridge=bridge, session_name=event.session, address=event.chat)
    if creation is None:
        return None
    contact_id, statements = creation
    try:
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            result = _insert(bridge=bridge, event=event, after=statements)
    except IntegrityError:  # another transaction created the contact at the same moment
        return None
    if result is not None and result.contact_id == contact_id:
        log_created(result.session_id, contact_id)
    elif result is None and (created := Contact.objects.filter(pk=contact_id).first()):  # a change of it came first
        log_created(created.session_id, contact_id)
    return result


def _ensure_conversation(*, bridge: Bridge, event: MessageReceived) -> tuple[MessageReceived, UUID | None]:
    """Ensure that session, contact and conversation exist; return the event with the address that is written to, and
    the writer's contact id in a group."""
    session = register_session(bridge=bridge, name=event.session, phone=event.own_phone or "")
    record_own_lid(session, event)
    event = with_known_phones(event, session=session)
    contact = resolve_contact(session=session, address=event.chat)
    sender = resolve_contact(session=session, address=event.sender) if event.chat.is_group else None
    # Last: contacts are locked before conversations.
    resolve_conversation(contact=contact, address=event.chat.address, at=event.sent_at)
    return event, sender.pk if sender else None


def _insert(
    *, bridge: Bridge, event: MessageReceived, sender_id: UUID | None = None, is_resolved: bool = False,
    after: Sequence[Call] = (),
) -> ReceiveResult | None:  # fmt: skip
    """Store the message, if its contact and conversation are known; return None if they have to be looked up first.

    `after`: statements that run before it, in its round trip and transaction.
    `is_resolved`: they were, in a transaction, so that an alias which belongs to somebody else does not matter.
    """
    if event.chat.is_group and sender_id is None:
        return None  # the writer has to be looked up first
    alias_kind, alias_value = event.chat.aliases[0]
    message_id = uuid7()
    called = _called(event)
    parameters = {
        "id": message_id,
        "bridge_id": bridge.pk,
        "bridge_version": bridge.row_version,
        "session": event.session,
        "alias_kind": alias_kind.value,
        "alias_value": alias_value,
        "alternates": [] if is_resolved else _further_names(event.chat),
        "address": event.chat.address,
        "is_resolved": is_resolved,
        "name": (event.chat.name or "")[:200],
        "sender_id": sender_id,
        "kind": event.kind.value,
        "text": event.text,
        "details": Json(_details(event)),
        "provider_message_id": event.provider_message_id,
        "quoted_id": event.quoted_id,
        "calls_us": bool({event.own_phone, event.own_lid} & set(called)),
        "called": called,
        "written_at": event.sent_at or timezone.now(),
        "answerable": event.answerable and event.kind is not Kind.REACTION and not _is_from_us(event),
        "is_own_command": event.outbound,
        "is_history": event.is_history,
        "is_missed": event.is_missed,
        "max_debounce_s": _debounce_s(event.text),
    }
    with transaction.atomic() if event.media else nullcontext():  # one statement is a transaction of its own
        (row,) = INSERT_INBOUND_MESSAGE.rows_after(after, **parameters)
        is_unchanged, conversation_id, session_id, contact_id, is_new, due_at, is_due, link, *more = row
        is_changed_early, reaction, is_held_elsewhere = more
        if not is_unchanged:
            raise BridgeChanged
        if conversation_id is None or (is_changed_early and not is_resolved):
            return None
        if is_new and event.media:
            fetching.add_received(message_id=message_id, bridge=bridge, media=event.media, is_history=event.is_history)
        elif event.media:
            fetching.add_late_reference(
                conversation_id=conversation_id,
                provider_message_id=event.provider_message_id,
                bridge=bridge,
                media=event.media,
            )
    if is_changed_early:
        apply_early_changes(session_id=session_id, provider_message_id=event.provider_message_id)
    if event.is_standby or (is_held_elsewhere and not event.is_history):
        # A chat that is given back is not reported otherwise.
        name = control.ANOTHER_PROGRAM if event.is_standby else ""
        control.record_external_controller(conversation_id=conversation_id, name=name, at=event.sent_at)
    if is_new and link != WhatsAppSession.Status.CONNECTED:
        mark_connected(bridge=bridge, name=event.session, at=event.sent_at)
    return ReceiveResult(
        message_id=message_id,
        conversation_id=conversation_id,
        session_id=session_id,
        contact_id=contact_id,
        is_new=is_new,
        due_at=due_at if is_due else None,
        reaction=reaction,
    )


def _is_from_us(event: MessageReceived) -> bool:
    """Return whether our own number wrote what the bridge reports as inbound: the agent would answer itself."""
    if event.outbound:  # a command of the owner in their own chat
        return False
    if event.sender.phone is None or event.own_phone is None:
        return event.own_lid is not None and event.sender.address == event.own_lid
    return event.sender.phone in owner_spellings(event.own_phone)


def _called(event: MessageReceived) -> list[str]:
    """Return whom a message in a group calls, phones in each spelling that is the same number."""
    return [each for called in event.called for each in (owner_spellings(called) if called[0] == "+" else [called])]


def _further_names(chat: ChatAddress) -> list[str]:
    return [value for _, value in chat.aliases[1:]] + ([chat.username] if chat.username else [])


def _details(event: MessageReceived) -> dict[str, Any]:
    """Return what is stored beside the text; `full_id` is how a bridge that wraps ids wants this message named."""
    more = {"forwarded": event.forwarded, "standby": event.is_standby, "full_id": event.full_id}
    return event.details | {name: value for name, value in more.items() if value}


def _debounce_s(text: str) -> float | None:
    """Return the longest debounce for this text in seconds; None leaves it to the profile."""
    ending = text.rstrip()
    if ending.startswith(COMMAND_MARKS):
        return 0.0
    return QUESTION_DEBOUNCE_S if ending.endswith(QUESTION_MARKS) else None


def is_note_to_self(*, bridge: Bridge, event: MessageReceived) -> bool:
    """Return whether our phone wrote to its own number, and it is not a message that we sent there.

    The echo of what we are sending may come before its id: our own words are no command.
    """
    if event.is_echo or event.chat.is_group:
        return False
    session = WhatsAppSession.objects.filter(bridge=bridge, name=event.session).first()
    if session is None or not is_own_chat(event, session=session):
        return False
    sent = Message.objects.filter(
        provider_message_id=event.provider_message_id, session=session, direction=Message.Direction.OUTBOUND
    )
    own_contacts = Q(phone__in=owner_spellings(session.phone) if session.phone else [])
    own_contacts |= Q(aliases__value=event.chat.address)
    in_own_chat = unsettled_sends(event).filter(
        conversation__contact__in=Contact.objects.filter(own_contacts, session=session)
    )
    return not sent.exists() and not in_own_chat.exists()


def _chat_without_our_name(event: MessageReceived) -> ChatAddress:
    """The chat of an outbound message. The name that comes with it is the writer's, ours; a group's may be its own."""
    chat = event.chat
    if chat.is_group and event.sender.address != chat.address:
        return chat
    return replace(chat, name=None, alternates=tuple(replace(each, name=None) for each in chat.alternates))


def _is_known(conversation: Conversation, event: MessageReceived) -> bool:
    """Whether an own message is stored, here or, when we sent it, under another address of the chat."""
    same_id = Message.objects.filter(session_id=conversation.session_id, provider_message_id=event.provider_message_id)
    sent_by_us = same_id.filter(same_content(event), direction=Message.Direction.OUTBOUND)
    return (
        same_id.filter(conversation=conversation).exists() or sent_by_us.exclude(author=Message.Author.PHONE).exists()
    )


@transaction.atomic
def receive_own_message(*, bridge: Bridge, event: MessageReceived) -> Message | None:
    """Store a message of our own number: typed on the phone, or the echo of one that was sent through the bridge.

    An echo settles its send. A message typed on the phone just now takes over the conversation. While the answer to a
    send is awaited, nobody knows which of the two it is: it is held, and nothing more is sent (`settle_held_messages`).
    Returns the stored message; None for one already stored, held, or our own echo.
    """
    session = register_session(bridge=bridge, name=event.session, phone=event.own_phone or "")
    record_own_lid(session, event)
    event = with_known_phones(event, session=session)
    contact = resolve_contact(session=session, address=_chat_without_our_name(event))
    conversation = resolve_conversation(contact=contact, address=event.chat.address, at=event.sent_at)
    Conversation.objects.select_for_update().get(pk=conversation.pk)
    if _is_known(conversation, event):
        record_full_id(event=event, session_id=session.pk)
        return None
    unsettled = find_unsettled_send(conversation, event)
    if unsettled is not None and (event.is_echo or unsettled.status != Message.Status.SENDING):
        record_sent(message_id=unsettled.pk, provider_message_id=event.provider_message_id, at=event.sent_at)
        record_full_id(event=event, session_id=session.pk)
        return None
    is_sending = Message.objects.filter(conversation=conversation, status=Message.Status.SENDING).exists()
    if is_sending and not event.is_history:
        HeldMessage.objects.create(conversation=conversation, event=EVENT.dump_python(event, mode="json"))
        return None
    if settle_earlier_try(conversation, event):
        event = replace(event, is_echo=True)  # the contact has it twice, and nobody typed
    return _store_own_message(event, session=session, contact=contact, conversation=conversation)


@periodic(every_s=1)
def settle_held_messages() -> None:
    """Store the messages held while the answer to a send was awaited: their ids now show which are echoes."""
    sending = Message.objects.filter(conversation=OuterRef("conversation"), status=Message.Status.SENDING)
    held_messages = HeldMessage.objects.filter(~Exists(sending)).select_related("conversation__session__bridge")
    for held in held_messages.order_by("id")[:500]:
        with suppress(IntegrityError, Conversation.DoesNotExist, ContactGone), transaction.atomic():  # next time
            receive_own_message(bridge=held.conversation.session.bridge, event=EVENT.validate_python(held.event))
            deleted, _ = HeldMessage.objects.filter(pk=held.pk).delete()  # a merge locks the conversation first, too
            transaction.set_rollback(not deleted)  # it was settled, or forgotten, meanwhile
        wakeups.notify(held.conversation_id, session_id=held.conversation.session_id)


def _store_own_message(
    event: MessageReceived, *, session: WhatsAppSession, contact: Contact, conversation: Conversation
) -> Message:
    """Store what was typed on the phone, which takes over, or what another program sent through the bridge.

    What the bridge was asked for takes over only if it is sure that it was typed: it may be ours of before a restore.
    """
    now = timezone.now()
    written_at = min(event.sent_at or now, now)
    said_at = written_at if event.is_history or event.is_missed else now
    message = Message.objects.create(
        session=session,
        conversation=conversation,
        direction=Message.Direction.OUTBOUND,
        author=Message.Author.API if event.is_echo else Message.Author.PHONE,
        kind=event.kind.value,
        status=Message.Status.SENT,
        text=event.text,
        details=_details(event),
        provider_message_id=event.provider_message_id,
        address=event.chat.address,
        quoted_provider_id=event.quoted_id or "",
        quoted=Message.objects.filter(conversation=conversation, provider_message_id=event.quoted_id or "").first(),
        said_at=said_at,
        written_at=written_at,
        sent_at=written_at,
    )
    if event.media:
        fetching.add_received(
            message_id=message.pk, bridge=session.bridge, media=event.media, is_history=event.is_history
        )
    is_reply = event.kind is not Kind.REACTION  # which may be our own, from a bridge that does not tell echoes apart
    if is_reply:
        last_message_at = max(filter(None, [conversation.last_message_at, said_at]))
        Conversation.objects.filter(pk=conversation.pk).update(last_message_at=last_message_at)
    if event.is_standby:
        control.record_external_controller(
            conversation_id=conversation.pk, name=control.ANOTHER_PROGRAM, at=event.sent_at
        )
    is_fresh = written_at > now - timedelta(seconds=session.agent_profile.max_answer_age_s)
    may_take_over = event.is_typed if event.is_missed else not (event.is_history or event.is_echo)
    is_note = is_own_chat(event, session=session) or (
        bool(session.phone) and contact.phone in owner_spellings(session.phone)
    )
    if is_fresh and is_reply and may_take_over and not is_note:
        control.record_typed_on_phone(conversation=conversation, text=event.text)
    apply_early_changes(session_id=session.pk, provider_message_id=event.provider_message_id)
    return message
