"""Export a conversation for people and programs: JSON, text, or HTML; with the files in a .zip."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from django.core.files.storage import default_storage
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from django.utils.html import escape

from messaging.history.content import call_text
from messaging.media.files import clean_name
from messaging.models import Conversation, Message
from whatsapp_agent.errors import NotFound
from whatsapp_agent.text.single_line import without_marks
from whatsapp_agent.text.times import format_minute, format_minute_with_zone

FORMATS = ("json", "text", "html")
EXTENSION = {"json": "json", "text": "txt", "html": "html"}
STYLE = (
    "body{font:16px/1.4 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;background:#f3efe9}"
    "article{background:#fff;border-radius:.5rem;padding:.5rem .75rem;margin:.5rem 4rem .5rem 0;overflow-wrap:anywhere}"
    "article.outbound{background:#d9f7d1;margin:.5rem 0 .5rem 4rem}"
    "header{font-size:.8rem;color:#555}p{margin:.25rem 0;white-space:pre-wrap}img,video{max-width:100%}"
)
# What a browser shows by itself; everything else is a link, so that no file of a stranger runs as a page.
SHOWN = {"image/jpeg": "img", "image/png": "img", "image/webp": "img", "video/mp4": "video", "audio/ogg": "audio"}


def find_conversation(text: str) -> Conversation:
    """Return the conversation with this id. Raises NotFound."""
    try:
        found = Conversation.objects.select_related("contact", "session").filter(pk=UUID(text.strip())).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound("There is no conversation with this id. The admin and GET /api/v1/conversations/ show it.")
    return found


def exported_messages(rows: QuerySet[Message]) -> Iterator[dict[str, Any]]:
    """Yield these messages, oldest first. `media.path` is where a .zip holds its file; empty if there is none."""
    related = ("sender", "sent_by", "media", "conversation__contact")
    for message in rows.select_related(*related).order_by("said_at", "id").iterator(chunk_size=1000):
        media = getattr(message, "media", None)
        yield {
            "id": message.pk,
            "provider_message_id": message.provider_message_id,
            "direction": message.direction,
            "author": message.author,
            "author_name": _author_name(message),
            "kind": message.kind,
            "status": message.status,
            "unanswered": message.unanswered,
            "text": message.text,
            "details": message.details,
            "quoted": message.quoted_id,
            "turn": message.turn_id,
            "said_at": message.said_at,
            "written_at": message.written_at,
            "delivered_at": message.delivered_at,
            "read_at": message.read_at,
            "edited_at": message.edited_at,
            "earlier_texts": message.earlier_texts,
            "revoked_at": message.revoked_at,
            "media": None
            if media is None
            else {
                "filename": media.filename,
                "mime_type": media.mime_type,
                "size_bytes": media.size_bytes,
                "status": media.status,
                "transcript": media.transcript,
                "extract": media.extract,
                "error": media.error,
                "path": f"media/{media.pk.hex}{_suffix(media.file.name)}" if media.file else "",
                "stored_as": media.file.name or "",
            },
        }


def _author_name(message: Message) -> str:
    if message.direction == Message.Direction.INBOUND:
        return str(message.sender or message.conversation.contact)
    return message.sent_by.username if message.sent_by else message.author


def _suffix(name: str) -> str:
    return PurePosixPath(clean_name(name)).suffix


def write_conversation(conversation: Conversation, file: IO[bytes], *, format: str) -> Iterator[None]:
    """Write the conversation; yield once for each message."""
    writer = {"json": _as_json, "text": _as_text, "html": _as_html}[format]
    for part in writer(conversation):
        file.write(part.encode("utf-8", "replace"))
        yield


def write_zip(conversation: Conversation, file: IO[bytes], *, format: str) -> Iterator[None]:
    """Write a .zip with the conversation and its files; yield once for each message and each file."""
    with ZipFile(file, "w", ZIP_DEFLATED, allowZip64=True) as archive:
        name = f"conversation.{EXTENSION[format]}"
        with archive.open(ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as part:
            yield from write_conversation(conversation, part, format=format)
        yield from add_files(archive, exported_messages(conversation.messages.all()))


def add_files(archive: ZipFile, messages: Iterator[dict[str, Any]]) -> Iterator[None]:
    """Add the stored files of these messages; yield once for each."""
    for message in messages:
        media = message["media"]
        if media and media["path"] and default_storage.exists(media["stored_as"]):
            entry = ZipInfo(media["path"], date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = ZIP_STORED
            with default_storage.open(media["stored_as"], "rb") as source, archive.open(entry, "w") as target:
                for chunk in source.chunks():
                    target.write(chunk)
            yield


def _shown(message: dict[str, Any]) -> str:
    """Return what a reader sees of a message in words: its text, its file, or its details."""
    parts = []
    if message["media"]:
        parts.append(f"<{message['kind']}: {message['media']['filename'] or message['media']['mime_type'] or 'file'}>")
    elif message["kind"] == "call":
        parts.append(f"<{call_text(message['details'], is_inbound=message['direction'] == 'inbound')}>")
    elif message["kind"] != "text":
        parts.append(f"<{message['kind']}>")
    if message["text"]:
        parts.append(message["text"])
    if message["media"] and (words := message["media"]["transcript"] or message["media"]["extract"]):
        parts.append(f"\n{words}\n")
    if message["details"] and message["kind"] in {"location", "contact", "reaction", "order"}:
        parts.append(json.dumps(message["details"], ensure_ascii=False))
    if message["edited_at"]:
        parts.append("(edited)")
        parts += [f"(before: {each['text']})" for each in message["earlier_texts"]]
    if message["revoked_at"]:
        parts.append("(deleted by its author)")
    if message["status"] in {"failed", "cancelled", "unconfirmed"}:
        parts.append(f"({message['status']})")
    return " ".join(parts)


def _as_json(conversation: Conversation) -> Iterator[str]:
    head = {
        "conversation": conversation.pk,
        "session": conversation.session.name,
        "contact": {
            "id": conversation.contact_id,
            "name": conversation.contact.name,
            "phone": conversation.contact.phone,
            "aliases": list(conversation.contact.aliases.values("kind", "value")),
        },
        "summary": conversation.summary,
        "facts": list(conversation.contact.facts.filter(forgotten_at=None).values("text", "proposed_by", "created_at")),
        "notes": list(conversation.notes.values("author__username", "text", "is_shown_to_model", "created_at")),
    }
    yield dump(head)[:-1] + ', "messages": ['
    separator = "\n"
    for message in exported_messages(conversation.messages.all()):
        yield separator + dump(message)
        separator = ",\n"
    yield "\n]}\n"


def dump(data: Any) -> str:
    return json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False)


def _as_text(conversation: Conversation) -> Iterator[str]:
    zone = conversation.session.zone
    yield f"Conversation {conversation.pk} with {conversation.contact}, session {conversation.session}, {zone}\n"
    for message in exported_messages(conversation.messages.all()):
        lines = without_marks(_shown(message)).splitlines() or [""]
        yield (
            f"[{format_minute(message['said_at'], zone=zone)}] {message['author_name']}: " + "\n    ".join(lines) + "\n"
        )


def _as_html(conversation: Conversation) -> Iterator[str]:
    zone, title = conversation.session.zone, escape(f"{conversation.contact} at {conversation.session}")
    policy = "default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src 'unsafe-inline'"
    yield (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>\n"
    )
    for message in exported_messages(conversation.messages.all()):
        head = f"{message['author_name']}, {format_minute_with_zone(message['said_at'], zone=zone)}"
        yield (
            f'<article class="{message["direction"]}" id="{message["id"]}"><header>{escape(head)}</header>'
            f'{_html_media(message["media"])}<p dir="auto">{escape(_shown(message))}</p></article>\n'
        )
    yield "</html>\n"


def _html_media(media: dict[str, Any] | None) -> str:
    if not media or not media["path"]:
        return ""
    path, name = escape(media["path"]), escape(media["filename"] or "file")
    match SHOWN.get(media["mime_type"].split(";")[0].strip()):
        case "img":
            return f'<img src="{path}" alt="{name}">'
        case "video" | "audio" as tag:
            return f'<{tag} controls src="{path}"></{tag}>'
    return f'<a download="{name}" href="{path}">{name}</a>'
