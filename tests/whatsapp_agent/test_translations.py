"""The translation into Brazilian Portuguese: every text of the code and the templates, compiled as it is committed."""

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import unfold
from django.utils import translation
from django.utils.translation.template import templatize

from agent.simulator.texts import TEXTS
from whatsapp_agent.text.stored import translate_stored

ROOT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "agent", "commands", "messaging", "sessions_app", "whatsapp_agent")
CATALOGUES = sorted(path for app in APPS for path in (ROOT / app).glob("*locale/pt_BR/LC_MESSAGES/django.po"))
PLACEHOLDER = re.compile(r"%\(\w+\)[sdr]|\{\w+\}|%%")
FUNCTIONS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy", "pgettext"}
CALLED_BY_TEMPLATES = re.compile(r"""\b(?:n|p|np)?gettext\((.*)\)""")


def entries(catalogue: Path) -> list[tuple[str, list[str]]]:
    """Return each text of a .po file with its translations."""
    found = []
    for block in catalogue.read_text().split("\n\n")[1:]:
        parts: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if match := re.match(r"(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?) (.*)", line):
                name = match[1]
                parts[name] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                parts[name] += ast.literal_eval(line)
        if parts:  # not a comment alone
            found.append((parts["msgid"], [text for key, text in parts.items() if key.startswith("msgstr")]))
    return found


def texts_of_module(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in FUNCTIONS and isinstance(node.args[0], ast.Constant):
                yield str(node.args[-1 if name == "pgettext" else 0].value)  # type: ignore[attr-defined]


def texts_of_template(path: Path) -> Iterator[str]:
    """Return what Django's own extraction finds, the form that makemessages reads."""
    for line in templatize(path.read_text(), origin=str(path)).splitlines():
        for call in CALLED_BY_TEMPLATES.finditer(line):
            arguments = re.findall(r"""u?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", call[1])
            if arguments:  # else a variable
                yield ast.literal_eval(arguments[1 if call[0].startswith("pgettext") else 0])


def sources() -> Iterator[tuple[str, str]]:
    """Return each text that is marked for translation, with the file that has it."""
    for app in APPS:
        for path in (ROOT / app).rglob("*"):
            if "migrations" in path.parts or path.suffix not in {".py", ".html"}:
                continue
            found = texts_of_module(path) if path.suffix == ".py" else texts_of_template(path)
            for text in found:
                yield text, str(path.relative_to(ROOT))


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5] + "/" + path.parts[-4])
def test_each_text_of_a_catalogue_is_translated_with_its_placeholders(catalogue):
    found = entries(catalogue)
    assert len(found) > 40
    assert [text for text, translations in found if not all(translations)] == []
    different = [
        (text, each)
        for text, translations in found
        for each in translations
        if sorted(PLACEHOLDER.findall(each)) != sorted(PLACEHOLDER.findall(text))
    ]
    assert different == []


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5] + "/" + path.parts[-4])
def test_a_catalogue_is_compiled_as_it_is_committed(catalogue):
    with catalogue.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    texts = {(key[0] if isinstance(key, tuple) else key).rpartition("\x04")[2]: text for key, text in compiled.items()}
    missing = [text for text, translations in entries(catalogue) if texts.get(text) not in translations]
    assert missing == [], "run manage.py compilemessages -l pt_BR"


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5] + "/" + path.parts[-4])
def test_a_catalogue_has_no_guessed_and_no_obsolete_text(catalogue):
    assert not re.search(r"^#, .*fuzzy|^#~", catalogue.read_text(), re.MULTILINE)


def test_staff_read_of_numbers_and_not_of_sessions():
    """A session is what a bridge has: texts of bridges and names of commands may say so, and those alone."""
    found = [text for catalogue in CATALOGUES for text, _ in entries(catalogue)]
    of_bridges = re.compile(
        r"(?i)%\((bridge|session)\)s|the (name of a|name of this) session|zapw|(restart|log) the session"
    )
    wrong = [text for text in found if re.search(r"(?i)(?<!_)\bsessions?\b", text) and not of_bridges.search(text)]
    assert wrong == []


def test_each_text_of_the_code_is_in_a_catalogue():
    known = {text for catalogue in CATALOGUES for text, _ in entries(catalogue)}
    found = list(sources())
    assert len({text for text, _ in found}) > 1000
    missing = sorted({(path, text) for text, path in found if text not in known})
    assert missing == [], "run manage.py makemessages as the head of the .po says, then translate"


def test_each_text_of_the_templates_of_unfold_is_translated():
    with translation.override("pt-br"):
        keys = translation.trans_real.catalog()._catalog.keys()
        known = {key[0] if isinstance(key, tuple) else key for key in keys}
    templates = list((Path(unfold.__file__).parent / "templates").rglob("*.html"))
    found = {text for template in templates for text in texts_of_template(template)}
    assert len(found) > 100
    assert found - known == set()


def test_each_text_of_the_simulators_script_is_in_its_table():
    scripts = (ROOT / "agent" / "static" / "agent" / "simulator").glob("*.js")
    used = {text for script in scripts for text in re.findall(r'translate\(\s*"([^"]+)"', script.read_text())}
    assert len(used) > 15
    assert used - set(TEXTS) == set()


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("typed on the phone", "digitada no telefone"),
        ("taken over by ana", "assumida por ana"),
        ("loop: nearly the same text 5 times", "laço: quase o mesmo texto 5 vezes"),
        ("released by Agent", "devolvida por Agent"),  # a name is not translated
        (
            "Not answered for 60 minutes: assigned to nobody again.",
            "Sem resposta por 60 minutos: de novo sem responsável.",
        ),
        ("7% of the disk of DATA_DIR is free.", "7% do disco de DATA_DIR está livre."),
        (
            "A message was not sent: expired.\nA message may not have been sent: look on the phone.",
            "Uma mensagem não foi enviada: expired.\nUma mensagem talvez não tenha sido enviada: veja no telefone.",
        ),
        ("(#131026) Message undeliverable", "(#131026) Message undeliverable"),
        ("", ""),
    ],
)
def test_a_stored_text_is_shown_in_the_language_of_the_reader(stored, shown):
    with translation.override("pt-br"):
        assert translate_stored(stored) == shown
    with translation.override("en"):
        assert translate_stored(stored) == stored
