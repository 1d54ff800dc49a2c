"""Commands that read the conversation: summary, tasks, statistics, draft."""

import re
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any

from django.db.models import Count, Max, Min, QuerySet
from django.db.models.functions import ExtractHour
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from pydantic import Field

from agent.llm.base import ModelUnavailable
from commands import asking
from commands.library.basics import NoArguments
from commands.models import CommandRun
from commands.registry import READERS, Arguments, By, Call, Result, chat_command
from messaging import teamwork
from messaging.history.facts import facts_about
from messaging.history.transcript import HistoryMessage, describe, escape_fences, name_of, visible_messages
from messaging.models import Message
from whatsapp_agent.text.markdown import to_whatsapp
from whatsapp_agent.text.times import format_day, format_minute_with_zone
from whatsapp_agent.text.truncate import truncate

NO_MESSAGES = gettext_noop("There are no messages yet.")
WITHOUT_MODEL = gettext_noop("(No language model is configured; these are the latest messages.)")
DIGEST_LINES = 8
MAX_TASKS = 30
MAX_TASK_CHARS = 300
MAX_QUOTE_CHARS = 80

_REFERENCES = re.compile(r"\s*\[(\d+(?:\s*[,;]\s*\d+)*)\]")


class CountArguments(Arguments):
    count: int = Field(default=50, ge=1, le=500, description=gettext_noop("How many of the latest messages."))


@chat_command(
    "summarize",
    gettext_noop("Sum up the latest messages."),
    allowed=READERS,
    aliases=("summary", "summarise", "tldr", "resumo", "resumir", "resumen", "zusammenfassung"),
    tool="summarize_chat",
    tool_description="Sum up the latest messages of this conversation, with the ids of the messages that show it.",
    examples=("/summarize 20",),
    reads_only=True,
    asks_model=True,
)
def summarize(call: Call, arguments: CountArguments) -> Result:
    history: Sequence[HistoryMessage] = asking.recent_messages(call.conversation, count=arguments.count)
    if not history:
        return Result(_(NO_MESSAGES), {"summary": "", "evidence": [], "count": 0})
    if not asking.has_model():
        shown = history[-DIGEST_LINES:]
        digest = "\n".join(f"• {_author(message)}: {_clip(describe(message), 120)}" for message in shown)
        return Result(f"{digest}\n{_(WITHOUT_MODEL)}", _summary_data(call, digest, evidence=shown, history=history))
    answer = asking.ask(
        conversation=call.conversation,
        history=history,
        task=(
            "Sum up these messages in at most 8 short points, in the language they are written in, the most important "
            "first. End each point with the numbers of the messages that show it, like [3] or [3, 7]. Say nothing that "
            "they do not say."
        ),
    )
    history = answer.history
    numbers = [number for found in _REFERENCES.findall(answer.text) for number in re.findall(r"\d+", found)]
    named = set(asking.evidence(numbers, history=history))
    shown = [message for message in history if message.id in named] or [history[0], history[-1]]
    text = to_whatsapp(_REFERENCES.sub("", answer.text))
    return Result(text, _summary_data(call, text, evidence=shown, history=history))


def _summary_data(
    call: Call, text: str, *, evidence: Sequence[HistoryMessage], history: Sequence[HistoryMessage]
) -> dict[str, Any]:
    return {
        "summary": text,
        "evidence": [str(message.id) for message in evidence],
        "count": len(history),
        "from": call.data_time(history[0].said_at),
        "to": call.data_time(history[-1].said_at),
    }


@chat_command(
    "tasks",
    gettext_noop("List who owes what to whom, and until when."),
    allowed=READERS,
    aliases=("todo", "todos", "tarefas", "tareas", "aufgaben"),
    tool="extract_tasks",
    tool_description="List the open tasks and promises in this conversation: who owes what to whom, until when, and "
    "the id of the message it was said in.",
    examples=("/tasks 100",),
    reads_only=True,
    asks_model=True,
)
def list_tasks(call: Call, arguments: CountArguments) -> Result:
    history: Sequence[HistoryMessage] = asking.recent_messages(call.conversation, count=arguments.count)
    if not history:
        return Result(_(NO_MESSAGES), {"tasks": []})
    if not asking.has_model():
        return Result(_("No language model is set up, so tasks cannot be read."), {"tasks": []})
    answer = asking.ask(
        conversation=call.conversation,
        history=history,
        as_json=True,
        task=(
            "List every task, promise or appointment in these messages that is still open. Answer with JSON alone: "
            '{"tasks": [{"what": str, "who": str or null, "for": str or null, "due": str or null, "messages": [int]}]}'
            ". "
            "`who` owes it, `for` whom it is, `due` is as it was said (with the date where it can be told), `messages` "
            "are the numbers of the messages that say so. No tasks: an empty list."
        ),
    )
    history = answer.history
    tasks = _tasks(asking.read_json(answer.text), history=history)
    by_id = {str(message.id): message for message in history}
    lines = "\n".join(_task_line(task, message=by_id[task["messages"][0]], zone=call.zone) for task in tasks)
    return Result(lines or _("Nothing is open."), {"tasks": tasks})


