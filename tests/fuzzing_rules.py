"""What may be refused although it is as the schema says: each reason that no schema can say.

schemathesis loads this (tests/schemathesis.toml). Its own check looks at the status alone, and would have to let every
400 pass; this one looks at what the error says.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure

_numbers = itertools.count()
ANY = ".*"
SENDING = "POST /api/v1/(messages|conversations/{conversation_id}/messages)/"

# The operation, the code of the error, the field it is about, and what it says of it.
REASONS = [
    # A key belongs to the first request that carried it.
    ("POST .*", "idempotency_key_reused", "", ANY),
    # Cursors are opaque: they come from us.
    ("GET .*", "invalid", "cursor", "Invalid cursor."),
    ("GET /api/v1/events/", "invalid_cursor", "after", ANY),
    # JSON can write NUL; PostgreSQL cannot keep it.
    (ANY, "invalid", ANY, "Null characters are not allowed."),
    # A name is one line of visible characters; no schema lists which those are.
    ("(POST|PATCH) .*", "invalid", ANY, "(Line breaks, control characters, .*|Must contain a visible character.)"),
    # A file has bytes; a schema's `format: binary` has no minimum.
    ("POST .*", "invalid", "file", "The (submitted )?file is empty."),
    # Spaces count for a schema's `minLength`, and are no text.
    (ANY, "invalid", ANY, "This field may not be blank."),
    # What there is changes.
    ("(POST|PATCH) /api/v1/bridges/.*", "invalid", "base_url", "Enter a valid URL.|A bridge of kind .* its address."),
    ("POST /api/v1/sessions/", "invalid", "bridge", "Object with slug=.* does not exist."),
    ("(POST|PATCH) /api/v1/sessions/.*", "invalid", "agent_profile", "Invalid pk .* - object does not exist."),
    ("(POST|PATCH) /api/v1/webhook-endpoints/.*", "invalid", "sessions", "Number not found."),
    ("(POST|PATCH) /api/v1/agents/.*", "invalid", "tools", "There is no tool .*"),
    (SENDING, "invalid", "reply_to|reaction", "Message not found in this conversation."),
    (
        SENDING,
        "invalid",
        "reaction",
        "WhatsApp knows no message there.*|The message was deleted.|The message is older .*",
    ),
    ("POST /api/v1/conversations/{id}/assign/", "invalid", "user", "This person may not answer in this conversation."),
    ("POST /api/v1/knowledge/", "invalid", "agent_profile", "Profile not found."),
    ("POST /api/v1/library-files/", "invalid", "agent_profile", "Profile not found."),
    ("POST /api/v1/conversations/import/", "invalid", "session", "There is no such session."),
    ("POST /api/v1/conversations/import/", "invalid", "file", "This is no exported chat.*|The archive .*"),
    (
        "POST /api/v1/conversations/import/",
        "invalid",
        "contact",
        "Invalid phone number.*|There is no such contact.*|This is a group's chat.*|Is the country code missing.*"
        "|This phone number has .*|WhatsApp has no extensions.*",
    ),
    ("POST /api/v1/conversations/import/", "invalid", "me", "Say who of the authors .*|.* has written nothing.*"),
    ("POST /api/v1/conversations/import/", "invalid", "file", "The file is .*|No date of this chat exists .*"),
    ("POST /api/v1/knowledge/", "invalid", "file", "Only PDF, DOCX, XLSX .*"),
    ("(POST|PATCH) /api/v1/knowledge/.*", "invalid", "text", "A text may have .*"),
    ("POST /api/v1/saved-replies/", "invalid", "session", "Session not found."),
    ("(POST|PATCH) /api/v1/saved-replies/.*", "invalid", "shortcut", "Use 1 to 40 letters, .*"),
    ("POST /api/v1/contacts/{id}/merge/", "invalid", "contact", "Only two people, or two groups, .*"),
    ("POST /api/v1/conversations/{id}/labels/", "invalid", "labels", "A conversation may have .* labels."),
    ("POST /api/v1/conversations/{conversation_id}/notes/", "invalid", "text", "The note is empty."),
    # So does the time.
    ("POST /api/v1/auth/keys/", "invalid", "expires_at", "Must be in the future."),
    ("POST /api/v1/conversations/{id}/(takeover|snooze)/", "invalid", "until", "Must be in the future."),
    (
        "POST /api/v1/(auth/keys|conversations/{id}/(takeover|snooze))/",
        "invalid",
        "expires_at|until",
        "Datetime value out of range.",
    ),
    # Passwords.
    ("PATCH /api/v1/auth/me/", "invalid", "current_password", "Wrong password."),
    # One of several ways, of which each is well formed.
    ("POST /api/v1/messages/", "invalid", "session|to", "Give `conversation`, or `session` and `to`."),
    ("POST /api/v1/messages/", "invalid", "session|to", "Not together with `conversation`."),
    (SENDING, "invalid", "text", "This field is required."),
    (
        SENDING,
        "invalid",
        "media_url|file|location|contact|template|reaction|interactive|poll",
        "Only one of these fields may be given.",
    ),
    (SENDING, "invalid", "text", "Not together with `(location|contact|template|reaction|interactive|poll)`."),
    (SENDING, "invalid", r"interactive\..*", "Give `buttons` or `rows`.|Needed with `rows`.*|Each title has to be .*"),
    (SENDING, "invalid", r"poll\.options", "Each option has to be another one."),
    (SENDING, "invalid", "filename", "Only together with `media_url`."),
    (SENDING, "invalid", "kind", "Only together with a file.|To be sent as .*"),
    (SENDING, "invalid", "reply_to", "A template cannot reply to a message.|Not together with `reaction`."),
    (SENDING, "invalid", "template", "There is no such template.*|.*template.*|A parameter has to be .*"),
    ("POST /api/v1/templates/sync/", "invalid", "account", "(Give the|The) id of (the|a) business account .*"),
    ("POST /api/v1/conversations/{id}/takeover/", "invalid", "minutes", "Give `until` or `minutes`, not both."),
    ("POST /api/v1/conversations/{id}/snooze/", "invalid", "until", "Give either `until` or `minutes`."),
    ("(POST|PATCH) /api/v1/agents/.*", "invalid", "debounce_max_s", "Must not be less than `debounce_s`."),
    ("(POST|PATCH) .*", "invalid", "instant_reaction|reaction.emoji", "Must be an emoji."),
    ("(POST|PATCH) /api/v1/agents/.*", "invalid", "loop_.*", "Must be 0 .off. or at least 3."),
    # The time zones are those of the server's database.
    ("(POST|PATCH) /api/v1/sessions/.*", "invalid", "time_zone", "Unknown time zone. .*"),
    # More than a pattern is to be said of phone numbers, of addresses, and of what is in a file.
    (
        "GET /api/v1/(contacts|conversations)/",
        "invalid",
        "phone",
        "Invalid phone number. .*|Is the country code missing.*|This phone number has .*|WhatsApp has no extensions.*",
    ),
    (
        "POST /api/v1/sessions/{id}/pairing-code/",
        "invalid",
        "phone",
        "This is not a phone number with its country code.",
    ),
    (
        SENDING,
        "invalid",
        "to|contact",
        "Invalid phone number. .*|Is the country code missing.*|This phone number has .*|WhatsApp has no extensions.*",
    ),
    (f"{SENDING}|(POST|PATCH) /api/v1/webhook-endpoints/.*", "unsafe_url|private_address", ANY, ANY),
    (SENDING, "fetch_failed|unreachable|timeout", "media_url", ANY),
    (SENDING, "unsupported_file", "file|media_url", ANY),
    (SENDING, "invalid", "text", "The text is empty.|The text is longer than .*|Audio .*no caption.*"),
]


class RefusedForNoReason(Failure):
    """What is as the schema says was refused, and nobody has said why that may be."""


@schemathesis.check
def refused_for_a_reason(ctx: Any, response: Any, case: Any) -> None:
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in {400, 415, 422}:
        return
    body = response.json()
    said = list(_said(body.get("fields", {}))) or [("", body["detail"])]
    told = [(case.operation.label, body["code"], *what) for what in said]
    unknown = [what for what in told if not any(_is(reason, what) for reason in REASONS)]
    if unknown:
        raise RefusedForNoReason(
            operation=case.operation.label, title="Refused for no reason", message="\n".join(map(repr, unknown))
        )


@schemathesis.hook
def map_headers(ctx: Any, headers: Any) -> Any:
    """Each request has a key of its own: what a repeated one made, as its answer says, may be deleted again.

    No guess is the ETag of what is stored: each change would be refused.
    """
    if headers and "If-Match" in headers:
        headers["If-Match"] = "*"
    key = (headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]([ -~]{0,240}[!-~])?", key):
        headers["Idempotency-Key"] = f"{key[0]}{next(_numbers)}{key[1:]}"
    return headers


@schemathesis.hook
def map_body(ctx: Any, body: Any) -> Any:
    """Made-up names may be somebody's: the addresses we are asked to call are of a domain that nobody has."""
    for name in ("url", "media_url"):
        if isinstance(body, dict) and isinstance(body.get(name), str):
            body[name] = re.sub("^(https?://)([^/:?#@]+)", r"\1\2.invalid", body[name])
    return body


@schemathesis.hook("map_query").apply_to(path="/api/v1/events/")
def do_not_wait_long(ctx: Any, query: Any) -> Any:
    """Nothing happens while it waits, and so each wait would be as long as it may be."""
    if query and str(query.get("wait")).isdigit() and 1 < int(query["wait"]) <= 30:
        query["wait"] = 1
    return query


def _is(reason: tuple[str, ...], told: tuple[str, ...]) -> bool:
    return all(re.fullmatch(known, word, re.DOTALL) for known, word in zip(reason, told, strict=True))


def _said(fields: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Where in the input something is wrong, and what."""
    match fields:
        case dict():
            for name, what in fields.items():
                yield from _said(what, f"{place}.{name}".lstrip("."))
        case list():
            for what in fields:
                yield from _said(what, place)
        case _:
            yield place, str(fields)
