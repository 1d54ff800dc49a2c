"""Store the messages of an exported chat in a conversation, each once, as history that nobody answers.

A message is known already if the conversation has one of the same minute, side and content, whether an earlier import
or the bridge brought it. Rows are inserted in batches, so that no long transaction holds up the event feed; if the
import fails or is stopped, what it has inserted is deleted again, and if it is killed, importing again completes it.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import Max
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone
from django.utils.translation import gettext as _
from uuid_utils.compat import uuid7

from agent.bridges.events import Kind
from messaging import control
from messaging.contacts.locks import close_contacts, lock_contacts
from messaging.contacts.lookup import find_contact_by_phone
from messaging.imports.archives import Export
from messaging.imports.parsing import Chat, Entry
from messaging.maintenance.retention import delete_messages
from messaging.media.files import FileTooLarge, UnsupportedFile, take
from messaging.models import Contact, Conversation, Media, Message
from messaging.outbound import conversation_by_phone
from messaging.people.find import find_contacts
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import Conflict, InvalidInput
from whatsapp_agent.text.phones import parse_phone

BATCH = 1000
# As JSON, because building a model and a list of its thirty columns takes longer than storing the message.
INSERT_HISTORY = """
INSERT INTO messaging_message (
    id, session_id, conversation_id, sender_id, direction, author, kind, status, unanswered, text, details,
    said_at, written_at, sent_at, edited_at, revoked_at, created_at, quoted_provider_id, tries, error_code, error)
SELECT new.id, %(session)s, %(conversation)s, new.sender,
       CASE WHEN is_ours THEN 'outbound' ELSE 'inbound' END, CASE WHEN is_ours THEN 'phone' ELSE 'contact' END,
       new.kind, CASE WHEN is_ours THEN 'sent' ELSE 'handled' END, CASE WHEN is_ours THEN '' ELSE 'history' END,
       new.text, new.details, new.at, new.at, CASE WHEN is_ours THEN new.at END,
       CASE WHEN is_edited THEN new.at END, CASE WHEN is_deleted THEN new.at END, now(), '', 0, '', ''
  FROM json_to_recordset(%(messages)s) AS new(
       id uuid, sender uuid, is_ours boolean, kind text, text text, details jsonb, at timestamptz,
       is_edited boolean, is_deleted boolean)
"""
ONE_IMPORT = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
END_IMPORT = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"


@dataclass(slots=True)
class Imported:
    """What became of the entries. `skipped_files` are names with the reason."""

    new: int = 0
    known: int = 0
    changed: int = 0  # edited or deleted since
    system: int = 0
    files: int = 0
    skipped_files: list[tuple[str, str]] = field(default_factory=list)


def find_conversation(*, session: WhatsAppSession, contact: str) -> Conversation | None:
    """Return the conversation with a phone number or a contact's id; None if the number is new. Raises NotFound."""
    try:
        UUID(contact.strip())
    except ValueError:
        found = find_contact_by_phone(session=session, phone=parse_phone(contact, field="contact"))
    else:
        found = find_contacts(contact, session=session)[0]
    return Conversation.objects.select_related("contact", "session").filter(contact=found).first() if found else None


def own_name(chat: Chat, *, me: str, session: WhatsAppSession, contact: Contact | None) -> str:
    """Return under which name this number wrote. Raises InvalidInput if `me` is no author, or if it cannot be told."""
    authors = chat.authors
    if me:
        found = [name for name in authors if name.casefold() == me.strip().casefold()]
        if not found and len(authors) > 1:
            raise InvalidInput(
                _("%(me)r has written nothing. Authors: %(authors)s.") % {"me": me, "authors": ", ".join(authors[:10])},
                field="me",
            )
        return found[0] if found else me
    ours = {session.display_name.casefold(), _digits(session.phone)} - {""}
    theirs = (
        {contact.name.casefold(), contact.bridge_name.casefold(), _digits(contact.phone)} - {""} if contact else set()
    )
    mine = [name for name in authors if name.casefold() in ours or _digits(name) in ours]
    others = [name for name in authors if name.casefold() in theirs or _digits(name) in theirs]
    if len(mine) == 1:
        return mine[0]
    if len(authors) == 2 and len(others) == 1:
        return next(name for name in authors if name not in others)
    raise InvalidInput(
        _("Say who of the authors is this number: %(authors)s (--me NAME; in the API the field me).")
        % {"authors": ", ".join(authors[:10])},
        field="me",
    )


