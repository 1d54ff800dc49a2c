"""Ask bridges for messages whose webhook requests were lost, and store them like those that came.

What they list shows missed edits and deletions too: a message that we have has another text and a later time, or the
change is listed itself. They are asked after a start, when a number is connected again, and every few minutes. A bridge
may be slow, list what we did not ask for or the same page for ever: pages, messages and time are limited, and a message
is stored once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple
from uuid import UUID

import structlog
from django.utils import timezone

from agent.bridges.events import BridgeEvent, ChatAddress, MessageEdited, MessageReceived, MessageRevoked
from agent.bridges.exchange import BridgeError, Refused
from agent.bridges.parsing import MAX_CLOCK_SKEW
from agent.inbox import store_missed
from messaging.models import ContactAlias, Message
from sessions_app.bridge_clocks import BridgeClock, offset_s, on_our_clock
from sessions_app.bridges import UNREACHABLE, adapter_for, call_bridge
from sessions_app.links import catching_up
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_NUMBERS = 20  # asked in one round
MAX_PAGES = 50
MAX_OLD_PAGES = 3  # one after the other: a bridge may list in another order than that of the times
MAX_MESSAGES = 1000
MAX_SECONDS = 30.0
EDITABLE_FOR = timedelta(minutes=20)  # WhatsApp's own limit is 15


@dataclass(slots=True)
class Listing:
    """What a bridge has listed: the messages that are not stored, the changes of those that are, and down to when it
    has listed all, newest first."""

    missing: dict[tuple[str, str], MessageReceived] = field(default_factory=dict)
    changes: list[MessageEdited | MessageRevoked] = field(default_factory=list)
    reached: datetime | None = None
    is_complete: bool = False

    def is_further_than(self, gap: catching_up.Gap) -> bool:
        """Return whether less of the gap is left than before."""
        return gap.until is None or (self.reached is not None and self.reached < gap.until)


@periodic(every_s=5, may_block=True)
def fetch_due() -> None:
    """Ask the bridges of the numbers that are due, one at a time. One that is not reached is left alone for now."""
    asked: list[UUID] = []
    unreachable: list[UUID] = []
    while len(asked) < MAX_NUMBERS:
        session = catching_up.claim_next(asked=asked, failing=unreachable)
        if session is None:
            return
        asked.append(session.bridge_id)
        try:
            _fetch(session)
        except BridgeError as exc:
            if exc.code in UNREACHABLE:
                unreachable.append(session.bridge_id)
            log.info("missed_messages_not_listed", session=str(session.pk), code=exc.code)


def fetch_missed(bridge: Bridge) -> Iterator[tuple[str, int | None]]:
    """Ask for the messages that each number of a bridge missed; yield its name and how many were stored.

    None: the bridge failed. One that cannot be reached is asked once.
    """
    is_reachable = True
    for session in catching_up.connected(bridge).order_by("name"):
        count = None
        try:
            if is_reachable:
                catching_up.postpone(session, by=catching_up.INTERVAL)
                count = _fetch(session)
        except BridgeError as exc:
            is_reachable = exc.code not in UNREACHABLE
            log.info("missed_messages_not_listed", session=str(session.pk), code=exc.code)
        yield session.name, count


def _fetch(session: WhatsAppSession) -> int:
    """Store what is missing, in the order in which it was written; return how many messages. Raises BridgeError.

    What was listed before a failure is stored, and not asked for again.
    """
    now = timezone.now()
    newest = Message.objects.filter(session=session).order_by("-said_at", "-id").values_list("created_at", flat=True)
    gap = catching_up.open_gap(session, newest=newest.first(), now=now)
    listing = Listing()
    try:
        _list_missing(session, gap=gap, listing=listing)
    except BridgeError as exc:
        if isinstance(exc, Refused):
            catching_up.postpone(session, by=catching_up.PAUSE_AFTER_REFUSAL)
        if not listing.is_further_than(gap) and exc.code not in UNREACHABLE:
            catching_up.start_over(session)
        raise
    finally:
        # Changes first: what was deleted meanwhile is not answered. Our own messages before what they answer.
        changed = store_missed(bridge=session.bridge, events=_without_changes_of_forgotten(session, listing.changes))
        missing = _without_forgotten(session, listing.missing.values())
        in_order = sorted(missing, key=lambda message: (not message.outbound, message.sent_at or now))
        results = store_missed(bridge=session.bridge, events=in_order)
        if results["kept"]:
            log.warning("missed_messages_stored", session=str(session.pk), count=results["kept"])
        if not_kept := results["not_kept"] + changed["not_kept"]:
            log.warning("missed_messages_not_stored", session=str(session.pk), count=not_kept)
        elif listing.is_complete:
            catching_up.record_caught_up(session, until=gap.began_at)
        elif listing.reached is not None and listing.is_further_than(gap):
            catching_up.record_part(session, gap=gap, until=listing.reached)
    if not listing.is_complete:
        catching_up.postpone(session, by=catching_up.PAUSE_BETWEEN_PARTS)
    return results["kept"]


def _list_missing(session: WhatsAppSession, *, gap: catching_up.Gap, listing: Listing) -> None:
    """Read pages into `listing` to their end, or until the limits are reached. Raises BridgeError."""
    adapter = adapter_for(session.bridge)
    ahead = timedelta(seconds=offset_s(session.bridge, BridgeClock.MESSAGES))
    give_up_at = monotonic() + MAX_SECONDS
    listed: set[tuple[str, str]] = set()
    old_pages = 0
    for page in range(MAX_PAGES):
        postgres.release()
        until = gap.until or timezone.now() + MAX_CLOCK_SKEW
        steps = adapter.list_messages(session=session.name, since=gap.since + ahead, until=until + ahead, page=page)
        events = call_bridge(session.bridge, steps)
        messages = [event for event in events if isinstance(event, MessageReceived)]
        unseen = [event for event in messages if _key(event) not in listed]
        new = {_key(event): event for event in _within(session.bridge, unseen, since=gap.since)}
        old_pages = 0 if new else old_pages + bool(messages)
        if not events or (messages and not unseen) or old_pages >= MAX_OLD_PAGES:  # the end, or the same again
            listing.is_complete = True
            return
        listed |= {_key(event) for event in unseen}
        known = _find_stored(session, new.values())
        listing.missing |= {key: event for key, event in new.items() if key not in known}
        listing.changes += [*_edits(new, known), *_listed_changes(session.bridge, events)]
        # Its newest, not its oldest: a bridge that lists the oldest first is asked again for what it left out.
        listing.reached = max((event.sent_at for event in new.values() if event.sent_at), default=listing.reached)
        if len(listing.missing) >= MAX_MESSAGES or (page and monotonic() > give_up_at):
            return  # the rest is asked for next time
    if not listing.is_further_than(gap):
        log.warning("missed_messages_too_many", session=str(session.pk), pages=MAX_PAGES)
        listing.is_complete = True


def _key(message: MessageReceived) -> tuple[str, str]:
    return message.provider_message_id, message.chat.address


def _within(bridge: Bridge, messages: list[MessageReceived], *, since: datetime) -> list[MessageReceived]:
    """Return the messages that were written since, with their times on our clock, whatever else the bridge lists."""
    timed = [(message, on_our_clock(bridge, BridgeClock.MESSAGES, message.sent_at)) for message in messages]
    return [replace(message, sent_at=at, is_missed=True) for message, at in timed if at is not None and at >= since]


def _without_forgotten(session: WhatsAppSession, messages: Iterable[MessageReceived]) -> list[MessageReceived]:
    """Return the messages of people who were not forgotten after they were written.

    Of a hidden number that has no contact it is not known whether it is theirs: then they may have been.
    """
    forgotten = catching_up.Forgotten(session)

    def forgotten_at(person: ChatAddress) -> datetime | None:
        values = [value for _, value in person.aliases]
        is_hidden = person.phone is None and not person.is_group
        if is_hidden and not ContactAlias.objects.filter(session=session, value__in=values).exists():
            return forgotten.latest_at
        return max(filter(None, map(forgotten.forgotten_at, values)), default=None)

    if forgotten.latest_at is None:
        return list(messages)
    kept = []
    for message in messages:
        people = [message.chat] if message.outbound else [message.chat, message.sender]
        times = [at for person in people if (at := forgotten_at(person))]
        if not times or (message.sent_at is not None and message.sent_at > max(times)):
            kept.append(message)
    return kept


class _Stored(NamedTuple):
    """What is compared of a stored message with what a bridge lists."""

    text: str
    is_of_others: bool  # of the contact, or typed on the phone: what we sent may be spelled otherwise
    written_at: datetime | None
    edited_at: datetime | None


def _find_stored(session: WhatsAppSession, messages: Iterable[MessageReceived]) -> dict[tuple[str, str], _Stored]:
    """Return the stored messages among these, by the keys of these.

    One person may be known here by phone and listed by hidden address, or the reverse: an inbound message with the id
    and the time of a stored one, or the time of an edit, is the same. Two chats whose phones are known may both have
    the id.
    """
    rows = Message.objects.filter(
        session=session, provider_message_id__in=[each.provider_message_id for each in messages]
    )
    by_address: dict[tuple[str, str], _Stored] = {}
    by_id: defaultdict[tuple[str, bool], list[_Stored]] = defaultdict(list)
    person = "conversation__contact"
    columns = "provider_message_id", f"{person}__aliases__value", f"{person}__phone", f"{person}__is_group"
    for row in rows.values(*columns, "direction", "author", "text", "written_at", "edited_at"):
        name, address, phone, is_group = (row[column] for column in columns)
        is_inbound = row["direction"] == Message.Direction.INBOUND
        is_of_others = is_inbound or row["author"] == Message.Author.PHONE
        stored = _Stored(row["text"], is_of_others, row["written_at"], row["edited_at"])
        by_address[name, address] = stored
        if is_inbound and not is_group:
            by_id[name, not phone].append(stored)

    def find(message: MessageReceived) -> _Stored | None:
        name = message.provider_message_id
        here = next((by_address[name, value] for _, value in message.chat.aliases if (name, value) in by_address), None)
        if here is not None or message.outbound or message.chat.is_group:
            return here
        others = by_id[name, message.chat.phone is not None]
        return next((each for each in others if _may_be_one(each.written_at, message.sent_at)), None)

    found = ((_key(message), find(message)) for message in messages)
    return {key: stored for key, stored in found if stored is not None}


def _may_be_one(written_at: datetime | None, listed_at: datetime | None) -> bool:
    if written_at is None or listed_at is None:
        return False
    return written_at.replace(microsecond=0) <= listed_at <= written_at + EDITABLE_FOR


def _edits(
    listed: dict[tuple[str, str], MessageReceived], known: dict[tuple[str, str], _Stored]
) -> Iterator[MessageEdited]:
    """Yield the edits that we missed: WAHA and Evolution keep the new text, with the time of the edit.

    Without a later time nobody knows which text is the newer one, or whether they differ for another reason.
    """
    for key, stored in known.items():
        message = listed[key]
        before = max(filter(None, [stored.written_at, stored.edited_at]), default=None)
        if before is None or message.sent_at is None or message.sent_at <= before:
            continue
        if stored.is_of_others and message.text not in {"", stored.text}:
            yield MessageEdited(
                message.session,
                target_id=message.provider_message_id,
                text=message.text,
                chat=message.chat,
                sender=message.sender,
                outbound=message.outbound,
                at=message.sent_at,
            )


def _listed_changes(bridge: Bridge, events: Iterable[BridgeEvent]) -> Iterator[MessageEdited | MessageRevoked]:
    """Yield the edits and deletions that are listed themselves, with their times on our clock."""
    for event in events:
        match event:
            case MessageEdited():
                yield replace(event, at=on_our_clock(bridge, BridgeClock.MESSAGES, event.at))
            case MessageRevoked():
                yield event


def _without_changes_of_forgotten(
    session: WhatsAppSession, changes: Iterable[MessageEdited | MessageRevoked]
) -> list[MessageEdited | MessageRevoked]:
    """Return the changes that bring nothing back: an edit from before somebody was forgotten may name them."""
    latest_at = catching_up.Forgotten(session).latest_at
    return [
        change
        for change in changes
        if isinstance(change, MessageRevoked) or latest_at is None or (change.at is not None and change.at > latest_at)
    ]
