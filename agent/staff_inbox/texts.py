"""What the inbox says in staff's words: what the agent does, why it did not answer, and what the script shows."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messaging.history.timeline import Activity
from messaging.models import Conversation, Message, Turn
from whatsapp_agent.text.stored import translate_stored

ACTIVITIES = {
    Activity.WRITING: gettext_lazy("The agent is writing …"),
    Activity.DUE: gettext_lazy("The agent is about to answer …"),
    Activity.COLLECTING: gettext_lazy("The agent waits for more messages …"),
}
TAKEN_OVER = gettext_lazy("You have taken over: the agent is silent here until you release it.")
ATTENTION: dict[str, Any] = {  # why staff is asked to look
    Conversation.Attention.HANDOFF: gettext_lazy("A person was asked for"),
    Conversation.Attention.TURN_FAILED: gettext_lazy("The agent could not answer"),
    Conversation.Attention.UNANSWERED: gettext_lazy("A takeover ended with an old question"),
    Conversation.Attention.NOT_SENT: gettext_lazy("A message was not sent"),
    Conversation.Attention.UNCONFIRMED: gettext_lazy("A message may not have been sent"),
    Conversation.Attention.BRIDGE_KEY: gettext_lazy("The bridge refuses its key"),
    Conversation.Attention.MODEL_REFUSES: gettext_lazy("The language model refuses its key, its name or the account"),
    Conversation.Attention.LOOP: gettext_lazy("The other side seems to be a machine"),
    Conversation.Attention.OTHER_PROGRAM: gettext_lazy("Another program answers on this number"),
    Conversation.Attention.CLOCK: gettext_lazy("A message was taken for old while a clock was wrong"),
}
STATUSES: dict[str, Any] = {
    Message.Status.QUEUED: gettext_lazy("waits to be sent"),
    Message.Status.SENDING: gettext_lazy("being sent"),
    Message.Status.SENT: gettext_lazy("sent"),
    Message.Status.DELIVERED: gettext_lazy("delivered"),
    Message.Status.READ: gettext_lazy("read"),
    Message.Status.FAILED: gettext_lazy("not sent"),
    Message.Status.UNCONFIRMED: gettext_lazy("may have been sent: look on the phone"),
    Message.Status.CANCELLED: gettext_lazy("cancelled"),
}
KINDS: dict[str, Any] = {  # what a message without text is called in the list
    Message.Kind.IMAGE: gettext_lazy("Picture"),
    Message.Kind.VIDEO: gettext_lazy("Video"),
    Message.Kind.AUDIO: gettext_lazy("Audio"),
    Message.Kind.VOICE: gettext_lazy("Voice message"),
    Message.Kind.DOCUMENT: gettext_lazy("Document"),
    Message.Kind.STICKER: gettext_lazy("Sticker"),
    Message.Kind.LOCATION: gettext_lazy("Location"),
    Message.Kind.CONTACT: gettext_lazy("Contact"),
    Message.Kind.REACTION: gettext_lazy("Reaction"),
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
        "words": str(FAILURES[code]) if is_failed and code in FAILURES else translate_stored(turn.reason),
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
        "loggedOut": _("You are logged out. Log in again; what you have typed is kept."),
        "waiting": _("Somebody needs a person"),
        "assigned": _("A conversation was assigned to you"),
        "blocked": _("The browser does not let this page show notifications. Allow it in the browser's settings."),
        "noPush": _(
            "This browser could not be registered for notifications. Try again later, or with another browser."
        ),
        "working": _("One moment …"),
        "removeFile": _("Remove the file"),
        "sendingFiles": _("Sending file"),
        "recording": _("Recording"),
        "noMicrophone": _("The browser does not let this page use the microphone. Allow it in the browser's settings."),
        "tooManyFiles": _("At most 30 files at once."),
    }
