"""Recognise what we sent in its echo, by its content."""

from django.db.models import Q

from agent.bridges.events import Kind, MessageReceived

COMPARED = {"poll": ("name", "options"), "menu": ("rows",)}


def same_content(event: MessageReceived, *, any_kind: bool = False) -> Q:
    """Return the condition that a message has the content of an echo, and its kind.

    Polls and lists come back as WhatsApp has them, without our text and kind.
    """
    for name, parts in COMPARED.items():
        if isinstance(choices := event.details.get(name), dict):
            return Q(kind=Kind.INTERACTIVE.value, **{f"details__{name}__{part}": choices.get(part) for part in parts})
    return Q(text=event.text) if any_kind else Q(text=event.text, kind=event.kind.value)
