"""What counts as the same word: case, accents and endings set aside, in the languages that SEARCH_LANGUAGES names.

Words are found here rather than by PostgreSQL, whose parser depends on the server's locale and leaves Chinese, Japanese
and Thai in one piece. Its stemmers and its lists of stop words are used, word by word.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

MAX_WORD_CHARS = 64  # characters
CACHED_WORDS = 20_000

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_PICTURES = "\u2600-\u27bf\U0001f300-\U0001faff"
_INDIC = "\u0900-\u0963\u0966-\u0dff"  # their vowel signs are no letters to Python, and yet part of the word
_RUN = re.compile(rf"[{_UNSPACED}]+|[{_PICTURES}]|(?:(?![{_UNSPACED}{_PICTURES}])[^\W_]|[{_INDIC}])+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
# Typed in haste without its accents, an ending is one that no stemmer knows; with them it is.
_ENDINGS = {"cao": "ção", "coes": "ções", "sao": "são", "soes": "sões", "cion": "ción", "sion": "sión"}

# Null: the word is as it is. Nothing in it: a stop word.
STEMS = """
SELECT spelling, language, ts_lexize(('pg_catalog.' || language || '_stem')::regdictionary, spelling)
  FROM unnest(%s::text[]) spelling CROSS JOIN unnest(%s::text[]) language
"""


@dataclass(frozen=True, slots=True)
class Forms:
    """A word as the index knows it: its lexemes, and the languages it says nothing in."""

    word: str
    lexemes: frozenset[str]
    empty_in: frozenset[str]


def split_words(text: str, *, limit: int) -> list[str]:
    """The first `limit` words of a text as they are written, in lower case.

    What is written without spaces gives each pair of neighbouring characters, and each character.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    words: list[str] = []
    for match in _RUN.finditer(text.lower()):
        run = match[0]
        if not run.isascii() and _IS_UNSPACED.match(run):
            words.extend(run)
            words.extend(run[at : at + 2] for at in range(len(run) - 1))
        else:
            words.append(run[:MAX_WORD_CHARS])
        if len(words) >= limit:
            return words[:limit]
    return words


def fold(word: str) -> str:
    """Without accents, and with the many ways to write a character made one."""
    if word.isascii():
        return word
    letters = unicodedata.normalize("NFKD", word).casefold()
    return unicodedata.normalize("NFC", "".join(c for c in letters if not unicodedata.combining(c)))[:MAX_WORD_CHARS]


_known: dict[str, Forms] = {}
_known_in: list[tuple[str, ...]] = [()]


def forms_of(words: Collection[str]) -> dict[str, Forms]:
    """The forms of each word, asking the database for those not met before."""
    languages = tuple(settings.SEARCH_LANGUAGES)
    if len(_known) > CACHED_WORDS or _known_in[0] != languages:
        _known.clear()
        _known_in[0] = languages
    found = {word: _known[word] for word in words if word in _known}
    if unknown := [word for word in dict.fromkeys(words) if word not in found]:
        found |= _ask(unknown, languages)
        _known.update(found)
    return found


def _ask(words: list[str], languages: tuple[str, ...]) -> dict[str, Forms]:
    spellings = {word: _spellings(word) for word in words}
    asked = list(dict.fromkeys(spelling for each in spellings.values() for spelling in each))
    stems: dict[str, dict[str, list[str] | None]] = {spelling: {} for spelling in asked}
    with connection.cursor() as cursor:
        cursor.execute(STEMS, [asked, list(languages)])
        for spelling, language, found in cursor.fetchall():
            stems[spelling][language] = found
    return {word: _forms(word, [stems[spelling] for spelling in each]) for word, each in spellings.items()}


def _spellings(word: str) -> list[str]:
    folded = fold(word)
    with_accents = [folded.removesuffix(plain) + full for plain, full in _ENDINGS.items() if folded.endswith(plain)]
    return list(dict.fromkeys([word, folded, *with_accents]))


def _forms(word: str, stems: list[dict[str, list[str] | None]]) -> Forms:
    folded = {fold(stem) for each in stems for found in each.values() for stem in found or ()}
    return Forms(
        word=word,
        lexemes=frozenset({fold(word)} | folded) - {""},
        empty_in=frozenset(language for each in stems for language, found in each.items() if found == []),
    )


def telling_words(text: str, *, limit: int) -> list[Forms]:
    """What a query asks for: its words without those that say nothing in its language, each once.

    The language is the one in which most of the words say nothing. A query of nothing else is taken by its word.
    """
    words = list(dict.fromkeys(split_words(text, limit=limit)))
    forms = forms_of(words)
    empty = {
        language: sum(language in forms[word].empty_in for word in words) for language in settings.SEARCH_LANGUAGES
    }
    most = max(empty.values(), default=0)
    spoken = {language for language, count in empty.items() if count == most > 0}
    telling = [word for word in words if not forms[word].empty_in & spoken]
    pairs = {word for word in telling if len(word) == 2 and _IS_UNSPACED.match(word)}
    return [forms[word] for word in telling or words if not any(len(word) == 1 and word in pair for pair in pairs)]
