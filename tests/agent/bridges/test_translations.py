"""Why a bridge did not do something is stored in English, and read by staff in their own language."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

from agent import bridges
from whatsapp_agent.text.stored import translate_stored

FOLDER = Path(bridges.__file__).parent
SENTENCE = re.compile(r"([A-Z]|zapw ).* .*\.")


def sentences() -> Iterator[str]:
    """Return each sentence that the adapters may give as a reason, with `x7` where something is filled in."""
    for path in sorted(FOLDER.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
        for node in ast.walk(tree):
            if id(node) in docstrings | pieces:
                continue
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(str(getattr(piece, "value", "x7")) if isinstance(piece, ast.Constant) else "x7"
                               for piece in node.values)  # fmt: skip
                text = re.sub(r"^x7 ", "Evolution ", text)
            if SENTENCE.fullmatch(text):
                yield text


@pytest.mark.parametrize("text", sorted(set(sentences())))
def test_a_reason_of_an_adapter_is_read_in_portuguese(text: str) -> None:
    with translation.override("pt-br"):
        assert translate_stored(text) != text


@pytest.mark.parametrize(("stored", "read"), [
    ("WAHA answered with status 503.", "WAHA respondeu com o status 503."),
    ("waha cannot send files.", "waha não consegue enviar arquivos."),
    ("evolution cannot restart the session sales.", "evolution não consegue reiniciar o número sales."),
    ("zapw no longer has this file.", "zapw não tem mais este arquivo."),
    ("An error in the bridge's own words", "An error in the bridge's own words"),
])  # fmt: skip
def test_what_is_filled_in_stays_in_the_portuguese_text(stored: str, read: str) -> None:
    with translation.override("pt-br"):
        assert translate_stored(stored) == read