def _digits(text: str) -> str:
    found = "".join(each for each in text if each.isdecimal())
    return found if len(found) >= 7 else ""


def check_authors(chat: Chat, *, me: str, is_group: bool) -> None:
    """Raise InvalidInput for the chat of a group that is to become one person's."""
    others = [name for name in chat.authors if name != me]
    if len(others) > 1 and not is_group:
        raise InvalidInput(
            _("This is a group's chat (%(authors)s). Give the id of the group's contact, not a phone.")
            % {"authors": ", ".join(others[:10])},
            field="contact",
        )


def import_chat(
    chat: Chat, export: Export, *, session: WhatsAppSession, contact: str, me: str, dry_run: bool = False
) -> Iterator[Imported]:
    """Store the chat's messages; yield what became of them so far, complete at the end. Raises Conflict."""
    conversation = find_conversation(session=session, contact=contact)
    is_new = conversation is None and not dry_run
    if is_new:
        conversation = conversation_by_phone(session=session, phone=parse_phone(contact, field="contact"))
    try:
        with nullcontext() if dry_run else _one_import(conversation):
            yield from _Import(chat, export, session=session, conversation=conversation, me=me, dry_run=dry_run).run()
    except BaseException:
        if is_new and conversation is not None:
            _delete_if_empty(conversation)
        raise


@transaction.atomic
def _delete_if_empty(conversation: Conversation) -> None:
    """Delete a conversation, and its contact, that an import has created for nothing."""
    contact = lock_contacts(conversation.contact_id).get(conversation.contact_id)
    row = Conversation.objects.select_for_update().filter(pk=conversation.pk, contact=contact).first()
    if contact and row and not Message.objects.filter(conversation=row).exists():
        close_contacts(contact.pk)
        contact.delete()


@contextmanager
def _one_import(conversation: Conversation | None) -> Iterator[None]:
    assert conversation is not None
    name = f"import:{conversation.pk}"
    lock = connection.copy()  # a connection of its own: it holds the lock until the end, or until this process dies
    try:
        with lock.cursor() as cursor:
            cursor.execute(ONE_IMPORT, [name])
            if not cursor.fetchone()[0]:
                raise Conflict(_("Another import into this conversation is running."))
        yield
        with lock.cursor() as cursor:
            cursor.execute(END_IMPORT, [name])
    finally:
        lock.close()


class _Known:
    """The messages of the conversation. Each equals one entry at most: `find` takes it out.

    Found in constant time also in a chat whose messages are all of one minute.
    """

    def __init__(self) -> None:
        self._same: defaultdict[Any, deque[dict[str, Any]]] = defaultdict(deque)  # by minute, side and text
        self._any: defaultdict[Any, deque[dict[str, Any]]] = defaultdict(deque)  # what may have been deleted since
        self._unedited: defaultdict[Any, deque[dict[str, Any]]] = defaultdict(deque)  # what may have been edited since

    def add(self, row: dict[str, Any]) -> None:
        place = row["direction"] == Message.Direction.OUTBOUND, _minute(row["at"])
        is_deleted = row["revoked_at"] is not None
        self._same[*place, is_deleted, "" if is_deleted else row["text"]].append(row)
        if not is_deleted:
            self._any[place].append(row)
            if row["edited_at"] is None:
                self._unedited[*place, row["kind"]].append(row)

    def find_same(self, entry: Entry, *, at: datetime, is_ours: bool) -> dict[str, Any] | None:
        key = (is_ours, _minute(at), entry.is_deleted, "" if entry.is_deleted else entry.text)
        return _take_first(self._same.get(key), lambda row: _is_same(row, entry))

    def find_changed(self, entry: Entry, *, at: datetime, is_ours: bool) -> dict[str, Any] | None:
        """Return a message that may have been edited or deleted since, and is the entry now."""
        place = (is_ours, _minute(at))
        if entry.is_deleted:
            return _take_first(self._any.get(place))
        return _take_first(self._unedited.get((*place, entry.kind.value))) if entry.is_edited else None


