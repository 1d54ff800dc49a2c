"""Import one exported chat: the one function behind the command, the API and the admin."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any

from messaging.imports.archives import MAX_CHAT_BYTES, open_export
from messaging.imports.parsing import Chat, Unreadable, count_lines, decode_lines, parse_chat
from messaging.imports.store import check_authors, find_conversation, import_chat, own_name
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import InvalidInput

MAX_LINES_OF_REQUEST = 50_000  # some 15 s of a web thread; `manage.py import_chat` takes any number
MAX_CHAT_BYTES_OF_REQUEST = 32 * 1024 * 1024  # unpacked
EXAMPLES = 3  # from the beginning of the chat, and from its end
EXAMPLE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Example:
    """How a message was read, for whoever has to tell whether it was read correctly."""

    at: datetime  # of the phone, without a zone
    author: str
    is_ours: bool
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    new: int
    known: int
    changed: int
    system: int
    files: int
    date_order: str
    is_order_sure: bool
    me: str
    unreadable: list[Unreadable]
    skipped_files: list[tuple[str, str]]
    examples: list[Example]  # of a dry run

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_import(
    file: IO[bytes],
    *,
    session: WhatsAppSession,
    contact: str,
    me: str = "",
    date_order: str = "",
    dry_run: bool = False,
    is_request: bool = False,
) -> Iterator[ImportReport]:
    """Import the chat in `file`; yield the report as it grows, complete at the end.

    Everything is read and checked before anything is stored. A request is refused what would take it too long. Raises
    InvalidInput, NotFound or Conflict.
    """
    max_chat_bytes = MAX_CHAT_BYTES_OF_REQUEST if is_request else MAX_CHAT_BYTES
    with open_export(file, max_chat_bytes=max_chat_bytes) as export:
        if is_request:
            _check_length(export.text)
        chat = parse_chat(decode_lines(export.text), date_order=date_order)
        conversation = find_conversation(session=session, contact=contact)
        name = own_name(chat, me=me, session=session, contact=conversation.contact if conversation else None)
        check_authors(chat, me=name, is_group=bool(conversation and conversation.contact.is_group))
        for result in import_chat(chat, export, session=session, contact=contact, me=name, dry_run=dry_run):
            yield ImportReport(
                **asdict(result),
                date_order=chat.date_order,
                is_order_sure=chat.is_order_sure,
                me=name,
                unreadable=chat.unreadable,
                examples=_examples(chat, me=name) if dry_run else [],
            )


def _check_length(text: bytes) -> None:
    if (count := count_lines(text)) > MAX_LINES_OF_REQUEST:
        raise InvalidInput(
            f"The chat has {count:,} lines, which would take longer than a request may. At most "
            f"{MAX_LINES_OF_REQUEST:,} are imported here; an operator imports more with manage.py import_chat.",
            field="file",
        )


def _examples(chat: Chat, *, me: str) -> list[Example]:
    messages = chat.messages
    chosen = messages if len(messages) <= 2 * EXAMPLES else [*messages[:EXAMPLES], *messages[-EXAMPLES:]]
    return [
        Example(each.at, each.author, each.author == me, each.kind.value, each.text[:EXAMPLE_CHARS]) for each in chosen
    ]
