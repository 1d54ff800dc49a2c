"""Show the contact that the agent has read and is writing: as their bridge can, and never in the way of the answer."""

import threading
from collections.abc import Callable
from uuid import UUID

import structlog

from agent.bridges.base import BridgeAdapter, Capability, MessageRef
from agent.bridges.exchange import BridgeError, Steps
from messaging.models import Conversation, Message
from sessions_app.bridges import adapter_for, call_bridge

log = structlog.get_logger(__name__)

MAX_CALLS = 16  # at once in a process; beyond that nothing is shown

_free_calls = threading.BoundedSemaphore(MAX_CALLS)


def show_presence(conversation: Conversation, *, last: UUID) -> None:
    """Mark the last message of the burst as read and show typing, as the agent profile says. Returns at once.

    The bridge is called by another thread; a failure is logged and changes nothing.
    """
    profile = conversation.session.agent_profile
    adapter = adapter_for(conversation.session.bridge)
    reads = profile.marks_read and Capability.MARK_READ in adapter.capabilities
    types = profile.shows_typing and Capability.TYPING in adapter.capabilities
    if not (reads or types) or (message := Message.objects.filter(pk=last).select_related("sender").first()) is None:
        return
    calls = _calls(adapter, conversation, message, reads=reads, types=types)
    if not _free_calls.acquire(blocking=False):
        return
    bridge = conversation.session.bridge

    def run() -> None:
        try:
            for call in calls:
                call_bridge(bridge, call())
        except BridgeError as exc:
            log.info("presence_not_shown", conversation=str(conversation.pk), code=exc.code)
        finally:
            _free_calls.release()

    threading.Thread(target=run, name="presence", daemon=True).start()


def _calls(
    adapter: BridgeAdapter, conversation: Conversation, message: Message, *, reads: bool, types: bool
) -> list[Callable[[], Steps[None]]]:
    """Return the calls to make. In a group the writer's address is named beside the message."""
    session, address = conversation.session.name, conversation.address
    sender = ""
    if conversation.contact.is_group and message.sender and message.sender.phone:
        sender = adapter.person_address(message.sender.phone.removeprefix("+"))
    ref = MessageRef(
        message.provider_message_id or "", full_id=message.details.get("full_id", ""), sender=sender, text=message.text
    )
    calls: list[Callable[[], Steps[None]]] = []
    if reads:
        calls.append(lambda: adapter.mark_read(session=session, address=address, message=ref))
    if types:
        calls.append(lambda: adapter.show_typing(session=session, address=address, last=ref))
    return calls
