"""Export everything about one person, as the law asks for it: one .zip for programs and people."""

from collections.abc import Iterator
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.db import models

from messaging.maintenance.export import add_files, dump, exported_messages, write_conversation
from messaging.models import Contact, Conversation, Event, Message, ToolCall

CHUNK = 1000
# Not about the person, or exported as messages.
LEFT_OUT = (Message, Conversation)


def write_contact(contact: Contact, file: IO[bytes]) -> Iterator[None]:
    """Write a .zip; yield once for each row and file.

    `contact.json` holds every row that refers to the person, `conversation.json` and `conversation.html` the messages,
    `groups.json` what they wrote in groups, `media/` the files.
    """
    conversation = Conversation.objects.select_related("contact", "session").filter(contact=contact).first()
    in_groups = Message.objects.filter(sender=contact)
    if conversation is not None:
        in_groups = in_groups.exclude(conversation=conversation)
    with ZipFile(file, "w", ZIP_DEFLATED, allowZip64=True) as archive:
        with _part(archive, "contact.json") as part:
            for text in _rows(contact, conversation):
                part.write(text.encode("utf-8", "replace"))
                yield
        if conversation is not None:
            for format in ("json", "html"):
                with _part(archive, f"conversation.{format}") as part:
                    yield from write_conversation(conversation, part, format=format)
            yield from add_files(archive, exported_messages(Message.objects.filter(conversation=conversation)))
        with _part(archive, "groups.json") as part:
            separator = b"[\n"
            for message in exported_messages(in_groups):
                part.write(separator + dump(message).encode("utf-8", "replace"))
                separator = b",\n"
                yield
            part.write(b"\n]\n" if separator != b"[\n" else b"[]\n")
        yield from add_files(archive, exported_messages(in_groups))


def _part(archive: ZipFile, name: str) -> IO[bytes]:
    entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = ZIP_DEFLATED
    return archive.open(entry, "w", force_zip64=True)


def _rows(contact: Contact, conversation: Conversation | None) -> Iterator[str]:
    yield '{"contact": ' + dump(_values(contact))
    if conversation is not None:
        yield ',\n"conversation": ' + dump(_values(conversation))
    tables: dict[str, Any] = {}
    for row in filter(None, (contact, conversation)):
        for relation in row._meta.get_fields(include_hidden=True):
            if isinstance(relation, models.ForeignObjectRel) and relation.related_model not in LEFT_OUT:
                manager: Any = relation.related_model._default_manager
                found = manager.filter(**{relation.field.name: row})
                name = relation.related_model._meta.db_table
                tables[name] = tables[name] | found if name in tables else found
    if conversation is not None:
        tables[ToolCall._meta.db_table] = ToolCall.objects.filter(turn__conversation=conversation)
        tables[Event._meta.db_table] = Event.objects.filter(conversation_id=conversation.pk)
    for name, rows in sorted(tables.items()):
        yield f',\n"{name}": ['
        separator = "\n"
        for each in rows.order_by("pk").iterator(chunk_size=CHUNK):
            yield separator + dump(_values(each))
            separator = ",\n"
        yield "]"
    yield "}\n"


def _values(row: models.Model) -> dict[str, Any]:
    return {field.attname: field.value_from_object(row) for field in row._meta.local_concrete_fields}
