"""Compact the messages that no longer fit a prompt into a running summary.

Half of the budget is compacted at once, so that the prompts in between begin alike and stay cached.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F

from agent import llm
from agent.llm.base import ContextTooLong, ModelError
from agent.llm.tokens import estimate_tokens
from agent.turns.prompt import Line, to_lines
from commands import asking
from messaging.history.conversation import load_conversation
from messaging.history.transcript import HistoryMessage, load_history, name_of
from messaging.models import Conversation, Message, Summary
from whatsapp_agent.callback import Callback
from whatsapp_agent.text.split import shorten

log = structlog.get_logger(__name__)

MAX_LINES = 200  # messages of history, however short
EARLY_SHARE = 0.9  # of the budget; beyond it, compaction is scheduled beside the turns
UNCOMPACTED_SHARE = 0.5  # of the budget stays as messages
SUMMARY_SHARE = 0.15  # of the budget, at most, is the summary
MIN_SPLIT_MESSAGES = 8  # fewer are not summarized in halves
MAX_EXCERPT_CHARS = 100  # of one message, where no model can summarize

TASK = (
    "You keep the running summary of a WhatsApp conversation, for an assistant who will not see these messages again. "
    "<notes> holds the summary so far, if there is one. Write the new one, of what was known and what is new, in at "
    "most {words} words and in the language of the conversation: who the contact is and what they want; what was "
    "agreed, promised or decided; what is open; names, numbers and dates as they were written. Nothing that was not "
    "written, and no comment."
)

# Asks the engine for compaction beside the turns. A lost request costs nothing: the turn that needs it compacts.
schedule = Callback[[UUID, UUID], None](default=lambda _conversation_id, _session_id: None)


def exceeds_budget(lines: Sequence[Line], *, budget: int, share: float = 1.0) -> bool:
    """Whether the history is larger than this share of the budget."""
    return sum(line.tokens for line in lines) > budget * share or len(lines) > MAX_LINES * share


def compact_early(conversation_id: UUID) -> None:
    """Compact a conversation that is about to exceed its budget."""
    try:
        conversation = load_conversation(conversation_id)
    except Conversation.DoesNotExist:
        return
    lines = to_lines(load_history(conversation), is_group=conversation.contact.is_group, zone=conversation.session.zone)
    if exceeds_budget(lines, budget=conversation.session.agent_profile.history_tokens, share=EARLY_SHARE):
        compact(conversation, lines)


def compact(conversation: Conversation, lines: Sequence[Line]) -> bool:
    """Summarize the older messages, by excerpts when the model fails; return whether a summary was stored.

    Unanswered messages stay. So do messages of the same instant: the summary ends at a time.
    """
    budget = conversation.session.agent_profile.history_tokens
    count = _count_compactable(lines, budget=budget)
    compacted = lines[:count]
    if not compacted:
        return False
    max_tokens = max(60, int(budget * SUMMARY_SHARE))
    text, is_plain = _summarize(conversation, compacted, max_tokens=max_tokens)
    return _store(conversation, text=_truncate(text, max_tokens), until=compacted[-1], is_plain=is_plain)


def _count_compactable(lines: Sequence[Line], *, budget: int) -> int:
    """Return how many of the oldest lines to compact."""
    left, count = budget * UNCOMPACTED_SHARE, len(lines)
    while count > 0 and len(lines) - count < MAX_LINES * UNCOMPACTED_SHARE:
        left -= lines[count - 1].tokens
        if left < 0:
            break
        count -= 1
    waiting = (index for index, line in enumerate(lines) if line.message.status == Message.Status.RECEIVED)
    count = min(count, next(waiting, len(lines)))
    while 0 < count < len(lines) and lines[count].message.said_at == lines[count - 1].message.said_at:
        count -= 1
    return count


def _summarize(conversation: Conversation, compacted: Sequence[Line], *, max_tokens: int) -> tuple[str, bool]:
    """Return the new summary, and whether it consists of excerpts only."""
    if asking.has_model():
        try:
            history = [line.message for line in compacted]
            return _ask(conversation, history, notes=conversation.summary, max_tokens=max_tokens), False
        except ModelError as exc:
            log.warning("summary_model_failed", conversation=str(conversation.pk), code=exc.code)
    return _excerpts(conversation.summary, compacted, max_tokens=max_tokens), True


def _ask(conversation: Conversation, history: Sequence[HistoryMessage], *, notes: str, max_tokens: int) -> str:
    """Return the model's summary, made in two halves where its context is too small. Raises ModelError."""
    task = TASK.format(words=max_tokens // 2)
    can_be_split = len(history) >= MIN_SPLIT_MESSAGES
    prompt = asking.build_prompt(conversation=conversation, task=task, history=history, notes=notes)
    if not can_be_split or llm.fits(prompt):
        try:
            return asking.ask(
                conversation=conversation, task=task, history=history, notes=notes, may_drop_oldest=False
            ).text
        except ContextTooLong:
            if not can_be_split:
                raise
    half = len(history) // 2
    notes = _ask(conversation, history[:half], notes=notes, max_tokens=max_tokens)
    return _ask(conversation, history[half:], notes=_truncate(notes, max_tokens), max_tokens=max_tokens)


def _excerpts(summary: str, compacted: Sequence[Line], *, max_tokens: int) -> str:
    """Return the old summary, in at most half of the tokens, and the beginnings of the latest messages."""
    previous = _truncate(summary, max_tokens // 2)
    left = max_tokens - estimate_tokens(previous)
    excerpts: list[str] = []
    for line in reversed(compacted):
        text = " ".join(line.text.split())
        excerpt = f"{name_of(line.message)}: {text[:MAX_EXCERPT_CHARS]}"
        left -= estimate_tokens(excerpt) + 1
        if left < 0:
            break
        excerpts.append(excerpt)
    return "\n".join(filter(None, [previous, *reversed(excerpts)]))


def _truncate(text: str, max_tokens: int) -> str:
    while (tokens := estimate_tokens(text)) > max_tokens:
        text = shorten(text, min(len(text) - 1, len(text) * max_tokens // tokens))
    return text


def _store(conversation: Conversation, *, text: str, until: Line, is_plain: bool) -> bool:
    """Store the summary unless another worker stored one meanwhile or the conversation was reset."""
    version = conversation.summary_version + 1
    with transaction.atomic():
        changed = Conversation.objects.filter(
            pk=conversation.pk, summary_version=conversation.summary_version, context_from=conversation.context_from
        ).update(summary=text, summary_until=until.message.said_at, summary_version=F("summary_version") + 1)
        if changed:
            Summary.objects.create(
                conversation=conversation, version=version, text=text, until=until.message.said_at, is_plain=is_plain
            )
    log.info(
        "conversation_compacted",
        conversation=str(conversation.pk),
        version=version,
        plain=is_plain,
        stored=bool(changed),
    )
    return bool(changed)
