"""Ask bridges for messages whose webhook requests were lost, and store them like those that came.

After a start, when a number is connected again, and every few minutes. A bridge may be slow, list what we did not ask
for or the same page for ever: pages, messages and time are limited, and a message is stored once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

import structlog
from django.utils import timezone

from agent.bridges.events import ChatAddress, MessageReceived
from agent.bridges.exchange import BridgeError, Refused
from agent.bridges.parsing import MAX_CLOCK_SKEW
from agent.inbox import store_missed_messages
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
MAX_MESSAGES = 1000
MAX_SECONDS = 30.0


@dataclass(slots=True)
class Listing:
    """What a bridge has listed: the messages that are not stored, and down to when it has listed all, newest first."""

    missing: dict[tuple[str, str], MessageReceived] = field(default_factory=dict)
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
        # Our own first: what they answer is not to be answered again.
        missing = _without_forgotten(session, listing.missing.values())
        in_order = sorted(missing, key=lambda message: (not message.outbound, message.sent_at or now))
        results = store_missed_messages(bridge=session.bridge, messages=in_order)
        if results["kept"]:
            log.warning("missed_messages_stored", session=str(session.pk), count=results["kept"])
        if results["not_kept"]:
            log.warning("missed_messages_not_stored", session=str(session.pk), count=results["not_kept"])
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
    for page in range(MAX_PAGES):
        postgres.release()
        until = gap.until or timezone.now() + MAX_CLOCK_SKEW
        steps = adapter.list_messages(session=session.name, since=gap.since + ahead, until=until + ahead, page=page)
        events = call_bridge(session.bridge, steps)
        messages = [event for event in events if isinstance(event, MessageReceived)]
        recent = _within(session.bridge, messages, since=gap.since)
        new = {_key(event): event for event in recent if _key(event) not in listed}
        if not events or (messages and not new):  # the end, or what was not asked for
            listing.is_complete = True
            return
        listed |= new.keys()
        known = _known(session, new.values())
        listing.missing |= {key: event for key, event in new.items() if key not in known}
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


def _known(session: WhatsAppSession, messages: Iterable[MessageReceived]) -> set[tuple[str, str]]:
    """Return which messages are stored, by id and chat.

    One person may be known here by phone and listed by hidden address, or the reverse: an inbound message with the id
    and the time of a stored one is the same. Two chats whose phones are known may both have the id.
    """
    ids = [message.provider_message_id for message in messages]
    stored = Message.objects.filter(session=session, provider_message_id__in=ids)
    chats = set(stored.values_list("provider_message_id", "conversation__contact__aliases__value"))
    people = stored.filter(direction=Message.Direction.INBOUND, conversation__contact__is_group=False)
    columns = "provider_message_id", "written_at", "conversation__contact__phone"
    times = {(name, at.replace(microsecond=0), not phone) for name, at, phone in people.values_list(*columns) if at}

    def is_known(message: MessageReceived) -> bool:
        if any((message.provider_message_id, value) in chats for _, value in message.chat.aliases):
            return True
        if message.outbound or message.chat.is_group or message.sent_at is None:
            return False
        has_phone = message.chat.phone is not None
        return (message.provider_message_id, message.sent_at.replace(microsecond=0), has_phone) in times

    return {_key(message) for message in messages if is_known(message)}