def _tasks(given: Any, *, history: Sequence[HistoryMessage]) -> list[dict[str, Any]]:
    """Return the tasks that cite an existing message; others were made up."""
    rows = given.get("tasks") if isinstance(given, dict) else given
    if not isinstance(rows, list):
        raise ModelUnavailable("The model's answer holds no list of tasks.", code="malformed")
    tasks = []
    for row in rows[:MAX_TASKS]:
        if not isinstance(row, dict) or not isinstance(row.get("what"), str) or not row["what"].strip():
            continue
        numbers = row.get("messages")
        shown = asking.evidence(numbers if isinstance(numbers, list) else [numbers], history=history)
        if shown:
            details = {name: _detail(row.get(name)) for name in ("who", "for", "due")}
            tasks.append({"what": _clip(row["what"], MAX_TASK_CHARS), **details, "messages": [str(pk) for pk in shown]})
    return tasks


def _detail(value: Any) -> str | None:
    return _clip(value, 100) if isinstance(value, str) and value.strip() else None


def _task_line(task: dict[str, Any], *, message: HistoryMessage, zone: tzinfo) -> str:
    """Render a task, and below it the message that is its evidence."""
    who = f"*{task['who']}*: " if task["who"] else ""
    whom = _(" (for %(person)s)") % {"person": task["for"]} if task["for"] else ""
    due = _(", until %(time)s") % {"time": task["due"]} if task["due"] else ""
    quote = _clip(describe(message), MAX_QUOTE_CHARS)
    return f"• {who}{task['what']}{whom}{due}\n   “{quote}” ({format_day(message.said_at, zone=zone)})"


@chat_command(
    "stats",
    gettext_noop("Count the messages of this conversation."),
    allowed=READERS,
    aliases=("statistics", "estatisticas", "estadisticas"),
    tool="conversation_stats",
    tool_description="Count the messages of this conversation: by side, by kind, first and last, busiest hour.",
    reads_only=True,
)
def show_stats(call: Call, arguments: NoArguments) -> Result:  # noqa: ARG001
    messages = visible_messages(call.conversation)
    if call.message is not None and call.surface == CommandRun.Surface.CHAT:
        messages = messages.exclude(pk=call.message.pk)
    total = messages.aggregate(count=Count("pk"), first=Min("said_at"), last=Max("said_at"))
    if not total["count"]:
        return Result(_(NO_MESSAGES), {"messages": 0})
    by_author = dict(messages.values_list("author").annotate(Count("pk")).order_by("author"))
    by_kind = dict(messages.values_list("kind").annotate(Count("pk")).order_by("kind"))
    busiest = _busiest_hour(messages, zone=call.zone)
    days = (total["last"] - total["first"]).days + 1
    data = {
        "messages": total["count"],
        "from_contact": by_author.get(Message.Author.CONTACT, 0),
        "from_us": total["count"] - by_author.get(Message.Author.CONTACT, 0),
        "by_author": by_author,
        "by_kind": by_kind,
        "first_at": call.data_time(total["first"]),
        "last_at": call.data_time(total["last"]),
        "days": days,
        "per_day": round(total["count"] / days, 1),
        "busiest_hour": busiest,
        "busiest_hour_utc": _busiest_hour(messages, zone=UTC),
        "time_zone": call.zone.key,
    }
    first, last = (format_minute_with_zone(total[name], zone=call.zone) for name in ("first", "last"))
    words = data | {"contact": call.conversation.contact, "first": first, "last": last}
    lines = [
        _("%(messages)s messages in %(days)s days: %(from_contact)s from %(contact)s, %(from_us)s from us.") % words,
        _("First: %(first)s. Last: %(last)s.") % words,
        _("Busiest hour: %(busiest_hour)s:00 %(time_zone)s.") % words,
    ]
    return Result("\n".join(lines), data)


def _busiest_hour(messages: QuerySet[Message], *, zone: tzinfo) -> int:
    """Return the hour of the day in `zone` with most messages, the earliest of several. There has to be a message."""
    hours = messages.annotate(hour=ExtractHour("said_at", tzinfo=zone)).values_list("hour").annotate(Count("pk"))
    return max(hours, key=lambda row: (row[1], -row[0]))[0]


class DraftArguments(Arguments):
    wish: str = Field(default="", max_length=500, description=gettext_noop("What the reply should say or be like."))


@chat_command(
    "draft",
    gettext_noop("Suggest a reply, without sending it."),
    allowed={By.STAFF},
    aliases=("suggest", "rascunho", "borrador"),
    examples=("/draft offer a refund",),
    reads_only=True,
    asks_model=True,
)
def draft_reply(call: Call, arguments: DraftArguments) -> Result:
    conversation = call.conversation
    history: Sequence[HistoryMessage] = asking.recent_messages(conversation, count=60)
    if not history:
        return Result(_(NO_MESSAGES), {"draft": ""})
    if not asking.has_model():
        return Result(_("No language model is set up, so no reply can be suggested."), {"draft": ""})
    texts = [fact.text for fact in facts_about(conversation.contact)[-30:]]
    texts += [note.text for note in teamwork.notes_for_model(conversation)]
    known = "\n".join(f"- {escape_fences(' '.join(text.split()))}" for text in texts)
    task = (
        f"{conversation.session.agent_profile.instructions.strip()}\n\nWrite the next reply of ours to these messages, "
        "as a draft that a colleague will read before it is sent. Answer with the reply alone."
    )
    if arguments.wish:
        task += f"\nThe colleague wishes: {arguments.wish}"
    answer = asking.ask(conversation=conversation, history=history, task=task, notes=known)
    text = to_whatsapp(answer.text)
    return Result(text, {"draft": text, "answers": str(answer.history[-1].id)})


def _author(message: HistoryMessage) -> str:
    return name_of(message) if message.is_inbound else _("we")


def _clip(text: str, limit: int) -> str:
    return truncate(" ".join(text.split()), limit)
