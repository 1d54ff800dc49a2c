"""Every event type: its name, when it is written, and the fields of its payload.

The API's schema, `docs/events.md` and the filters are made from these declarations. `data` of an event also has
`session` and `conversation`, where the event belongs to one. `messaging.events.triggers` writes most of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventType:
    name: str
    description: str
    payload: Mapping[str, str]  # the fields of `data`, each with its meaning
    is_subscribable: bool = True  # whether an endpoint may ask for it, and has it by default


MESSAGE_PAYLOAD = {
    "message": "id of the message",
    "direction": "`inbound` or `outbound`",
    "author": "who wrote it: `contact`, `agent`, `staff`, `phone`, `api` or `system`",
    "kind": "`text`, `image`, `location`, …",
    "status": "the message's status after the change",
    "unanswered": "why the agent does not answer it; empty otherwise",
    "error_code": "why sending failed; empty otherwise",
    "turn": "id of the turn that wrote or handled it, or null",
}
ENDPOINT_PAYLOAD = {"endpoint": "id of the webhook endpoint"}


def _message(name: str, description: str) -> EventType:
    return EventType(f"message.{name}", description, MESSAGE_PAYLOAD)


CALL_CHANGED = EventType(
    "call.changed",
    "Somebody called the number, or a call ended. No turn follows. "
    "The message of the call (its `kind` is `call`) has the last status in its `details`.",
    {
        "call": "the bridge's id of the call",
        "status": "`ringing`, `accepted`, `rejected`, `missed` or `ended`",
        "direction": "`inbound` or `outbound`",
        "is_video": "whether it is a video call",
        "duration_s": "its duration, if the bridge reports it",
    },
)
MERGE_PAYLOAD = {
    "merge": "id of the merge, of `contact-merges/`",
    "contact": "id of the contact that is kept",
    "merged_contact": "id of the other contact",
    "reason": "`addresses`, `spelling`, `phones`, `number_changed` or `person`",
}
CONTACT_MERGED = EventType(
    "contact.merged",
    "Two contacts are one person: everything of the one belongs to the other now.",
    MERGE_PAYLOAD,
)
CONTACT_UNMERGED = EventType(
    "contact.unmerged", "A merge was taken back: the two contacts are two again, as they were.", MERGE_PAYLOAD
)
CONTACT_MERGE_PROPOSED = EventType(
    "contact.merge_proposed",
    "Two contacts may be one person, and a person has to decide: they have two phone numbers.",
    MERGE_PAYLOAD,
)
ENDPOINT_DISABLED = EventType(
    "endpoint.disabled",
    "A webhook endpoint was disabled, by us or by staff. Only its owner receives this.",
    ENDPOINT_PAYLOAD | {"reason": "why, as a sentence"},
)
ENDPOINT_TEST = EventType(
    "endpoint.test",
    "The test event of `webhook-endpoints/{id}/test/`. Only that endpoint receives it.",
    ENDPOINT_PAYLOAD,
    is_subscribable=False,
)
ALERT_PAYLOAD = {
    "alert": "id of the alert, the same in both events",
    "rule": "`number_offline`, `turns_fail`, `sends_fail`, `messages_wait`, `no_worker`, `disk_nearly_full`, "
    "`bridge_unreachable`, `certificate_expires`, `payment_missing`, `account_limited`, "
    "`number_stopped` or `quota_used_up`",
    "detail": "what is wrong, as a sentence",
}
ALERT_FIRED = EventType(
    "alert.fired",
    "The condition of an alert holds. Users who may see the number receive it; an alert without a number is an event "
    "of its own for each administrator.",
    ALERT_PAYLOAD,
)
ALERT_RECOVERED = EventType("alert.recovered", "The condition of an `alert.fired` no longer holds.", ALERT_PAYLOAD)
NOTE_PAYLOAD = {
    "note": "id of the note",
    "by": "id of its author, or null for the system",
    "is_shown_to_model": "whether the model is given the note",
}
EVENT_TYPES = (
    _message("received", "A message of a contact was stored."),
    _message("queued", "A message was queued for sending; again when a failed one is retried."),
    _message("sent", "The bridge accepted an outbound message, or one typed on the phone was stored."),
    _message("delivered", "WhatsApp delivered an outbound message."),
    _message("read", "The contact read an outbound message."),
    _message("failed", "An outbound message was not sent and is not retried by itself."),
    _message("unconfirmed", "It is unknown whether the bridge sent an outbound message."),
    _message("cancelled", "A queued message will not be sent: a person took the conversation over, or deleted it."),
    _message("edited", "The text of a message was edited on WhatsApp, or before it was sent."),
    _message("revoked", "A message was deleted for everyone on WhatsApp."),
    EventType(
        "conversation.control_changed",
        "Who answers in a conversation changed, or until when.",
        {
            "control": "`agent`, `human` or `muted`",
            "previous": "the control before",
            "until": "when the agent answers again by itself, or null",
            "by": "id of the user in control, or null",
        },
    ),
    EventType(
        "conversation.needs_attention",
        "A conversation needs attention, or has another reason to need it.",
        {"reason": "the conversation's `attention_reason`: `handoff`, `turn_failed`, `not_sent`, …"},
    ),
    EventType(
        "conversation.assigned",
        "A conversation was assigned to a colleague, or back to everyone.",
        {
            "assigned_to": "id of the user, or null for everyone",
            "previous": "id of the user before, or null",
        },
    ),
    EventType(
        "conversation.status_changed",
        "A conversation was snoozed, done or opened again, by staff, by its time or by the contact's next message.",
        {
            "status": "`open`, `snoozed` or `done`",
            "previous": "the status before",
            "until": "when a snoozed conversation opens again, or null",
        },
    ),
    EventType(
        "conversation.labels_changed",
        "The labels of a conversation changed.",
        {"labels": "the labels", "previous": "the labels before"},
    ),
    EventType(
        "conversation.note_added",
        "A colleague wrote a note. Its text is in `conversations/{id}/notes/`.",
        NOTE_PAYLOAD,
    ),
    EventType(
        "conversation.note_changed",
        "A note is shown to the model from now on, or no longer.",
        NOTE_PAYLOAD,
    ),
    EventType(
        "session.status_changed",
        "A session was created, or its status changed.",
        {"status": "the session's status", "reason": "why; may be empty", "previous": "the status before, or null"},
    ),
    EventType(
        "turn.finished",
        "The agent finished a turn.",
        {"turn": "id of the turn", "outcome": "`answered`, `command`, `ignored` or `failed`"},
    ),
    EventType(
        "command.finished",
        "A command was run, wherever it was called from.",
        {
            "run": "id of the command run",
            "name": "the command's name",
            "status": "`done`, `invalid`, `refused` or `failed`",
            "surface": "where it was called",
        },
    ),
    CALL_CHANGED,
    ALERT_FIRED,
    ALERT_RECOVERED,
    EventType(
        "contact.forgotten",
        "Everything of a contact was deleted. Delete what you have stored of them.",
        {
            "contact": "id that the contact had",
            "profiles_to_review": "ids of agent profiles that hold their name, which is left to you",
            "corrections_to_review": "`profile` and `draft_version` of each line by Correct it in their conversation",
        },
    ),
    CONTACT_MERGED,
    CONTACT_UNMERGED,
    CONTACT_MERGE_PROPOSED,
    ENDPOINT_DISABLED,
    ENDPOINT_TEST,
)
EVENT_TYPE_NAMES = tuple(event_type.name for event_type in EVENT_TYPES)
SUBSCRIBABLE_TYPES = tuple(event_type.name for event_type in EVENT_TYPES if event_type.is_subscribable)


def as_markdown() -> str:
    """Return the section of every event type for `docs/events.md`."""
    return "\n".join(_section(event_type) for event_type in EVENT_TYPES)


def _section(event_type: EventType) -> str:
    fields = "\n".join(f"| `{field}` | {meaning} |" for field, meaning in event_type.payload.items())
    return f"### `{event_type.name}`\n\n{event_type.description}\n\n| field | meaning |\n| --- | --- |\n{fields}\n"


def summary() -> str:
    """Return a list of the types with their descriptions and fields, for the API's schema."""
    return "\n".join(f"- `{each.name}`: {each.description} `{'`, `'.join(each.payload)}`." for each in EVENT_TYPES)
