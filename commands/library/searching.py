"""The search command."""

from datetime import tzinfo
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from commands.registry import READERS, Arguments, By, Call, Result, chat_command
from messaging.history.transcript import is_withheld
from messaging.models import Message
from messaging.search.ranking import Hit, search
from whatsapp_agent.text.times import format_minute
from whatsapp_agent.text.truncate import truncate

MAX_LINE_CHARS = 160
MAX_TOOL_LINE_CHARS = 600
EXTRA_HITS = 5  # for unanswered messages among the hits, which are left out


class SearchArguments(Arguments):
    words: str = Field(
        min_length=1, max_length=300, description=gettext_noop("What to search for: a few distinctive words.")
    )
    limit: int = Field(default=5, ge=1, le=20, description=gettext_noop("How many messages at most."))


@chat_command(
    "search",
    gettext_noop("Search the messages of this conversation."),
    allowed=READERS,
    aliases=("find", "buscar", "procurar", "suche"),
    tool="search_messages",
    tool_description=(
        "Search everything ever said in this conversation, also what is no longer shown to you. Use it before saying "
        "that you do not know what was said."
    ),
    examples=("/search blue bicycle", "/search invoice limit=10"),
    reads_only=True,
)
def search_messages(call: Call, arguments: SearchArguments) -> Result:
    by_model = call.caller.by == By.MODEL
    hits = search(
        conversation=call.conversation,
        query=arguments.words,
        limit=arguments.limit + EXTRA_HITS,
        since=call.conversation.context_from if by_model else None,  # who starts afresh is not reminded by the model
    )
    # The request itself contains the words: a typed command, or the messages the model is about to answer.
    hits = [hit for hit in hits if not _is_hidden(hit.message, call)][: arguments.limit]
    if not hits:
        return Result(_("Nothing was found."), {"results": []})
    lines = "\n".join(f"• {_line(hit.message, MAX_LINE_CHARS, zone=call.zone)}" for hit in hits)
    return Result(lines, {"results": [_as_data(hit, zone=call.zone) for hit in hits]})


def _is_hidden(message: Message, call: Call) -> bool:
    """Whether a hit is the request itself, or must not be shown to a model."""
    return _is_request(message, call) or (call.caller.by == By.MODEL and is_withheld(message.details))


def _is_request(message: Message, call: Call) -> bool:
    if call.caller.by == By.MODEL:
        return message.status == Message.Status.RECEIVED
    return call.message is not None and message.pk == call.message.pk


def _as_data(hit: Hit, *, zone: tzinfo) -> dict[str, Any]:
    return {
        "message": str(hit.message.pk),
        "said": _line(hit.message, MAX_TOOL_LINE_CHARS, zone=zone),
        "around": [
            _line(message, MAX_LINE_CHARS, zone=zone) for message in hit.neighbours if not is_withheld(message.details)
        ],
        "why": hit.why,
    }


def _line(message: Message, limit: int, *, zone: tzinfo) -> str:
    who = _("contact") if message.direction == Message.Direction.INBOUND else _("we")
    text = " ".join(message.text.split()) or f"[{message.kind}]"
    return f"{format_minute(message.said_at, zone=zone)} {who}: {truncate(text, limit)}"
