"""Replace a person's numbers and names in rows that stay because they belong to others.

Which columns can hold text is read from the models, so that a new model is covered: every text, list and JSON column
without choices, of every model from which foreign keys lead to a session.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models import CharField, JSONField, Q, TextField
from django.db.models.functions import Cast

from agent.bridges.events import AliasKind
from messaging.contacts.lookup import alias_spellings
from messaging.models import Contact, Conversation, Correction, EarlyChange, EarlyReceipt
from sessions_app.models import AgentProfile, AgentProfileVersion, WhatsAppSession
from sessions_app.profiles import lock_profiles
from whatsapp_agent.text.phones import phone_spellings

REMOVED = "[removed]"
APPS = ("messaging", "commands", "agent")
# Identities of others, and ids that others have given.
NOT_TEXT = {
    "messaging.Contact": {"phone"},
    "messaging.ContactAlias": {"kind", "value"},
    "messaging.Conversation": {"address"},
    "messaging.Message": {"provider_message_id"},
    "messaging.CallEvent": {"provider_call_id"},
    "messaging.EarlyChange": {"provider_message_id", "chat", "sender"},
    "messaging.EarlyReceipt": {"provider_message_id"},
    "messaging.Media": {"ref", "file", "preview"},
    "messaging.ToolCall": {"call_id"},
    "commands.CommandRun": {"key"},
}
MIN_NUMBER_DIGITS = 7
MIN_NAME_LENGTH = 3
# What adds no character that is seen: joiners with the emoji that they join, variation selectors, skin tones.
INVISIBLE = re.compile("\u200d\\W?|[\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff\U0001f3fb-\U0001f3ff]")


@dataclass(frozen=True, slots=True)
class Marks:
    """What a person is recognised by: a regular expression that Python and PostgreSQL read alike; None: by nothing."""

    numbers: str | None
    names: str | None


def marks_of(contact: Contact) -> Marks:
    ids: set[str] = set()
    for kind, value in [*contact.aliases.values_list("kind", "value"), ("phone", contact.phone)]:
        ids |= set(phone_spellings(value)) if kind == "phone" and value else {value.partition("@")[0]}
    ids = {each.lstrip("+").partition(":")[0] for each in ids}
    digits = sorted(each for each in ids if each.isdigit() and len(each) >= MIN_NUMBER_DIGITS)
    others = sorted(each for each in ids if not each.isdigit() and len(each) >= MIN_NUMBER_DIGITS)
    numbers = [r"(?<![0-9])\+?" + r"[ ().-]{0,3}".join(each) + r"(?![0-9])" for each in digits]
    names = {each.strip() for each in (contact.name, contact.bridge_name) if _is_distinct(each.strip())}
    return Marks(
        numbers="|".join([*numbers, *map(_escaped, others)]) or None,
        names="|".join(rf"(?<!\w){_escaped(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)) or None,
    )


def _is_distinct(name: str) -> bool:
    """Return whether a name is long enough to mean the person in the texts of others, and more than punctuation."""
    is_name = any(each.isalnum() or unicodedata.category(each) == "So" for each in name)
    return is_name and len(INVISIBLE.sub("", name)) >= MIN_NAME_LENGTH


def _escaped(text: str) -> str:
    return "".join(each if each.isalnum() or each == " " else rf"\U{ord(each):08x}" for each in text)


def redact_numbers(contact: Contact) -> Iterator[int]:
    """Replace the person's numbers in all rows of the session; yield the number of changed rows.

    Each row is changed by a statement of its own.
    """
    if pattern := marks_of(contact).numbers:
        for model in text_models():
            if path := path_to(model, WhatsAppSession):
                yield from _redact(model, pattern, model._default_manager.filter(**{path: contact.session_id}))


def redact_names(contact: Contact, *, group: UUID) -> Iterator[int]:
    """Replace the person's names in the rows of a conversation, as `redact_numbers` does."""
    if pattern := marks_of(contact).names:
        for model in text_models():
            if path := path_to(model, Conversation):
                yield from _redact(model, pattern, model._default_manager.filter(**{path: group}))


def delete_early_changes(contact: Contact) -> int:
    """Delete the person's edits and deletions that wait for their message; return how many. Needs the aliases."""
    aliases = contact.aliases.values_list("kind", "value")
    addresses = [each for kind, value in aliases for each in alias_spellings(AliasKind(kind), value)]
    changes = EarlyChange.objects.filter(session=contact.session_id)
    return changes.filter(Q(chat__overlap=addresses) | Q(sender__overlap=addresses)).delete()[0]


def delete_early_receipts(contact: Contact) -> int:
    """Delete receipts that wait for a message whose id names the person, as those of WAHA do; return how many."""
    if pattern := marks_of(contact).numbers:
        rows = EarlyReceipt.objects.filter(session=contact.session_id, provider_message_id__iregex=pattern)
        return rows.delete()[0]
    return 0


@transaction.atomic
def redact_profile(contact: Contact) -> int:
    """Replace the person's numbers in the session's profile, its draft and the versions of both; return how many."""
    lock_profiles()
    pattern = marks_of(contact).numbers
    return sum(sum(_redact(rows.model, pattern, rows)) for rows in _profile_rows(contact)) if pattern else 0


