"""Write what a profile knows: each text is split into parts, whose words are indexed for the search."""

import shutil
import tempfile
from pathlib import PurePosixPath
from typing import IO, Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from accounts.models import User
from messaging.media import sandbox
from messaging.media.files import take
from messaging.media.reading import FORMATS
from messaging.models import Knowledge, KnowledgePart
from messaging.search.words import forms_of, split_words
from sessions_app.models import AgentProfile
from sessions_app.profiles import lock_profiles
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import single_line_error
from whatsapp_agent.text.split import split_text

MAX_TITLE_LENGTH = 200
MAX_TEXT_LENGTH = 400_000
MAX_PARTS = 4_000  # of one profile: a search reads all of them
PART_LENGTH = 800
MAX_WORDS = 400  # of a part: more than it has room for

INSERT_PARTS = """
INSERT INTO messaging_knowledgepart (knowledge_id, agent_profile_id, position, text, word_count, terms)
SELECT %(knowledge)s, %(agent_profile)s, new.position, new.text, new.word_count,
       array_to_tsvector(string_to_array(new.lexemes, ' '))
  FROM unnest(%(positions)s::int[], %(texts)s::text[], %(counts)s::int[], %(lexemes)s::text[])
       new(position, text, word_count, lexemes)
"""


@transaction.atomic
def create_knowledge(
    *,
    agent_profile: AgentProfile,
    title: str,
    text: str,
    kind: str = Knowledge.Kind.ANSWER,
    is_enabled: bool = True,
    by: User | None = None,
) -> Knowledge:
    """Store a question with its answer, or a document. Raises InvalidInput, and Conflict for too many."""
    knowledge = Knowledge(agent_profile=agent_profile, kind=kind, is_enabled=is_enabled, changed_by=by)
    knowledge.title, knowledge.text = _valid_title(title), _valid_text(text)
    lock_profiles()  # before any row: of two at once, both could find room, or leave `has_knowledge` wrong
    knowledge.save()
    _index(knowledge)
    return knowledge


@transaction.atomic
def change_knowledge(knowledge: Knowledge, *, by: User | None = None, **changes: Any) -> Knowledge:
    """Change title, text, kind or whether it is enabled; the rest stays as it is stored.

    Raises as `create_knowledge`, and NotFound.
    """
    lock_profiles()
    knowledge = _stored(knowledge)  # somebody else may have changed the rest since it was read
    if "title" in changes:
        knowledge.title = _valid_title(changes["title"])
    if "text" in changes:
        knowledge.text = _valid_text(changes["text"])
    knowledge.kind = changes.get("kind", knowledge.kind)
    knowledge.is_enabled = changes.get("is_enabled", knowledge.is_enabled)
    knowledge.changed_by = by
    knowledge.save()
    _index(knowledge)
    return knowledge


@transaction.atomic
def delete_knowledge(knowledge: Knowledge) -> None:
    """Delete an entry: no answer uses it from now on."""
    lock_profiles()
    profile_id = knowledge.agent_profile_id
    knowledge.delete()
    _mark_profile(profile_id)


def read_document(content: IO[bytes], *, name: str, size_bytes: int) -> str:
    """Return the text of a file: PDF, DOCX, XLSX or plain text. Raises InvalidInput, and what `take` raises."""
    file = take(content, name=name, size_bytes=size_bytes)
    format = FORMATS.get(file.mime_type)
    if format is None:
        raise InvalidInput(_("Only PDF, DOCX, XLSX and text files can be read."), field="file")
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(content, copy)
        copy.seek(0)
        try:
            return storable(sandbox.extract_text(copy, format=format, max_chars=MAX_TEXT_LENGTH)).strip()
        except sandbox.Unreadable as exc:
            raise InvalidInput(str(exc), field="file") from exc


def title_of_file(name: str) -> str:
    """Return a title for a file that has none."""
    return " ".join(storable(PurePosixPath(name.replace("\\", "/")).name).split())[:MAX_TITLE_LENGTH] or "Document"


def _stored(knowledge: Knowledge) -> Knowledge:
    try:
        return Knowledge.objects.get(pk=knowledge.pk)
    except Knowledge.DoesNotExist as exc:
        raise NotFound(_("Somebody else has deleted this meanwhile.")) from exc


def _valid_title(title: str) -> str:
    title = storable(title).strip()
    if not title:
        raise InvalidInput(_("This field may not be blank."), field="title")
    if len(title) > MAX_TITLE_LENGTH:
        raise InvalidInput(
            _("A title may have %(limit)s characters.") % {"limit": MAX_TITLE_LENGTH},
            field="title",
        )
    if error := single_line_error(title):
        raise InvalidInput(error, field="title")
    return title


def _valid_text(text: str) -> str:
    text = storable(text).replace("\r\n", "\n").strip()
    if not text:
        raise InvalidInput(_("This field may not be blank."), field="text")
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidInput(_("A text may have %(limit)s characters.") % {"limit": MAX_TEXT_LENGTH}, field="text")
    return text


def _index(knowledge: Knowledge) -> None:
    """Replace the parts of an entry; one that is disabled has none. Raises Conflict for too many parts."""
    KnowledgePart.objects.filter(knowledge=knowledge).delete()
    texts = split_text(knowledge.text, limit=PART_LENGTH) if knowledge.is_enabled else []
    if len(texts) + KnowledgePart.objects.filter(agent_profile_id=knowledge.agent_profile_id).count() > MAX_PARTS:
        raise Conflict(
            _("All texts of a profile together may have about %(limit)s characters.")
            % {"limit": format(MAX_PARTS * PART_LENGTH, ",")}
        )
    words = [list(dict.fromkeys(split_words(f"{knowledge.title}\n{text}", limit=MAX_WORDS))) for text in texts]
    forms = forms_of({word for each in words for word in each})
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_PARTS,
            {
                "knowledge": knowledge.pk,
                "agent_profile": knowledge.agent_profile_id,
                "positions": list(range(len(texts))),
                "texts": texts,
                "counts": [len(each) for each in words],
                "lexemes": [" ".join({lexeme for word in each for lexeme in forms[word].lexemes}) for each in words],
            },
        )
    _mark_profile(knowledge.agent_profile_id)


def _mark_profile(profile_id: UUID) -> None:
    """Store in a profile and its draft whether there is anything to search: a turn of most profiles asks nothing."""
    has_knowledge = KnowledgePart.objects.filter(agent_profile_id=profile_id).exists()
    profiles = AgentProfile.objects.filter(Q(pk=profile_id) | Q(draft_of=profile_id))
    profiles.exclude(has_knowledge=has_knowledge).update(has_knowledge=has_knowledge)


def count_entries() -> int:
    return Knowledge.objects.count()


def index_all() -> int:
    """Index every entry again, after SEARCH_LANGUAGES changed; return how many."""
    count = 0
    for knowledge in Knowledge.objects.iterator():
        with transaction.atomic():
            lock_profiles()
            _index(knowledge)
        count += 1
    return count
