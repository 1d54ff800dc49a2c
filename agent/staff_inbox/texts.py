"""What the inbox says in staff's words: what the agent does, why it did not answer, and what the script shows."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messaging.history.timeline import Activity
from messaging.models import Message, Turn

ACTIVITIES = {
    Activity.WRITING: gettext_lazy("The agent is writing …"),
    Activity.DUE: gettext_lazy("The agent is about to answer …"),
    Activity.COLLECTING: gettext_lazy("The agent waits for more messages …"),
}
UNANSWERED: dict[str, Any] = {
    Message.Unanswered.HISTORY: gettext_lazy("from the past: not answered"),
    Message.Unanswered.STALE: gettext_lazy("too old when it arrived: not answered"),
    Message.Unanswered.KIND: gettext_lazy("nothing to answer"),
    Message.Unanswered.GROUP: gettext_lazy("written in a group: not answered"),
    Message.Unanswered.POLICY: gettext_lazy("this contact is not answered"),
    Message.Unanswered.PERSON: gettext_lazy("answered by a person"),
}
_NO_ANSWER = gettext_lazy(
    "the language model did not answer, although it was asked several times. Run it again, or answer yourself."
)
_ACCOUNT = gettext_lazy(
    "the language model refuses our key, its name or the account. Tell an administrator; answer yourself meanwhile."
)
_UNUSABLE = gettext_lazy(
    "the language model answered something that could not be used. Run it again, or answer yourself."
)
_FILTERED = gettext_lazy(
    "the model's provider refuses to answer what was written. Answer yourself; running it again seldom helps."
)
# By the code with which the reason of a failed turn begins: those of `agent.llm.base`, and of running a turn.
FAILURES: dict[str, Any] = {
    **dict.fromkeys(("model_unavailable", "rate_limited", "timeout", "connection", "server_error"), _NO_ANSWER),
    **dict.fromkeys(("unauthorized", "model_not_found", "insufficient_quota", "model_refused"), _ACCOUNT),
    **dict.fromkeys(
        ("model_error", "malformed", "empty", "length", "dropped_tool_call", "bad_request", "redirect"), _UNUSABLE
    ),
    **dict.fromkeys(("content_filter", "refusal"), _FILTERED),
    "context_too_long": gettext_lazy("the conversation was too long for the language model. Answer yourself."),
    "too_many_steps": gettext_lazy("the agent used its tools too often without an answer. Answer yourself."),
}


def describe_turn(turn: Turn) -> dict[str, Any]:
    """Return what the transcript says of a turn without an answer."""
    is_failed = turn.outcome == Turn.Outcome.FAILED
    code = turn.reason.partition(":")[0]
    return {
        "type": "turn",
        "turn": turn,
        "is_failed": is_failed,
        "was_run_again": is_failed and not getattr(turn, "has_burst", True),
        "words": str(FAILURES[code]) if is_failed and code in FAILURES else turn.reason,
        "detail": turn.reason if is_failed and code in FAILURES else "",
    }


def hour_choices() -> list[tuple[str, str]]:
    return [("", _("until released")), ("1", _("for an hour")), ("8", _("for 8 hours")), ("24", _("for a day"))]


def strings() -> dict[str, str]:
    """Return what the page's script says, in the language of the page."""
    return {
        "offline": _("No connection to the server. Nothing that you typed is lost; trying again …"),
        "unreadable": _("The server's answer could not be read."),
        "answered": _("The server answered with an error. Reload the page; what you typed is kept."),
        "logIn": _("Log in again"),
        "noReplies": _("No saved reply begins like that."),
        "waiting": _("Somebody needs a person"),
        "assigned": _("A conversation was assigned to you"),
        "blocked": _("The browser does not let this page show notifications. Allow it in the browser's settings."),
        "insert": _("Insert"),
        "working": _("One moment …"),
        "leave": _("You have a file that is not sent."),
    }
