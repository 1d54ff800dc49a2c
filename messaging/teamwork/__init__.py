"""How staff share conversations; the functions of `actions` are importable from here."""

from messaging.teamwork.actions import (
    add_note,
    assign,
    colleagues,
    finish,
    notes_for_model,
    reopen,
    reopen_snoozed,
    return_unanswered,
    set_labels,
    show_note_to_model,
    snooze,
)

__all__ = [
    "add_note",
    "assign",
    "colleagues",
    "finish",
    "notes_for_model",
    "reopen",
    "reopen_snoozed",
    "return_unanswered",
    "set_labels",
    "show_note_to_model",
    "snooze",
]
