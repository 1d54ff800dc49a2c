"""Ask bridges for messages whose webhook requests were lost, and store them like those that came.

After a start, when a number is connected again, and every few minutes. A bridge may be slow, list what we did not ask
for or the same page for ever: pages, messages and time are limited, and a message is stored once.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic

import structlog
from django.utils import timezone

from agent.bridges.events import MessageReceived
from agent.bridges.exchange import BridgeError, Refused
from agent.bridges.parsing import MAX_CLOCK_SKEW
from agent.inbox import store_missed_messages
from messaging.models import Message
from sessions_app.bridge_clocks import BridgeClock, offset_s, on_our_clock
from sessions_app.bridges import UNREACHABLE, adapter_for, call_bridge
from sessions_app.links import catching_up
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_PAGES = 50
MAX_MESSAGES = 1000
MAX_SECONDS = 30.0


@periodic(every_s=5, may_block=True)
def fetch_due() -> None:
    """Ask the bridges of the numbers that are due. One that fails is left alone for this round."""
    failing: set[object] = set()
    for session in catching_up.claim_due():
        if session.bridge_id in failing:
            continue
        try:
            _fetch(session)
        except BridgeError as exc:
            failing.add(session.bridge_id)
            log.info("missed_messages_not_listed", session=str(session.pk), code=exc.code)


def fetch_missed(bridge: Bridge) -> dict[str, int | None]:
    """Ask for the messages that each number of a bridge missed; return how many were stored, by its name.

    None: the bridge did not list them all. One that cannot be reached is asked once.
    """
    counts: dict[str, int | None] = {}
    is_reachable = True
    for session in catching_up.claim_due(bridge):
        try:
            counts[session.name] = _fetch(session) if is_reachable else None
        except BridgeError as exc:
            counts[session.name] = None
            is_reachable = exc.code not in UNREACHABLE
            log.info("missed_messages_not_listed", session=str(session.pk), code=exc.code)
    return counts


def _fetch(session: WhatsAppSession) -> int:
    """Store what is missing, in the order in which it was written; return how many messages. Raises BridgeError.

    What was listed before a failure is stored, and the same time is asked for again later.
    """
    asked_at = timezone.now()
    newest = Message.objects.filter(session=session).order_by("-said_at", "-id").values_list("created_at", flat=True)
    since = catching_up.missed_since(session, newest=newest.first(), now=asked_at)
    missing: dict[tuple[str, str], MessageReceived] = {}
    try:
        is_complete = _list_missing(session, since=since, missing=missing)
    except Refused:
        catching_up.postpone(session, by=catching_up.PAUSE_AFTER_REFUSAL)
        raise
    finally:
        # Our own first: what they answer is not to be answered again.
        in_order = sorted(missing.values(), key=lambda message: (not message.outbound, message.sent_at or asked_at))
        results = store_missed_messages(bridge=session.bridge, messages=in_order)
        if results["kept"]:
            log.warning("missed_messages_stored", session=str(session.pk), count=results["kept"])
    if is_complete and not results["not_kept"]:
        catching_up.record_caught_up(session, until=asked_at)
    return results["kept"]


def _list_missing(
    session: WhatsAppSession, *, since: datetime, missing: dict[tuple[str, str], MessageReceived]
) -> bool:
    """Add the messages that are not stored to `missing`; return whether all pages were read, or too many to go on."""
    adapter = adapter_for(session.bridge)
    ahead = timedelta(seconds=offset_s(session.bridge, BridgeClock.MESSAGES))
    give_up_at = monotonic() + MAX_SECONDS
    listed: set[tuple[str, str]] = set()
    for page in range(MAX_PAGES):
        postgres.release()
        until = timezone.now() + MAX_CLOCK_SKEW
        steps = adapter.list_messages(session=session.name, since=since + ahead, until=until + ahead, page=page)
        events = call_bridge(session.bridge, steps)
        messages = [event for event in events if isinstance(event, MessageReceived)]
        recent = _within(session.bridge, messages, since=since)
        new = {_key(event): event for event in recent if _key(event) not in listed}
        if not events or (messages and not new):  # the end, or what was not asked for
            return True
        listed |= new.keys()
        known = _known(session, new.values())
        missing |= {key: event for key, event in new.items() if key not in known}
        if len(missing) >= MAX_MESSAGES or monotonic() > give_up_at:
            return False  # the rest is asked for next time
    log.warning("missed_messages_too_many", session=str(session.pk), pages=MAX_PAGES)
    return True


def _key(message: MessageReceived) -> tuple[str, str]:
    return message.provider_message_id, message.chat.address


def _within(bridge: Bridge, messages: list[MessageReceived], *, since: datetime) -> list[MessageReceived]:
    """Return the messages that were written since, with their times on our clock, whatever else the bridge lists."""
    timed = [(message, on_our_clock(bridge, BridgeClock.MESSAGES, message.sent_at)) for message in messages]
    return [replace(message, sent_at=at, is_missed=True) for message, at in timed if at is not None and at >= since]


def _known(session: WhatsAppSession, messages: Iterable[MessageReceived]) -> set[tuple[str, str]]:
    """Return which messages are stored, by id and chat. One of a chat that has another address here is not found."""
    ids = [message.provider_message_id for message in messages]
    stored = Message.objects.filter(session=session, provider_message_id__in=ids)
    chats = set(stored.values_list("provider_message_id", "conversation__contact__aliases__value"))
    return {
        _key(message)
        for message in messages
        if any((message.provider_message_id, value) in chats for _, value in message.chat.aliases)
    }
