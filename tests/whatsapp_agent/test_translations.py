"""The translation into Brazilian Portuguese: complete, and compiled from what is committed."""

import ast
import gettext
import re
from pathlib import Path

import pytest

LOCALE = Path(__file__).resolve().parents[2] / "whatsapp_agent" / "locale" / "pt_BR" / "LC_MESSAGES"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


def entries() -> list[tuple[str, list[str]]]:
    """Return each text of the .po file with its translations."""
    found = []
    for block in (LOCALE / "django.po").read_text().split("\n\n")[1:]:
        parts: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if match := re.match(r"(msgid_plural|msgid|msgstr(?:\[\d\])?) (.*)", line):
                name = match[1]
                parts[name] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                parts[name] += ast.literal_eval(line)
        if parts:  # not a comment alone
            found.append((parts["msgid"], [text for key, text in parts.items() if key.startswith("msgstr")]))
    return found


@pytest.mark.parametrize(("text", "translations"), entries(), ids=ascii)
def test_a_text_is_translated_with_its_placeholders(text, translations):
    for translation in translations:
        assert translation
        assert sorted(PLACEHOLDER.findall(translation)) == sorted(PLACEHOLDER.findall(text))


def test_what_is_compiled_is_what_is_committed():
    with (LOCALE / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    texts = {key[0] if isinstance(key, tuple) else key: value for key, value in compiled.items()}
    for text, translations in entries():
        assert texts[text] in translations, "run manage.py compilemessages -l pt_BR"


def test_no_translation_is_only_guessed():
    assert "fuzzy" not in (LOCALE / "django.po").read_text()
