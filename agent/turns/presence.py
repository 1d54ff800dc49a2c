"""Show the contact that the agent has read and is writing: as their bridge can, and never in the way of the answer."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog

from agent.bridges.base import MessageRef
from agent.bridges.capabilities import Capability
from agent.bridges.events import MessageReceived
from agent.bridges.exchange import BridgeError, Steps
from messaging.leases import Lease
from messaging.models import Conversation, Message
from messaging.outbound import reference_to
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import Bridge
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_CALLS = 16  # at once in a process; beyond that nothing is shown
CHECK_EVERY_S = 2.0
TYPING_MARGIN_S = 3.0  # typing is shown again so long before it would end

Call = Callable[[], Steps[Any]]

_free_calls = threading.BoundedSemaphore(MAX_CALLS)


@dataclass(slots=True)
class _Typing:
    """What is shown for one turn, and when it is to be shown again, on the monotonic clock."""

    conversation_id: UUID
    epoch: int
    bridge: Bridge
    show: Call
    stop: Call
    again_after_s: float
    again_at: float = field(default=0.0)


_shown: dict[UUID, _Typing] = {}  # by the token of the turn's lease
_shown_lock = threading.Lock()


def show_presence(conversation: Conversation, *, last: UUID, lease: Lease) -> None:
    """Mark the last message of the burst as read and show typing, as the agent profile says. Returns at once.

    Typing is shown until `end_typing`. The bridge is called by another thread; a failure is logged and changes nothing.
    """
    profile = conversation.session.agent_profile
    adapter = adapter_for(conversation.session.bridge)
    reads = profile.marks_read and Capability.MARK_READ in adapter.capabilities
    types = profile.shows_typing and Capability.TYPING in adapter.capabilities
    if not (reads or types) or (message := Message.objects.filter(pk=last).select_related("sender").first()) is None:
        return
    bridge = conversation.session.bridge
    ref = reference_to(message, adapter=adapter, is_group=conversation.contact.is_group)
    to: dict[str, Any] = {"session": conversation.session.name, "address": conversation.address}
    calls: list[Call] = []
    if reads:
        calls.append(lambda: adapter.mark_read(message=ref, **to))
    if types:
        typing = _Typing(
            conversation_id=conversation.pk,
            epoch=lease.epoch,
            bridge=bridge,
            show=lambda: adapter.show_typing(last=ref, **to),
            stop=lambda: adapter.show_typing(last=ref, is_typing=False, **to),
            again_after_s=adapter.typing_lasts_s - TYPING_MARGIN_S,
        )
        typing.again_at = time.monotonic() + typing.again_after_s
        with _shown_lock:
            _shown[lease.token] = typing
        calls.append(typing.show)
    _call_aside(bridge, calls, what="presence")


def end_typing(lease: Lease, *, is_answered: bool) -> None:
    """Show typing no longer. An answer ends it by itself; where none follows, the bridge is told."""
    with _shown_lock:
        typing = _shown.pop(lease.token, None)
    if typing is not None and not is_answered:
        _stop(typing)


@periodic(every_s=CHECK_EVERY_S, in_each_process=True)
def repeat_typing() -> None:
    """Show typing again where a turn takes long, and no longer where a person took over meanwhile."""
    now = time.monotonic()
    with _shown_lock:
        shown = dict(_shown)
    if not shown:
        return
    rows = Conversation.objects.filter(pk__in={typing.conversation_id for typing in shown.values()}, control="agent")
    epochs = dict(rows.values_list("pk", "control_epoch"))
    for token, typing in shown.items():
        if epochs.get(typing.conversation_id) != typing.epoch:
            with _shown_lock:
                is_shown = _shown.pop(token, None) is not None
            if is_shown:
                _stop(typing)
        elif typing.again_at <= now:
            typing.again_at = now + typing.again_after_s
            _call_aside(typing.bridge, [typing.show], what="typing")


def react(bridge: Bridge, event: MessageReceived, *, emoji: str) -> None:
    """React to a message that has just come, if the bridge can. Returns at once; a failure changes nothing."""
    adapter = adapter_for(bridge)
    if Capability.REACT not in adapter.capabilities:
        return
    if adapter.unreachable_reason(address=event.chat.address, is_group=event.chat.is_group):
        return
    sender = event.sender.address if event.chat.is_group else ""
    ref = MessageRef(event.provider_message_id, full_id=event.full_id, sender=sender, text=event.text)
    call = lambda: adapter.send_reaction(session=event.session, address=event.chat.address, target=ref, emoji=emoji)  # noqa: E731
    _call_aside(bridge, [call], what="reaction")


def _stop(typing: _Typing) -> None:
    _call_aside(typing.bridge, [typing.stop], what="typing")


def _call_aside(bridge: Bridge, calls: Sequence[Call], *, what: str) -> None:
    """Call the bridge in another thread; do nothing if too many such calls are under way."""
    if not _free_calls.acquire(blocking=False):
        return

    def run() -> None:
        try:
            for call in calls:
                try:
                    call_bridge(bridge, call())
                except BridgeError as exc:
                    log.info("presence_not_shown", what=what, bridge=bridge.slug, code=exc.code)
        finally:
            _free_calls.release()

    try:
        threading.Thread(target=run, name="presence", daemon=True).start()
    except RuntimeError:  # the machine starts no more threads: neither a turn nor a webhook request depends on this
        _free_calls.release()
