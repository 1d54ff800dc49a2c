"""Fold what no longer fits a prompt into a running summary, most of it at once: in between prompts stay alike."""

from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F

from agent.llm.base import ModelError
from agent.llm.tokens import estimate_tokens
from agent.turns.prompt import Line, lines_of
from commands import asking
from messaging.history.conversation import load_conversation
from messaging.history.transcript import load_history, name_of
from messaging.models import Conversation, Message, Summary
from whatsapp_agent.text.split import shorten

log = structlog.get_logger(__name__)

MAX_LINES = 200  # of short messages, though their tokens would fit
EARLY = 0.9  # from this share of what a prompt holds on, it is folded before it has to be
KEPT = 0.5  # of what a prompt holds stays as it was said
SUMMARY = 0.15  # of the budget that the summary may take
MAX_EXCERPT_CHARS = 100  # characters of a message, where there is no model to sum up

TASK = (
    "You keep the running summary of a WhatsApp conversation, for an assistant who will not see these messages again. "
    "<notes> holds the summary so far, if there is one. Write the new one, of what was known and what is new, in at "
    "most {words} words and in the language of the conversation: who the contact is and what they want; what was "
    "agreed, promised or decided; what is open; names, numbers and dates as they were said. Nothing that was not said, "
    "and no comment."
)

_fold_later: Callable[[UUID], None] | None = None


def done_by(fold_later: Callable[[UUID], None] | None) -> None:
    """From now on `fold_later` is called, in this process, for each conversation to be folded before it must be."""
    global _fold_later
    _fold_later = fold_later


def soon(conversation_id: UUID) -> None:
    """Fold it beside the turns. Nobody to do so, or a crash, loses nothing: the turn that needs it folds."""
    if _fold_later is not None:
        _fold_later(conversation_id)


def is_due(lines: Sequence[Line], *, budget: int, share: float = 1.0) -> bool:
    """Whether more was said than a share of what a prompt holds."""
    return sum(line.tokens for line in lines) > budget * share or len(lines) > MAX_LINES * share


def fold_early(conversation_id: UUID) -> None:
    """Fold a conversation whose next prompts would not hold it."""
    try:
        conversation = load_conversation(conversation_id)
    except Conversation.DoesNotExist:
        return
    lines = lines_of(load_history(conversation), is_group=conversation.contact.is_group)
    if is_due(lines, budget=conversation.session.agent_profile.history_tokens, share=EARLY):
        fold(conversation, lines)


def fold(conversation: Conversation, lines: Sequence[Line]) -> bool:
    """Sum up the older lines; the model does, or excerpts stand in when it fails. Returns whether it was done.

    What is unanswered is not folded, and messages of one moment stay together, because the summary reaches to a moment.
    """
    budget = conversation.session.agent_profile.history_tokens
    count = _how_many(lines, budget=budget)
    folded = lines[:count]
    if not folded:
        return False
    most_tokens = max(60, int(budget * SUMMARY))
    text, is_plain = _sum_up(conversation, folded, most_tokens=most_tokens)
    return _keep(conversation, text=_bounded(text, most_tokens), until=folded[-1], is_plain=is_plain)


def _how_many(lines: Sequence[Line], *, budget: int) -> int:
    """How many lines go: all before those that stay."""
    left, count = budget * KEPT, len(lines)
    while count > 0 and len(lines) - count < MAX_LINES * KEPT:
        left -= lines[count - 1].tokens
        if left < 0:
            break
        count -= 1
    unanswered = (index for index, line in enumerate(lines) if line.said.status == Message.Status.RECEIVED)
    count = min(count, next(unanswered, len(lines)))
    while 0 < count < len(lines) and lines[count].said.said_at == lines[count - 1].said.said_at:
        count -= 1
    return count


def _sum_up(conversation: Conversation, folded: Sequence[Line], *, most_tokens: int) -> tuple[str, bool]:
    """The new summary, and whether it is excerpts only."""
    if asking.has_model():
        try:
            task = TASK.format(words=most_tokens // 2)
            history = [line.said for line in folded]
            return asking.ask(conversation=conversation, task=task, history=history, notes=conversation.summary), False
        except ModelError as exc:
            log.warning("folded_without_model", conversation=str(conversation.pk), code=exc.code)
    return _excerpts(conversation.summary, folded, most_tokens=most_tokens), True


def _excerpts(summary: str, folded: Sequence[Line], *, most_tokens: int) -> str:
    """The old summary in at most half of the room, and the beginnings of the latest messages in the rest."""
    kept = _bounded(summary, most_tokens // 2)
    left = most_tokens - estimate_tokens(kept)
    told: list[str] = []
    for line in reversed(folded):
        words = " ".join(line.words.split())
        excerpt = f"{name_of(line.said)}: {words[:MAX_EXCERPT_CHARS]}"
        left -= estimate_tokens(excerpt) + 1
        if left < 0:
            break
        told.append(excerpt)
    return "\n".join(filter(None, [kept, *reversed(told)]))


def _bounded(text: str, most_tokens: int) -> str:
    while (tokens := estimate_tokens(text)) > most_tokens:
        text = shorten(text, min(len(text) - 1, len(text) * most_tokens // tokens))
    return text


def _keep(conversation: Conversation, *, text: str, until: Line, is_plain: bool) -> bool:
    """Nothing is kept when somebody else folded meanwhile, or the conversation was started afresh."""
    version = conversation.summary_version + 1
    with transaction.atomic():
        changed = Conversation.objects.filter(
            pk=conversation.pk, summary_version=conversation.summary_version, context_from=conversation.context_from
        ).update(summary=text, summary_until=until.said.said_at, summary_version=F("summary_version") + 1)
        if changed:
            Summary.objects.create(
                conversation=conversation, version=version, text=text, until=until.said.said_at, is_plain=is_plain
            )
    log.info("folded", conversation=str(conversation.pk), version=version, plain=is_plain, kept=bool(changed))
    return bool(changed)
