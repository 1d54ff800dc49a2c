"""The inbox in Brazilian Portuguese: every text of its templates and modules is in the catalogue."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import reverse

import agent
from accounts.models import User
from messaging.models import Conversation
from tests.support.messaging.admin import LogIn

FOLDER = Path(agent.__file__).parent
CATALOGUE = FOLDER / "locale" / "pt_BR" / "LC_MESSAGES" / "django.mo"
TAG = re.compile(
    r"""{% translate (?:"([^"]*)"|'([^']*)')|{% blocktranslate.*?%}(.*?){% endblocktranslate %}""", re.DOTALL
)


def texts() -> Iterator[str]:
    for template in (FOLDER / "templates" / "agent" / "inbox").glob("*.html"):
        for double, single, block in TAG.findall(template.read_text()):
            yield double or single or re.sub(r"{{ (\w+) }}", r"%(\1)s", block)
    for module in (FOLDER / "staff_inbox").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "gettext_lazy"}:
                yield str(ast.literal_eval(node.args[0]))


@pytest.fixture(scope="module")
def catalogue() -> gettext.GNUTranslations:
    with CATALOGUE.open("rb") as compiled:
        return gettext.GNUTranslations(compiled)


def test_every_text_is_translated(catalogue: gettext.GNUTranslations) -> None:
    known = catalogue._catalog  # type: ignore[attr-defined]  # a text may be the same in both languages
    assert sorted({text for text in texts() if not known.get(text)}) == []
    assert len(set(texts())) > 150


def test_a_translation_has_the_same_places_to_fill_in(catalogue: gettext.GNUTranslations) -> None:
    places = re.compile(r"%\(\w+\)[sd]")
    different = [
        text for text in texts() if sorted(places.findall(text)) != sorted(places.findall(catalogue.gettext(text)))
    ]
    assert different == []


def test_the_compiled_catalogue_is_that_of_its_source(catalogue: gettext.GNUTranslations) -> None:
    source = CATALOGUE.with_suffix(".po").read_text()
    entries = re.findall(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"\n?)+)', source, re.MULTILINE)
    pairs = {unquoted(name): unquoted(text) for name, text in entries}
    compiled = catalogue._catalog  # type: ignore[attr-defined]
    assert {name: text for name, text in pairs.items() if name and text != compiled.get(name)} == {}
    assert len(pairs) > 150


def unquoted(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.splitlines())


def test_a_page_speaks_portuguese(conversation: Conversation, staff_member: User, log_in: LogIn) -> None:
    User.objects.filter(pk=staff_member.pk).update(language="pt-br")
    page = log_in(staff_member).get(reverse("inbox-conversation", args=[conversation.pk])).content.decode()
    assert all(text in page for text in ("Caixa de entrada", "Precisa de alguém", "Assumir", 'lang="pt-br"'))
