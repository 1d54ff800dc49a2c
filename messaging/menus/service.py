"""Send buttons and lists. They are stored as a text with its choices, so that everything reads them like one."""

from dataclasses import asdict

from django.utils.translation import gettext as _

from accounts.models import User
from agent.bridges.base import Menu
from agent.bridges.capabilities import Capability
from agent.bridges.events import Kind
from messaging.models import Conversation, Message
from messaging.outbound import check_sendable, queue_message
from sessions_app.bridges import adapter_for
from whatsapp_agent.errors import NotSupportedByBridge


def send_menu(
    *,
    conversation: Conversation,
    menu: Menu,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
) -> Message:
    """Queue buttons or a list. Raises what `messaging.outbound.send_text` raises."""
    check_sendable(conversation=conversation)
    if Capability.SEND_MENU not in adapter_for(conversation.session.bridge).capabilities:
        raise NotSupportedByBridge(_("The bridge of this number cannot send buttons and lists."))
    return queue_message(
        conversation=conversation,
        author=author,
        by=by,
        quoted=quoted,
        kind=Kind.INTERACTIVE.value,
        text=as_text(menu),
        details={"menu": asdict(menu)},
    )


def as_text(menu: Menu) -> str:
    """Return the text with its choices, one a line."""
    rows = [": ".join(filter(None, [row["title"], row.get("description", "")])) for row in menu.rows]
    choices = [f"{number}. {choice}" for number, choice in enumerate(menu.buttons or rows, start=1)]
    return "\n".join([menu.text, "", *choices])
