"""Take a request for attention back once its cause is gone."""

from messaging.models import Conversation


def withdraw_attention(conversation: Conversation, *, reason: Conversation.Attention, note: str) -> None:
    """Remove the lines that begin with `note`, and the request where nothing else asks for attention.

    Changes nothing if the notes have changed since the conversation was read.
    """
    lines = conversation.attention_note.split("\n")
    others = [line for line in lines if not line.startswith(note)]
    if len(others) == len(lines):
        return
    remaining = conversation.attention_reason if others else ""
    Conversation.objects.filter(pk=conversation.pk, attention_note=conversation.attention_note).update(
        needs_attention=bool(others),
        attention_reason="" if remaining == reason else remaining,
        attention_note="\n".join(others),
    )
