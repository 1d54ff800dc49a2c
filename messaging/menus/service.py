"""Send buttons, lists and polls. They are stored as a text with its choices, so that everything reads them like one."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from accounts.models import User
from agent.bridges.base import BridgeAdapter, Menu, Poll
from agent.bridges.capabilities import Capability
from agent.bridges.events import Kind
from messaging.models import Conversation, Message
from messaging.outbound import check_sendable, queue_message
from sessions_app.bridges import adapter_for
from whatsapp_agent.errors import NotSupportedByBridge


def send_menu(
    *,
    conversation: Conversation,
    menu: Menu | Poll,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
    message_id: UUID | None = None,
    control_epoch: int | None = None,
) -> Message:
    """Queue buttons, a list or a poll. The other parameters and errors are as of `messaging.outbound.send_text`."""
    check_sendable(conversation=conversation)
    if refusal := _denial_reason(menu, adapter=adapter_for(conversation.session.bridge)):
        raise NotSupportedByBridge(refusal)
    return queue_message(
        conversation=conversation,
        author=author,
        by=by,
        quoted=quoted,
        message_id=message_id,
        kind=Kind.INTERACTIVE.value,
        text=as_text(menu),
        details=details_of(menu),
        control_epoch=control_epoch,
    )


def _denial_reason(menu: Menu | Poll, *, adapter: BridgeAdapter) -> str | None:
    if isinstance(menu, Poll):
        if Capability.SEND_POLL not in adapter.capabilities:
            return _("The bridge of this number cannot send polls.")
        if len(menu.options) > adapter.max_poll_options:
            most = adapter.max_poll_options
            return _("The bridge of this number sends no polls of more than %(limit)s options.") % {"limit": most}
        return None
    if menu.buttons and Capability.SEND_BUTTONS not in adapter.capabilities:
        return _("The bridge of this number cannot send buttons.")
    if menu.rows and Capability.SEND_LIST not in adapter.capabilities:
        return _("The bridge of this number cannot send lists.")
    return None


def details_of(menu: Menu | Poll) -> dict[str, Any]:
    """Return what is sent. Rows are without empty texts, as echoes have them."""
    if isinstance(menu, Poll):
        return {"poll": asdict(menu)}
    rows = [{name: text for name, text in row.items() if text} for row in menu.rows]
    return {"menu": asdict(replace(menu, rows=rows))}


def as_text(menu: Menu | Poll) -> str:
    """Return the text with its choices, one a line."""
    if isinstance(menu, Poll):
        text, choices = menu.name, menu.options
    else:
        rows = [": ".join(filter(None, [row["title"], row.get("description", "")])) for row in menu.rows]
        text, choices = menu.text, menu.buttons or rows
    return f"{text}\n\n{numbered(choices)}"


def numbered(choices: Sequence[str]) -> str:
    return "\n".join(f"{number}. {choice}" for number, choice in enumerate(choices, start=1))
