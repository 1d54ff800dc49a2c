"""Remove a person from what merges of groups would restore: copies of messages that came under both groups' ids."""

from collections.abc import Iterator
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction

from messaging.media.files import LIBRARY
from messaging.models import Contact, ContactMerge, Conversation, Media, Message, Summary
from messaging.people.redaction import marks_of, replace_marks

SUMMARIES = {"summary": "", "attention_note": ""}  # written from what anybody said


def remove_from_merges(contact: Contact) -> Iterator[int]:
    """Remove the person's messages, and answers to them, from the merges of the session's groups, and all summaries:
    nobody knows any more which groups the person was in. Yield the number of deleted files after each.

    Taking such a merge back restores the rest.
    """
    groups = ContactMerge.objects.filter(session=contact.session_id, contact__is_group=True).exclude(undo=None)
    for pk in list(groups.values_list("pk", flat=True)):
        yield _remove(contact, pk)


@transaction.atomic
def _remove(contact: Contact, pk: Any) -> int:
    merge = ContactMerge.objects.select_for_update().filter(pk=pk).exclude(undo=None).first()
    if merge is None or merge.undo is None:
        return 0
    undo = merge.undo
    removed = {
        entry["row"]["id"]
        for entry in undo["deleted"]
        if entry["model"] == Message._meta.label
        and (entry["row"]["sender_id"] == str(contact.pk) or entry["row"]["direction"] == Message.Direction.OUTBOUND)
    }
    gone = [entry for entry in undo["deleted"] if _is_of(entry, removed)]
    names = {name for entry in gone if entry["model"] == Media._meta.label for name in _files(entry["row"])}
    for name in names:  # before the row: a process that dies in between leaves no file without it
        default_storage.delete(name)
    undo["deleted"] = [entry for entry in undo["deleted"] if entry not in gone]
    for entry in (*undo["deleted"], *undo["watched"]):
        if entry["model"] == Conversation._meta.label:
            for state in {"row", "before", "after"} & entry.keys():
                entry[state] = entry[state] and entry[state] | SUMMARIES
    merge.undo = replace_marks(undo, marks_of(contact))
    merge.save(update_fields=["undo"])
    return len(names)


def _is_of(entry: dict[str, Any], messages: set[str]) -> bool:
    """Return whether a row is one of these messages, belongs to one, or is a summary."""
    row = entry["row"]
    if entry["model"] == Message._meta.label:
        return row["id"] in messages
    return entry["model"] == Summary._meta.label or row.get("message_id") in messages


def _files(row: dict[str, Any]) -> Iterator[str]:
    for name in (row["file"], row["preview"]):
        is_used = Media.objects.filter(file=name).exists() or Media.objects.filter(preview=name).exists()
        if name and not name.startswith(f"{LIBRARY}/") and not is_used:
            yield name