def profiles_that_name(contact: Contact) -> list[str]:
    """Return the id of the session's profile if its texts, its draft's or their versions' hold the person's name.

    A name is not replaced there: it may be the agent's own, or an ordinary word.
    """
    pattern = marks_of(contact).names
    if pattern and any(_rows_with(pattern, rows.model, rows).exists() for rows in _profile_rows(contact)):
        return [str(contact.session.agent_profile_id)]
    return []


@transaction.atomic
def record_corrections(contact: Contact, *, group: UUID, since: datetime) -> None:
    """Let `corrections_for` find what "Correct it" made in a group after the contact had written there, also when
    their messages are deleted."""
    rows = Correction.objects.filter(conversation=group, created_at__gte=since).order_by("pk")
    for row in rows.exclude(forgotten_contacts__contains=[str(contact.pk)]).select_for_update():
        row.forgotten_contacts.append(str(contact.pk))
        row.save(update_fields=["forgotten_contacts"])


def corrections_for(contact: Contact) -> list[dict[str, Any]]:
    """Return which versions of which drafts "Correct it" made where the contact wrote: their lines may repeat it.

    The lines are not deleted: by then they may be what the agent tells everybody.
    """
    rows = Correction.objects.filter(
        Q(conversation__contact=contact) | Q(forgotten_contacts__contains=[str(contact.pk)])
    )
    values = rows.order_by("pk").values_list("version__profile__draft_of", "version__version")
    return [{"profile": str(profile), "draft_version": version} for profile, version in dict.fromkeys(values)]


def _profile_rows(contact: Contact) -> list[Any]:
    profile = contact.session.agent_profile_id
    profiles = AgentProfile.objects.filter(Q(pk=profile) | Q(draft_of=profile))
    return [profiles, AgentProfileVersion.objects.filter(profile__in=profiles.values("pk"))]


def _rows_with(pattern: str, model: type[models.Model], rows: Any) -> Any:
    fields = text_fields(model)
    rows = rows.annotate(**{f"{field.name}_as_text": Cast(field.name, TextField()) for field in fields})
    wanted = Q()
    for field in fields:
        wanted |= Q(**{f"{field.name}_as_text__iregex": pattern})
    return rows.filter(wanted)


def _redact(model: type[models.Model], pattern: str, rows: Any) -> Iterator[int]:
    fields = text_fields(model)
    found = re.compile(pattern, re.IGNORECASE)
    for pk in list(_rows_with(pattern, model, rows).values_list("pk", flat=True)):
        row = model._default_manager.filter(pk=pk).values(*(field.name for field in fields)).first()
        changes = {name: new for name, value in (row or {}).items() if (new := _replaced(value, found)) != value}
        for field in fields:
            if field.name in changes and isinstance(field, CharField) and field.max_length:
                changes[field.name] = changes[field.name][: field.max_length]
        if changes:
            yield model._default_manager.filter(pk=pk).update(**changes)


def replace_marks(value: Any, marks: Marks) -> Any:
    """Return a JSON value in which the person's numbers and names are replaced."""
    for pattern in filter(None, (marks.numbers, marks.names)):
        value = _replaced(value, re.compile(pattern, re.IGNORECASE))
    return value


def _replaced(value: Any, found: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return found.sub(REMOVED, value)
    if isinstance(value, list):
        return [_replaced(each, found) for each in value]
    if isinstance(value, dict):
        return {_replaced(name, found): _replaced(each, found) for name, each in value.items()}
    return value


@cache
def text_models() -> tuple[type[models.Model], ...]:
    """Return the models with text that may be about a person."""
    return tuple(model for label in APPS for model in apps.get_app_config(label).get_models() if text_fields(model))


@cache
def text_fields(model: type[models.Model]) -> tuple[Any, ...]:
    left_out = NOT_TEXT.get(model._meta.label, set())
    return tuple(
        field
        for field in model._meta.local_concrete_fields
        if isinstance(field, CharField | TextField | JSONField | ArrayField)
        and not field.choices
        and field.name not in left_out
        and (not isinstance(field, ArrayField) or isinstance(field.base_field, CharField | TextField))
    )


@cache
def path_to(model: type[models.Model], target: type[models.Model]) -> str:
    """Return the lookup from `model` to the id of `target` by foreign keys; empty if there is none."""
    paths: list[tuple[type[models.Model], str]] = [(model, "")]
    plain = {WhatsAppSession: "session_id", Conversation: "conversation_id"}[target]
    for found, prefix in paths:  # the list grows: breadth first
        if found is target:
            return f"{prefix}pk"
        fields = found._meta.local_concrete_fields
        if any(field.name == plain for field in fields):  # an id without a foreign key
            return f"{prefix}{plain}"
        if prefix.count("__") < 4:
            followed: Any = (field for field in fields if field.related_model is not found and _is_followed(field))
            paths += [(field.related_model, f"{prefix}{field.name}__") for field in followed]
    return ""


def _is_followed(field: Any) -> bool:
    if not field.is_relation:
        return False
    return field.related_model is WhatsAppSession or field.related_model._meta.app_label in APPS