def _take_first(
    rows: deque[dict[str, Any]] | None, is_right: Callable[[dict[str, Any]], bool] = lambda _: True
) -> dict[str, Any] | None:
    """Mark the first right row as taken and return it. Rows that another list has given away are dropped."""
    while rows and "is_taken" in rows[0]:
        rows.popleft()
    for row in rows or ():
        if "is_taken" not in row and is_right(row):
            row["is_taken"] = True
            return row
    return None


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


class _Import:
    def __init__(
        self,
        chat: Chat,
        export: Export,
        *,
        session: WhatsAppSession,
        conversation: Conversation | None,
        me: str,
        dry_run: bool,
    ) -> None:
        self.chat, self.export, self.me, self.dry_run = chat, export, me, dry_run
        self.session, self.conversation = session, conversation
        self.result = Imported(system=len(chat.entries) - len(chat.messages))
        self.inserted: list[UUID] = []
        self.stored: list[str] = []
        self.senders: dict[str, Contact | None] = {}

    def run(self) -> Iterator[Imported]:
        try:
            known = self._known()
            waiting: list[tuple[dict[str, Any], Entry]] = []
            for entry, at in self._without_known(known):
                if message := self._new_message(entry, at, known):
                    waiting.append((message, entry))
                if len(waiting) == BATCH:
                    self._insert(waiting)
                    waiting = []
                    yield self.result
            self._insert(waiting)
            self._update_conversation()
        except BaseException:
            self._take_back()
            raise
        yield self.result

    def _known(self) -> _Known:
        known = _Known()
        if self.conversation is None:
            return known
        rows = Message.objects.filter(conversation=self.conversation).order_by("said_at", "id")
        fields = ("id", "direction", "kind", "text", "revoked_at", "edited_at", "earlier_texts", "media__filename")
        times = {"at": Coalesce("written_at", "sent_at", "said_at")}
        for row in rows.annotate(**times).values("at", *fields).iterator(chunk_size=5000):
            known.add(row)
        return known

    def _without_known(self, known: _Known) -> list[tuple[Entry, datetime]]:
        """Return the entries that no known message equals, and take out the messages that equal one.

        All of them first: what was edited or deleted may have been any message of its minute but one of these.
        """
        left = []
        zone = self.session.zone
        for entry in self.chat.messages:
            at = _moment(entry.at, zone)
            if known.find_same(entry, at=at, is_ours=entry.author == self.me):
                self.result.known += 1
            else:
                left.append((entry, at))
        return left

    def _new_message(self, entry: Entry, at: datetime, known: _Known) -> dict[str, Any] | None:
        """Return the message to insert; None if one that is known was edited or deleted since, which is stored."""
        is_ours = entry.author == self.me
        if found := known.find_changed(entry, at=at, is_ours=is_ours):
            self._change(found, entry, at)
            self.result.known += 1
            return None
        self.result.new += 1
        if self.dry_run or self.conversation is None:
            return None
        return self._message(entry, at, is_ours=is_ours)

    def _message(self, entry: Entry, at: datetime, *, is_ours: bool) -> dict[str, Any]:
        """Return what INSERT_HISTORY takes."""
        sender = None if is_ours else self._sender(entry.author)
        details = entry.details if is_ours or sender is not None else entry.details | {"author": entry.author}
        return {
            "id": uuid7(),
            "sender": sender.pk if sender else None,
            "is_ours": is_ours,
            "kind": entry.kind.value,
            "text": entry.text,
            "details": details,
            "at": at,
            "is_edited": entry.is_edited,
            "is_deleted": entry.is_deleted,
        }

    def _sender(self, author: str) -> Contact | None:
        """Return the contact of an author; in a group only one who is named by a phone number is known."""
        assert self.conversation is not None
        contact = self.conversation.contact
        if not contact.is_group:
            return contact
        if author not in self.senders:
            self.senders[author] = None
            if author.lstrip().startswith("+"):
                try:
                    self.senders[author] = find_contact_by_phone(session=self.session, phone=parse_phone(author))
                except InvalidInput:
                    self.senders[author] = None
        return self.senders[author]

    def _change(self, row: dict[str, Any], entry: Entry, at: datetime) -> None:
        self.result.changed += 1
        if self.dry_run:
            return
        changes: dict[str, Any] = {"revoked_at": at}
        if entry.is_edited:
            earlier = [*row["earlier_texts"], {"text": row["text"], "until": at.isoformat()}]
            changes = {"text": entry.text, "edited_at": at, "earlier_texts": earlier}
        Message.objects.filter(pk=row["id"]).update(**changes)

    def _insert(self, waiting: Sequence[tuple[dict[str, Any], Entry]]) -> None:
        if not waiting:
            return
        assert self.conversation is not None
        media = [self._media(message["id"], entry) for message, entry in waiting if _has_file(entry)]  # files take long
        messages = [message for message, _ in waiting]
        self.inserted += [message["id"] for message in messages]
        values: dict[str, Any] = {
            "session": self.session.pk,
            "conversation": self.conversation.pk,
            "messages": orjson.dumps(messages).decode(),
        }
        with transaction.atomic():
            control.lock_conversation(self.conversation.pk)  # its contact is not merged meanwhile
            with connection.cursor() as cursor:
                cursor.execute(INSERT_HISTORY, values)
            Media.objects.bulk_create(media)

    def _media(self, message_id: UUID, entry: Entry) -> Media:
        media = Media(message_id=message_id, filename=entry.filename)
        if entry.filename and entry.filename in self.export.files:
            try:
                size_bytes = self.export.files[entry.filename].file_size
                with self.export.open(entry.filename) as content:
                    file = take(content, name=entry.filename, size_bytes=size_bytes)
                    media.file.save(file.filename, File(file.content), save=False)
            except (UnsupportedFile, FileTooLarge, InvalidInput) as exc:
                self.result.skipped_files.append((entry.filename, str(exc)))
            else:
                media.mime_type, media.size_bytes, media.status = file.mime_type, size_bytes, Media.Status.STORED
                self.stored.append(str(media.file.name))
                self.result.files += 1
        return media

    def _update_conversation(self) -> None:
        if self.dry_run or self.conversation is None or not self.inserted:
            return
        latest = Message.objects.filter(conversation=self.conversation).aggregate(at=Max("said_at"))["at"]
        Conversation.objects.filter(pk=self.conversation.pk).update(
            last_message_at=Greatest("last_message_at", timezone.now() if latest is None else latest)
        )

    def _take_back(self) -> None:
        for start in range(0, len(self.inserted), BATCH):
            batch = self.inserted[start : start + BATCH]
            with transaction.atomic():
                delete_messages(batch)
        for name in self.stored:
            default_storage.delete(name)


def _has_file(entry: Entry) -> bool:
    return bool(entry.filename) or entry.kind in {
        Kind.IMAGE, Kind.VIDEO, Kind.AUDIO, Kind.VOICE, Kind.STICKER, Kind.DOCUMENT,
    }  # fmt: skip


def _moment(at: datetime, zone: ZoneInfo) -> datetime:
    return at.replace(tzinfo=zone).astimezone(UTC)


def _is_same(row: dict[str, Any], entry: Entry) -> bool:
    if entry.is_deleted or row["revoked_at"] is not None:
        return entry.is_deleted and row["revoked_at"] is not None
    if entry.filename and row["media__filename"]:
        return bool(row["media__filename"] == entry.filename and row["text"] == entry.text)
    is_file = bool(row["media__filename"]) or row["kind"] != Kind.TEXT.value
    return row["text"] == entry.text and is_file == (entry.kind is not Kind.TEXT)
