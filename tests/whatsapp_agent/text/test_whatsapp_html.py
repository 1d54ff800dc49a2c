"""WhatsApp's markup as HTML."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from whatsapp_agent.text.whatsapp_html import whatsapp_html, without_markup


@pytest.mark.parametrize(("text", "html"), [
    ("*bold* and _italic_ and ~gone~", "<strong>bold</strong> and <em>italic</em> and <s>gone</s>"),
    ("*_both_*", "<strong><em>both</em></strong>"),
    ("`*code*`", "<code>*code*</code>"),
    ("```a\nb```", "<code>a\nb</code>"),
    ("2*3*4 snake_case_name", "2*3*4 snake_case_name"),
    ("* list * of", "* list * of"),
    ("<b>&", "&lt;b&gt;&amp;"),
    ("*<i>*", "<strong>&lt;i&gt;</strong>"),
    ("javascript:alert(1)", "javascript:alert(1)"),
])  # fmt: skip
def test_markup_becomes_escaped_html(text: str, html: str) -> None:
    assert whatsapp_html(text) == html


@pytest.mark.parametrize(("text", "words"), [
    ("*bold* and _italic_ and ~gone~", "bold and italic and gone"),
    ("*_~all~_* of `*code*`", "all of *code*"),
    ("```a\nb```\n\nand *more*", "a\nb\n\nand more"),
    ("2*3*4 snake_case_name * list", "2*3*4 snake_case_name * list"),
    ("https://example.com/_a_ *b*", "https://example.com/_a_ b"),
    ("*cut off in the mid", "*cut off in the mid"),
    ("*<b>*", "<b>"),
])  # fmt: skip
def test_markup_is_left_out_where_no_html_is_shown(text: str, words: str) -> None:
    assert without_markup(text) == words


def test_a_link_ends_before_punctuation_and_cannot_leave_its_attribute() -> None:
    html = whatsapp_html('See https://example.com/a_b_c?x="onload=1, ok.')
    assert 'href="https://example.com/a_b_c?x="' in html
    assert "&quot;onload=1" in html


@pytest.mark.parametrize("piece", ["*", "_a", "```", "`", "https://", "*_~", "*a* "])
def test_a_hostile_text_takes_little_time(budget_s: Callable[[int], AbstractContextManager[None]], piece: str) -> None:
    with budget_s(2):
        whatsapp_html(piece * 30_000)
        without_markup(piece * 30_000)
