"""Split text into words and normalize them: case, accents and, in SEARCH_LANGUAGES, endings are ignored.

PostgreSQL's parser depends on the server's locale and does not split Chinese, Japanese or Thai, so words are split
here. Its stemmers and stop words are used, word by word.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.db import connection

MAX_WORD_CHARS = 64
CACHED_WORDS = 20_000

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_PICTURES = "\u2600-\u27bf\U0001f300-\U0001faff"
_INDIC = (
    "\u0900-\u0963\u0966-\u0dff"  # Python does not count their vowel signs as letters, but they are part of the word
)
_RUN = re.compile(rf"[{_UNSPACED}]+|[{_PICTURES}]|(?:(?![{_UNSPACED}{_PICTURES}])[^\W_]|[{_INDIC}])+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
# Stemmers do not know these endings when they are typed without accents.
_ENDINGS = {"cao": "ção", "coes": "ções", "sao": "são", "soes": "sões", "cion": "ción", "sion": "sión"}

# NULL: the word has no stem. Empty array: a stop word.
SELECT_STEMS = """
SELECT spelling, language, ts_lexize(('pg_catalog.' || language || '_stem')::regdictionary, spelling)
  FROM unnest(%s::text[]) spelling CROSS JOIN unnest(%s::text[]) language
"""


@dataclass(frozen=True, slots=True)
class Forms:
    """A word as the index has it: its lexemes, and the languages in which it is a stop word."""

    word: str
    lexemes: frozenset[str]
    stop_word_in: frozenset[str]


def split_words(text: str, *, limit: int) -> list[str]:
    """Return the first `limit` words of a text, in lower case.

    Scripts without spaces give each character and each pair of neighbouring characters.
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


def strip_accents(word: str) -> str:
    """Return the word without accents, its characters in one normalized form."""
    if word.isascii():
        return word
    letters = unicodedata.normalize("NFKD", word).casefold()
    return unicodedata.normalize("NFC", "".join(c for c in letters if not unicodedata.combining(c)))[:MAX_WORD_CHARS]


_cache: dict[str, Forms] = {}
_cache_languages: list[tuple[str, ...]] = [()]


def forms_of(words: Collection[str]) -> dict[str, Forms]:
    """Return the forms of each word, from the cache or the database."""
    languages = tuple(settings.SEARCH_LANGUAGES)
    if len(_cache) > CACHED_WORDS or _cache_languages[0] != languages:
        _cache.clear()
        _cache_languages[0] = languages
    found = {word: _cache[word] for word in words if word in _cache}
    if unknown := [word for word in dict.fromkeys(words) if word not in found]:
        found |= _load_forms(unknown, languages)
        _cache.update(found)
    return found


def _load_forms(words: list[str], languages: tuple[str, ...]) -> dict[str, Forms]:
    spellings = {word: _spellings(word) for word in words}
    asked = list(dict.fromkeys(spelling for each in spellings.values() for spelling in each))
    stems: dict[str, dict[str, list[str] | None]] = {spelling: {} for spelling in asked}
    with connection.cursor() as cursor:
        cursor.execute(SELECT_STEMS, [asked, list(languages)])
        for spelling, language, found in cursor.fetchall():
            stems[spelling][language] = found
    return {word: _forms(word, [stems[spelling] for spelling in each]) for word, each in spellings.items()}


def _spellings(word: str) -> list[str]:
    folded = strip_accents(word)
    with_accents = [folded.removesuffix(plain) + full for plain, full in _ENDINGS.items() if folded.endswith(plain)]
    return list(dict.fromkeys([word, folded, *with_accents]))


def _forms(word: str, stems: list[dict[str, list[str] | None]]) -> Forms:
    folded = {strip_accents(stem) for each in stems for found in each.values() for stem in found or ()}
    return Forms(
        word=word,
        lexemes=frozenset({strip_accents(word)} | folded) - {""},
        stop_word_in=frozenset(language for each in stems for language, found in each.items() if found == []),
    )


def significant_words(text: str, *, limit: int) -> list[Forms]:
    """Return the words of a query without stop words, each once.

    The query's language is the one in which most of its words are stop words. A query of stop words alone keeps them.
    """
    words = list(dict.fromkeys(split_words(text, limit=limit)))
    forms = forms_of(words)
    empty = {
        language: sum(language in forms[word].stop_word_in for word in words) for language in settings.SEARCH_LANGUAGES
    }
    most = max(empty.values(), default=0)
    spoken = {language for language, count in empty.items() if count == most > 0}
    significant = [word for word in words if not forms[word].stop_word_in & spoken]
    pairs = {word for word in significant if len(word) == 2 and _IS_UNSPACED.match(word)}
    return [forms[word] for word in significant or words if not any(len(word) == 1 and word in pair for pair in pairs)]
