"""Import one exported chat: the one function behind the command, the API and the admin."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from messaging.imports.archives import open_export
from messaging.imports.parsing import Unreadable, decode_lines, parse_chat
from messaging.imports.store import check_authors, find_conversation, import_chat, own_name
from sessions_app.models import WhatsAppSession


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
) -> Iterator[ImportReport]:
    """Import the chat in `file`; yield the report as it grows, complete at the end.

    Everything is read and checked before anything is stored. Raises InvalidInput, NotFound or Conflict.
    """
    with open_export(file) as export:
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
            )
